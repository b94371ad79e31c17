//! Input made of the pieces that matter, right and wrong, in any order; and any bytes whatever.

use evenkeel::http1::head::{Parse, Request, Response};
use proptest::prelude::*;
use proptest::sample::select;

use crate::checks::{chunked_body, proxy_protocol, request_head, response_head};

const BAD_BYTES: [&[u8]; 14] = [
    b"\0", b"\r", b"\n", b"\r\n", b"\t", b" ", b"\x0b", b"\x7f", b"\x80", b"\xff", b":", b";", b",", b"\r\n ",
];

const TARGETS: [&str; 26] = [
    "/",
    "/a/b?c=d",
    "/a//b/../c",
    "/%41%zz",
    "/%00",
    "/|x",
    "/?q[]={a}|^`\\",
    "/\"",
    "/<",
    "/#f",
    "*",
    "",
    "http://a.example",
    "http://a.example/x?y",
    "HTTPS://A.EXAMPLE:443/",
    "http://b.example/",
    "http://u@a.example/",
    "http://a.example:80?x",
    "http:///",
    "a.example:80",
    "//a.example/",
    "/a b",
    "/\u{e9}",
    "?x",
    "/x;y=z",
    "/%4",
];

const FIELDS: [&str; 52] = [
    "Host: a.example",
    "host:A.example:80",
    "Host: b.example",
    "Host:",
    "Host: a, b",
    "Host: [::1]:81",
    "Host: a/b",
    "Host: a:0",
    "Host: a..b",
    "Content-Length: 5",
    "content-length: 05",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 99999999999999999999",
    "Content-Length: -1",
    "Content-Length:",
    "Content-Length : 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding:\tCHUNKED ",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: x, chunked",
    "Transfer-Encoding : chunked",
    " Transfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Transfer--Encoding: chunked",
    "Content_Length: 5",
    "ContentLength: 5",
    "Connection: close",
    "Connection: keep-alive, upgrade",
    "Connection: x-hop",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "TE: trailers",
    "Trailer: X",
    "Keep-Alive: 5",
    "HTTP2-Settings: x",
    "Proxy-Connection: close",
    "X-Hop: 1",
    "X_Forwarded_For: 9.9.9.9",
    "X-Forwarded-For: 9.9.9.9",
    "Date: then",
    "Via: x",
    "X:",
    "X: a b",
    "X: \u{e9}",
    "X",
    ": x",
    "X Y: z",
    "X: \"a\\\"",
    "Cookie: a=b; c=d",
    "\tx",
];

/// A head of pieces, with something broken in some of them.
fn head(line: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec(select(&FIELDS[..]), 0..6);
    let host = prop::option::weighted(0.8, Just("Host: a.example"));
    let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("")];
    (line, host, fields, end, breaks()).prop_map(|(line, host, fields, end, breaks)| {
        let mut bytes = format!("{line}\r\n").into_bytes();
        for field in host.iter().chain(&fields) {
            bytes.extend_from_slice(format!("{field}\r\n").as_bytes());
        }
        bytes.extend_from_slice(end.as_bytes());
        broken(bytes, &breaks)
    })
}

type Breaks = Vec<(prop::sample::Index, &'static [u8])>;

fn breaks() -> impl Strategy<Value = Breaks> {
    let some = prop::collection::vec((any::<prop::sample::Index>(), select(&BAD_BYTES[..])), 1..3);
    prop_oneof![2 => Just(Vec::new()), 1 => some]
}

fn broken(mut bytes: Vec<u8>, breaks: &Breaks) -> Vec<u8> {
    for (at, insert) in breaks {
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, insert.iter().copied());
    }
    bytes
}

pub fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = select(&["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "get", "M!", "", "\r\nGET"][..]);
    let version = prop_oneof![
        8 => Just("HTTP/1.1"),
        3 => Just("HTTP/1.0"),
        1 => select(&["HTTP/1.2", "HTTP/0.9", "HTTP/2.0", "http/1.1", ""][..]),
    ];
    head(
        (method, select(&TARGETS[..]), version)
            .prop_map(|(method, target, version)| format!("{method} {target} {version}")),
    )
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    let version = select(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2"][..]);
    let status = select(&["200", "204", "304", "101", "103", "404", "099", "999", "20", "2000"][..]);
    let reason = select(&[" OK", "", " ", "  x", " \u{e9}", "x"][..]);
    head(
        (version, status, reason).prop_map(|(version, status, reason)| format!("{version} {status}{reason}")),
    )
}

fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let chunk = select(
        &[
            "1\r\nx\r\n",
            "a\r\n0123456789\r\n",
            "0A;x=y\r\n0123456789\r\n",
            "2 ;a ;b=\"c\\\"\"\r\nxy\r\n",
            "3\r\nab\r\n",
            "1\nx\r\n",
            "fffffffffffffffff\r\n",
            "-1\r\n",
            "1 \r\nx\r\n",
            "1;\r\nx\r\n",
            "1\r\nx\n",
        ][..],
    );
    let trailer = select(
        &["X-Sum: 1\r\n", "Content-Length: 5\r\n", "x: y\n", " z: 1\r\n", "A:\r\n", "Host: x\r\n"][..],
    );
    let chunks = prop::collection::vec(
        prop_oneof![4 => Just("1\r\nx\r\n"), 4 => Just("5;e\r\nhello\r\n"), 2 => chunk],
        0..5,
    );
    let last = prop_oneof![6 => Just("0\r\n"), 1 => Just("00;a=b\r\n"), 1 => Just("")];
    let trailers = prop::collection::vec(trailer, 0..3);
    (chunks, last, trailers, select(&["\r\n", "\r\n", "\r\nGET /", "\n", ""][..]), breaks()).prop_map(
        |(chunks, last, trailers, end, breaks)| {
            broken(
                [chunks.concat(), last.into(), trailers.concat(), end.into()].concat().into_bytes(),
                &breaks,
            )
        },
    )
}

/// A PROXY header of version 1, of words that are right and wrong.
fn proxy_text() -> impl Strategy<Value = Vec<u8>> {
    let family = select(&["TCP4", "TCP6", "UNKNOWN", "UDP4", "tcp4", ""][..]);
    let ip = select(
        &["192.0.2.1", "::1", "::ffff:192.0.2.1", "1.2.3", "192.0.2.01", "256.0.0.1", "fe80::1%1", "", "1:2"]
            [..],
    );
    let port = select(&["0", "80", "65535", "65536", "080", "+80", "", "8o"][..]);
    let space = select(&[" ", " ", " ", " ", "  ", "\t", ""][..]);
    let end = select(&["\r\n", "\r\n", "\n", "\r", "", " \r\n", "\r\r\n"][..]);
    (family, [ip.clone(), ip], [port.clone(), port], space, end).prop_map(
        |(family, ips, ports, space, end)| {
            let words = ["PROXY", family, ips[0], ips[1], ports[0], ports[1]];
            let line = if family == "UNKNOWN" { words[..2].join(space) } else { words.join(space) };
            format!("{line}{end}GET / HTTP/1.1\r\n").into_bytes()
        },
    )
}

/// A PROXY header of version 2, with any block and a length that may be wrong.
fn proxy_binary() -> impl Strategy<Value = Vec<u8>> {
    let command = select(&[0x20, 0x21, 0x21, 0x21, 0x22, 0x11, 0x00][..]);
    let family = select(&[0x00, 0x11, 0x11, 0x12, 0x21, 0x21, 0x22, 0x31, 0x32, 0x10, 0x41][..]);
    let block = prop::collection::vec(any::<u8>(), 0..60);
    (command, family, block, select(&[0, 0, 0, 1, 40, 5000][..])).prop_map(
        |(command, family, block, more)| {
            let length = u16::try_from(block.len() + more).unwrap().to_be_bytes();
            [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, &block].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn requests(bytes in request()) {
        request_head::check(&bytes);
    }

    #[test]
    fn responses(bytes in response()) {
        response_head::check(&bytes);
    }

    #[test]
    fn bodies(bytes in chunked()) {
        chunked_body::check(&bytes);
    }

    #[test]
    fn proxy_headers(text in proxy_text(), binary in proxy_binary(), cut in 0..80_usize) {
        for bytes in [&text, &binary] {
            proxy_protocol::check(bytes);
            proxy_protocol::check(&bytes[..bytes.len().saturating_sub(cut)]);
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        request_head::check(&bytes);
        response_head::check(&bytes);
        chunked_body::check(&bytes);
        proxy_protocol::check(&bytes);
        proxy_protocol::check(&[b"PROXY ", &bytes[..]].concat());
        proxy_protocol::check(&[b"\r\n\r\n\0\r\nQUIT\n", &bytes[..]].concat());
    }

    /// A parser of another family reads the same fields in whatever is accepted.
    #[test]
    fn another_parser_agrees(bytes in request()) {
        let mut head = Request::default();
        if let Parse::Complete { length } = head.parse(&bytes, &request_head::LIMITS) {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut other = httparse::Request::new(&mut fields);
            prop_assert_eq!(other.parse(&bytes), Ok(httparse::Status::Complete(length)));
            let view = head.view(&bytes);
            prop_assert_eq!((other.method, other.path.map(str::as_bytes)), (Some(view.method()), Some(view.target())));
            let theirs: Vec<_> = other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
            prop_assert_eq!(theirs, view.fields().collect::<Vec<_>>());
        }
    }

    #[test]
    fn another_parser_agrees_on_responses(bytes in response()) {
        let mut head = Response::default();
        if let Parse::Complete { length } = head.parse(&bytes) {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut other = httparse::Response::new(&mut fields);
            prop_assert_eq!(other.parse(&bytes), Ok(httparse::Status::Complete(length)));
            let view = head.view(&bytes);
            prop_assert_eq!(other.code, Some(view.status()));
            let theirs: Vec<_> = other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
            prop_assert_eq!(theirs, view.fields().collect::<Vec<_>>());
        }
    }
}
