//! Connections to endpoints that wait for their next request: how many, how old, and that they are counted.

use std::thread;
use std::time::Duration;

use crate::harness::{Client, Endpoint, Engine, Gate, Proxy, ProxyBuilder, engine, eventually};

fn keeping(endpoint: &Endpoint, connections: &str) -> ProxyBuilder {
    Proxy::to([endpoint]).with(&format!("connections: {{ {connections} }}"))
}

fn idle(proxy: &Proxy) -> u64 {
    proxy.metric("evenkeel_endpoint_idle_connections", &[]) as u64
}

/// As many requests at once, so that each has a connection of its own.
fn at_once(proxy: &Proxy, gate: &Gate, endpoint: &Endpoint, count: usize) {
    let before = endpoint.count();
    let mut clients: Vec<Client> = (0..count).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    endpoint.wait_for_requests(before + count);
    gate.open();
    for client in &mut clients {
        client.response().expect(200);
    }
}

fn gated() -> (Gate, Endpoint) {
    let gate = Gate::closed();
    let at = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        at.wait();
        exchange.answer("well");
    });
    (gate, endpoint)
}

/// Pingora keeps connections in a pool of its own, by its own rules.
fn is_ours() -> bool {
    engine() == Engine::Native
}

#[test]
fn idle_connections_are_counted_and_used_again() {
    let (gate, endpoint) = gated();
    let proxy = keeping(&endpoint, "").start();
    if !is_ours() {
        return;
    }
    assert_eq!(idle(&proxy), 0);
    at_once(&proxy, &gate, &endpoint, 5);
    eventually("five idle connections", || (idle(&proxy) == 5).then_some(()));
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["idle_connections"], 5);
    for _ in 0..10 {
        proxy.get("/x").expect(200);
    }
    // Each worker has its own, so there may be one more that was opened.
    assert!(endpoint.connections() <= 6, "{}", endpoint.connections());
    // The last one is kept when its client has the answer already.
    eventually("all of them idle", || (idle(&proxy) == endpoint.open() as u64).then_some(()));
}

/// The limit is for all workers together, and what is beyond it is closed.
#[test]
fn no_more_are_kept_than_is_said() {
    let (gate, endpoint) = gated();
    let proxy = keeping(&endpoint, "idle: 2").server("threads: 3, drain: 10s").start();
    if !is_ours() {
        return;
    }
    at_once(&proxy, &gate, &endpoint, 9);
    eventually("two idle connections", || (endpoint.open() == 2 && idle(&proxy) == 2).then_some(()));
}

#[test]
fn none_are_kept_if_none_are_wanted() {
    let endpoint = Endpoint::named("a");
    let proxy = keeping(&endpoint, "idle: 0").start();
    if !is_ours() {
        return;
    }
    let mut client = proxy.client();
    for _ in 0..3 {
        client.get("/x").expect(200);
    }
    assert_eq!((endpoint.connections(), idle(&proxy)), (3, 0));
}

/// However busy it is, a connection that is too old is not used again.
#[test]
fn old_ones_are_given_up() {
    let endpoint = Endpoint::named("a");
    let proxy = keeping(&endpoint, "age: 1s").start();
    if !is_ours() {
        return;
    }
    let mut client = proxy.client();
    for _ in 0..10 {
        client.get("/x").expect(200);
        thread::sleep(Duration::from_millis(250));
    }
    assert!((2..10).contains(&endpoint.connections()), "{}", endpoint.connections());
}

/// Whoever closes one, it is counted no more.
#[test]
fn what_is_closed_is_not_counted() {
    let (gate, mut endpoint) = gated();
    let proxy = Proxy::to([&endpoint]).with("timeouts: { keep_alive: 500ms }").start();
    if !is_ours() {
        return;
    }
    at_once(&proxy, &gate, &endpoint, 3);
    eventually("their time to be over", || (endpoint.open() == 0 && idle(&proxy) == 0).then_some(()));
    proxy.get("/x").expect(200);
    endpoint.stop();
    eventually("the endpoint's end to be noticed", || (idle(&proxy) == 0).then_some(()));
}
