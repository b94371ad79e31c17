//! Keep-alive on both sides, and when it ends.

use std::thread;
use std::time::Duration;

use crate::harness::{Endpoint, Proxy, SOON, lacks};

/// Requests on one connection come to the endpoint on one connection.
#[test]
fn connections_are_kept_on_both_sides() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for n in 0..20 {
        client.get(&format!("/{n}")).expect(200);
    }
    assert_eq!((endpoint.count(), endpoint.connections()), (20, 1));
}

/// A client that closes after each request does not cost the endpoint a connection each time. (Each worker may keep its
/// own, so there is one.)
#[test]
fn a_closing_client_leaves_the_endpoint_connection() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).server("threads: 1, drain: 10s").start();
    for n in 0..5 {
        let mut client = proxy.client();
        let response = client.request("GET", &format!("/{n}"), "Connection: close\r\n").expect(200);
        assert_eq!(response.header("connection"), Some("close"));
        client.closed_within(SOON);
    }
    assert_eq!(endpoint.connections(), 1);
}

/// An endpoint that closes after its answer does not cost the client its connection.
#[test]
fn a_closing_endpoint_leaves_the_client_connection() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.answer_with("Connection: close\r\n", "well");
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for n in 0..5 {
        let response = client.get(&format!("/{n}")).expect(200);
        assert_ne!(response.header("connection"), Some("close"));
    }
    assert_eq!(endpoint.connections(), 5);
}

/// An idle client connection ends after `keep_alive`: after the first request, and just so after the second and third.
/// Pingora alone keeps it for ever from the first request on.
#[test]
fn idle_client_connections_end_after_any_number_of_requests() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { keep_alive: 1s }").start();
    thread::scope(|scope| {
        for requests in 1..=3 {
            let mut client = proxy.client();
            scope.spawn(move || {
                for _ in 0..requests {
                    client.get("/").expect(200);
                }
                let after = client.closed_within(SOON);
                assert!(
                    after > Duration::from_millis(900),
                    "after {requests} requests closed after {after:?}"
                );
            });
        }
    });
}

/// A connection on which half a header came and then silence is closed too, also after a first request. (Before the first
/// one Pingora's own limit of 60 s applies: ARCHITECTURE.md has it among the open gaps.)
#[test]
fn half_a_header_does_not_hold_a_connection() {
    if lacks("`timeouts.header`") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { keep_alive: 1s, header: 3s }").start();
    thread::scope(|scope| {
        for requests in 1..=2 {
            let mut client = proxy.client();
            scope.spawn(move || {
                for _ in 0..requests {
                    client.get("/").expect(200);
                }
                client.send("GET /half HTTP/1.1\r\nHost: test.exa");
                // A 408 may be said before the close.
                let rest = client.rest();
                assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{rest:?}");
            });
        }
    });
    assert_eq!(endpoint.count_of("/half"), 0);
}

/// An idle connection to an endpoint ends after the pool's `keep_alive`. Pingora alone keeps it for ever.
#[test]
fn idle_endpoint_connections_end() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).with("timeouts: { keep_alive: 700ms }").start();
    proxy.get("/").expect(200);
    assert_eq!(endpoint.open(), 1);
    endpoint.wait_until_free(SOON);
    proxy.get("/").expect(200);
}

/// Two endpoints' connections are never confused: each pooled connection serves its own endpoint.
#[test]
fn pooled_connections_belong_to_their_endpoint() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::config()
        .routes(&["name: a, match: { paths: [/a] }, pool: a", "name: b, match: { paths: [/b] }, pool: b"])
        .pool("a", [&a])
        .pool("b", [&b])
        .start();
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/a").expect(200).text(), "a");
        assert_eq!(client.get("/b").expect(200).text(), "b");
    }
    assert_eq!((a.connections(), b.connections()), (1, 1));
}
