//! `buffer_request`: endpoints get a request once its body is whole.

use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::harness::http2::{connect, runtime};
use crate::harness::{Client, Endpoint, Proxy, ProxyBuilder, lacks, lasted};

const ROW: &str = "`buffer_request`";

/// Long enough for a request to get through, if it could.
const A_WHILE: Duration = Duration::from_millis(200);

fn buffered(endpoint: &Endpoint) -> ProxyBuilder {
    Proxy::to([endpoint]).routes(&["pool: default, buffer_request: 1MiB"]).listener("h2c: true")
}

/// A body in which each place can be told from others.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 251) as u8 ^ (index % 251) as u8).collect()
}

fn post(client: &mut Client, target: &str, fields: &str) {
    client.send(format!("POST {target} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n"));
}

#[test]
fn an_endpoint_sees_nothing_of_a_request_before_its_end() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = buffered(&endpoint).start();
    let mut client = proxy.client();
    post(&mut client, "/length", "Content-Length: 8\r\n");
    for piece in ["ha", "lf "] {
        client.send(piece);
        sleep(A_WHILE);
        assert_eq!((endpoint.connections(), endpoint.count()), (0, 0));
    }
    client.send("one");
    client.response().expect(200);
    let seen = endpoint.seen("/length");
    assert_eq!((seen.body.as_slice(), seen.header("content-length")), (&b"half one"[..], Some("8")));
    let record = proxy.record("/length");
    assert!(record.seconds("buffered_seconds") > 0.0);
    assert_eq!(record.number("bytes_in"), 8);
    // The connection goes on; a request without a body waits for nothing.
    client.get("/get").expect(200);
    assert!(proxy.record("/get").0["buffered_seconds"].is_null());
    // Chunks arrive as a body of known length, which more endpoints can read.
    post(&mut client, "/chunks", "Transfer-Encoding: chunked\r\n");
    client.send("4\r\nhalf\r\n");
    sleep(A_WHILE);
    assert_eq!(endpoint.count_of("/chunks"), 0);
    client.send("4\r\n one\r\n0\r\n\r\n");
    client.response().expect(200);
    let seen = endpoint.seen("/chunks");
    assert_eq!((seen.body.as_slice(), seen.header("content-length")), (&b"half one"[..], Some("8")));
    assert_eq!(seen.header("transfer-encoding"), None);
    // What follows a body has no place behind a length.
    post(&mut client, "/trailers", "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n");
    client.send("4\r\nhalf\r\n4\r\n one\r\n0\r\nX-Sum: 7\r\n\r\n");
    client.response().expect(200);
    let seen = endpoint.seen("/trailers");
    assert_eq!((seen.body.as_slice(), seen.header("transfer-encoding")), (&b"half one"[..], Some("chunked")));
    post(&mut client, "/empty", "Transfer-Encoding: chunked\r\n");
    client.send("0\r\n\r\n");
    client.response().expect(200);
    assert_eq!(endpoint.seen("/empty").header("content-length"), Some("0"));
}

#[test]
fn http2_bodies_are_buffered_as_well() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = buffered(&endpoint).start();
    let whole = body(600_000);
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let request = Request::post("http://test.example/x").body(()).unwrap();
        let (response, mut stream) =
            client.clone().ready().await.unwrap().send_request(request, false).unwrap();
        stream.send_data(Bytes::from(whole[..300_000].to_vec()), false).unwrap();
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(endpoint.connections(), 0);
        stream.send_data(Bytes::from(whole[300_000..].to_vec()), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let seen = endpoint.seen("/x");
    assert_eq!((seen.body_length, seen.header("content-length")), (600_000, Some("600000")));
    assert!(whole.starts_with(&seen.body));
    assert_eq!(proxy.record("/x").number("bytes_in"), 600_000);
}

/// However the length is said, or is not.
#[test]
fn a_longer_body_is_413_and_no_endpoint_hears_of_it() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = buffered(&endpoint).start();
    proxy.client().upload("POST", "/fits", &body(1 << 20)).expect(200);
    let mut client = proxy.client();
    post(&mut client, "/announced", "Content-Length: 1048577\r\n");
    client.response().expect(413);
    let mut client = proxy.client();
    post(&mut client, "/chunks", "Transfer-Encoding: chunked\r\n");
    // The connection may be closed before all is sent.
    let _ = client.try_send(format!("{:x}\r\n", 1 << 21));
    let _ = client.try_send(body(1_100_000));
    client.response().expect(413);
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let request = Request::post("http://test.example/http2").body(()).unwrap();
        let (response, mut stream) =
            client.clone().ready().await.unwrap().send_request(request, false).unwrap();
        let _ = stream.send_data(Bytes::from(body(1_100_000)), false);
        assert_eq!(response.await.unwrap().status(), 413);
    });
    for target in ["/announced", "/chunks", "/http2"] {
        let record = proxy.record(target);
        assert_eq!((record.cause(), record.text("detail")), ("body_too_large", "more than buffer_request"));
        assert!(record.attempts().is_empty());
    }
    assert_eq!((endpoint.count(), endpoint.seen("/fits").body_length), (1, 1 << 20));
}

/// Also one that is longer than what is kept of others, and by POST where the config says so.
#[test]
fn what_is_kept_can_be_sent_again() {
    if lacks(ROW) {
        return;
    }
    let busy = |name: &str| {
        Endpoint::scripted(name, |exchange| {
            exchange.drain_body();
            exchange.status("503 Service Unavailable", "", "busy");
        })
    };
    let (first, second, well) = (busy("a"), busy("b"), Endpoint::named("well"));
    let proxy = Proxy::to([first.to_string(), second.to_string(), well.backup()])
        .with("retry: { on: [503], methods: [POST], limit: 3, budget: off, backoff: off }")
        .routes(&["pool: default, buffer_request: 1MiB"])
        .start();
    let whole = body(700_000);
    let mut client = proxy.client();
    post(&mut client, "/x", "Transfer-Encoding: chunked\r\n");
    for chunk in whole.chunks(100_000) {
        client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    client.send("0\r\n\r\n");
    client.response().expect(200);
    for endpoint in [&first, &second, &well] {
        let seen = endpoint.seen("/x");
        assert_eq!((seen.body_length, seen.whole), (700_000, true));
        assert!(whole.starts_with(&seen.body));
    }
    let record = proxy.record("/x");
    assert_eq!(record.results(), ["503", "503", "200"]);
    assert_eq!(record.number("bytes_in"), 700_000);
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = buffered(&endpoint).start();
    let mut client = proxy.client();
    post(&mut client, "/x", "Content-Length: 4\r\nExpect: 100-continue\r\n");
    assert_eq!(client.head_only().word(1), "100");
    client.send("body");
    let response = client.response().expect(200);
    assert_eq!(response.interim, [0; 0]);
    let seen = endpoint.seen("/x");
    assert_eq!((seen.header("expect"), seen.body.as_slice()), (None, &b"body"[..]));
}

/// No endpoint is asked for the sake of who is slow, leaves, or sends what is no body.
#[test]
fn slow_and_broken_uploads_reach_no_endpoint() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = buffered(&endpoint)
        .listener("timeouts: { body: 500ms }")
        .listener("limits: { body_rate: 1KiB }")
        .start();
    let mut stopped = proxy.client();
    post(&mut stopped, "/stopped", "Content-Length: 1000\r\n");
    stopped.send("half").response().expect(408);
    let mut slow = proxy.client();
    post(&mut slow, "/slow", "Content-Length: 100\r\n");
    while slow.try_send("x").is_ok() && proxy.records().iter().all(|record| record.text("target") != "/slow")
    {
        sleep(Duration::from_millis(50));
    }
    slow.response().expect(408);
    let mut leaving = proxy.client();
    post(&mut leaving, "/leaving", "Content-Length: 1000\r\n");
    leaving.send("half");
    leaving.reset();
    let mut broken = proxy.client();
    post(&mut broken, "/broken", "Transfer-Encoding: chunked\r\n");
    broken.send("4\r\nhalf\r\n");
    sleep(Duration::from_millis(50));
    broken.send("no chunk\r\n").response().expect(400);
    for (target, cause, status, detail) in [
        ("/stopped", "request_timeout", 408, ""),
        ("/slow", "request_timeout", 408, "slower than limits.body_rate"),
        ("/leaving", "client_gone", 499, ""),
        ("/broken", "bad_request", 400, ""),
    ] {
        let record = proxy.record(target);
        assert_eq!((record.cause(), record.status()), (cause, status), "{target}");
        assert!(record.text("detail").contains(detail), "{target}: {}", record.text("detail"));
    }
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn the_time_of_the_request_ends_the_wait() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let route = "pool: default, buffer_request: 1MiB, timeout: 500ms";
    let proxy = Proxy::to([&endpoint]).routes(&[route]).start();
    let mut client = proxy.client();
    let start = std::time::Instant::now();
    post(&mut client, "/x", "Content-Length: 1000\r\n");
    client.send("half").response().expect(504);
    lasted(Duration::from_millis(500), start.elapsed());
    let record = proxy.record("/x");
    assert_eq!(
        (record.cause(), record.text("detail")),
        ("request_deadline", "waiting for the request's body")
    );
}

/// Nor has it a place in its pool.
#[test]
fn who_uploads_slowly_takes_no_room() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = buffered(&endpoint).with("limits: { requests: 1 }").start();
    let mut slow: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut slow {
        post(client, "/slow", "Content-Length: 8\r\n");
        client.send("half");
    }
    sleep(A_WHILE);
    proxy.get("/x").expect(200);
    for client in &mut slow {
        client.send(" one").response().expect(200);
    }
    assert_eq!(endpoint.count_of("/slow"), 5);
}
