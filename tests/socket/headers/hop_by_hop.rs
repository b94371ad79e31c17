//! Fields that belong to one connection do not cross to the next, in either direction.

use crate::harness::{Endpoint, Engine, Proxy, engine};

#[test]
fn a_clients_connection_fields_stay_with_us() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let fields = "Connection: keep-alive, X-Secret-Hop\r\nX-Secret-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                  TE: gzip\r\nTrailer: X-T\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n\
                  X-End-To-End: 1\r\nAuthorization: Basic eDp5\r\n";
    proxy.client().request("GET", "/x", fields).expect(200);
    let seen = endpoint.seen("/x");
    for name in
        ["x-secret-hop", "keep-alive", "te", "trailer", "proxy-authorization", "proxy-connection", "upgrade"]
    {
        assert!(!seen.head.has(name), "{name} crossed:\n{}", seen.head.raw);
    }
    assert!(seen.header("connection").is_none_or(|value| !value.contains("X-Secret-Hop")));
    assert_eq!(seen.header("x-end-to-end"), Some("1"));
    assert_eq!(seen.header("authorization"), Some("Basic eDp5"));
}

/// Pingora alone passes an endpoint's nominated fields, Keep-Alive, Proxy-Authenticate, Trailer and Upgrade on.
#[test]
fn an_endpoints_connection_fields_stay_with_us() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.answer_with(
            "Connection: X-Internal, keep-alive\r\nX-Internal: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nTrailer: X-T\r\nUpgrade: h2c\r\n\
             X-End-To-End: 1\r\n",
            "well",
        );
    });
    let proxy = Proxy::to([&endpoint]).start();
    let response = proxy.client().get("/x").expect(200);
    for name in ["x-internal", "keep-alive", "proxy-authenticate", "proxy-connection", "trailer", "upgrade"] {
        assert!(!response.head.has(name), "{name} crossed:\n{}", response.head.raw);
    }
    assert!(response.header("connection").is_none_or(|value| !value.contains("X-Internal")));
    assert_eq!(response.header("x-end-to-end"), Some("1"));
}

/// Fault 37: naming a field that protects somebody as one of the connection's does not remove it.
#[test]
fn protected_fields_cannot_be_nominated_away() {
    for name in ["X-Forwarded-For", "X-Forwarded-Proto", "Host", "Forwarded", "X-Request-Id"] {
        let endpoint = Endpoint::named("a");
        let proxy = Proxy::to([&endpoint]).start();
        proxy.client().request("GET", "/x", &format!("Connection: {name}\r\n")).expect(200);
        assert!(endpoint.seen("/x").head.has(name), "{name} is gone:\n{}", endpoint.seen("/x").head.raw);
    }
}

/// A client that does not ask for an upgrade properly does not get one through.
#[test]
fn an_upgrade_field_alone_does_not_cross() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.client().request("GET", "/x", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n").expect(200);
    let seen = endpoint.seen("/x");
    assert!(!seen.head.has("http2-settings"), "{}", seen.head.raw);
}

/// Fault 37 again, for what Pingora alone removes: the endpoint must not take the request for an anonymous one.
#[test]
fn credentials_cannot_be_nominated_away() {
    for (name, value) in [("Authorization", "Basic eDp5"), ("Cookie", "session=1")] {
        let endpoint = Endpoint::named("a");
        let proxy = Proxy::to([&endpoint]).start();
        let fields = format!("Connection: {name}\r\n{name}: {value}\r\n");
        proxy.client().request("GET", "/x", &fields).expect(200);
        assert_eq!(endpoint.seen("/x").header(name), Some(value));
    }
}

/// Endpoints of the stricter kind send trailers only to those who say that they read them. The engine `native` passes
/// trailers on, so it asks for them where the client does; Pingora drops them, so there nobody asks.
#[test]
fn trailers_are_asked_for_where_they_arrive() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        let wanted = exchange.header("te") == Some("trailers");
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n");
        exchange.send(if wanted { "Checksum: 1234\r\n\r\n" } else { "\r\n" });
    });
    let proxy = Proxy::to([&endpoint]).start();
    let native = engine() == Engine::Native;
    for (target, fields, wanted) in [
        ("/asks", "TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n", native),
        ("/asks-alone", "TE: trailers\r\n", native),
        ("/does-not", "", false),
        ("/wants-gzip", "TE: gzip\r\nConnection: TE\r\n", false),
    ] {
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n"));
        let all = String::from_utf8(client.until(b"\r\n0\r\n")).unwrap();
        assert!(all.contains("well"), "{all}");
        let trailers = if wanted { "Checksum: 1234\r\n\r\n" } else { "\r\n" };
        assert!(client.receives(trailers.as_bytes()), "{target}");
        let seen = endpoint.seen(target);
        assert_eq!(seen.header("te"), wanted.then_some("trailers"), "{target}");
        assert_eq!(seen.header("connection"), wanted.then_some("TE"), "{target}");
    }
}
