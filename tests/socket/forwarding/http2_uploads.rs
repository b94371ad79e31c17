//! Bodies of HTTP/2 clients on their way to endpoints of HTTP/1.1, where one side stops, leaves, or wants it again.

use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, SendStream};
use http::{Request, Response};

use crate::harness::http2::{connect, runtime};
use crate::harness::{Endpoint, Exchange, Proxy, ProxyBuilder, SOON, lacks, lasted};

type Script = fn(&mut Exchange);

fn with_http2(endpoint: &Endpoint) -> ProxyBuilder {
    Proxy::to([endpoint]).listener("h2c: true")
}

/// The request's head, with a body to follow.
async fn open(client: &SendRequest<Bytes>, method: &str) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let request = Request::builder().method(method).uri("http://test.example/x").body(()).unwrap();
    client.clone().ready().await.unwrap().send_request(request, false).unwrap()
}

async fn text(response: Response<h2::RecvStream>) -> Bytes {
    response.into_body().data().await.unwrap().unwrap()
}

/// A client that leaves has not sent the end of its body, and the endpoint must not take it for whole.
#[test]
fn a_client_that_leaves_is_seen_to_leave() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.close();
    });
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, mut body) = open(&client, "POST").await;
        body.send_data(Bytes::from_static(b"some of it"), false).unwrap();
        endpoint.wait_for_requests(1);
        body.send_reset(Reason::CANCEL);
        drop(response);
        proxy.record("/x");
    });
    endpoint.wait_until_free(SOON);
    assert!(!endpoint.seen("/x").whole);
    assert_eq!((proxy.record("/x").cause(), proxy.record("/x").status()), ("client_gone", 499));
    proxy.metric_becomes("evenkeel_endpoint_in_flight", 0.0);
    assert_eq!(proxy.metric("evenkeel_endpoint_failures_total", &[]), 0.0);
}

/// An answer that comes before the body is through reaches the client, even if the endpoint takes no more of it.
#[test]
fn an_early_answer_reaches_the_client() {
    if lacks("an early answer") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch");
        sleep(Duration::from_millis(100));
        exchange.close();
    });
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for _ in 0..5 {
            let (response, mut body) = open(&client, "POST").await;
            // More than the kernel's buffers take: else the request is whole, and the connection is used again.
            let _ = body.send_data(Bytes::from(vec![b'x'; 20_000_000]), true);
            let response = response.await.unwrap();
            assert_eq!(response.status(), 413);
            assert_eq!(text(response).await, "much");
        }
    });
    for record in proxy.records_of("/x", 5) {
        assert_eq!((record.cause(), record.results()), ("", vec!["413".to_owned()]));
    }
    proxy.metric_becomes("evenkeel_endpoint_idle_connections", 0.0);
}

/// Many clients end their bodies with a frame of its own. An endpoint that knows the length may answer before that comes,
/// and its connection serves the next request all the same.
#[test]
fn the_word_of_the_end_may_come_late() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for _ in 0..10 {
            let request = Request::post("http://test.example/x").header("content-length", 5);
            let request = request.body(()).unwrap();
            let (response, mut body) =
                client.clone().ready().await.unwrap().send_request(request, false).unwrap();
            body.send_data(Bytes::from_static(b"hello"), false).unwrap();
            assert_eq!(text(response.await.unwrap()).await, "a");
            let _ = body.send_data(Bytes::new(), true);
        }
    });
    let seen = endpoint.requests();
    assert!(seen.iter().all(|seen| seen.whole && seen.body == b"hello"), "{seen:?}");
    assert!(endpoint.connections() <= 2, "a connection of each worker: {}", endpoint.connections());
}

/// The endpoint's times hold, and each has its cause.
#[test]
fn endpoints_that_stop_are_too_late() {
    if lacks("an endpoint that takes no more") {
        return;
    }
    let takes_nothing = |exchange: &mut Exchange| {
        sleep(Duration::from_secs(8));
        exchange.close();
    };
    let says_nothing = |exchange: &mut Exchange| {
        exchange.drain_body();
        exchange.hang();
    };
    let cases: [(Script, usize, &str); 2] =
        [(takes_nothing, 30_000_000, "request_write_timeout"), (says_nothing, 100, "response_timeout")];
    for (script, length, cause) in cases {
        let endpoint = Endpoint::scripted("a", script);
        let proxy = with_http2(&endpoint)
            .with("timeouts: { write: 600ms, response: 600ms }")
            .with("retry: off")
            .start();
        let begun = Instant::now();
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            let (response, mut body) = open(&client, "POST").await;
            body.send_data(Bytes::from(vec![b'x'; length]), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 504, "{cause}");
        });
        let took = begun.elapsed();
        lasted(Duration::from_millis(600), took);
        assert_eq!(proxy.record("/x").cause(), cause);
        proxy.metric_becomes("evenkeel_endpoint_in_flight", 0.0);
        proxy.metric_becomes("evenkeel_endpoint_idle_connections", 0.0);
    }
}

/// A body that is kept goes to the next endpoint whole; of one that is too long to be kept there is one attempt.
#[test]
fn bodies_are_sent_again() {
    for (length, attempts, status) in [(0, 2, 200), (30_000, 2, 200), (100_000, 1, 503)] {
        let endpoint = Endpoint::scripted("a", |exchange| match exchange.number() {
            0 => exchange.status("503 Service Unavailable", "", "busy"),
            _ => exchange.answer("done"),
        });
        let proxy = with_http2(&endpoint).with("retry: { on: [503] }").start();
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            let (response, mut body) = open(&client, "PUT").await;
            body.send_data(Bytes::from(vec![b'x'; length]), true).unwrap();
            assert_eq!(response.await.unwrap().status(), status, "{length}");
        });
        let seen = endpoint.requests();
        assert!(seen.iter().all(|seen| seen.whole && seen.body_length == length), "{length}: {seen:?}");
        assert_eq!((seen.len(), proxy.record("/x").number("bytes_in")), (attempts, length as u64));
    }
}

/// A response that has begun is written while the rest of its request is read: by words, and by megabytes.
#[test]
fn both_directions_flow_at_once() {
    const LENGTH: usize = 2_000_000;
    // The chunks of the body are sent back as they come, the last one, too.
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut end = Vec::new();
        while !end.ends_with(b"\r\n0\r\n\r\n") {
            let bytes = exchange.receive();
            assert!(!bytes.is_empty(), "it ended before its last chunk");
            exchange.send(&bytes);
            end.extend_from_slice(&bytes);
            end.drain(..end.len().saturating_sub(7));
        }
        exchange.close();
    });
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, mut sink) = open(&client, "POST").await;
        let mut body = response.await.unwrap().into_body();
        for word in ["one", "two", "three"] {
            sink.send_data(Bytes::from_static(word.as_bytes()), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), word);
        }
        let sender = tokio::spawn(async move {
            for _ in 0..LENGTH / 10_000 {
                sink.send_data(Bytes::from(vec![b'x'; 10_000]), false).unwrap();
                tokio::task::yield_now().await;
            }
            sink.send_data(Bytes::new(), true).unwrap();
        });
        let mut length = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            length += piece.len();
        }
        assert_eq!(length, LENGTH);
        sender.await.unwrap();
    });
    let record = proxy.record("/x");
    let all = LENGTH as u64 + 11;
    assert_eq!((record.number("bytes_in"), record.number("bytes_out"), record.cause()), (all, all, ""));
}
