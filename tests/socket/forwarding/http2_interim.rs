//! What comes before and behind: interim responses and trailers, between clients and endpoints of both protocols.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};

use crate::harness::http2::{connect, get_of, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, ProxyBuilder, eventually, lacks};

fn hints() -> Endpoint {
    Endpoint::scripted("a", |exchange| {
        exchange.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nServer: secret\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        );
    })
}

fn http2_hints() -> Http2Endpoint {
    Http2Endpoint::scripted(|mut call| async move {
        let hints = Response::builder().status(103).header("link", "</a.css>").body(()).unwrap();
        call.respond.send_informational(hints).unwrap();
        call.answer("hello");
    })
}

fn over_http2(endpoint: &impl Display) -> ProxyBuilder {
    Proxy::to([endpoint]).listener("h2c: true")
}

/// Early hints (RFC 8297) pass from endpoints of both protocols to clients of both.
#[test]
fn interim_responses_pass() {
    if lacks("interim responses") {
        return;
    }
    let (one, two) = (hints(), http2_hints());
    let proxies = [over_http2(&one).start(), over_http2(&two).with("protocol: h2").start()];
    for proxy in &proxies {
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response().expect(200);
        assert_eq!((response.interim.as_slice(), response.text()), (&[103][..], "hello"));
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            let mut sender = client.ready().await.unwrap();
            let (mut response, _) = sender.send_request(get_of("/x"), true).unwrap();
            let interim = std::future::poll_fn(|context| response.poll_informational(context)).await;
            let interim = interim.expect("an interim response").unwrap();
            assert_eq!(interim.status(), StatusCode::EARLY_HINTS);
            assert_eq!(interim.headers()["link"], "</a.css>");
            assert_ne!(interim.headers().get("server").map(|server| server.as_bytes()), Some(&b"secret"[..]));
            let response = response.await.unwrap();
            assert_eq!(response.into_body().data().await.unwrap().unwrap(), "hello");
        });
    }
}

/// A client of HTTP/2 that waits to be told to send its body is told: by the endpoint, or here, where the endpoint speaks
/// HTTP/2 (RFC 9110, section 10.1.1).
#[test]
fn who_waits_for_100_is_told_to_go_on() {
    if lacks("interim responses") {
        return;
    }
    let one = Endpoint::scripted("a", |exchange| {
        assert_eq!(exchange.header("expect"), Some("100-continue"));
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        exchange.drain_body();
        exchange.answer("a");
    });
    let two = Http2Endpoint::scripted(|mut call| async move {
        assert_eq!(call.body_length().await.unwrap(), 5);
        call.answer("a");
    });
    let proxies = [over_http2(&one).start(), over_http2(&two).with("protocol: h2").start()];
    for proxy in &proxies {
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            let post =
                Request::post("http://test.example/x").header("expect", "100-continue").body(()).unwrap();
            let (mut response, mut body) = client.ready().await.unwrap().send_request(post, false).unwrap();
            let interim = std::future::poll_fn(|context| response.poll_informational(context)).await;
            assert_eq!(interim.expect("an interim response").unwrap().status(), StatusCode::CONTINUE);
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
            assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        });
    }
}

/// Many servers never send 100, and some clients wait for it without end: they are told to go on all the same, and only
/// once, whatever the endpoint says later.
#[test]
fn who_waits_for_100_is_told_though_the_endpoint_says_nothing() {
    if lacks("interim responses") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        if exchange.target() == "/late" {
            exchange.drain_body();
            exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        exchange.answer("a");
    });
    let proxy = over_http2(&endpoint).start();
    for path in ["/never", "/late"] {
        let begun = Instant::now();
        let mut client = proxy.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(client.head_only().word(1), "100");
        assert!(client.send("hello").response().expect(200).interim.is_empty());
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            let post = Request::post(format!("http://test.example{path}")).header("expect", "100-continue");
            let mut client = client.ready().await.unwrap();
            let (mut response, mut body) = client.send_request(post.body(()).unwrap(), false).unwrap();
            let interim = std::future::poll_fn(|context| response.poll_informational(context)).await;
            assert_eq!(interim.expect("an interim response").unwrap().status(), StatusCode::CONTINUE);
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
            let other = std::future::poll_fn(|context| response.poll_informational(context)).await;
            assert!(other.is_none(), "{other:?}");
            assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

/// The endpoint that is tried next may be one that asks for nothing: the client has been told nothing until then.
#[test]
fn who_waits_for_100_is_told_at_the_second_attempt() {
    if lacks("interim responses") {
        return;
    }
    let (mut dead, two) = (Endpoint::named("dead"), Http2Endpoint::named("a"));
    dead.stop();
    let proxy =
        Proxy::to([dead.to_string(), two.to_string()]).listener("h2c: true").with("protocol: h2").start();
    for n in 0..2 {
        let mut client = proxy.client();
        client.send(format!(
            "POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(client.head_only().word(1), "100");
        client.send("hello").response().expect(200);
    }
}

/// A request's trailers reach endpoints of both protocols, but for those that mean something only before the body.
#[test]
fn trailers_of_requests_pass() {
    if lacks("trailers") {
        return;
    }
    let raw = Arc::new(Mutex::new(Vec::new()));
    let one = {
        let raw = raw.clone();
        Endpoint::scripted("a", move |exchange| {
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n\r\n") {
                let more = exchange.receive();
                assert!(!more.is_empty(), "it ended before its trailers");
                body.extend(more);
            }
            *raw.lock().unwrap() = body;
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na");
            exchange.close();
        })
    };
    let seen = Arc::new(Mutex::new(None));
    let two = {
        let seen = seen.clone();
        Http2Endpoint::scripted(move |mut call| {
            let seen = seen.clone();
            async move {
                assert_eq!(call.body_length().await.unwrap(), 5);
                *seen.lock().unwrap() = call.body.trailers().await.unwrap();
                call.answer("a");
            }
        })
    };
    let send = |proxy: &Proxy| {
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            let post = Request::post("http://test.example/x").header("trailer", "x-end").body(()).unwrap();
            let (response, mut sink) = client.ready().await.unwrap().send_request(post, false).unwrap();
            sink.send_data(Bytes::from_static(b"hello"), false).unwrap();
            let trailers = [("x-end", "1"), ("x-forwarded-for", "192.0.2.1")];
            let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            sink.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        });
    };
    send(&over_http2(&one).start());
    assert_eq!(one.seen("/x").header("trailer"), Some("x-end"));
    assert_eq!(String::from_utf8_lossy(&raw.lock().unwrap()), "5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n");
    send(&over_http2(&two).with("protocol: h2").start());
    let seen = eventually("the trailers", || seen.lock().unwrap().take());
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-end"]);
}
