//! Where messages begin and end, for each kind of them.

use std::thread;
use std::time::Duration;

use crate::harness::{End, Endpoint, Exchange, Proxy, Response};

/// Answers in two chunks.
fn chunked(exchange: &mut Exchange) {
    exchange.drain_body();
    exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    exchange.chunk("one ");
    exchange.chunk("two");
    exchange.send("0\r\n\r\n");
}

fn http_1_0(proxy: &Proxy, target: &str, fields: &str) -> (Response, bool) {
    let mut client = proxy.client();
    client.send(format!("GET {target} HTTP/1.0\r\n{fields}\r\n"));
    let response = client.response();
    let open = client.is_open();
    if open {
        client.send(format!("GET /again HTTP/1.0\r\n{fields}\r\n"));
        client.response().expect(200);
    }
    (response, open)
}

/// A client of HTTP/1.0 gets no chunks, which it could not read. Pingora alone sends them.
#[test]
fn http_1_0_gets_no_chunks() {
    let endpoint = Endpoint::scripted("a", chunked);
    let proxy = Proxy::to([&endpoint]).start();
    for fields in ["", "Host: test.example\r\n"] {
        let (response, open) = http_1_0(&proxy, "/x", fields);
        assert!(!response.head.has("transfer-encoding"), "{}", response.head.raw);
        assert_eq!((response.expect(200).text(), open), ("one two", false));
    }
}

/// The same for one that asks for keep-alive: there the end must be known, so the length is said or it closes anyway.
#[test]
fn http_1_0_with_keep_alive_gets_no_chunks() {
    let endpoint = Endpoint::scripted("a", chunked);
    let proxy = Proxy::to([&endpoint]).start();
    let (response, open) = http_1_0(&proxy, "/x", "Connection: keep-alive\r\n");
    assert!(!response.head.has("transfer-encoding"), "{}", response.head.raw);
    assert!(!open || response.head.has("content-length"), "{}", response.head.raw);
    assert_eq!(response.expect(200).text(), "one two");
}

/// With a known length HTTP/1.0 keep-alive works as it is asked for, and not where it is not.
#[test]
fn http_1_0_keeps_alive_on_request_only() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let (response, open) = http_1_0(&proxy, "/x", "");
    assert_eq!((response.expect(200).text(), open), ("a", false));
    let (response, open) = http_1_0(&proxy, "/x", "Connection: keep-alive\r\n");
    assert_eq!((response.expect(200).text(), open), ("a", true));
}

/// The length that a HEAD is told is passed on, no body is waited for, and the connection goes on.
#[test]
fn head_has_a_length_and_no_body() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.answer("twelve bytes");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    let response = client.request("HEAD", "/x", "").expect(200);
    assert_eq!(response.header("content-length"), Some("12"));
    assert_eq!(client.get("/y").expect(200).text(), "twelve bytes");
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(proxy.record("/x").number("bytes_out"), 0);
}

/// A HEAD whose answer says `chunked` has no chunks either.
#[test]
fn head_of_a_chunked_resource() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.method() {
        "HEAD" => {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        }
        _ => chunked(exchange),
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        client.request("HEAD", "/x", "").expect(200);
        assert_eq!(client.get("/y").expect(200).text(), "one two");
    }
}

/// 204 and 304 end with their header, whatever their fields say, and the connection goes on.
#[test]
fn statuses_without_body() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/204" => {
            exchange.send("HTTP/1.1 204 No Content\r\n\r\n");
        }
        "/304" => {
            exchange.send("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n");
        }
        "/304-with-length" => {
            exchange.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: \"v1\"\r\n\r\n");
        }
        _ => exchange.answer("a"),
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/204").expect(204);
        assert!(!response.head.has("transfer-encoding"), "{}", response.head.raw);
        assert_eq!(client.get("/304").expect(304).header("etag"), Some("\"v1\""));
        assert_eq!(client.get("/304-with-length").expect(304).header("etag"), Some("\"v1\""));
        assert_eq!(client.get("/x").expect(200).text(), "a");
    }
}

/// Chunks in both directions are whole at the other side, whatever their sizes.
#[test]
fn chunks_pass_both_ways() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for size in [1, 10, 100, 1000, 70_000] {
            exchange.chunk(&"y".repeat(size));
        }
        exchange.send("0\r\n\r\n");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for n in 0..3 {
        client
            .send(format!("POST /{n} HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n"));
        for size in [1, 20, 300, 50_000] {
            client.send(format!("{size:x}\r\n{}\r\n", "x".repeat(size)));
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.response().expect(200).body.len(), 71_111);
        let seen = endpoint.seen(&format!("/{n}"));
        assert!(seen.whole);
        assert_eq!(seen.body_length, 50_321);
        let record = proxy.record(&format!("/{n}"));
        assert_eq!((record.number("bytes_in"), record.number("bytes_out")), (50_321, 71_111));
    }
}

/// An empty chunked body is an empty body.
#[test]
fn an_empty_chunked_upload() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for n in 0..3 {
        client.send(format!(
            "POST /{n} HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ));
        client.response().expect(200);
        assert!(endpoint.seen(&format!("/{n}")).whole);
    }
    assert_eq!(endpoint.count(), 3);
}

/// A body that ends with its connection is a whole body, and the client's connection outlives it.
#[test]
fn a_body_that_ends_with_its_connection() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for n in 0..2 {
        let response = client.get(&format!("/{n}")).expect(200);
        assert_eq!((response.text(), response.end), ("until the end", End::Whole));
        assert_eq!(proxy.record(&format!("/{n}")).cause(), "");
    }
}

/// A client that waits for leave to send its body gets it from the endpoint, and is answered.
#[test]
fn a_body_that_waits_for_leave() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        exchange.answer("thanks");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for n in 0..2 {
        client.send(format!(
            "POST /{n} HTTP/1.1\r\nHost: test.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        ));
        assert_eq!(client.head_only().word(1), "100");
        client.send("body");
        let response = client.response().expect(200);
        assert_eq!(response.text(), "thanks");
        assert_eq!(endpoint.seen(&format!("/{n}")).body, b"body");
        // The engine `pingora` may end the connection after such an exchange, if it says so.
        if response.header("connection") == Some("close") {
            client = proxy.client();
        }
    }
}

/// An endpoint that knows nothing of leave is sent the body by a client that loses patience.
#[test]
fn a_body_that_comes_without_leave() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client
        .send("POST /x HTTP/1.1\r\nHost: test.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    thread::sleep(Duration::from_millis(300));
    client.send("body");
    client.response().expect(200);
    assert_eq!(endpoint.seen("/x").body, b"body");
}

/// An endpoint that refuses the body before it is sent is heard at once.
#[test]
fn a_body_that_is_refused_before_it_is_sent() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client
        .send("POST /x HTTP/1.1\r\nHost: test.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.response().expect(403).text(), "no");
}

/// Hints that come before the answer reach the client before it.
#[test]
fn early_hints_are_passed_on() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
        thread::sleep(Duration::from_millis(50));
        exchange.answer("page");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let response = proxy.client().get("/x").expect(200);
    assert_eq!((response.interim.as_slice(), response.text()), ([103].as_slice(), "page"));
}

/// A target whose path is in its normal form is passed on byte for byte: no decoding, no cleaning, no sorting.
#[test]
fn the_target_is_untouched() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let targets =
        ["/a%2Fb/~user/c/x%20y/", "/q?b=2&a=1&a=%20+&empty=&flag", "/?", "/;p=1?x=//y", "/%E2%82%AC?%00=1"];
    for target in targets {
        proxy.get(target).expect(200);
        assert_eq!(endpoint.seen(target).target(), target);
        assert_eq!(proxy.record(target).text("target"), target);
    }
}

/// Methods that nobody has heard of are passed on as well.
#[test]
fn any_method_is_passed_on() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    for method in ["OPTIONS", "PATCH", "DELETE", "PROPFIND", "PURGE"] {
        proxy.client().request(method, &format!("/{method}"), "").expect(200);
        assert_eq!(endpoint.seen(&format!("/{method}")).method(), method);
    }
}

/// The answer's reason phrase and fields come through, repeated fields included and in their order.
#[test]
fn fields_come_through() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.status("418 I'm a teapot", "Set-Cookie: a=1\r\nX-One: 1\r\nSet-Cookie: b=2\r\n", "short");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let response = proxy.client().request("GET", "/x", "X-Twice: 1\r\nX-Twice: 2\r\nCookie: c=d\r\n");
    let response = response.expect(418);
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("x-one"), Some("1"));
    let seen = endpoint.seen("/x");
    assert_eq!(seen.head.all("x-twice"), ["1", "2"]);
    assert_eq!(seen.header("cookie"), Some("c=d"));
}

/// A request of HTTP/1.0 without Host goes on as HTTP/1.1, which must have one: the endpoint's own.
#[test]
fn http_1_0_without_host_is_given_one() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    http_1_0(&proxy, "/x", "").0.expect(200);
    let seen = endpoint.seen("/x");
    assert_eq!(seen.header("host"), Some(endpoint.address()));
    assert!(!seen.head.has("x-forwarded-host"), "{}", seen.head.raw);
}

/// What the client sends as it would to a forward proxy, the endpoint sees as a server does: else the authority in the
/// target would count more for it than the Host that the pool wants.
#[test]
fn an_absolute_target_goes_on_as_a_path() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).with("host: internal.example").start();
    for (method, sent, seen) in [
        ("GET", "http://test.example/a/b?c=d", "/a/b?c=d"),
        ("GET", "http://test.example", "/"),
        ("GET", "http://test.example?c=d", "/?c=d"),
        ("OPTIONS", "http://test.example", "*"),
    ] {
        proxy.client().request(method, sent, "").expect(200);
        let last = endpoint.requests().pop().expect("a request");
        assert_eq!((last.target(), last.header("host")), (seen, Some("internal.example")), "{sent}");
    }
}

/// An endpoint that speaks HTTP/1.0 does not make HTTP/1.0 of our connection, and what it says of a body that cannot
/// be does not reach a client, who might wait for it.
#[test]
fn the_framing_of_responses_is_ours() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let response = match exchange.target() {
            "/old" => "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            "/twice" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            "/length" => "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
            _ => "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        };
        exchange.send(response);
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    let old = client.get("/old").expect(200);
    assert!(old.head.raw.starts_with("HTTP/1.1 "), "{}", old.head.raw);
    // Two lengths that agree are one.
    assert_eq!(client.get("/twice").expect(200).head.all("content-length"), ["2"]);
    for target in ["/length", "/chunks"] {
        let empty = client.get(target).expect(204);
        assert!(!empty.head.has("content-length"), "{}", empty.head.raw);
        assert!(!empty.head.has("transfer-encoding"), "{}", empty.head.raw);
    }
}
