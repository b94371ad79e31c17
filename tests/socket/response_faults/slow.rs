//! Faults 8, 9 and 10: hanging and trickling endpoints, and the one kind of trickle that must be let through.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{End, Endpoint, Gate, Proxy, SOON, lasted};

/// Fault 8: nothing comes. 504 when the response timeout is over (Pingora alone: never, and then 502), and the
/// connection is not used again.
#[test]
fn an_endpoint_that_hangs_is_504() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/x" => {
            exchange.hang();
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint]).with("timeouts: { response: 1s }").start();
    proxy.get("/before").expect(200);
    let start = Instant::now();
    proxy.get("/x").expect(504);
    let took = start.elapsed();
    lasted(Duration::from_secs(1), took);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (504, "response_timeout"));
    assert_eq!(record.results(), ["response_timeout"]);
    proxy.get("/next").expect(200);
    assert_ne!(endpoint.seen("/next").connection, endpoint.seen("/x").connection);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 9: the response's header trickles in, one byte every 200 ms. The deadline is for the whole header: 504.
/// Pingora alone has a timeout for each read, which a trickle never meets.
#[test]
fn a_trickling_header_is_504() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        if exchange.target() != "/x" {
            return exchange.answer("well");
        }
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Padding: 0123456789\r\n\r\n" {
            if !exchange.send([*byte]) {
                return;
            }
            thread::sleep(Duration::from_millis(200));
        }
    });
    let mut proxy = Proxy::to([&endpoint]).with("timeouts: { response: 1s }").with("retry: off").start();
    let start = Instant::now();
    proxy.get("/x").expect(504);
    let took = start.elapsed();
    lasted(Duration::from_secs(1), took);
    assert_eq!(proxy.record("/x").cause(), "response_timeout");
    proxy.is_unharmed(endpoint.open());
}

/// The response deadline begins when the request has been sent: a slow upload does not use it up.
#[test]
fn a_slow_upload_does_not_use_up_the_response_timeout() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        thread::sleep(Duration::from_millis(300));
        exchange.answer("took it");
    });
    let proxy = Proxy::to([&endpoint]).with("timeouts: { response: 800ms }").start();
    let mut client = proxy.client();
    client.send("POST /slow HTTP/1.1\r\nHost: test.example\r\nContent-Length: 8\r\n\r\n");
    for byte in b"12345678" {
        client.send([*byte]);
        thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(client.response().expect(200).text(), "took it");
}

/// Fault 10: a body that trickles (server-sent events) is passed on piece by piece, however long it takes in all.
#[test]
fn a_trickling_body_is_passed_on() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..6 {
            thread::sleep(Duration::from_millis(300));
            exchange.chunk("data: tick\n\n");
        }
        exchange.send("0\r\n\r\n");
    });
    let proxy = Proxy::to([&endpoint]).with("timeouts: { response: 1s, idle: 1s }").start();
    let response = proxy.get("/events").expect(200);
    assert_eq!(response.text(), "data: tick\n\n".repeat(6));
}

/// Fault 10: an event is with the client within 50 ms of its being sent. A busy machine may delay some of them, not most:
/// what holds events back until there is more to send delays them all, by the 80 ms from one to the next.
#[test]
fn events_come_within_50_ms() {
    let sent = Gate::closed();
    let stop = sent.clone();
    let (times, receive_times) = std::sync::mpsc::channel();
    let times = std::sync::Mutex::new(times);
    let endpoint = Endpoint::scripted("a", move |exchange| {
        exchange
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..30 {
            thread::sleep(Duration::from_millis(80));
            let _ = times.lock().unwrap().send(Instant::now());
            exchange.chunk(&format!("data: {n}\n\n"));
        }
        stop.wait();
        exchange.send("0\r\n\r\n");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("GET /events HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.head_only();
    let mut late: Vec<Duration> = (0..30)
        .map(|n| {
            client.until(format!("data: {n}\n\n").as_bytes());
            receive_times.recv().unwrap().elapsed()
        })
        .collect();
    sent.open();
    late.sort_unstable();
    assert!(late[late.len() / 2] < Duration::from_millis(50), "events came late by {late:?}");
}

/// Fault 10: only a pause longer than `idle` ends it, and then it is a cut.
#[test]
fn a_body_that_stops_is_cut_after_the_idle_timeout() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/x" => {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            exchange.hang();
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint]).with("timeouts: { idle: 600ms }").start();
    let start = Instant::now();
    let response = proxy.client().get("/x");
    let took = start.elapsed();
    assert_ne!(response.end, End::Whole);
    lasted(Duration::from_millis(600), took);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (200, "response_cut"));
    proxy.is_unharmed(endpoint.open());
}

/// An endpoint that does not take the request's body is given up. Pingora, where it carries, notes the expired write
/// timeout only after the response has been waited for in vain, so both limits are in the bound here.
#[test]
fn an_endpoint_that_does_not_read_is_504() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| match exchange.target() {
        "/x" => {
            opened.wait();
            exchange.close();
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint])
        .with("timeouts: { write: 500ms, response: 1s, idle: 1s }")
        .with("retry: off")
        .start();
    let mut client = proxy.client();
    let start = Instant::now();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100000000\r\n\r\n");
    thread::scope(|scope| {
        let mut upload = crate::harness::Client::over(client.stream().try_clone().unwrap());
        scope.spawn(move || {
            let piece = vec![b'x'; 1_000_000];
            // Until the proxy closes.
            while upload.try_send(&piece).is_ok() {}
        });
        // The close, with most of the body unread, may overtake the answer.
        if let Ok(response) = client.try_response_to("POST") {
            assert_eq!(response.status, 504);
        }
        let took = start.elapsed();
        // Ends the upload: the proxy would go on reading it for a while.
        client.half_close();
        assert!(took < SOON, "it took {took:?}");
    });
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (504, "request_write_timeout"));
    gate.open();
    proxy.is_unharmed(endpoint.open());
}

/// A client that pauses longer than an endpoint may is no endpoint that pauses: within its own time it gets it all.
#[test]
fn a_slow_reader_is_not_taken_for_a_slow_endpoint() {
    const LENGTH: usize = 30_000_000;
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        exchange.send(vec![b'x'; LENGTH]);
    });
    let proxy = Proxy::to([&endpoint]).with("timeouts: { idle: 1s, response: 10s }").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.head_only();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(client.bytes(LENGTH).len(), LENGTH);
    drop(client);
    assert_eq!(proxy.record("/x").cause(), "");
}
