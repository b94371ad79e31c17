//! `compress`: what is compressed, what never is, and that it arrives as the endpoint sent it, at once.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Proxy, ProxyBuilder, Response, http2, lacks};

const NO_COMPRESSION: &str = "`compress`, `intercept_errors`";

const ENCODINGS: [&str; 3] = ["zstd", "br", "gzip"];

fn decoded(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader: Box<dyn Read> = match encoding {
        "zstd" => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        other => panic!("{other:?} is no encoding"),
    };
    reader.read_to_end(&mut out).unwrap();
    out
}

/// What can be told of the beginning of a response.
fn decoded_so_far(encoding: &str, bytes: &[u8]) -> String {
    let mut reader: Box<dyn Read> = match encoding {
        "zstd" => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        _ => Box::new(flate2::read::GzDecoder::new(bytes)),
    };
    let (mut out, mut piece) = (Vec::new(), [0; 1024]);
    while let Ok(length @ 1..) = reader.read(&mut piece) {
        out.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(out).unwrap()
}

fn compressing(endpoint: &Endpoint) -> ProxyBuilder {
    Proxy::to([endpoint]).routes(&["name: default, pool: default, compress: on"])
}

fn page() -> String {
    (0..500).map(|line| format!("<li>line {line} of many that are alike</li>\n")).collect()
}

/// An endpoint with a page of that type, and more fields.
fn pages(fields: &'static str) -> Endpoint {
    Endpoint::scripted("a", move |exchange| exchange.answer_with(fields, &page()))
}

fn accepting(proxy: &Proxy, accepted: &str) -> Response {
    proxy.client().request("GET", "/", &format!("Accept-Encoding: {accepted}\r\n")).expect(200)
}

const HTML: &str =
    "Content-Type: text/html; charset=utf-8\r\nETag: \"abc\"\r\nAccept-Ranges: bytes\r\nVary: Cookie\r\n";

#[test]
fn a_page_is_compressed_as_its_client_likes_it() {
    if lacks(NO_COMPRESSION) {
        return;
    }
    let endpoint = pages(HTML);
    let proxy = compressing(&endpoint).start();
    for encoding in ENCODINGS {
        let response = accepting(&proxy, &format!("deflate, {encoding}"));
        assert_eq!(response.header("content-encoding"), Some(encoding));
        assert_eq!(decoded(encoding, &response.body), page().as_bytes());
        assert!(response.body.len() < page().len() / 4, "{encoding}: {} bytes", response.body.len());
        assert_eq!(response.header("etag"), Some("W/\"abc\""));
        assert_eq!(response.head.all("vary"), ["Cookie", "Accept-Encoding"]);
        assert!(!response.head.has("accept-ranges") && !response.head.has("content-length"));
    }
    let record = &proxy.records_of("/", 3)[0];
    assert_eq!((record.text("encoding"), record.number("bytes_plain")), ("zstd", page().len() as u64));
    assert!(record.number("bytes_out") < page().len() as u64 / 4);
    assert_eq!(
        proxy.metric("evenkeel_compression_input_bytes_total", &["encoding=\"br\""]),
        page().len() as f64
    );
    // Who takes none gets what was there, and caches are told.
    let plain = accepting(&proxy, "identity, gzip;q=0");
    assert_eq!((plain.text(), plain.header("etag")), (page().as_str(), Some("\"abc\"")));
    assert_eq!(plain.head.all("vary"), ["Cookie", "Accept-Encoding"]);
    assert_eq!(plain.header("accept-ranges"), Some("bytes"));
}

/// Row 20 of the list of public mistakes, and what is like it.
#[test]
fn what_must_stay_as_it_is_does() {
    if lacks(NO_COMPRESSION) {
        return;
    }
    let cases: [(&str, &str); 13] = [
        ("200 OK", "Content-Type: text/event-stream\r\n"),
        ("200 OK", "Content-Type: application/grpc+proto\r\n"),
        ("200 OK", "Content-Type: image/png\r\n"),
        ("200 OK", ""),
        ("200 OK", "Content-Type: text/html\r\nContent-Encoding: gzip\r\n"),
        ("200 OK", "Content-Type: text/html\r\nContent-Encoding: x-own\r\n"),
        ("200 OK", "Content-Type: text/html\r\nCache-Control: public, No-Transform\r\n"),
        ("206 Partial Content", "Content-Type: text/html\r\nContent-Range: bytes 0-9/20\r\n"),
        ("200 OK", "Content-Type: text/html\r\nContent-Range: bytes 0-9/20\r\n"),
        ("200 OK", "Content-Type: text/html\r\nRepr-Digest: sha-256=:AAAA:\r\n"),
        ("200 OK", "Content-Type: text/html\r\nContent-MD5: AAAA\r\n"),
        ("200 OK", "Content-Type: TEXT/EVENT-STREAM;charset=utf-8\r\n"),
        ("200 OK", "Content-Type: texts/html\r\n"),
    ];
    let endpoint = Endpoint::scripted("a", move |exchange| {
        let number: usize = exchange.target()[1..].parse().unwrap();
        let (status, fields) = cases[number];
        exchange.status(status, &format!("{fields}ETag: \"abc\"\r\n"), &page());
    });
    let proxy = Proxy::to([&endpoint])
        .routes(&["name: default, pool: default, compress: { types: [\"text/*\", \"*+proto\"] }"])
        .start();
    for (number, (_, fields)) in cases.iter().enumerate() {
        let accepts = "Accept-Encoding: gzip, br, zstd\r\n";
        let response = proxy.client().request("GET", &format!("/{number}"), accepts);
        assert_eq!(response.text(), page(), "{fields}");
        assert_eq!(response.header("etag"), Some("\"abc\""), "{fields}");
        assert_eq!(response.head.content_length(), Some(page().len()), "{fields}");
        assert!(!response.head.has("vary"), "{fields}");
    }
}

#[test]
fn small_empty_and_old_ones_stay_as_they_are() {
    if lacks(NO_COMPRESSION) {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        let html = "Content-Type: text/html\r\nETag: \"abc\"\r\n";
        match exchange.target() {
            "/small" => exchange.answer_with(html, &"x".repeat(1023)),
            "/large" => exchange.answer_with(html, &"x".repeat(1024)),
            "/empty" => exchange.status("204 No Content", html, ""),
            "/same" => {
                exchange.send(format!("HTTP/1.1 304 Not Modified\r\n{html}\r\n"));
            }
            _ => exchange.answer_with(html, &page()),
        }
    });
    let proxy = compressing(&endpoint).start();
    let ask =
        |method: &str, target: &str| proxy.client().request(method, target, "Accept-Encoding: gzip\r\n");
    assert_eq!(ask("GET", "/small").expect(200).body.len(), 1023);
    assert_eq!(ask("GET", "/large").expect(200).header("content-encoding"), Some("gzip"));
    assert!(!ask("GET", "/empty").expect(204).head.has("content-encoding"));
    let same = ask("GET", "/same").expect(304);
    assert_eq!((same.header("etag"), same.header("vary")), (Some("W/\"abc\""), Some("Accept-Encoding")));
    assert!(!same.head.has("content-encoding"));
    // As GET would have it, without a body.
    let head = ask("HEAD", "/page").expect(200);
    assert_eq!((head.header("content-encoding"), head.header("etag")), (Some("gzip"), Some("W/\"abc\"")));
    assert!(!head.head.has("content-length") && head.body.is_empty());
    // HTTP/1.0 has no chunks.
    let mut old = proxy.client();
    old.send("GET /page HTTP/1.0\r\nHost: test.example\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(old.response().text(), page());
}

/// A message of a stream is there before the next one, whatever the encoding.
#[test]
fn each_piece_arrives_as_it_comes() {
    if lacks(NO_COMPRESSION) {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for number in 0..8 {
            let piece = format!("{{\"message\":{number}}}\n");
            exchange.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
            std::thread::sleep(Duration::from_millis(100));
        }
        exchange.send("0\r\n\r\n");
    });
    let proxy = compressing(&endpoint).start();
    for encoding in ENCODINGS {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: test.example\r\nAccept-Encoding: {encoding}\r\n\r\n"));
        let begun = Instant::now();
        client.chunks_until(|bytes| decoded_so_far(encoding, bytes).contains("\"message\":3}\n"));
        // The fifth message comes after 400 ms.
        assert!(begun.elapsed() < Duration::from_millis(395), "{encoding}: {:?}", begun.elapsed());
    }
}

/// Responses to clients of HTTP/2 are the same.
#[test]
fn clients_of_http2_get_it_too() {
    if lacks(NO_COMPRESSION) {
        return;
    }
    let endpoint = pages(HTML);
    let proxy = compressing(&endpoint).listener("h2c: true").start();
    http2::runtime().block_on(async {
        let client = http2::connect(&proxy.address()).await;
        for encoding in ENCODINGS {
            let mut request = http2::get_of("/");
            request.headers_mut().insert("accept-encoding", encoding.parse().unwrap());
            let answer = http2::request(&client, request, &[]).await;
            assert_eq!(answer.headers["content-encoding"], encoding);
            assert!(!answer.headers.contains_key("content-length"));
            assert_eq!(decoded(encoding, &answer.body), page().as_bytes());
        }
    });
}

/// A response that breaks off is not taken for a whole one.
#[test]
fn a_cut_response_is_cut() {
    if lacks(NO_COMPRESSION) {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n");
        exchange.send(page());
        exchange.close();
    });
    let proxy = compressing(&endpoint).start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = client.response();
    assert_ne!(response.end, crate::harness::End::Whole);
    assert_eq!(proxy.record("/").cause(), "response_cut");
}
