//! Copies of requests for another pool: what they carry, when there is none, and that no request waits for its copy.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Version};

use crate::harness::http2::{connect, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, ProxyBuilder, SOON, eventually, lacks, nobody_listens};

const ROW: &str = "`mirror`";

/// Every request goes to the first, and a copy to the second.
fn mirrored(endpoint: &Endpoint, shadow: impl std::fmt::Display, keys: &str) -> ProxyBuilder {
    Proxy::to([endpoint])
        .routes(&[&format!("pool: default, mirror: {{ pool: shadow, {keys} }}")])
        .pool("shadow", [shadow])
        .listener("h2c: true")
}

fn dropped(proxy: &Proxy, cause: &str) -> f64 {
    proxy.metric("evenkeel_mirror_dropped_total", &["route=\"default\"", &format!("cause=\"{cause}\"")])
}

/// The fields that an endpoint has seen, in small letters and in order, without that of the framing.
fn fields(seen: &crate::harness::Seen) -> Vec<(String, String)> {
    let mut fields: Vec<_> =
        seen.head.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    fields.retain(|(name, _)| name != "transfer-encoding" && name != "content-length");
    fields.sort();
    fields
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 251) as u8 ^ (index % 251) as u8).collect()
}

/// The path as it is rewritten, the fields as they are edited, the id, and every byte of the body.
#[test]
fn a_copy_is_what_the_endpoint_sees() {
    if lacks(ROW) {
        return;
    }
    let (endpoint, shadow) = (Endpoint::named("a"), Endpoint::named("shadow"));
    let route = "pool: default, mirror: { pool: shadow }, rewrite: { strip_prefix: /api }, \
                 request_headers: { set: { X-Client: \"{client}\" }, remove: [X-Debug] }";
    let proxy =
        Proxy::to([&endpoint]).routes(&[route]).pool("shadow", [&shadow]).listener("h2c: true").start();
    let mut client = proxy.client();
    client
        .request("GET", "/api/get?a=b&c", "X-Debug: 1\r\nX-Two: a\r\nX-Two: b\r\nCookie: a=b\r\n")
        .expect(200);
    client.upload("POST", "/api/length", &body(50_000)).expect(200);
    client.send("PUT /api/chunks HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body(50_000).chunks(700) {
        client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    client.send("0\r\n\r\n").response().expect(200);
    client.upload("POST", "/api/empty", b"").expect(200);
    client.request("DELETE", "/api/delete", "").expect(200);
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let request = Request::post("http://test.example/api/http2").body(()).unwrap();
        let (response, mut stream) =
            client.clone().ready().await.unwrap().send_request(request, false).unwrap();
        stream.send_data(Bytes::from(body(50_000)), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    for (target, length) in [
        ("/get?a=b&c", 0),
        ("/length", 50_000),
        ("/chunks", 50_000),
        ("/empty", 0),
        ("/delete", 0),
        ("/http2", 50_000),
    ] {
        let (original, copy) = (endpoint.seen(target), shadow.seen(target));
        assert_eq!(original.head.start_line, copy.head.start_line);
        assert_eq!(fields(&original), fields(&copy), "{target}");
        assert!(original.body == body(length) && copy.body == body(length), "{target}");
        assert!(copy.whole && copy.header("x-request-id").is_some());
        assert_eq!(copy.header("host"), Some("test.example"));
        assert_eq!(proxy.record(&format!("/api{target}")).text("mirror"), "sent");
    }
    // The endpoint's answers are read, so connections are used again.
    eventually("the copies to be over", || {
        (proxy.metric("evenkeel_mirror_in_flight", &[]) == 0.0).then_some(())
    });
    assert_eq!(proxy.metric("evenkeel_mirror_sent_total", &["route=\"default\"", "pool=\"shadow\""]), 6.0);
    assert_eq!(proxy.metric("evenkeel_mirror_answered_total", &["class=\"2xx\""]), 6.0);
    let status = proxy.status();
    assert_eq!((&status["mirrors"][0]["pool"], &status["mirrors"][0]["sent"]), (&"shadow".into(), &6.into()));
    assert!(shadow.connections() <= endpoint.connections() + 1, "{}", shadow.connections());
}

/// Whatever the mirror does, and however long it takes: it answers nothing, refuses, answers too much, or is not there.
#[test]
fn no_mirror_is_waited_for() {
    if lacks(ROW) {
        return;
    }
    let hanging = || {
        Endpoint::scripted("hangs", |exchange| {
            exchange.hang();
        })
    };
    let failing = Endpoint::scripted("fails", |exchange| {
        exchange.drain_body();
        exchange.status("500 Internal Server Error", "", "no");
    });
    let breaking = Endpoint::scripted("breaks", |exchange| {
        exchange.drain_body();
        exchange.reset();
    });
    let endless = Endpoint::scripted("endless", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while exchange.chunk(&"x".repeat(10_000)) {}
    });
    let garbage = Endpoint::scripted("garbage", |exchange| {
        exchange.send("no HTTP\r\n\r\n");
    });
    for (shadow, result) in [
        (hanging(), "dropped"),
        (failing, "answered"),
        (breaking, "failed"),
        (endless, "answered"),
        (garbage, "failed"),
        (nobody_listens(), "failed"),
    ] {
        let endpoint = Endpoint::named("a");
        let proxy = mirrored(&endpoint, &shadow, "requests: 5, timeout: 60s").start();
        let mut client = proxy.client();
        let start = Instant::now();
        for _ in 0..50 {
            client.get("/get").expect(200);
            client.upload("POST", "/post", &body(1000)).expect(200);
        }
        assert!(start.elapsed() < SOON, "{}: {:?}", shadow.name, start.elapsed());
        eventually(&format!("{} to be counted as {result}", shadow.name), || {
            let name = format!("evenkeel_mirror_{result}_total");
            (proxy.metric(&name, &[]) > 0.0).then_some(())
        });
        assert_eq!(proxy.metric("evenkeel_endpoint_failures_total", &["pool=\"default\""]), 0.0);
        assert_eq!(proxy.metric("evenkeel_retries_total", &["pool=\"default\""]), 0.0);
        for record in proxy.records() {
            assert_eq!((record.status(), record.cause(), record.attempts().len()), (200, "", 1));
        }
        let said = match result {
            "dropped" => "requests are not mirrored",
            "failed" => "mirrored requests fail",
            _ => continue,
        };
        let event = proxy.event(said, |event| event.message() == said);
        assert_eq!((event.text("route"), event.text("pool")), ("default", "shadow"));
    }
}

/// Of a mirror that hangs there are as many copies as may be, and they end with their time.
#[test]
fn copies_are_bounded_in_number_and_time() {
    if lacks(ROW) {
        return;
    }
    let (endpoint, shadow) = (
        Endpoint::named("a"),
        Endpoint::scripted("hangs", |exchange| {
            exchange.hang();
        }),
    );
    let proxy = mirrored(&endpoint, &shadow, "requests: 3, timeout: 1s").start();
    let mut client = proxy.client();
    for _ in 0..10 {
        client.get("/x").expect(200);
    }
    shadow.wait_for_requests(3);
    assert_eq!((shadow.count(), dropped(&proxy, "too_many")), (3, 7.0));
    let of_log =
        |result: &str| proxy.records_of("/x", 10).iter().filter(|one| one.text("mirror") == result).count();
    assert_eq!((of_log("sent"), of_log("too_many")), (3, 7));
    eventually("their time to be over", || {
        (proxy.metric("evenkeel_mirror_failed_total", &["cause=\"response_timeout\""]) == 3.0).then_some(())
    });
    assert_eq!(proxy.metric("evenkeel_mirror_in_flight", &[]), 0.0);
    client.get("/again").expect(200);
    assert_eq!(proxy.record("/again").text("mirror"), "sent");
}

#[test]
fn a_body_that_is_too_large_or_never_whole_is_not_copied() {
    if lacks(ROW) {
        return;
    }
    let (endpoint, shadow) = (Endpoint::named("a"), Endpoint::named("shadow"));
    let proxy = mirrored(&endpoint, &shadow, "body_size: 10KiB").start();
    let mut client = proxy.client();
    client.upload("POST", "/fits", &body(10_240)).expect(200);
    client.upload("POST", "/announced", &body(10_241)).expect(200);
    client.send("POST /chunks HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body(500_000).chunks(5000) {
        client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    client.send("0\r\n\r\n").response().expect(200);
    let mut leaving = proxy.client();
    leaving.send("POST /leaving HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100\r\n\r\nhalf");
    endpoint.wait_for_requests(4);
    leaving.reset();
    for (target, result) in [
        ("/fits", "sent"),
        ("/announced", "body_too_large"),
        ("/chunks", "body_too_large"),
        ("/leaving", "body_incomplete"),
    ] {
        assert_eq!(proxy.record(target).text("mirror"), result, "{target}");
    }
    for (target, length) in [("/fits", 10_240), ("/announced", 10_241), ("/chunks", 500_000)] {
        assert_eq!(
            (endpoint.seen(target).body_length, endpoint.seen(target).whole),
            (length, true),
            "{target}"
        );
    }
    assert_eq!((shadow.seen("/fits").body_length, shadow.count()), (10_240, 1));
    assert_eq!((dropped(&proxy, "body_too_large"), dropped(&proxy, "body_incomplete")), (2.0, 1.0));
    assert_eq!(proxy.metric("evenkeel_mirror_in_flight", &[]), 0.0);
}

/// A request that is tried twice is copied once, with its whole body.
#[test]
fn a_retry_makes_no_second_copy() {
    if lacks(ROW) {
        return;
    }
    let busy = Endpoint::scripted("busy", |exchange| {
        exchange.drain_body();
        exchange.status("503 Service Unavailable", "", "busy");
    });
    let (well, shadow) = (Endpoint::named("well"), Endpoint::named("shadow"));
    let proxy = Proxy::to([busy.to_string(), well.to_string()])
        .with("retry: { on: [connect, 503], methods: [GET, POST], backoff: off, budget: off }")
        .routes(&["pool: default, mirror: { pool: shadow }"])
        .pool("shadow", [&shadow])
        .start();
    let mut client = proxy.client();
    for number in 0..4 {
        client.upload("POST", &format!("/{number}"), &body(20_000)).expect(200);
        client.get(&format!("/get{number}")).expect(200);
    }
    assert!(busy.count() > 0);
    for number in 0..4 {
        assert!(shadow.seen(&format!("/{number}")).body == body(20_000));
        shadow.seen(&format!("/get{number}"));
    }
    assert_eq!(shadow.count(), 8);
    // Nothing goes to an endpoint, so nothing is copied.
    let proxy = mirrored(&nobody_listens(), &shadow, "").start();
    proxy.get("/nowhere").expect(503);
    assert!(proxy.record("/nowhere").0["mirror"].is_null());
    assert_eq!(shadow.count_of("/nowhere"), 0);
}

#[test]
fn what_is_buffered_is_copied_at_once() {
    if lacks(ROW) {
        return;
    }
    let (endpoint, shadow) = (Endpoint::named("a"), Endpoint::named("shadow"));
    let route = "pool: default, buffer_request: 1MiB, mirror: { pool: shadow, body_size: 100KiB }";
    let proxy = Proxy::to([&endpoint]).routes(&[route]).pool("shadow", [&shadow]).start();
    let mut client = proxy.client();
    client.upload("POST", "/x", &body(60_000)).expect(200);
    client.upload("POST", "/large", &body(200_000)).expect(200);
    assert!(shadow.seen("/x").body == body(60_000));
    assert_eq!(proxy.record("/large").text("mirror"), "body_too_large");
    assert_eq!(endpoint.seen("/large").body_length, 200_000);
}

#[test]
fn a_share_of_some_methods() {
    if lacks(ROW) {
        return;
    }
    let (endpoint, shadow) = (Endpoint::named("a"), Endpoint::named("shadow"));
    let proxy = mirrored(&endpoint, &shadow, "share: 50%, methods: [GET], requests: 1000").start();
    let mut client = proxy.client();
    for _ in 0..400 {
        // The id is the client's, so it must not decide.
        client.request("GET", "/get", "X-Request-Id: always-the-same\r\n").expect(200);
    }
    client.request("HEAD", "/head", "").expect(200);
    client.upload("POST", "/post", b"body").expect(200);
    eventually("the copies", || (proxy.metric("evenkeel_mirror_in_flight", &[]) == 0.0).then_some(()));
    // Six standard deviations.
    assert!((140..=260).contains(&shadow.count_of("/get")), "{}", shadow.count_of("/get"));
    assert_eq!(shadow.count(), shadow.count_of("/get"));
}

/// The mirror's pool says which `Host` it gets, and speaks its own version of HTTP.
#[test]
fn a_mirror_is_a_pool_of_its_own() {
    if lacks(ROW) {
        return;
    }
    let (endpoint, shadow) = (Endpoint::named("a"), Endpoint::named("shadow"));
    for (of_pool, of_shadow, expected) in [
        ("preserve", "preserve", "test.example"),
        ("endpoint", "preserve", "test.example"),
        ("preserve", "endpoint", shadow.address()),
        ("endpoint", "staging.example", "staging.example"),
    ] {
        let target = format!("/{of_pool}-{of_shadow}");
        let proxy = Proxy::to([&endpoint])
            .with(&format!("host: {of_pool}"))
            .routes(&["pool: default, mirror: { pool: shadow }"])
            .pool("shadow", [&shadow])
            .with(&format!("host: {of_shadow}"))
            .start();
        proxy.get(&target).expect(200);
        assert_eq!(shadow.seen(&target).header("host"), Some(expected), "{target}");
    }
    let http2 = Http2Endpoint::scripted(|mut call| async move {
        let length = call.body_length().await.unwrap_or_default();
        call.answer(length.to_string());
    });
    let proxy = mirrored(&endpoint, &http2, "").with("protocol: h2").start();
    proxy.client().upload("POST", "/x?y", &body(5000)).expect(200);
    let seen = eventually("the copy", || http2.seen().first().cloned());
    assert_eq!((seen.version, seen.method.as_str(), seen.uri.path()), (Version::HTTP_2, "POST", "/x"));
    assert_eq!(seen.uri.authority().map(|authority| authority.as_str()), Some("test.example"));
    assert_eq!(seen.headers["content-length"], "5000");
    proxy.metric_becomes("evenkeel_mirror_answered_total", 1.0);
}

/// What was counted stays; another pool begins anew, and without a mirror there is none.
#[test]
fn reloads_change_mirrors() {
    if lacks(ROW) {
        return;
    }
    let (endpoint, shadow) = (Endpoint::named("a"), Endpoint::named("shadow"));
    let proxy = mirrored(&endpoint, &shadow, "share: 100%").start();
    let mut client = proxy.client();
    client.get("/first").expect(200);
    shadow.seen("/first");
    let text = proxy.config_text().to_owned();
    proxy.reload(&text.replace("share: 100%", "methods: [GET]"));
    proxy.event("the reload", |event| event.message() == "config reloaded");
    client.get("/second").expect(200);
    shadow.seen("/second");
    assert_eq!(proxy.metric("evenkeel_mirror_sent_total", &[]), 2.0);
}

/// Many at once: while a mirror is stopped, requests take as long as without one.
#[test]
fn a_stopped_mirror_changes_no_times() {
    if lacks(ROW) {
        return;
    }
    let endpoint = Endpoint::named("a");
    let slowest_tenth = |proxy: &Proxy| {
        let times = thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = proxy.client();
                        let timed = |_| {
                            let start = Instant::now();
                            client.get("/x").expect(200);
                            start.elapsed()
                        };
                        (0..150).map(timed).collect::<Vec<Duration>>()
                    })
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        let mut times = times;
        times.sort();
        times[times.len() * 9 / 10]
    };
    let stopped = Endpoint::scripted("stopped", |exchange| {
        exchange.hang();
    });
    let plain = Proxy::to([&endpoint]).start();
    let with_mirror = mirrored(&endpoint, &stopped, "requests: 20").start();
    sleep(Duration::from_millis(10));
    let (without, with) = (slowest_tenth(&plain), slowest_tenth(&with_mirror));
    // A machine that has much else to do is slow to both; what waits for a mirror takes its ten seconds.
    assert!(with < without * 10 + Duration::from_millis(500), "{without:?} without, {with:?} with");
    assert_eq!(dropped(&with_mirror, "too_many") + 20.0, 600.0);
}
