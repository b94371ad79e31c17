//! `limits.response_rate`: how fast the body of each response is sent.

use std::time::{Duration, Instant};

use crate::harness::http2::{connect, get, runtime};
use crate::harness::{Endpoint, Exchange, Proxy, SOON, lacks};

const ROW: &str = "`limits.response_rate`";
const LENGTH: usize = 300_000;

/// 300 kB by a length, or in chunks where the target says so.
fn file(exchange: &mut Exchange) {
    let body = body();
    if exchange.target() != "/chunks" {
        return exchange.answer_with("Content-Type: text/plain\r\n", &body);
    }
    exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.as_bytes().chunks(10_000) {
        exchange.chunk(str::from_utf8(piece).expect("ASCII"));
    }
    exchange.send("0\r\n\r\n");
}

fn body() -> String {
    let lines = (0..).map(|line| format!("{line} ")).take_while({
        let mut length = 0;
        move |line| {
            length += line.len();
            length < LENGTH + line.len()
        }
    });
    let mut body: String = lines.collect();
    body.truncate(LENGTH);
    body
}

/// The least time of a body at a rate in bytes a second, with a fifth of a second in which it may be ahead.
fn at_rate(bytes: usize, rate: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64).saturating_sub(Duration::from_millis(210))
}

#[test]
fn a_body_takes_its_time_and_is_the_same() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::scripted("a", file);
    let proxy = Proxy::to([&endpoint]).routes(&["pool: default, limits: { response_rate: 200kB }"]).start();
    for target in ["/length", "/chunks"] {
        let start = Instant::now();
        let response = proxy.get(target).expect(200);
        assert!(response.text() == body(), "{target}: another body");
        assert!(start.elapsed() >= at_rate(LENGTH, 200_000), "{target} took {:?}", start.elapsed());
    }
    let record = proxy.record("/chunks");
    assert_eq!((record.number("bytes_out"), record.cause()), (LENGTH as u64, ""));
    // A HEAD has nothing to wait for, and connections are used again.
    let mut client = proxy.client();
    client.request("HEAD", "/length", "").expect(200);
    client.request("HEAD", "/length", "").expect(200);
}

#[test]
fn the_beginning_comes_at_once() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::scripted("a", file);
    let limits = "limits: { response_rate: 50kB, response_rate_after: 200kB }";
    let proxy = Proxy::to([&endpoint]).routes(&[&format!("pool: default, {limits}")]).start();
    let mut client = proxy.client();
    let start = Instant::now();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.head_only();
    client.bytes(200_000);
    let beginning = start.elapsed();
    client.bytes(LENGTH - 200_000);
    assert!(start.elapsed() >= at_rate(LENGTH - 200_000, 50_000), "it took {:?}", start.elapsed());
    assert!(beginning < start.elapsed() - beginning, "the beginning took {beginning:?}");
}

/// Nor a response on another connection: each has its own rate.
#[test]
fn no_stream_slows_another_one() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::scripted("a", file);
    let proxy = Proxy::to([&endpoint])
        .routes(&[
            "name: slow, match: { paths: [/slow] }, pool: default, limits: { response_rate: 100kB }",
            "name: fast, pool: default",
        ])
        .listener("h2c: true")
        .start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let start = Instant::now();
        let slow: Vec<_> = (0..3)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { (get(&client, "/slow").await, Instant::now()) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..5 {
            assert_eq!(get(&client, "/fast").await.body.len(), LENGTH);
        }
        let fast = Instant::now();
        for slow in slow {
            let (answer, ended) = slow.await.unwrap();
            assert!(answer.body == body().as_bytes(), "another body");
            assert!(ended - start >= at_rate(LENGTH, 100_000), "it took {:?}", ended - start);
            assert!(fast < ended, "the others were not faster");
        }
    });
}

/// What is compressed is paced as it is sent.
#[test]
fn what_is_sent_is_paced() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::scripted("a", file);
    let limits = "compress: on, limits: { response_rate: 50kB }";
    let proxy = Proxy::to([&endpoint]).routes(&[&format!("pool: default, {limits}")]).start();
    let start = Instant::now();
    let response = proxy.client().request("GET", "/x", "Accept-Encoding: gzip\r\n").expect(200);
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert!(start.elapsed() >= at_rate(response.body.len(), 50_000));
    assert!(response.body.len() < LENGTH);
}

/// A pause is nobody's silence: neither the client's, who takes nothing meanwhile, nor the endpoint's.
#[test]
fn no_timeout_counts_the_pauses() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a body");
    let proxy = Proxy::to([&endpoint])
        .with("timeouts: { idle: 200ms }")
        .routes(&["pool: default, limits: { response_rate: 2B }"])
        .listener("timeouts: { write: 200ms }")
        .start();
    let start = Instant::now();
    assert_eq!(proxy.get("/x").expect(200).text(), "a body");
    // One byte is always ahead.
    assert!(start.elapsed() >= at_rate("a bod".len(), 2), "it took {:?}", start.elapsed());
    assert_eq!(proxy.record("/x").cause(), "");
}

/// But the route's own time does, and a client that goes is noticed.
#[test]
fn a_paced_response_ends_with_its_time_and_its_client() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::scripted("a", file);
    let route = "pool: default, timeout: 500ms, limits: { response_rate: 10kB }";
    let proxy = Proxy::to([&endpoint]).routes(&[route]).start();
    let mut client = proxy.client();
    client.send("GET /late HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.rest();
    let record = proxy.record("/late");
    assert_eq!(
        (record.cause(), record.text("detail")),
        ("request_deadline", "sending the response at limits.response_rate")
    );
    assert_eq!(proxy.metric("evenkeel_endpoint_failures_total", &[]), 0.0);
    let proxy = Proxy::to([&endpoint]).routes(&["pool: default, limits: { response_rate: 1kB }"]).start();
    let mut client = proxy.client();
    client.send("GET /gone HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.head_only();
    client.reset();
    assert_eq!((proxy.record("/gone").cause(), proxy.record("/gone").status()), ("client_gone", 200));
    endpoint.wait_until_free(SOON);
}
