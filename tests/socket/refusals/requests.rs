//! Requests that are wrong in themselves, or that nothing is there for.

use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, lacks};

/// Sends these bytes, and expects this refusal: for the client, in the log, and nothing at the endpoint.
#[track_caller]
fn is_refused(bytes: &str, target: &str, status: u16, cause: &str) {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send(bytes);
    client.response().expect(status);
    let record = proxy.record(target);
    assert_eq!((record.status(), record.cause()), (u64::from(status), cause));
    assert_eq!(record.attempts(), []);
    assert_eq!(endpoint.count(), 0);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 33: HTTP/1.1 without a Host. Pingora alone lets it through.
#[test]
fn http_1_1_without_host_is_400() {
    is_refused("GET /x HTTP/1.1\r\n\r\n", "/x", 400, "missing_host");
}

#[test]
fn http_1_1_with_an_empty_host_is_400() {
    if lacks("heads that cannot be read") {
        return;
    }
    is_refused("GET /x HTTP/1.1\r\nHost: \r\n\r\n", "/x", 400, "missing_host");
}

/// HTTP/1.0 had no Host yet.
#[test]
fn http_1_0_without_host_is_served() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.client().send("GET /x HTTP/1.0\r\n\r\n").response().expect(200);
    assert_eq!(proxy.record("/x").text("protocol"), "HTTP/1.0");
}

/// A client of HTTP/1.0 may name the host in its target alone: by it the request is routed, and the endpoint learns it.
#[test]
fn the_host_of_an_http_1_0_target_is_told() {
    if lacks("hosts with an empty port") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.client().send("GET http://a.example:81/x HTTP/1.0\r\n\r\n").response().expect(200);
    assert_eq!(endpoint.seen("/x").head.all("host"), ["a.example:81"]);
    assert_eq!(endpoint.seen("/x").header("x-forwarded-host"), Some("a.example:81"));
}

/// RFC 3986, section 3.2.3: a port may be empty.
#[test]
fn a_port_may_be_empty() {
    if lacks("hosts with an empty port") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::config()
        .pool("a", [&endpoint])
        .routes(&["name: a, match: { hosts: [a.example, '[::1]'] }, pool: a"])
        .start();
    let mut client = proxy.client();
    for (target, host) in [
        ("/x", "a.example:"),
        ("/x", "[::1]:"),
        ("http://a.example:/x", "a.example"),
        ("http://a.example:80/x", "a.example:"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).response().expect(200);
        assert_eq!(endpoint.requests().last().unwrap().header("host"), Some(host));
    }
    let http2 = Http2Endpoint::named("two");
    let proxy = Proxy::to([&http2]).with("protocol: h2").start();
    proxy.client().send("GET /x HTTP/1.1\r\nHost: a.example:\r\n\r\n").response().expect(200);
}

/// Requests that cannot be read are 400 and end their connection; the endpoint sees nothing of them.
#[test]
fn what_cannot_be_read_is_400() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    for bytes in [
        "this is not HTTP\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.example\r\nBad Field: 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.example\r\nField : 1\r\n\r\n",
        "GET http://a.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: +1\r\n\r\n1",
        "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(bytes);
        let response = client.response();
        assert_eq!(response.status, 400, "{bytes}");
        client.rest();
    }
    assert_eq!(endpoint.count(), 0);
    proxy.is_unharmed(endpoint.open());
}

#[test]
fn no_route_is_404() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::config()
        .routes(&["name: api, match: { hosts: [api.example], paths: [/v1] }, pool: api"])
        .pool("api", [&endpoint])
        .start();
    let mut client = proxy.client();
    client.send("GET /v1 HTTP/1.1\r\nHost: api.example\r\n\r\n").response().expect(200);
    client.send("GET /v2 HTTP/1.1\r\nHost: api.example\r\n\r\n").response().expect(404);
    let record = proxy.record("/v2");
    assert_eq!((record.status(), record.cause(), record.text("route")), (404, "no_route", ""));
    assert_eq!(record.attempts(), []);
    // The connection goes on: a wrong path is no reason to end it.
    client.send("GET /v1/again HTTP/1.1\r\nHost: api.example\r\n\r\n").response().expect(200);
}

/// A refused upload does not leave its body behind as the next request.
#[test]
fn a_refused_body_is_not_taken_for_a_request() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::config()
        .routes(&["name: only, match: { paths: [/only, /after] }, pool: only"])
        .pool("only", [&endpoint])
        .start();
    let smuggled = "GET /only HTTP/1.1\r\nHost: test.example\r\n\r\n";
    let mut client = proxy.client();
    client.send(format!(
        "POST /nowhere HTTP/1.1\r\nHost: test.example\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    ));
    client.response().expect(404);
    if client.try_send("GET /after HTTP/1.1\r\nHost: test.example\r\n\r\n").is_ok() {
        let _ = client.try_response_to("GET");
    }
    assert_eq!(endpoint.count_of("/only"), 0, "the body was taken for a request");
    proxy.is_unharmed(endpoint.open());
}

/// A tunnel to anywhere is not what this proxy is for.
#[test]
fn connect_is_refused() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n");
    let response = client.response_to("HEAD");
    assert!((400..500).contains(&response.status), "{}", response.status);
    assert_eq!(endpoint.count(), 0);
    proxy.is_unharmed(endpoint.open());
}
