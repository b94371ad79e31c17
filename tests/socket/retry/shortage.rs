//! This machine lacks what a connection to an endpoint takes: that says nothing about the endpoint.

use std::time::Duration;

use crate::harness::{Endpoint, Engine, Proxy, engine, eventually};

/// The number that the next descriptor would have: with this as its limit, the process gets none.
fn next_descriptor(proxy: &Proxy) -> usize {
    let state = || std::fs::read_dir(proxy.folder().join("state")).ok()?.next();
    // What the process has started with is written once it serves, which takes descriptors for a moment.
    eventually("what is kept", || state()?.ok());
    let is_open =
        |number: &usize| std::fs::symlink_metadata(format!("/proc/{}/fd/{number}", proxy.pid())).is_ok();
    let next = || (0..).find(|number| !is_open(number)).unwrap();
    eventually("descriptors that stay", || {
        let found = next();
        std::thread::sleep(Duration::from_millis(100));
        (next() == found).then_some(found)
    })
}

#[test]
fn a_lack_of_descriptors_is_no_failure_of_an_endpoint() {
    if engine() == Engine::Pingora {
        // It keeps connections of its own, whatever the pool says, and would need no descriptor.
        return;
    }
    let endpoints = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to(&endpoints).with("connections: { idle: 0 }").start();
    let mut client = proxy.client();
    client.get("/before").expect(200);
    endpoints.iter().for_each(|endpoint| endpoint.wait_until_free(Duration::from_secs(5)));
    proxy.limit_descriptors(next_descriptor(&proxy));
    client.get("/short").expect(503);
    proxy.limit_descriptors(1024);
    proxy.get("/after").expect(200);

    let record = proxy.record("/short");
    assert_eq!((record.status(), record.cause()), (503, "resources_short"));
    assert_eq!(record.results(), ["resources_short"; 2], "another one may have had a connection");
    for endpoint in &endpoints {
        let status = proxy.endpoint_status(endpoint.address()).unwrap();
        assert_eq!((status["failures"].as_u64(), status["state"].as_str()), (Some(0), Some("healthy")));
    }
    assert_eq!(proxy.metric("evenkeel_request_failures_total", &["resources_short"]) as u64, 1);
    proxy.event("the event", |event| event.message() == "this machine cannot open connections to endpoints");
}
