//! What may go wrong with an HTTP/2 endpoint, and what its clients see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Response;

use super::to;
use crate::harness::http2::{connect, get_of, runtime, try_request};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, SOON, eventually, lacks, nobody_listens};

/// Of two endpoints the first refuses: a POST may go on to the other, for nobody has looked at it (RFC 9113, section
/// 8.7).
#[test]
fn refused_streams_are_tried_again_whatever_their_method() {
    let refuses = Http2Endpoint::scripted(|mut call| async move {
        call.respond.send_reset(Reason::REFUSED_STREAM);
    });
    let serves = Http2Endpoint::named("b");
    let proxy = Proxy::to([&refuses, &serves]).with("protocol: h2").start();
    for _ in 0..4 {
        assert_eq!(proxy.client().upload("POST", "/x", b"body").expect(200).text(), "b");
    }
    let records = proxy.records_of("/x", 4);
    let refused = records.iter().filter(|record| record.attempts()[0].1 == "stream_refused").count();
    assert_eq!((refused, refuses.count_of("/x"), serves.count_of("/x")), (2, 2, 4));
}

/// An endpoint that leaves (GOAWAY) gets what comes after on another connection, and nothing is lost.
#[test]
fn an_endpoint_that_leaves_loses_nothing() {
    let endpoint = Http2Endpoint::scripted(|call| async move {
        if call.head.uri.query() == Some("last") {
            call.leave.notify_one();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        call.answer("a");
    });
    let proxy = to(&endpoint).server("threads: 1").start();
    let address = proxy.address();
    runtime().block_on(async {
        let client = connect(&address).await;
        let mut all = Vec::new();
        for turn in 0..300 {
            let client = client.clone();
            let path = if turn % 20 == 7 { "/x?last" } else { "/x?" };
            let post = http::Request::post(format!("http://a.example{path}{turn}")).body(()).unwrap();
            let post = if turn % 20 == 7 { get_of("/x?last") } else { post };
            all.push(tokio::spawn(
                async move { try_request(&client, post, &["body"]).await.unwrap().status },
            ));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for one in all {
            assert_eq!(one.await.unwrap(), 200);
        }
    });
    assert!(endpoint.connections() > 5, "{} connections", endpoint.connections());
}

/// A reset before a response: an idempotent request is tried again, another is not.
#[test]
fn resets_before_a_response() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let endpoint = Http2Endpoint::scripted(move |mut call| {
        let first = counted.fetch_add(1, SeqCst) == 0 || call.path() == "/always";
        async move { if first { call.respond.send_reset(Reason::INTERNAL_ERROR) } else { call.answer("a") } }
    });
    let proxy = to(&endpoint).start();
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    assert_eq!(proxy.client().upload("POST", "/always", b"x").status, 502);
    assert_eq!((endpoint.count_of("/x"), endpoint.count_of("/always")), (2, 1));
    assert_eq!(proxy.record("/always").text("cause"), "endpoint_reset");
}

/// A response that breaks off is cut for clients of both versions, never ended as if it were whole.
#[test]
fn responses_that_break_off() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let mut sink = call.begin(Response::builder());
        sink.send_data(Bytes::from_static(b"half of it"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        sink.send_reset(Reason::INTERNAL_ERROR);
    });
    let proxy = to(&endpoint).start();
    let mut client = proxy.client();
    client.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
    let rest = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n") && rest.windows(7).any(|part| part == b"half of"));
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        assert!(try_request(&client, get_of("/two"), &[]).await.is_err());
    });
    for path in ["/one", "/two"] {
        assert_eq!(proxy.record(path).text("cause"), "response_cut");
    }
}

/// What is no HTTP/2 at all is a 502 that says so, and no endpoint is taken for healthy by an HTTP probe.
#[test]
fn endpoints_of_another_protocol() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).with("protocol: h2").start();
    proxy.get("/x").expect(502);
    let record = proxy.record("/x");
    assert!(matches!(record.text("cause"), "bad_response" | "endpoint_reset"), "{}", record.text("cause"));
    assert!(record.text("detail").contains("HTTP/2"), "{}", record.text("detail"));
    assert_eq!(endpoint.count_of("/x"), 0);

    let nobody = nobody_listens();
    let proxy = Proxy::to([&nobody]).with("protocol: h2").start();
    proxy.get("/x").expect(503);
    assert_eq!(proxy.record("/x").text("cause"), "connect_failed");
}

/// Every limit of time holds for one stream, and the others of its connection go on.
#[test]
fn limits_of_time() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let forever = std::future::pending::<()>;
        match call.path() {
            "/silent" => forever().await,
            "/stalls" => {
                let mut sink = call.begin(Response::builder());
                sink.send_data(Bytes::from_static(b"a"), false).unwrap();
                forever().await;
            }
            "/takes-nothing" => forever().await,
            _ => {
                let _ = call.body_length().await;
                call.answer("a");
            }
        }
    });
    let proxy = to(&endpoint)
        .server("threads: 1")
        .with("timeouts: { response: 800ms, idle: 800ms, write: 800ms }")
        .with("retry: off")
        .listener("timeouts: { body: 800ms }")
        .start();
    let begun = Instant::now();
    proxy.get("/silent").expect(504);
    assert_eq!(proxy.record("/silent").text("cause"), "response_timeout");
    let mut client = proxy.client();
    client.send("GET /stalls HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!client.rest().ends_with(b"0\r\n\r\n"));
    assert_eq!(proxy.record("/stalls").text("cause"), "response_cut");
    proxy.client().upload("POST", "/takes-nothing", &vec![0; 1_000_000]).expect(504);
    let late =
        if lacks("an endpoint that takes no more") { "response_timeout" } else { "request_write_timeout" };
    assert_eq!(proxy.record("/takes-nothing").text("cause"), late);
    let mut client = proxy.client();
    client.send("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    client.response().expect(408);
    assert!(begun.elapsed() < 3 * SOON, "{:?}", begun.elapsed());
    if lacks("clients of HTTP/2 that stop") {
        return;
    }
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, _sink) =
            client.clone().ready().await.unwrap().send_request(get_of("/half-of-two"), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 408);
        assert_eq!(try_request(&client, get_of("/x"), &[]).await.unwrap().status, 200);
    });
    assert!(begun.elapsed() < 3 * SOON, "{:?}", begun.elapsed());
}

/// The time for a whole request ends a response that trickles.
#[test]
fn the_deadline_of_a_request() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        if call.path() == "/silent" {
            return std::future::pending().await;
        }
        let mut sink = call.begin(Response::builder());
        while sink.send_data(Bytes::from_static(b"x"), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let proxy = to(&endpoint).routes(&["pool: default, timeout: 500ms"]).start();
    let begun = Instant::now();
    proxy.get("/silent").expect(504);
    let mut client = proxy.client();
    client.send("GET /trickles HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!client.rest().ends_with(b"0\r\n\r\n"));
    for path in ["/silent", "/trickles"] {
        assert_eq!(proxy.record(path).text("cause"), "request_deadline");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// The endpoint's work is cancelled when the client goes: its stream is reset, the connection stays.
#[test]
fn clients_that_leave() {
    let reset = Arc::new(AtomicUsize::new(0));
    let counted = reset.clone();
    let endpoint = Http2Endpoint::scripted(move |mut call| {
        let counted = counted.clone();
        async move {
            if call.path() == "/x" {
                call.answer("a");
                return;
            }
            let gone = std::future::poll_fn(|context| call.respond.poll_reset(context)).await;
            assert_eq!(gone.unwrap(), Reason::CANCEL);
            counted.fetch_add(1, SeqCst);
        }
    });
    let proxy = to(&endpoint).server("threads: 1").start();
    proxy.get("/x").expect(200);
    let mut client = proxy.client();
    client.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || (endpoint.count_of("/one") == 1).then_some(()));
    let left = Instant::now();
    client.reset();
    eventually("the reset of the first", || (reset.load(SeqCst) == 1).then_some(()));
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, _) = client.ready().await.unwrap().send_request(get_of("/two"), true).unwrap();
        eventually("the request", || (endpoint.count_of("/two") == 1).then_some(()));
        drop(response);
        eventually("the reset of the second", || (reset.load(SeqCst) == 2).then_some(()));
    });
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
    proxy.get("/x").expect(200);
    assert_eq!(endpoint.connections(), 1);
    for path in ["/one", "/two"] {
        assert_eq!(proxy.record(path).number("status"), 499);
    }
}

#[test]
fn bodies_that_are_too_large() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let _ = call.body_length().await;
        call.answer("a");
    });
    let proxy = to(&endpoint).listener("limits: { body_size: 1KiB }").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let piece: &'static str = Box::leak("z".repeat(900).into_boxed_str());
        let post = http::Request::post("http://test.example/x").body(()).unwrap();
        let (response, mut sink) = client.ready().await.unwrap().send_request(post, false).unwrap();
        for _ in 0..2 {
            sink.send_data(Bytes::from_static(piece.as_bytes()), false).unwrap();
        }
        assert_eq!(response.await.unwrap().status(), 413);
    });
    assert_eq!(proxy.record("/x").text("cause"), "body_too_large");
}
