//! Fault 48: memory ends. New requests are refused before the process is killed with those that it serves.

use std::time::Duration;

use crate::harness::{Endpoint, Proxy, eventually, within};

/// Clients that have a megabyte of header on the way need memory, and when they go it is there again.
#[test]
fn near_the_limit_new_requests_are_refused() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint])
        .server("threads: 2, max_memory: 120MiB")
        .listener("limits: { header_size: 4MiB }")
        .start();
    let mut waits = proxy.client();
    waits.send("POST /begun HTTP/1.1\r\nHost: test.example\r\nContent-Length: 2\r\n\r\n1");
    eventually("the request", || (endpoint.count_of("/begun") == 1).then_some(()));
    let beginning = format!("GET /x HTTP/1.1\r\nHost: test.example\r\nX: {}", "x".repeat(900_000));
    let mut heavy: Vec<_> = (0..300).map(|_| proxy.client()).collect();
    for client in &mut heavy {
        let _ = client.try_send(&beginning);
    }
    let refusal = within(Duration::from_secs(5), "a refusal", || {
        let refusal = proxy.client().get("/honest");
        (refusal.status == 503).then_some(refusal)
    });
    assert_eq!(refusal.head.header("connection"), Some("close"));
    assert_eq!(refusal.head.header("retry-after"), Some("1"));
    eventually("the record", || proxy.records().into_iter().find(|record| record.cause() == "memory_short"));
    assert_eq!(proxy.admin("/readyz").text(), "short of memory\n");
    assert_eq!(proxy.metric("evenkeel_memory_short", &[]), 1.0);
    // What has begun goes on.
    waits.send("2");
    waits.response().expect(200);
    drop(heavy);
    within(Duration::from_secs(5), "its end", || (proxy.get("/honest").status == 200).then_some(()));
    proxy.event("its end", |event| event.message() == "memory is no longer short, requests are served");
    assert_eq!(proxy.metric("evenkeel_memory_short", &[]), 0.0);
    drop(waits);
    proxy.is_unharmed(endpoint.open());
}
