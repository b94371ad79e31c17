//! What `retry` says: how often, on what, and never twice at the same endpoint while another one is left.

use std::collections::HashSet;
use std::time::Instant;

use crate::harness::{Endpoint, Exchange, Proxy, SOON, nobody_listens};

fn closes(exchange: &mut Exchange) {
    exchange.drain_body();
    exchange.close();
}

fn unavailable(exchange: &mut Exchange) {
    exchange.status("503 Service Unavailable", "X-From: endpoint\r\n", "busy");
}

#[test]
fn with_retry_off_there_is_one_attempt() {
    let refusing = nobody_listens();
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&refusing, &well]).with("retry: off").start();
    let mut statuses = [proxy.get("/x").status, proxy.get("/x").status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    assert!(proxy.records_of("/x", 2).iter().all(|record| record.attempts().len() == 1));
}

#[test]
fn a_limit_of_zero_is_off() {
    let refusing = [nobody_listens(), nobody_listens()];
    let proxy = Proxy::to(&refusing).with("retry: { limit: 0 }").start();
    proxy.get("/x").expect(503);
    assert_eq!(proxy.record("/x").results(), ["connect_failed"]);
}

/// Two retries at most unless told otherwise, however many endpoints there are; connects that fail do not count.
/// Pingora alone tries 16 times.
#[test]
fn the_limit_holds() {
    let faulty = [(); 6].map(|()| Endpoint::scripted("faulty", closes));
    let proxy = Proxy::to(&faulty).start();
    proxy.get("/x").expect(502);
    assert_eq!(proxy.record("/x").attempts().len(), 3);
}

/// An endpoint is not tried twice while another one is left, whatever failed; the first left over is, after that.
#[test]
fn each_endpoint_is_tried_before_any_is_tried_again() {
    let faulty = [(); 3].map(|()| Endpoint::scripted("faulty", closes));
    let proxy = Proxy::to(&faulty).with("retry: { limit: 5 }").start();
    for n in 0..5 {
        proxy.get(&format!("/{n}")).expect(502);
        let tried = proxy.record(&format!("/{n}")).endpoints();
        let first_three: HashSet<&String> = tried.iter().take(3).collect();
        assert_eq!(first_three.len(), 3, "{tried:?}");
    }
}

/// The same under concurrency, where other requests move the round robin on between two attempts.
#[test]
fn no_endpoint_is_tried_twice_under_concurrency() {
    let [a, b] = ["a", "b"].map(|name| Endpoint::scripted(name, closes));
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&a, &b, &well]).with("retry: { budget: off }").start();
    crate::harness::load(&proxy.address(), 6, 50);
    for record in proxy.records_of("/load", 300) {
        let tried = record.endpoints();
        let distinct: HashSet<&String> = tried.iter().collect();
        assert_eq!(distinct.len(), tried.len(), "{tried:?}");
        assert_eq!(record.status(), 200);
    }
}

/// Unhealthy endpoints are not what is left: a retry goes to a healthy one.
#[test]
fn a_retry_skips_the_unhealthy() {
    let faulty = Endpoint::scripted("faulty", |exchange| match exchange.target() {
        "/healthz" => exchange.answer("ok"),
        _ => closes(exchange),
    });
    let well = Endpoint::named("well");
    let dead = nobody_listens();
    let proxy = Proxy::to([&faulty, &dead, &well])
        .health_check("type: http, path: /healthz, interval: 200ms, timeout: 1s, healthy_after: 1")
        .start();
    proxy.wait_until(faulty.address(), "healthy");
    proxy.wait_until(well.address(), "healthy");
    proxy.wait_until(dead.address(), "unhealthy");
    for _ in 0..6 {
        proxy.get("/x").expect(200);
    }
    for record in proxy.records_of("/x", 6) {
        assert!(!record.endpoints().contains(&dead.address().to_owned()), "{:?}", record.attempts());
    }
}

/// A status is retried where the config names it, for methods that may be repeated.
#[test]
fn statuses_are_retried_where_named() {
    let busy = Endpoint::scripted("busy", unavailable);
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&busy, &well]).with("retry: { limit: 1, on: [503] }").start();
    for _ in 0..6 {
        assert_eq!(proxy.get("/get").expect(200).text(), "well");
    }
    assert!(busy.count() > 0, "no request met the busy endpoint first");
    let retried = proxy.records_of("/get", 6).into_iter().filter(|record| record.attempts().len() == 2);
    assert!(retried.map(|record| record.results()).all(|results| results == ["503", "200"]));
}

/// A POST that was answered is never sent again, whatever the status.
#[test]
fn a_post_is_not_retried_on_a_status() {
    let busy = Endpoint::scripted("busy", unavailable);
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&busy, &well]).with("retry: { limit: 2, on: [connect, reset, 503] }").start();
    let mut statuses: Vec<u16> =
        (0..4).map(|n| proxy.client().upload("POST", &format!("/{n}"), b"pay").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
    assert_eq!((busy.count(), well.count()), (2, 2));
}

/// When the last attempt has such a status too, the client gets it as it is.
#[test]
fn the_last_status_is_the_answer() {
    let busy = [(); 2].map(|()| Endpoint::scripted("busy", unavailable));
    let proxy = Proxy::to(&busy).with("retry: { limit: 1, on: [503] }").start();
    let response = proxy.get("/x").expect(503);
    assert_eq!((response.text(), response.header("x-from")), ("busy", Some("endpoint")));
    assert_eq!(proxy.record("/x").results(), ["503", "503"]);
}

/// A status that is not named is the endpoint's answer.
#[test]
fn other_statuses_are_answers() {
    let busy = [(); 2].map(|()| Endpoint::scripted("busy", unavailable));
    let proxy = Proxy::to(&busy).start();
    assert_eq!(proxy.get("/x").expect(503).text(), "busy");
    let record = proxy.record("/x");
    assert_eq!((record.results(), record.cause()), (vec!["503".to_owned()], ""));
}

/// A response timeout is retried only where the config names it, and only what may be repeated.
#[test]
fn timeouts_are_retried_where_named() {
    let hanging = Endpoint::scripted("hanging", |exchange| {
        exchange.hang();
    });
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&hanging, &well])
        .with("timeouts: { response: 1s }")
        .with("retry: { limit: 1, on: [timeout] }")
        .start();
    let start = Instant::now();
    for _ in 0..2 {
        proxy.get("/get").expect(200);
    }
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    let results: Vec<_> = proxy.records_of("/get", 2).into_iter().map(|record| record.results()).collect();
    assert!(results.contains(&vec!["response_timeout".to_owned(), "200".to_owned()]), "{results:?}");

    let mut statuses: Vec<u16> =
        (0..2).map(|_| proxy.client().upload("POST", "/post", b"pay").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
}

#[test]
fn a_timeout_is_not_retried_by_default() {
    let hanging = [(); 2].map(|()| {
        Endpoint::scripted("hanging", |exchange| {
            exchange.hang();
        })
    });
    let proxy = Proxy::to(&hanging).with("timeouts: { response: 300ms }").start();
    proxy.get("/x").expect(504);
    assert_eq!(proxy.record("/x").results(), ["response_timeout"]);
}
