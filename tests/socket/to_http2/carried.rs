//! What passes, and on which connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use nix::sys::signal::Signal::SIGTERM;

use super::to;
use crate::harness::http2::{connect, get, get_of, request, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Authority, Endpoint, Engine, Gate, Oddity, Proxy, engine, eventually, lacks};

#[test]
fn clients_of_both_versions_are_served() {
    let endpoint = Http2Endpoint::named("two");
    let proxy = to(&endpoint).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/one?a=b").expect(200).text(), "two");
    assert_eq!(client.upload("POST", "/post", b"0123456789").expect(200).text(), "two");
    // The next request is served by the same connection.
    assert_eq!(client.get("/again").expect(200).text(), "two");
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        assert_eq!(get(&client, "/two").await.body, b"two");
    });
    let seen = endpoint.seen();
    let paths: Vec<_> = seen.iter().map(|head| head.uri.path_and_query().unwrap().as_str()).collect();
    assert_eq!(paths, ["/one?a=b", "/post", "/again", "/two"]);
    for head in &seen {
        assert_eq!(head.uri.scheme_str(), Some("http"));
        assert!(head.uri.authority().is_some() && !head.headers.contains_key("host"));
        assert_eq!(head.headers["x-forwarded-for"], "127.0.0.1");
        assert!(!head.headers.contains_key("connection") && head.headers.contains_key("x-request-id"));
    }
    assert_eq!(seen[1].headers["content-length"], "10");
    assert_eq!(proxy.record("/one?a=b").text("protocol"), "HTTP/1.1");
    assert_eq!(proxy.record("/post").number("bytes_in"), 10);
}

/// What belongs to a connection stays there, and `te: trailers`, which gRPC needs, is said anew.
#[test]
fn fields_of_the_connection_do_not_pass() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let response = http::Response::builder().header("x-kept", "1").header("x-hop", "2");
        call.begin(response).send_data(Bytes::from_static(b"x"), true).unwrap();
    });
    let proxy = to(&endpoint).start();
    let fields = "Connection: X-Secret, TE\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers, deflate\r\n\
                  Upgrade: websocket\r\nProxy-Authorization: a\r\nTrailer: X-Sum\r\nX-Kept: 2\r\nCookie: a=b\r\n";
    let answer = proxy.client().request("GET", "/x", fields);
    assert_eq!(answer.expect(200).header("x-kept"), Some("1"));
    let head = &endpoint.seen()[0];
    for gone in [
        "connection",
        "x-secret",
        "keep-alive",
        "upgrade",
        "proxy-authorization",
        "transfer-encoding",
        "trailer",
    ] {
        assert!(!head.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(
        (&head.headers["x-kept"], &head.headers["cookie"]),
        (&"2".parse().unwrap(), &"a=b".parse().unwrap())
    );
    if !lacks("trailers") {
        assert_eq!(head.headers["te"], "trailers");
    }
}

#[test]
fn the_pool_says_which_host_its_endpoints_see() {
    let endpoint = Http2Endpoint::named("a");
    let proxy = to(&endpoint).with("host: api.internal").start();
    proxy.get("/x").expect(200);
    assert_eq!(endpoint.seen()[0].uri.authority().unwrap().as_str(), "api.internal");
}

#[test]
fn large_bodies_pass_both_ways() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let length = call.body_length().await.unwrap();
        let mut sink = call.begin(http::Response::builder().header("x-length", length));
        for _ in 0..100 {
            sink.send_data(Bytes::from(vec![b'x'; 30_000]), false).unwrap();
        }
        sink.send_data(Bytes::new(), true).unwrap();
    });
    let proxy = to(&endpoint).start();
    let body = vec![b'y'; 2_000_000];
    let mut client = proxy.client();
    let sized = client.upload("POST", "/sized", &body);
    assert_eq!((sized.header("x-length"), sized.text().len()), (Some("2000000"), 3_000_000));
    client.send("POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(100_000) {
        client.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
    }
    let chunked = client.send("0\r\n\r\n").response();
    assert_eq!((chunked.header("x-length"), chunked.text().len()), (Some("2000000"), 3_000_000));
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let piece: &'static str = Box::leak("z".repeat(10_000).into_boxed_str());
        let post = Request::post("http://test.example/two").body(()).unwrap();
        let answer = request(&client, post, &[piece; 200]).await;
        assert_eq!((answer.headers["x-length"].as_bytes(), answer.body.len()), (&b"2000000"[..], 3_000_000));
    });
    assert_eq!(proxy.record("/two").number("bytes_in"), 2_000_000);
    assert_eq!(proxy.record("/two").number("bytes_out"), 3_000_000);
}

/// Bodies that are none: HEAD, 204, 304, and a response that ends with its head.
#[test]
fn responses_without_a_body() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let (status, length) = match call.path() {
            "/204" => (204, None),
            "/304" => (304, Some("7")),
            "/head" => (200, Some("1234")),
            _ => (200, None),
        };
        let mut response = http::Response::builder().status(status);
        if let Some(length) = length {
            response = response.header("content-length", length);
        }
        call.respond.send_response(response.body(()).unwrap(), true).unwrap();
    });
    let proxy = to(&endpoint).start();
    let mut client = proxy.client();
    for path in ["/204", "/304", "/empty"] {
        let answer = client.get(path);
        assert_eq!(answer.text(), "", "{path}");
    }
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").expect(200).header("content-length"), Some("1234"));
    let empty = client.get("/empty").expect(200);
    if !lacks("empty responses of HTTP/2 endpoints") {
        assert_eq!(empty.header("content-length"), Some("0"));
    }
    assert_eq!(endpoint.seen().len(), 5);
}

/// Pipelined requests to pools of both protocols on one connection are answered in their order.
#[test]
fn one_connection_may_go_to_both_kinds_of_pools() {
    let (two, one) = (Http2Endpoint::named("two"), Endpoint::named("one"));
    let proxy = Proxy::config()
        .pool("two", [&two])
        .with("protocol: h2")
        .pool("one", [&one])
        .routes(&["name: two, match: { paths: [/two] }, pool: two", "name: one, pool: one"])
        .start();
    let mut client = proxy.client();
    let post = "POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(format!("{}{post}{}{}{post}{}", get("/two"), get("/one"), get("/two"), get("/one")));
    let bodies: Vec<_> = (0..6).map(|_| client.response().expect(200).text().to_owned()).collect();
    assert_eq!(bodies, ["two", "two", "one", "two", "two", "one"]);
}

/// An endpoint that answers `/held` once the gate is open, and everything else at once.
fn holding() -> (Arc<Gate>, Http2Endpoint) {
    let gate = Arc::new(Gate::closed());
    let held = gate.clone();
    let endpoint = Http2Endpoint::scripted(move |call| {
        let held = held.clone();
        async move {
            if call.path() == "/held" {
                tokio::task::spawn_blocking(move || held.wait()).await.unwrap();
            }
            call.answer("a");
        }
    });
    (gate, endpoint)
}

/// What a client has sent ahead of a stop is answered, and the last answer says that it is the last.
#[test]
fn what_was_sent_ahead_is_answered_in_a_stop() {
    if engine() == Engine::Pingora {
        // It knows nothing of what has been sent ahead.
        return;
    }
    let (gate, endpoint) = holding();
    let mut proxy = to(&endpoint).server("threads: 2, drain: 30s").start();
    let mut client = proxy.client();
    client.send(["/held", "/1", "/2"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).concat());
    eventually("the first one", || (endpoint.count_of("/held") == 1).then_some(()));
    proxy.signal(SIGTERM);
    proxy.event("the end of the listener", |event| event.message() == "listener closed");
    gate.open();
    for is_last in [false, false, true] {
        let response = client.response().expect(200);
        assert_eq!((response.text(), response.header("connection") == Some("close")), ("a", is_last));
    }
    assert_eq!(proxy.ended().code, Some(0));
}

/// Many requests share a connection, and no more than the pool says.
#[test]
fn streams_share_connections() {
    if lacks("connections to HTTP/2 endpoints") {
        return;
    }
    let (gate, endpoint) = holding();
    let proxy = to(&endpoint).server("threads: 1").with("connections: { streams: 10 }").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for _ in 0..20 {
            get(&client, "/alone").await;
        }
        assert_eq!(endpoint.connections(), 1);
        let held: Vec<_> = (0..35)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { get(&client, "/held").await })
            })
            .collect();
        eventually("all of them to be there", || (endpoint.count_of("/held") == 35).then_some(()));
        assert_eq!(endpoint.connections(), 4);
        gate.open();
        for one in held {
            assert_eq!(one.await.unwrap().status, 200);
        }
    });
    proxy.metric_becomes("evenkeel_endpoint_in_flight", 0.0);
}

/// Idle connections are closed in the pool's time.
#[test]
fn connections_end_in_the_pools_time() {
    let endpoint = Http2Endpoint::named("a");
    let proxy = to(&endpoint).server("threads: 1").with("timeouts: { keep_alive: 2s }").start();
    proxy.get("/x").expect(200);
    proxy.get("/x").expect(200);
    assert_eq!(endpoint.connections(), 1);
    std::thread::sleep(Duration::from_secs(3));
    proxy.get("/x").expect(200);
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn old_connections_get_no_new_requests() {
    if lacks("connections to endpoints") {
        return;
    }
    let endpoint = Http2Endpoint::named("a");
    let proxy = to(&endpoint).server("threads: 1").with("connections: { age: 300ms }").start();
    proxy.get("/x").expect(200);
    std::thread::sleep(Duration::from_millis(500));
    proxy.get("/x").expect(200);
    assert_eq!(endpoint.connections(), 2);
}

/// `100 Continue` is said as soon as there is an endpoint to take the body.
#[test]
fn who_waits_for_100_is_told_to_go_on() {
    let endpoint = Http2Endpoint::named("a");
    let proxy = to(&endpoint).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head_only().word(1), "100");
    assert_eq!(client.send("hello").response().expect(200).text(), "a");
    assert!(!endpoint.seen()[0].headers.contains_key("expect"));
}

/// Over TLS, HTTP/2 is agreed on by ALPN; the endpoint is another proxy.
#[test]
fn over_tls() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let server = Proxy::to([&endpoint]);
    let issued = authority.issue_odd(server.folder(), "server", &["127.0.0.1"], Oddity::None);
    let server = server.listener(&crate::tls::tls(&[&issued], "")).start();
    let proxy = Proxy::to([server.address()]);
    let ca = proxy.folder().join("ca.pem");
    authority.write(&ca);
    let proxy = proxy
        .with("protocol: h2")
        .with(&format!("tls: {{ ca: {} }}", ca.display()))
        .server("threads: 1")
        .start();
    for _ in 0..3 {
        proxy.get("/x").expect(200);
    }
    let records = server.records_of("/x", 3);
    assert!(records.iter().all(|record| record.text("protocol") == "HTTP/2.0"));
    if lacks("connections to endpoints") {
        return;
    }
    let client = records[0].text("client");
    assert!(records.iter().all(|record| record.text("client") == client), "one connection is enough");
}

/// The body of a client that pauses within it does not hold up the response that has begun.
#[test]
fn both_directions_flow_at_once() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let mut sink = call.begin(http::Response::builder());
        while let Some(piece) = call.body.data().await {
            let piece = piece.unwrap();
            call.body.flow_control().release_capacity(piece.len()).unwrap();
            sink.send_data(piece, false).unwrap();
        }
        sink.send_data(Bytes::new(), true).unwrap();
    });
    let proxy = to(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, mut sink) =
            client.ready().await.unwrap().send_request(get_of("/echo"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for word in ["one", "two", "three"] {
            sink.send_data(Bytes::from_static(word.as_bytes()), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), word);
        }
        sink.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none_or(|end| end.unwrap().is_empty()));
    });
}
