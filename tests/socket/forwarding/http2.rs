//! HTTP/2 without TLS, by prior knowledge, on a listener that has it beside HTTP/1.1.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use nix::sys::signal::Signal::SIGTERM;
use tokio::net::TcpStream;

use crate::harness::http2::{connect, get, request, runtime};
use crate::harness::{Client, Endpoint, Gate, Proxy, ProxyBuilder, SOON, eventually, lacks, lasted};

fn with_http2(endpoint: &Endpoint) -> ProxyBuilder {
    Proxy::to([endpoint]).listener("h2c: true")
}

/// Many at once on one connection; endpoints see HTTP/1.1 with the right host, the log HTTP/2. HTTP/1.1 goes on beside.
#[test]
fn both_versions_on_one_listener() {
    let endpoint = Endpoint::named("a");
    let mut proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let all: Vec<_> = (0..50)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { get(&client, "/many").await })
            })
            .collect();
        for one in all {
            let answer = one.await.unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, b"a".as_slice()));
            assert_eq!(answer.headers.get("connection"), None);
        }
        get(&client, "/seen?a=b").await;
    });
    let seen = endpoint.seen("/seen?a=b");
    assert_eq!(seen.header("host"), Some("test.example"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(proxy.records_of("/many", 50).iter().all(|record| record.text("protocol") == "HTTP/2.0"));
    proxy.get("/one").expect(200);
    assert_eq!(proxy.record("/one").text("protocol"), "HTTP/1.1");
    proxy.is_unharmed(endpoint.open());
}

/// A path that is not in its normal form costs neither the host nor the query.
#[test]
fn paths_are_normalised() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for path in ["/a//b?c=//d", "/%7Eu"] {
            assert_eq!(get(&client, path).await.status, 200, "{path}");
        }
    });
    for path in ["/a/b?c=//d", "/~u"] {
        assert_eq!(endpoint.seen(path).header("host"), Some("test.example"), "{path}");
    }
}

/// Fields that an endpoint may take for those that are written here, because it reads `_` as `-`.
#[test]
fn no_field_comes_in_disguise() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let disguised = ["x_real_ip", "x_forwarded_for", "content_length", "transfer_encoding"];
        let get = Request::get("http://test.example/x").header("x_other", "kept");
        let get = disguised.into_iter().fold(get, |get, name| get.header(name, "6666666666"));
        assert_eq!(request(&client, get.body(()).unwrap(), &[]).await.status, 200);
    });
    let seen = endpoint.seen("/x");
    assert!(!seen.head.raw.contains("6666666666"), "{}", seen.head.raw);
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x_other")), (Some("127.0.0.1"), Some("kept")));
}

/// The `Host` that the pool wants counts for more than the authority that the client named.
#[test]
fn a_pool_chooses_the_host() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).with("host: inner.example").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        assert_eq!(get(&client, "/x").await.status, 200);
    });
    let seen = endpoint.seen("/x");
    assert_eq!(
        (seen.header("host"), seen.header("x-forwarded-host")),
        (Some("inner.example"), Some("test.example"))
    );
}

/// The end of an HTTP/2 upload may be an empty piece: made a second last chunk, it would spoil the next request.
#[test]
fn uploads_end_once() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let length = exchange.drain_body();
        exchange.answer(&length.to_string());
    });
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for _ in 0..20 {
            let post = Request::post("http://test.example/up").body(()).unwrap();
            let answer = request(&client, post, &["one", "three"]).await;
            assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, b"8".as_slice()));
        }
    });
    assert_eq!(endpoint.count(), 20);
}

/// Telling the versions apart must not make anybody wait: not those who say less than the preface, nor for those who
/// say nothing.
#[test]
fn short_and_silent_clients() {
    if lacks("`timeouts.header`") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).listener("timeouts: { header: 1s }").start();
    let mut short = proxy.client();
    short.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(short.response().status, 200);
    proxy.client().closed_within(SOON);
    let begun = Instant::now();
    let mut half = proxy.client();
    half.send("PRI * HTTP/2.0\r\n\r\n");
    half.rest();
    lasted(Duration::from_secs(1), begun.elapsed());
    for wrong in ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI / HTTP/1.1\r\n\r\n", "P\r\n\r\n"] {
        let mut client = proxy.client();
        client.send(wrong);
        assert_eq!(client.response().status, 400, "{wrong}");
    }
}

/// Where it was not asked for, it is a bad request as ever.
#[test]
fn it_is_off_by_default() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 400);
}

/// The listener's limits hold for it as well.
#[test]
fn limits_hold() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint)
        .listener("limits: { target_size: 100B, body_size: 5B, connections_per_client: 1 }")
        .start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        assert_eq!(get(&client, &format!("/{}", "x".repeat(200))).await.status, 414);
        let post = Request::post("http://test.example/up").body(()).unwrap();
        assert_eq!(request(&client, post, &["one", "three"]).await.status, 413);
        assert_eq!(get(&client, "/x").await.status, 200);
        assert_eq!(proxy.client().response().status, 503);
    });
}

fn held(gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    Endpoint::scripted("a", move |exchange| {
        if exchange.target() == "/held" {
            gate.wait();
        }
        exchange.answer("whole");
    })
}

/// What is in flight at a stop is answered.
#[test]
fn what_is_in_flight_finishes() {
    let gate = Gate::closed();
    let endpoint = held(&gate);
    let mut proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let in_flight = {
            let client = client.clone();
            tokio::spawn(async move { get(&client, "/held").await })
        };
        tokio::task::spawn_blocking({
            let address = proxy.address();
            move || Client::connect(&address).get("/beside").expect(200)
        })
        .await
        .unwrap();
        while endpoint.count_of("/held") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.signal(SIGTERM);
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.open();
        assert_eq!(in_flight.await.unwrap().body, b"whole");
    });
    assert_eq!(proxy.ended().code, Some(0));
}

/// A listener that goes tells its clients so: what is in flight is answered, nothing new is begun, and then it is over.
#[test]
fn a_removed_listener_says_goodbye() {
    let gate = Gate::closed();
    let endpoint = held(&gate);
    let proxy = with_http2(&endpoint).start();
    let other = proxy.config_text().replace("address: \"127.0.0.1:0\"", "address: \"127.0.0.2:0\"");
    runtime().block_on(async {
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let in_flight = {
            let client = client.clone();
            tokio::spawn(async move { get(&client, "/held").await })
        };
        while endpoint.count_of("/held") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::task::block_in_place(|| {
            proxy.reload(&other);
            eventually("the reload", || (proxy.status()["generation"] == 2).then_some(()));
            gate.open();
        });
        assert_eq!(in_flight.await.unwrap().body, b"whole");
        drop(client);
        tokio::time::timeout(Duration::from_secs(5), connection).await.expect("an end").unwrap().unwrap();
    });
}

/// Who says the first word after its listener has gone is told to go like the others.
#[test]
fn who_comes_late_is_sent_away_too() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).start();
    let other = proxy.config_text().replace("address: \"127.0.0.1:0\"", "address: \"127.0.0.2:0\"");
    runtime().block_on(async {
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        tokio::task::block_in_place(|| {
            let inside =
                || (proxy.metric("evenkeel_connections", &["listener=\"default\""]) == 1.0).then_some(());
            eventually("the connection", inside);
            proxy.reload(&other);
            eventually("the reload", || (proxy.status()["generation"] == 2).then_some(()));
        });
        // This client would stay.
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), connection).await.expect("an end").unwrap();
        drop(client);
    });
}

/// What would mean something else in HTTP/1.1 is refused before an endpoint sees it, and the log says why.
#[test]
fn what_is_malformed_is_refused() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).start();
    let get = |uri: &str| Request::get(uri);
    let cases = [
        ("a quote", get("http://test.example/a\"b")),
        ("an escaped NUL", get("http://test.example/%00")),
        ("half an escape", get("http://test.example/%4")),
        ("a delimiter in the host", get("http://a,b/x")),
        ("port 0", get("http://test.example:0/x")),
        ("another host", get("http://test.example/x").header("host", "other.example")),
        ("a blank before a value", get("http://test.example/x").header("x-a", " 1")),
        ("a tab behind a value", get("http://test.example/x").header("x-a", "1\t")),
    ];
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for (what, case) in cases {
            let answer = request(&client, case.body(()).expect(what), &[]).await;
            assert_eq!(answer.status, 400, "{what}");
        }
        let good = Request::get("http://test.example/good").body(()).unwrap();
        assert_eq!(request(&client, good, &[]).await.status, 200);
    });
    assert_eq!(endpoint.count(), 1);
    let told = |detail: &str| {
        let log = std::fs::read_to_string(proxy.access_log_path()).unwrap_or_default();
        log.contains(detail).then_some(())
    };
    eventually("the reason in the log", || told("bad percent escape in the path"));
    eventually("the reason in the log", || told("blank at the beginning or end of a field's value"));
}

/// Cookies in several fields are one field for an endpoint of HTTP/1.1.
#[test]
fn cookies_are_joined() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let get = Request::get("http://test.example/x").header("cookie", "a=1").header("cookie", "b=2");
        assert_eq!(request(&client, get.body(()).unwrap(), &[]).await.status, 200);
    });
    let seen = endpoint.seen("/x");
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.head.raw.to_ascii_lowercase().matches("cookie:").count(), 1);
}

/// A client that gives no window for a response has the listener's time to do so; then its stream is reset.
#[test]
fn who_takes_nothing_is_not_waited_for() {
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).listener("timeouts: { write: 1s }").start();
    runtime().block_on(async {
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        let mut builder = h2::client::Builder::new();
        let (client, connection) =
            builder.initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let get = Request::get("http://test.example/x").body(()).unwrap();
        let begun = Instant::now();
        let mut body = client.send_request(get, true).unwrap().0.await.unwrap().into_body();
        let end = tokio::time::timeout(Duration::from_secs(5), body.data()).await.expect("an end");
        assert!(matches!(end, Some(Err(_))), "{end:?}");
        assert!(begun.elapsed() >= Duration::from_millis(900));
    });
}

/// A client that stops within a body has the listener's time to go on; then it is told so, and its endpoint is free.
#[test]
fn who_stops_within_a_body_is_not_waited_for() {
    if lacks("clients of HTTP/2 that stop") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = with_http2(&endpoint).listener("timeouts: { body: 3s }").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let post = Request::post("http://test.example/half").body(()).unwrap();
        let (response, mut body) = client.clone().ready().await.unwrap().send_request(post, false).unwrap();
        for _ in 0..4 {
            body.send_data(Bytes::from_static(b"some of it"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let end = tokio::time::timeout(Duration::from_secs(10), response).await.expect("an end");
        assert_eq!(end.unwrap().status(), 408);
        assert_eq!(get(&client, "/next").await.status, 200);
    });
    let record = proxy.record("/half");
    assert_eq!((record.text("cause"), record.number("bytes_in")), ("request_timeout", 40));
    proxy.metric_becomes("evenkeel_active_requests", 0.0);
}
