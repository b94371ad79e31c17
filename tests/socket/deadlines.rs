//! The time that a route allows for a whole request.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{
    ASKS_FOR_WEBSOCKET, Client, End, Endpoint, Engine, Exchange, Proxy, ProxyBuilder, SOON, SWITCHING,
    engine, lasted, silent_network,
};

/// A proxy whose only route has this timeout.
fn limited(timeout: &str) -> ProxyBuilder {
    Proxy::config().routes(&[&format!("pool: default, timeout: {timeout}")])
}

#[track_caller]
fn took_half_a_second(since: Instant) {
    lasted(Duration::from_millis(500), since.elapsed());
}

fn hang_at_x(exchange: &mut Exchange) {
    match exchange.target() {
        "/x" => {
            exchange.hang();
        }
        _ => exchange.answer("well"),
    }
}

/// No response yet: 504, and no other attempt, whatever `retry` says.
#[test]
fn a_request_that_takes_too_long_is_504_and_not_retried() {
    let endpoints = ["a", "b"].map(|name| Endpoint::scripted(name, hang_at_x));
    let retry = "retry: { limit: 5, on: [connect, reset, timeout, 504] }";
    let mut proxy = limited("500ms").pool("default", &endpoints).with(retry).start();
    let start = Instant::now();
    proxy.get("/x").expect(504);
    took_half_a_second(start);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (504, "request_deadline"));
    assert_eq!(record.results(), ["request_deadline"]);
    assert_eq!((record.text("route"), record.text("pool")), ("default", "default"));
    assert_eq!(proxy.metric("evenkeel_endpoint_failures_total", &[]) as u64, 1);
    assert_eq!(proxy.metric("evenkeel_request_failures_total", &["request_deadline"]) as u64, 1);
    proxy.get("/next").expect(200);
    proxy.is_unharmed(endpoints.iter().map(Endpoint::open).sum());
}

/// The time is for all attempts together, not for each.
#[test]
fn retries_do_not_begin_it_anew() {
    let endpoints = ["a", "b"].map(|name| Endpoint::scripted(name, hang_at_x));
    let proxy = limited("1500ms")
        .pool("default", &endpoints)
        .with("timeouts: { response: 900ms }")
        .with("retry: { limit: 5, on: [timeout] }")
        .start();
    let start = Instant::now();
    proxy.get("/x").expect(504);
    lasted(Duration::from_millis(1500), start.elapsed());
    let record = proxy.record("/x");
    assert_eq!(record.cause(), "request_deadline");
    assert_eq!(record.results(), ["response_timeout", "request_deadline"]);
}

#[test]
fn connecting_is_part_of_it() {
    let silent = silent_network();
    let proxy = limited("500ms").pool("default", [&silent]).with("timeouts: { connect: 10s }").start();
    let start = Instant::now();
    proxy.get("/x").expect(504);
    took_half_a_second(start);
    assert_eq!(proxy.record("/x").results(), ["request_deadline"]);
}

#[test]
fn waiting_for_an_endpoint_is_part_of_it() {
    let mut endpoint = Endpoint::named("a");
    endpoint.stop();
    let proxy = limited("500ms")
        .pool("default", [&endpoint])
        .health_check("type: tcp, interval: 500ms, timeout: 500ms, unhealthy_after: 1")
        .with("when_none_healthy: { wait: 10s }")
        .start();
    proxy.wait_until(endpoint.address(), "unhealthy");
    let start = Instant::now();
    proxy.get("/x").expect(504);
    took_half_a_second(start);
    let record = proxy.record("/x");
    assert_eq!((record.cause(), record.attempts().len()), ("request_deadline", 0));
    assert!(record.seconds("waited_seconds") > 0.4, "{record:?}");
}

fn trickle(exchange: &mut Exchange, head: &str, piece: &str) {
    exchange.drain_body();
    exchange.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
    while exchange.send(piece) {
        thread::sleep(Duration::from_millis(100));
    }
}

/// A response that has begun is cut, and never looks whole: whichever way its end is told.
#[test]
fn a_response_that_takes_too_long_is_cut() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/length" => trickle(exchange, "Content-Length: 10000\r\n", "x"),
        "/chunks" => trickle(exchange, "Transfer-Encoding: chunked\r\n", "1\r\nx\r\n"),
        "/close" => trickle(exchange, "", "x"),
        _ => exchange.answer("well"),
    });
    let mut proxy = limited("1s").pool("default", [&endpoint]).start();
    for target in ["/length", "/chunks", "/close"] {
        let start = Instant::now();
        let response = proxy.get(target);
        lasted(Duration::from_secs(1), start.elapsed());
        assert_eq!(response.status, 200, "{target}");
        assert_ne!(response.end, End::Whole, "{target}");
        assert!(!response.body.is_empty(), "{target}");
        let record = proxy.record(target);
        assert_eq!((record.status(), record.cause()), (200, "request_deadline"), "{target}");
        assert_eq!(record.results(), ["request_deadline"], "{target}");
    }
    endpoint.wait_until_free(SOON);
    proxy.is_unharmed(0);
}

/// To a client of HTTP/1.0 a body without length ends with its connection, so that has to be a reset.
#[test]
fn a_cut_response_is_not_whole_to_http_1_0_either() {
    let endpoint = Endpoint::scripted("a", |exchange| trickle(exchange, "", "x"));
    let proxy = limited("500ms").pool("default", [&endpoint]).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let response = client.response();
    if engine() == Engine::Native {
        assert_eq!((response.status, response.end), (200, End::Reset));
    }
    assert_eq!(proxy.record("/x").cause(), "request_deadline");
}

/// A response that comes as fast as it can is cut all the same.
#[test]
fn haste_is_no_way_around_it() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
        let piece = "x".repeat(65_536);
        while exchange.send(&piece) {}
    });
    let proxy = limited("500ms").pool("default", [&endpoint]).start();
    let start = Instant::now();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let discarded = discard(&mut client);
    assert!(discarded > 1_000_000, "only {discarded} bytes");
    took_half_a_second(start);
    assert_eq!(proxy.record("/x").cause(), "request_deadline");
}

/// Reads to the end of the connection, and keeps nothing.
fn discard(client: &mut Client) -> usize {
    let mut total = 0;
    loop {
        match client.some() {
            0 => return total,
            read => total += read,
        }
    }
}

/// A client that does not send its body in time is told so, and the endpoint is not blamed.
#[test]
fn a_slow_upload_is_504() {
    let endpoint = Endpoint::named("a");
    let proxy = limited("500ms").pool("default", [&endpoint]).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100\r\n\r\n");
    let start = Instant::now();
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(100));
        let _ = client.try_send("x");
    }
    client.response().expect(504);
    took_half_a_second(start);
    assert_eq!(proxy.record("/x").cause(), "request_deadline");
    if engine() == Engine::Native {
        assert_eq!(proxy.metric("evenkeel_endpoint_failures_total", &[]) as u64, 0);
    }
    endpoint.wait_until_free(SOON);
}

/// Each request of a connection has its own time.
#[test]
fn it_begins_with_each_request() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        thread::sleep(Duration::from_millis(500));
        exchange.answer("well");
    });
    let proxy = limited("1500ms").pool("default", [&endpoint]).start();
    let mut client = proxy.client();
    for _ in 0..4 {
        client.get("/x").expect(200);
    }
    thread::sleep(Duration::from_millis(1700));
    client.get("/x").expect(200);
    assert_eq!(endpoint.connections(), 1);
}

/// Once upgraded, a connection may be as long as it likes.
#[test]
fn an_upgraded_connection_is_exempt() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        thread::sleep(Duration::from_millis(20));
        exchange.send(format!("{SWITCHING}hello"));
        loop {
            let bytes = exchange.receive();
            if bytes.is_empty() || !exchange.send(&bytes) {
                break;
            }
        }
        exchange.close();
    });
    let proxy = limited("1s").pool("default", [&endpoint]).start();
    let mut client = proxy.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: test.example\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
    assert_eq!(client.head_only().word(1), "101");
    assert_eq!(client.bytes(5), b"hello");
    thread::sleep(Duration::from_millis(1500));
    client.send("still here");
    assert_eq!(client.bytes(10), b"still here");
    drop(client);
    assert_eq!(proxy.record("/x").cause(), "");
}
