//! Faults 1 and 2: no connection is made. Nothing was sent, so every method may move on.

use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Proxy, SOON, lasted, nobody_listens, silent_network};

/// Fault 1: an endpoint refuses; GET and POST alike are served by another one at once, and the record names both
/// attempts.
#[test]
fn a_refused_connection_moves_on_whatever_the_method() {
    let refusing = nobody_listens();
    let well = Endpoint::named("well");
    let mut proxy = Proxy::to([&refusing, &well]).start();
    let start = Instant::now();
    for _ in 0..10 {
        proxy.get("/get").expect(200);
        proxy.client().upload("POST", "/post", b"a body").expect(200);
    }
    assert!(start.elapsed() < SOON, "20 requests took {:?}", start.elapsed());
    assert_eq!((well.count_of("/get"), well.count_of("/post")), (10, 10));
    assert!(well.requests().iter().filter(|seen| seen.method() == "POST").all(|seen| seen.body == b"a body"));
    let mut moved = proxy.records_of("/post", 10);
    moved.extend(proxy.records_of("/get", 10));
    moved.retain(|record| record.attempts().len() > 1);
    assert!(!moved.is_empty(), "no request met the refusing endpoint first");
    for record in moved {
        assert_eq!(record.endpoints(), [refusing.address(), well.address()]);
        assert_eq!(record.results(), ["connect_failed", "200"]);
        assert_eq!((record.status(), record.cause()), (200, ""));
    }
    proxy.is_unharmed(well.open());
}

/// Fault 1, all of them: each is tried once, then the answer is 503.
#[test]
fn when_all_refuse_the_answer_is_503() {
    let refusing = [nobody_listens(), nobody_listens(), nobody_listens()];
    let proxy = Proxy::to(&refusing).start();
    let start = Instant::now();
    proxy.get("/x").expect(503);
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (503, "connect_failed"));
    assert_eq!(record.results(), ["connect_failed"; 3]);
    let mut tried = record.endpoints();
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), 3, "an endpoint was tried twice while another one was left");
}

/// Fault 1: a body that has not begun to flow is not lost by the move, however long it is.
#[test]
fn a_long_body_survives_a_refused_connection() {
    let refusing = [nobody_listens(), nobody_listens()];
    let well = Endpoint::named("well");
    let proxy = Proxy::to([refusing[0].to_string(), refusing[1].to_string(), well.to_string()]).start();
    let body = vec![b'x'; 2_000_000];
    for _ in 0..3 {
        proxy.client().upload("POST", "/long", &body).expect(200);
    }
    assert!(well.requests().iter().all(|seen| seen.whole && seen.body_length == body.len()));
    assert_eq!(well.count(), 3);
}

/// Fault 2: nothing comes back from an endpoint's network; the connect timeout, then as with a refusal. Pingora alone
/// waits for as long as the kernel does.
#[test]
fn a_silent_network_costs_one_connect_timeout() {
    let silent = silent_network();
    let well = Endpoint::named("well");
    let mut proxy =
        Proxy::to([silent.to_string(), well.to_string()]).with("timeouts: { connect: 400ms }").start();
    let start = Instant::now();
    for target in ["/1", "/2"] {
        proxy.client().upload("POST", target, b"body").expect(200);
    }
    let took = start.elapsed();
    lasted(Duration::from_millis(400), took);
    let moved: Vec<_> =
        proxy.records_of("/1", 1).into_iter().chain(proxy.records_of("/2", 1)).map(|r| r.results()).collect();
    assert!(moved.contains(&vec!["connect_timeout".to_owned(), "200".to_owned()]), "{moved:?}");
    proxy.is_unharmed(well.open());
}

/// Fault 2, all of them: 503 after one timeout for each attempt.
#[test]
fn when_all_networks_are_silent_the_answer_is_503() {
    let silent = [silent_network(), silent_network()];
    let proxy = Proxy::to(&silent).with("timeouts: { connect: 300ms }").with("retry: { limit: 1 }").start();
    let start = Instant::now();
    proxy.get("/x").expect(503);
    let took = start.elapsed();
    lasted(Duration::from_millis(600), took);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (503, "connect_timeout"));
    assert_eq!(record.results(), ["connect_timeout"; 2]);
}

/// A failing connect is counted at the endpoint that it failed at.
#[test]
fn failed_connects_are_counted() {
    let refusing = nobody_listens();
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&refusing, &well]).start();
    for _ in 0..10 {
        proxy.get("/x").expect(200);
    }
    let records = proxy.records_of("/x", 10);
    let failed = records.iter().filter(|record| record.results()[0] == "connect_failed").count() as u64;
    assert!(failed > 0, "no request met the refusing endpoint first");
    let failures = |endpoint: &Endpoint| {
        proxy.endpoint_status(endpoint.address()).unwrap()["failures"].as_u64().unwrap()
    };
    assert_eq!((failures(&refusing), failures(&well)), (failed, 0));
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]) as u64, failed);
}

/// What went wrong first is forgotten by the next attempt: a request that has been sent is not sent again because an
/// earlier one had not been.
#[test]
fn a_retry_that_fails_otherwise_is_judged_by_that() {
    let dead = nobody_listens();
    let resets = || {
        Endpoint::scripted("resets", |exchange| {
            exchange.drain_body();
            exchange.reset();
        })
    };
    let [a, b] = [resets(), resets()];
    let proxy = Proxy::to([dead.address(), a.address(), b.address()]).start();
    proxy.client().upload("POST", "/x", b"once").expect(502);
    let record = proxy.record("/x");
    assert_eq!(
        (record.cause(), record.results()),
        ("endpoint_reset", ["connect_failed", "endpoint_reset"].map(String::from).to_vec())
    );
    assert_eq!(a.count() + b.count(), 1);
}

/// The same for the status: what comes too late is 504, whatever was refused before.
#[test]
fn a_retry_that_hangs_is_504() {
    let dead = nobody_listens();
    let hangs = Endpoint::scripted("hangs", |exchange| {
        exchange.hang();
    });
    let proxy = Proxy::to([dead.address(), hangs.address()]).with("timeouts: { response: 500ms }").start();
    proxy.get("/x").expect(504);
    assert_eq!(proxy.record("/x").cause(), "response_timeout");
}
