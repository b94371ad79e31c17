//! Endpoints that are ejected for their answers, and how they come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Endpoint, Proxy, SOON, load};

/// An endpoint that answers 503 while `bad` is set.
fn moody(name: &'static str, bad: &Arc<AtomicBool>) -> Endpoint {
    let bad = Arc::clone(bad);
    Endpoint::scripted(name, move |exchange| match bad.load(Ordering::Relaxed) {
        true => exchange.status("503 Service Unavailable", "", "bad"),
        false => exchange.answer(name),
    })
}

/// Of twelve hundred requests, only those fail that it takes to find out.
#[test]
fn who_fails_fast_is_out_after_five_and_back_after_its_time() {
    let bad = Arc::new(AtomicBool::new(true));
    let (failing, good) = (moody("a", &bad), ["b", "c"].map(Endpoint::named));
    let proxy = Proxy::to([failing.address(), good[0].address(), good[1].address()])
        .with("outliers: { time: 1s }")
        .with("balance: least_requests")
        .with("slow_start: 1s")
        .start();
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..300).map(|_| client.get("/").status).collect();
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert!((5..=7).contains(&failed), "{failed}: the supervisor ejects it a moment after the fifth");
    assert!(statuses[60..].iter().all(|status| *status == 200), "{statuses:?}");
    let ejected = proxy.event("endpoint is ejected", |event| event.text("endpoint") == failing.address());
    assert!(ejected.text("reason").starts_with("5 failures in a row (503: 5), the last in request "));
    let status = proxy.endpoint_status(failing.address()).expect("a member");
    assert_eq!((status["state"].as_str(), status["ejections"].as_u64()), (Some("ejected"), Some(1)));
    assert_eq!(proxy.metric("evenkeel_endpoint_ejected", &[failing.address()]), 1.0);
    // It is still bad: one request finds out, and is sent to another endpoint.
    std::thread::sleep(Duration::from_millis(1100));
    let statuses: Vec<u16> = (0..100).map(|_| client.get("/").status).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let found_out = proxy.records().into_iter().skip(300).find(|record| record.attempts().len() == 2);
    assert_eq!(found_out.expect("one was sent again").results(), ["503", "200"]);
    let status = proxy.endpoint_status(failing.address()).expect("a member");
    assert!(
        status["reason"]
            .as_str()
            .is_some_and(|reason| reason.ends_with("a request has found it failing since"))
    );
    assert_eq!(status["ejections"], 1);
    bad.store(false, Ordering::Relaxed);
    let back = proxy.event_within(4 * SOON, "endpoint is back", |event| {
        // Somebody has to find out.
        assert_eq!(proxy.get("/").status, 200);
        event.message() == "endpoint is back from its ejection"
    });
    assert_eq!(back.text("endpoint"), failing.address());
    std::thread::sleep(Duration::from_millis(1200));
    let tally = load(&proxy.address(), 3, 100);
    assert!(tally.get("a").is_some_and(|count| (70..=130).contains(count)), "{tally:?}");
}

/// The route expects 501, so it says nothing; and an idempotent request that fails on the way is retried elsewhere.
#[test]
fn what_a_route_expects_ejects_nobody_and_resets_do() {
    let expected = Endpoint::scripted("a", |exchange| exchange.status("501 Not Implemented", "", "no"));
    let resets = Endpoint::scripted("b", |exchange| exchange.reset());
    let good = Endpoint::named("c");
    let proxy = Proxy::config()
        .pool("api", [expected.address(), resets.address(), good.address()])
        .routes(&["name: default, pool: api, expected_statuses: [501]"])
        .start();
    let mut client = proxy.client();
    for _ in 0..60 {
        let status = client.get("/").status;
        assert!(matches!(status, 200 | 501), "{status}");
    }
    let ejected = proxy.event("endpoint is ejected", |event| event.message() == "endpoint is ejected");
    assert_eq!(ejected.text("endpoint"), resets.address());
    assert!(ejected.text("reason").contains("(endpoint_reset: 5)"), "{}", ejected.text("reason"));
    assert_eq!(proxy.endpoint_status(expected.address()).expect("a member")["state"], "healthy");
    client.get("/after");
    assert_eq!(proxy.record("/after").skipped(resets.address()).as_deref(), Some("ejected"));
}

/// Nobody asks for it again: where no request comes that can be sent again, any finds out.
#[test]
fn a_pool_that_gets_posts_alone_takes_its_endpoint_back() {
    let bad = Arc::new(AtomicBool::new(true));
    let (failing, good) = (moody("a", &bad), Endpoint::named("b"));
    let proxy = Proxy::to([failing.address(), good.address()]).with("outliers: { time: 100ms }").start();
    let post = || proxy.client().upload("POST", "/", b"order").status;
    proxy.event_within(SOON, "endpoint is ejected", |event| {
        post();
        event.message() == "endpoint is ejected"
    });
    bad.store(false, Ordering::Relaxed);
    proxy.event_within(4 * SOON, "endpoint is back", |event| {
        post();
        event.message() == "endpoint is back from its ejection"
    });
}

/// A request that finds out because no other came is tried again as any other.
#[test]
fn who_finds_out_late_has_its_retries() {
    let bad = Arc::new(AtomicBool::new(true));
    let (failing, good) = (moody("a", &bad), Endpoint::named("b"));
    let proxy = Proxy::to([failing.address(), good.address()])
        .with("outliers: { time: 100ms }")
        .with("retry: { on: [connect, 503] }")
        .start();
    proxy.event_within(4 * SOON, "a second ejection", |event| {
        proxy.client().upload("PUT", "/", b"x").expect(200);
        event.message() == "endpoint is ejected" && event.0["count"] == 2
    });
}
