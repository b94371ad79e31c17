//! Who the client is.

use std::thread;
use std::time::Duration;

use super::{GET, V1, listening, v2, v2_of_client};
use crate::harness::{Client, Endpoint, Proxy, Record, Seen, lacks};

/// One GET behind these bytes, and what the endpoint and the log say of it.
fn served(proxy: &Proxy, endpoint: &Endpoint, header: &[u8], target: &str, fields: &str) -> (Seen, Record) {
    let mut client = proxy.client();
    let request = format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n");
    client.send([header, request.as_bytes()].concat());
    client.response().expect(200);
    (endpoint.seen(target), proxy.record(target))
}

#[test]
fn the_header_names_the_client_in_both_versions() {
    let endpoint = Endpoint::named("a");
    for mode in ["accept", "require"] {
        let proxy = listening(&endpoint, mode).start();
        for (version, header) in [("1", V1.as_bytes().to_vec()), ("2", v2_of_client())] {
            let target = format!("/{mode}{version}");
            let (seen, record) = served(&proxy, &endpoint, &header, &target, "X-Forwarded-For: 6.6.6.6\r\n");
            assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"), "{target}");
            assert_eq!(seen.header("x-real-ip"), Some("203.0.113.7"), "{target}");
            assert_eq!(record.text("client"), "203.0.113.7:4711", "{target}");
            assert!(record.text("peer").starts_with("127.0.0.1:"), "{record:?}");
        }
    }
}

/// A client whose connection has begun with these bytes.
fn behind(proxy: &Proxy, header: impl AsRef<[u8]>) -> Client {
    let mut client = proxy.client();
    client.send(header);
    client
}

#[test]
fn a_header_may_come_in_pieces_and_alone() {
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "require").start();
    for (target, header) in [("/1", V1.as_bytes().to_vec()), ("/2", v2_of_client())] {
        let mut client = proxy.client();
        for byte in [&header[..], b"GET ", target.as_bytes(), b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat() {
            client.send([byte]);
            thread::sleep(Duration::from_millis(1));
        }
        client.response().expect(200);
        assert_eq!(proxy.record(target).text("client"), "203.0.113.7:4711");
        let mut later = behind(&proxy, &header);
        thread::sleep(Duration::from_millis(300));
        for n in 1..=2 {
            later.get(&format!("{target}/{n}")).expect(200);
            assert_eq!(proxy.record(&format!("{target}/{n}")).text("client"), "203.0.113.7:4711");
        }
    }
}

/// What arrived with the header is the first request, and the second, and the beginning of a body.
#[test]
fn nothing_behind_the_header_is_lost() {
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "accept").start();
    let mut client = proxy.client();
    let post = "POST /post HTTP/1.1\r\nHost: test.example\r\nContent-Length: 6\r\n\r\nabc";
    client.send([&v2_of_client()[..], GET.as_bytes(), post.as_bytes()].concat());
    client.response().expect(200);
    client.send("def");
    client.response().expect(200);
    assert_eq!(endpoint.seen("/post").body, b"abcdef");
    // A header counts at the start alone.
    client.send(V1);
    client.response().expect(400);
}

#[test]
fn a_header_that_names_nobody_leaves_the_peer() {
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "require").start();
    let claim = "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n";
    for (target, header) in [
        ("/unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("/unspecified", v2(0x21, 0, &[])),
        ("/unix", v2(0x21, 0x31, &[b'/'; 216])),
    ] {
        let (seen, record) = served(&proxy, &endpoint, &header, target, claim);
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{target}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"), "{target}");
        assert!(record.text("client").starts_with("127.0.0.1:"), "{record:?}");
    }
    // What the balancer asks on its own account is its own word.
    let (seen, record) = served(&proxy, &endpoint, &v2(0x20, 0, &[]), "/local", claim);
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.9, 127.0.0.1"));
    assert_eq!(record.text("client"), "192.0.2.9");
}

/// Behind a balancer of connections, the fields of the request are believed if its client is trusted.
#[test]
fn a_proxy_behind_the_balancer_is_believed() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .listener("proxy_protocol: require")
        .listener("trusted_proxies: [127.0.0.1, 203.0.113.0/24]")
        .start();
    let (seen, record) = served(&proxy, &endpoint, V1.as_bytes(), "/x", "X-Forwarded-For: 192.0.2.9\r\n");
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.9, 203.0.113.7"));
    assert_eq!(record.text("client"), "192.0.2.9");
    assert!(record.text("peer").starts_with("127.0.0.1:"), "{record:?}");
}

#[test]
fn with_accept_no_header_is_needed() {
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "accept").start();
    proxy.get("/plain").expect(200);
    // An empty line before a request is what a header of version 2 begins with.
    let mut client = proxy.client();
    client.send("\r\n");
    thread::sleep(Duration::from_millis(50));
    client.send(GET);
    client.response().expect(200);
    let mut client = proxy.client();
    client.send("P");
    thread::sleep(Duration::from_millis(50));
    client.send("UT /put HTTP/1.1\r\nHost: test.example\r\nContent-Length: 0\r\n\r\n");
    client.response().expect(200);
    assert!(proxy.record("/put").text("client").starts_with("127.0.0.1:"));
}

#[test]
fn the_limit_of_a_client_is_that_of_the_one_who_is_named() {
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "require").listener("limits: { connections_per_client: 1 }").start();
    let mut first = behind(&proxy, V1);
    first.get("/first").expect(200);
    let mut over = behind(&proxy, V1);
    over.response().expect(503);
    let mut other = behind(&proxy, V1.replace("203.0.113.7", "203.0.113.8"));
    other.get("/other").expect(200);
    let refused = proxy.records_of("", 1).remove(0);
    assert_eq!((refused.text("client"), refused.cause()), ("203.0.113.7:4711", "too_many_connections"));
}

/// Whoever may connect to a unix socket may name the client.
#[test]
fn the_peers_of_a_unix_socket_are_trusted() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]);
    let address = format!("unix:{}/http.sock", builder.folder().display());
    let text = builder
        .text()
        .replace("address: 127.0.0.1:0", &format!("address: \"{address}\"\n    proxy_protocol: require"));
    let proxy = builder.yaml(text).start();
    let mut client = Client::connect(&address);
    client.send([V1, GET].concat());
    client.response().expect(200);
    assert_eq!(endpoint.seen("/x").header("x-forwarded-for"), Some("203.0.113.7"));
    let record = proxy.record("/x");
    assert_eq!((record.text("client"), record.text("peer")), ("203.0.113.7:4711", "unix"));
}

#[test]
fn a_reload_turns_it_on_and_off() {
    if lacks("`timeouts.header`") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "off").start();
    let mut kept = proxy.client();
    kept.get("/kept").expect(200);
    behind(&proxy, V1).response().expect(400);
    proxy.reload(&proxy.config_text().replace("proxy_protocol: off", "proxy_protocol: require"));
    proxy.event("the reload", |event| event.message() == "config reloaded");
    behind(&proxy, V1).get("/on").expect(200);
    kept.get("/still").expect(200);
}
