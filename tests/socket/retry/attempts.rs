//! One attempt after the other: how long each may take, what is paused before it, and what is sent again.

use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Exchange, Proxy, SOON, lasted, nobody_listens, silent_network};

const HALF_SECOND: Duration = Duration::from_millis(500);

fn hangs() -> Endpoint {
    Endpoint::scripted("hangs", |exchange| {
        exchange.hang();
    })
}

fn unavailable(exchange: &mut Exchange) {
    exchange.status("503 Service Unavailable", "", "busy");
}

#[test]
fn an_attempt_that_takes_too_long_is_tried_elsewhere() {
    let (hanging, well) = (hangs(), Endpoint::named("well"));
    let proxy = Proxy::to([&hanging, &well])
        .with("retry: { attempt_timeout: 500ms, on: [connect, reset, timeout] }")
        .start();
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(proxy.get("/x").expect(200).text(), "well");
    }
    lasted(HALF_SECOND, start.elapsed());
    let moved = proxy.records_of("/x", 2).into_iter().find(|record| record.attempts().len() == 2);
    let moved = moved.expect("one has met who hangs");
    assert_eq!(moved.results(), ["response_timeout", "200"]);
    assert_eq!(moved.cause(), "");
}

#[test]
fn where_nothing_may_follow_the_answer_is_504() {
    let hanging = [hangs(), hangs()];
    let proxy = Proxy::to(&hanging)
        .with("retry: { limit: 1, attempt_timeout: 500ms, on: [connect, reset, timeout] }")
        .start();
    let start = Instant::now();
    proxy.get("/get").expect(504);
    lasted(2 * HALF_SECOND, start.elapsed());
    let record = proxy.record("/get");
    assert_eq!(record.results(), ["response_timeout"; 2]);
    assert_eq!(record.cause(), "response_timeout");
    let start = Instant::now();
    proxy.client().upload("POST", "/post", b"once").expect(504);
    lasted(HALF_SECOND, start.elapsed());
    assert_eq!(hanging.iter().map(|endpoint| endpoint.count_of("/post")).sum::<usize>(), 1);
}

/// Nothing has been sent, so every method may move on.
#[test]
fn a_connect_is_part_of_the_attempt() {
    let (silent, well) = (silent_network(), Endpoint::named("well"));
    let proxy = Proxy::to([silent.to_string(), well.to_string()])
        .with("retry: { attempt_timeout: 500ms, on: [connect, timeout] }")
        .start();
    let start = Instant::now();
    for _ in 0..2 {
        proxy.client().upload("POST", "/x", b"body").expect(200);
    }
    lasted(HALF_SECOND, start.elapsed());
    let records = proxy.records_of("/x", 2);
    assert!(records.iter().any(|record| record.results() == ["connect_timeout", "200"]), "{records:?}");
}

/// A client that is slow to send its body takes nothing of the endpoint's time.
#[test]
fn the_time_of_an_attempt_begins_behind_the_body() {
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&well]).with("retry: { attempt_timeout: 500ms, on: [timeout] }").start();
    let mut client = proxy.client();
    client.send("PUT /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(150));
        client.send("x");
    }
    client.response_to("PUT").expect(200);
    assert_eq!(well.seen("/x").body, b"xxxxxxxx");
}

#[test]
fn an_endpoint_that_takes_no_more_of_a_body_is_timed_out_too() {
    if crate::harness::lacks("`retry.attempt_timeout`") {
        return;
    }
    let stuck = Endpoint::scripted("stuck", |exchange| {
        exchange.hang();
    });
    let proxy = Proxy::to([&stuck]).with("retry: { limit: 0, attempt_timeout: 500ms }").start();
    let start = Instant::now();
    proxy.client().upload("PUT", "/x", &vec![b'x'; 20_000_000]).expect(504);
    lasted(HALF_SECOND, start.elapsed());
    assert_eq!(proxy.record("/x").cause(), "response_timeout");
}

/// The pause is for an endpoint that has been tried: another one gets the request at once. A machine that has much else
/// to do may need several tries to show it.
#[test]
fn after_a_refused_connect_the_next_attempt_follows_at_once() {
    let is_at_once = (0..40).any(|_| {
        let endpoints = [nobody_listens(), Endpoint::named("well")];
        let proxy = Proxy::to(&endpoints).with("retry: { backoff: 60s }").start();
        proxy.get("/x").expect(200);
        let record = proxy.record("/x");
        assert_eq!(record.results(), ["connect_failed", "200"]);
        let took = record.seconds("duration_seconds");
        assert!(took < SOON.as_secs_f64(), "{took}");
        took < 0.005
    });
    assert!(is_at_once, "never within 5 ms");
}

#[test]
fn the_same_endpoint_is_tried_again_after_a_pause() {
    let busy = Endpoint::scripted("busy", unavailable);
    let proxy = Proxy::to([&busy])
        .with("retry: { limit: 3, on: [503], backoff: 100ms }")
        .with("outliers: off")
        .start();
    // The pauses are drawn by lot: nine of them take no less than this but once in millions of runs.
    let start = Instant::now();
    for number in 0..3 {
        proxy.get(&format!("/{number}")).expect(503);
    }
    let took = start.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_millis(2100) + SOON).contains(&took), "{took:?}");
    assert_eq!(busy.count(), 12);
}

#[test]
fn a_client_that_goes_within_a_pause_has_gone() {
    let busy = Endpoint::scripted("busy", unavailable);
    let proxy = Proxy::to([&busy]).with("retry: { limit: 20, on: [503], backoff: 60s, budget: off }").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    busy.wait_for_requests(1);
    client.reset();
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (499, "client_gone"));
    assert!(record.seconds("duration_seconds") < SOON.as_secs_f64());
}

#[test]
fn who_says_when_to_come_back_is_left_alone_until_then() {
    let later = |seconds: &'static str| {
        Endpoint::scripted("later", move |exchange| {
            exchange.status("503 Service Unavailable", &format!("Retry-After: {seconds}\r\n"), "later");
        })
    };
    let endpoints = [later("60"), later("Fri, 31 Dec 2100 23:59:59 GMT")];
    let proxy = Proxy::to(&endpoints).with("retry: { limit: 10, on: [503] }").with("outliers: off").start();
    let response = proxy.get("/x").expect(503);
    assert!(response.header("retry-after").is_some(), "the endpoint's own response");
    assert_eq!((endpoints[0].count(), endpoints[1].count()), (1, 1));
    assert_eq!(proxy.record("/x").text("retry_refused"), "retry_after");
}

#[test]
fn what_is_sent_again_is_the_same() {
    let body: Vec<u8> = (0..40_000u32).map(|number| (number * 31 % 251) as u8).collect();
    let resets = Endpoint::scripted("resets", |exchange| {
        exchange.drain_body();
        exchange.reset();
    });
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&resets, &well]).with("retry: { methods: [PUT, POST] }").start();
    for number in 0..5 {
        let target = format!("/{number}");
        proxy.client().upload("POST", &target, &body).expect(200);
        assert_eq!(well.seen(&target).body, body);
    }
    assert!(resets.count() > 0, "none met who resets");
    assert!(resets.requests().iter().all(|seen| seen.body == body));
}

#[test]
fn a_client_may_ask_for_less_time() {
    let hanging = hangs();
    let proxy = Proxy::config()
        .routes(&["pool: default, timeout: 60s, timeout_header: X-Time"])
        .pool("default", [&hanging])
        .start();
    let start = Instant::now();
    proxy.client().request("GET", "/x", "X-Time: 500\r\n").expect(504);
    lasted(HALF_SECOND, start.elapsed());
    assert_eq!(proxy.record("/x").cause(), "request_deadline");
    let mut client = proxy.client();
    client.send("GET /y HTTP/1.1\r\nHost: test.example\r\nX-Time: soon\r\n\r\n");
    hanging.wait_for_requests(2);
    client.reset();
    assert!(proxy.record("/y").is_true("timeout_ignored"));
}
