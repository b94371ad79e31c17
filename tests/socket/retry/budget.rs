//! Retries that cannot make an outage worse: a share of the traffic, and nothing reaches an endpoint twice that must not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Endpoint, Exchange, Proxy, nobody_listens};

fn unavailable(exchange: &mut Exchange) {
    exchange.drain_body();
    exchange.status("503 Service Unavailable", "", "busy");
}

/// Two endpoints that answer 503 and two that answer 200.
fn half_fail() -> [Endpoint; 4] {
    let failing = || Endpoint::scripted("failing", unavailable);
    [failing(), Endpoint::named("a"), failing(), Endpoint::named("b")]
}

/// GETs by four clients, one after the other, while `steps` sleep; what each step has: requests, failures, attempts.
fn under_load(proxy: &Proxy, endpoints: &[Endpoint], steps: &[Duration]) -> Vec<[usize; 3]> {
    let (sent, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, sent, failed, stop) =
                (proxy.client(), sent.clone(), failed.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    failed.fetch_add(usize::from(client.get("/x").status != 200), Ordering::Relaxed);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let now = || {
        let attempts = endpoints.iter().map(Endpoint::count).sum();
        [sent.load(Ordering::Relaxed), failed.load(Ordering::Relaxed), attempts]
    };
    let counts: Vec<_> = std::iter::once(now())
        .chain(steps.iter().map(|step| {
            thread::sleep(*step);
            now()
        }))
        .collect();
    stop.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().expect("every request has a response"));
    counts.windows(2).map(|pair| std::array::from_fn(|index| pair[1][index] - pair[0][index])).collect()
}

#[test]
fn attempts_are_at_most_one_and_a_fifth_of_the_requests() {
    let endpoints = half_fail();
    let proxy = Proxy::to(&endpoints).with("retry: { on: [503] }").with("outliers: off").start();
    let steps = under_load(&proxy, &endpoints, &[Duration::from_secs(1), Duration::from_secs(2)]);
    let [sent, failed, attempts] = steps[1];
    // Each client's request may be on its way when they are counted.
    assert!(attempts as f64 <= 1.2 * sent as f64 + 8.0, "{attempts} attempts of {sent} requests");
    assert!(failed > 0, "the budget is spent");
    let refused = proxy.metric("evenkeel_retries_refused_total", &["budget"]);
    assert!(refused > 0.0);
    let record = proxy.records().into_iter().find(|record| record.text("retry_refused") == "budget");
    let record = record.expect("a line that says so");
    // Its last attempt is the endpoint's own response.
    assert_eq!((record.status(), record.cause(), record.results().pop().as_deref()), (503, "", Some("503")));
    let retries = &proxy.status()["pools"][0]["retries"];
    assert!(retries["refused"].as_u64().is_some_and(|refused| refused > 0), "{retries}");
    assert!(retries["retries"].as_u64() <= retries["allowed"].as_u64(), "{retries}");
    proxy.event("the event", |event| event.message() == "retry budget is spent");
}

#[test]
fn where_who_fails_is_ejected_nothing_else_is_needed() {
    let endpoints = half_fail();
    let proxy = Proxy::to(&endpoints).with("retry: { on: [503] }").start();
    let steps = under_load(&proxy, &endpoints, &[Duration::from_secs(1), Duration::from_secs(2)]);
    let [sent, failed, attempts] = steps[1];
    assert!(attempts as f64 <= 1.2 * sent as f64 + 8.0, "{attempts} attempts of {sent} requests");
    assert!(failed * 20 <= sent, "{failed} of {sent} failed");
}

/// Failed connects are bounded by time, and cost no budget.
#[test]
fn connects_that_fail_cost_nothing_of_the_budget() {
    let endpoints = [nobody_listens(), Endpoint::named("well")];
    let proxy = Proxy::to(&endpoints).with("retry: { budget: { share: 1%, floor: 0/s } }").start();
    for _ in 0..20 {
        proxy.get("/x").expect(200);
        proxy.client().upload("POST", "/x", b"a body").expect(200);
    }
    assert_eq!(proxy.metric("evenkeel_retries_refused_total", &[]), 0.0);
}

/// While endpoints reset and refuse, and everything is retried that may be.
#[test]
fn no_post_of_ten_thousand_reaches_an_endpoint_twice() {
    no_post_reaches_an_endpoint_twice(10_000, &["outliers: off"]);
}

/// With all that a pool can do.
#[test]
#[ignore = "takes minutes: make chaos"]
fn no_post_of_a_hundred_thousand_reaches_an_endpoint_twice() {
    let settings = [
        "balance: least_requests",
        "slow_start: 1s",
        "outliers: { time: 1s }",
        "limits: { requests: 100, queue: 100 }",
        "when_none_healthy: { wait: 10s }",
    ];
    no_post_reaches_an_endpoint_twice(100_000, &settings);
}

fn no_post_reaches_an_endpoint_twice(posts: usize, settings: &[&str]) {
    const CLIENTS: usize = 8;
    let each = posts / CLIENTS;
    let resets = Endpoint::scripted("resets", |exchange| {
        exchange.drain_body();
        match exchange.number() % 3 {
            0 => exchange.answer("ok"),
            _ => exchange.reset(),
        }
    });
    let endpoints =
        [nobody_listens(), resets, Endpoint::scripted("busy", unavailable), Endpoint::named("well")];
    let retry = "retry: { limit: 5, on: [connect, reset, timeout, 503], budget: off }";
    let proxy = settings
        .iter()
        .fold(Proxy::to(&endpoints).with(retry), |proxy, setting| proxy.with(setting))
        .access_log("output: off")
        .start();
    let address = proxy.address();
    let senders: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = address.clone();
            thread::spawn(move || {
                let mut connection = crate::harness::Client::connect(&address);
                for number in 0..each {
                    let response = connection.upload("POST", &format!("/{client}/{number}"), b"once");
                    if response.header("connection").is_some_and(|value| value == "close") {
                        connection = crate::harness::Client::connect(&address);
                    }
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("every request has a response"));
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for seen in endpoints.iter().flat_map(Endpoint::requests) {
        *arrived.entry(seen.target().to_owned()).or_default() += 1;
    }
    assert_eq!(arrived.len(), CLIENTS * each);
    let twice: Vec<_> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
