//! Fault 24: nothing is healthy. Answer at once, hold the request, or try anyway; each as the config says.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Proxy, Response, SOON, eventually, lasted, nobody_listens};

const CHECK: &str = "type: tcp, interval: 500ms, timeout: 500ms, healthy_after: 1, unhealthy_after: 1";

/// A GET that is sent now and answered in its own time, with how long that took.
fn get_later(proxy: &Proxy, target: &str) -> thread::JoinHandle<(Response, Duration)> {
    let mut client = proxy.client();
    let target = target.to_owned();
    thread::spawn(move || {
        let start = Instant::now();
        let response = client.get(&target);
        (response, start.elapsed())
    })
}

#[test]
fn with_no_wait_the_answer_is_503_at_once() {
    let mut endpoint = Endpoint::named("a");
    endpoint.stop();
    let proxy = Proxy::to([&endpoint]).health_check(CHECK).start();
    proxy.wait_until(endpoint.address(), "unhealthy");
    let start = Instant::now();
    let response = proxy.get("/x").expect(503);
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    let after = response.header("retry-after").expect("Retry-After").parse::<u32>().expect("seconds");
    assert!((1..=60).contains(&after), "Retry-After: {after}");
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (503, "no_healthy_endpoint"));
    assert_eq!(record.attempts(), []);
    assert_eq!(record.skipped(endpoint.address()).as_deref(), Some("unhealthy"));

    // Recovery takes one probe that passes.
    endpoint.start();
    let start = Instant::now();
    eventually("an answer", || (proxy.get("/again").status == 200).then_some(()));
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
}

/// A request is held until the probe that finds an endpoint well, and goes on at that moment.
#[test]
fn a_wait_is_ended_by_the_passing_probe() {
    let mut endpoint = Endpoint::named("a");
    endpoint.stop();
    let proxy = Proxy::to([&endpoint]).with("when_none_healthy: { wait: 9s }").health_check(CHECK).start();
    proxy.wait_until(endpoint.address(), "unhealthy");
    let held = get_later(&proxy, "/held");
    eventually("a held request", || {
        (proxy.status()["pools"][0]["waiting"].as_u64() == Some(1)).then_some(())
    });
    endpoint.start();
    let (response, _) = held.join().unwrap();
    response.expect(200);
    let record = proxy.record("/held");
    assert!(record.seconds("waited_seconds") > 0.0);
    assert_eq!((record.status(), record.cause()), (200, ""));
    assert_eq!(proxy.status()["pools"][0]["waiting"].as_u64(), Some(0));
}

#[test]
fn a_wait_that_finds_nothing_ends_as_503() {
    let dead = nobody_listens();
    let proxy = Proxy::to([&dead]).with("when_none_healthy: { wait: 600ms }").health_check(CHECK).start();
    proxy.wait_until(dead.address(), "unhealthy");
    let (response, took) = get_later(&proxy, "/x").join().unwrap();
    response.expect(503);
    lasted(Duration::from_millis(600), took);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (503, "wait_expired"));
    assert!(record.seconds("waited_seconds") > 0.5);
}

/// The queue has an end: what does not fit is answered at once, and what waits is not disturbed by it.
#[test]
fn the_queue_of_waiting_requests_is_bounded() {
    let mut endpoint = Endpoint::named("a");
    endpoint.stop();
    let proxy =
        Proxy::to([&endpoint]).with("when_none_healthy: { wait: 8s, queue: 2 }").health_check(CHECK).start();
    proxy.wait_until(endpoint.address(), "unhealthy");
    let held = [get_later(&proxy, "/held"), get_later(&proxy, "/held")];
    eventually("two held requests", || {
        (proxy.status()["pools"][0]["waiting"].as_u64() == Some(2)).then_some(())
    });
    let (response, took) = get_later(&proxy, "/third").join().unwrap();
    response.expect(503);
    assert!(took < SOON, "it took {took:?}");
    assert_eq!(proxy.record("/third").cause(), "wait_queue_full");
    endpoint.start();
    for held in held {
        held.join().unwrap().0.expect(200);
    }
}

/// A client that goes away while its request is held gives its place back.
#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let dead = nobody_listens();
    let proxy =
        Proxy::to([&dead]).with("when_none_healthy: { wait: 8s, queue: 1 }").health_check(CHECK).start();
    proxy.wait_until(dead.address(), "unhealthy");
    let mut client = proxy.client();
    client.send("GET /left HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let waiting = |count| {
        eventually(&format!("{count} waiting"), || {
            (proxy.status()["pools"][0]["waiting"].as_u64() == Some(count)).then_some(())
        });
    };
    waiting(1);
    client.reset();
    waiting(0);
    let record = proxy.record("/left");
    assert_eq!((record.status(), record.cause()), (499, "client_gone"));
}

/// `fail_open` tries the unhealthy as if they were well, and says so in the log.
#[test]
fn failing_open_tries_anyway() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/healthz" => exchange.status("500 Internal Server Error", "", ""),
        _ => exchange.answer("served"),
    });
    let proxy = Proxy::to([&endpoint])
        .with("when_none_healthy: { fail_open: true }")
        .health_check("type: http, path: /healthz, interval: 200ms, timeout: 500ms, unhealthy_after: 1")
        .start();
    proxy.wait_until(endpoint.address(), "unhealthy");
    assert_eq!(proxy.get("/open").expect(200).text(), "served");
    let record = proxy.record("/open");
    assert_eq!(record.0["failed_open"], true);
    assert_eq!(record.attempts(), [(endpoint.address().to_owned(), "200".to_owned())]);
}

/// `fail_open` still balances: all unhealthy endpoints get their share.
#[test]
fn failing_open_balances() {
    let unwell = |name: &str| {
        let name = name.to_owned();
        Endpoint::scripted(&name.clone(), move |exchange| match exchange.target() {
            "/healthz" => exchange.status("500 Internal Server Error", "", ""),
            _ => exchange.answer(&name),
        })
    };
    let (a, b) = (unwell("a"), unwell("b"));
    let proxy = Proxy::to([&a, &b])
        .with("when_none_healthy: { fail_open: true }")
        .health_check("type: http, path: /healthz, interval: 5s, timeout: 500ms, unhealthy_after: 1")
        .start();
    proxy.wait_until(a.address(), "unhealthy");
    proxy.wait_until(b.address(), "unhealthy");
    for _ in 0..10 {
        proxy.get("/open").expect(200);
    }
    assert_eq!((a.count_of("/open"), b.count_of("/open")), (5, 5));
}
