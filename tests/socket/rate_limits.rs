//! How often: rate limits by every key, what refused clients are told, and what reloads keep.

mod long;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::http2::{self, connect, get_of, runtime};
use crate::harness::{Client, Endpoint, Proxy, eventually};

/// An endpoint, and a proxy with one route to it with this key, that believes the tests about their clients.
fn limited(limit: &str) -> (Endpoint, Proxy) {
    let endpoint = Endpoint::named("a");
    let route = format!("name: api, pool: default, rate_limit: {limit}");
    let proxy = Proxy::to([&endpoint]).routes(&[&route]).listener("trusted_proxies: [127.0.0.1]");
    (endpoint, proxy.listener("h2c: true").start())
}

/// How many of so many requests pass.
fn passed(client: &mut Client, fields: &str, requests: usize) -> usize {
    let status = |_: usize| client.request("GET", "/", fields).status;
    let statuses: Vec<u16> = (0..requests).map(status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    statuses.into_iter().filter(|status| *status == 200).count()
}

fn from(client: &str) -> String {
    format!("X-Forwarded-For: {client}\r\n")
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    let (endpoint, proxy) = limited("[{ rate: 60/h, burst: 3 }, { rate: 1000/s, by: route }]");
    let mut client = proxy.client();
    assert_eq!(passed(&mut client, "", 3), 3);
    // The connection goes on.
    let refused = client.request("GET", "/refused", "").expect(429);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"client\";q=3;w=180, \"route\";q=1000;w=1"));
    assert_eq!(refused.header("ratelimit"), Some(format!("\"client\";r=0;t={after}").as_str()));
    let record = proxy.record("/refused");
    assert_eq!((record.cause(), record.text("limited")), ("rate_limited", "client"));
    assert_eq!((record.text("route"), endpoint.count()), ("api", 3));
    let labels = ["route=\"api\"", "limit=\"client\"", "dry_run=\"false\""];
    assert_eq!(proxy.metric("evenkeel_rate_limited_total", &labels), 1.0);
    let status = proxy.status();
    assert_eq!(
        (&status["rate_limits"][0]["refused"], &status["rate_limits"][0]["keys"]),
        (&1.into(), &1.into())
    );
    // No endpoint answered 429, so none is judged by it.
    assert_eq!(status["pools"][0]["endpoints"][0]["failures"], 0);
    // Whoever waits for as long as it says, passes.
    let (_endpoint, proxy) = limited("{ rate: 1/s, burst: 1 }");
    let mut client = proxy.client();
    client.request("GET", "/", "").expect(200);
    let refused = client.request("GET", "/", "").expect(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    thread::sleep(Duration::from_millis(1010));
    client.request("GET", "/", "").expect(200);
}

/// Row 19 of the public mistakes: an address is one that is trusted, IPv6 counts by /64, and IPv4-mapped is IPv4.
#[test]
fn clients_are_counted_apart() {
    let (_endpoint, proxy) = limited("{ rate: 1/h, burst: 2 }");
    let mut client = proxy.client();
    for (addresses, together) in [
        (&["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"][..], true),
        (&["192.0.2.2", "192.0.2.3", "192.0.2.4"], false),
        (&["2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:0:8000::"], true),
        (&["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"], false),
        (&["198.51.100.1, 203.0.113.9", "198.51.100.2, 203.0.113.9", "203.0.113.9"], true),
    ] {
        let passed: usize = addresses.iter().map(|address| passed(&mut client, &from(address), 1)).sum();
        assert_eq!(passed, if together { 2 } else { 3 }, "{addresses:?}");
    }
    // Strangers cannot name themselves.
    let endpoint = Endpoint::named("a");
    let route = "name: api, pool: default, rate_limit: { rate: 1/h, burst: 2 }";
    let proxy = Proxy::to([&endpoint]).routes(&[route]).start();
    let each = |number: u8| passed(&mut proxy.client(), &from(&format!("192.0.2.{number}")), 1);
    assert_eq!((0..5).map(each).sum::<usize>(), 2);
}

#[test]
fn headers_and_cookies_are_keys() {
    for (by, with) in [
        ("{ header: X-Api-Key }", (|key: &str| format!("x-api-key: {key}\r\n")) as fn(&str) -> String),
        ("{ cookie: key }", |key: &str| format!("Cookie: a=b; key={key}\r\n")),
    ] {
        let (_endpoint, proxy) = limited(&format!("{{ rate: 1/h, burst: 2, by: {by} }}"));
        let mut client = proxy.client();
        for key in ["one", "two"] {
            assert_eq!(passed(&mut client, &with(key), 5), 2, "{by}");
            let elsewhere = format!("{}{}", with(key), from("192.0.2.1"));
            assert_eq!(passed(&mut client, &elsewhere, 1), 0, "{by}: wherever it comes from");
        }
        // Without a key, by the client.
        assert_eq!(passed(&mut client, "", 5), 2, "{by}");
        assert_eq!(passed(&mut client, &with(""), 5), 0, "{by}: an empty one is none");
        assert_eq!(passed(&mut client, &from("192.0.2.1"), 5), 2, "{by}");
    }
    // Of two fields nobody knows which counts.
    let (_endpoint, proxy) = limited("{ rate: 1/h, burst: 2, by: { header: X-Key } }");
    let mut client = proxy.client();
    let twice = |number: usize| format!("X-Key: {number}\r\nX-Key: good\r\n");
    assert_eq!((0..5).map(|number| passed(&mut client, &twice(number), 1)).sum::<usize>(), 2);
    assert_eq!(passed(&mut client, "X-Key: good\r\n", 5), 2);
}

#[test]
fn all_limits_of_a_list_hold_and_a_refused_request_counts_in_none() {
    let (_endpoint, proxy) = limited(
        "[{ rate: 1/h, burst: 4, by: route }, { rate: 1/h, burst: 2 }, { rate: 1/h, burst: 1, dry_run: true }]",
    );
    let mut client = proxy.client();
    assert_eq!(passed(&mut client, "", 9), 2, "by client");
    assert_eq!(passed(&mut client, &from("192.0.2.1"), 9), 2, "the first client has left two of the route");
    assert_eq!(passed(&mut client, &from("192.0.2.2"), 9), 0, "by route");
    let dry = ["dry_run=\"true\""];
    assert!(proxy.metric("evenkeel_rate_limited_total", &dry) >= 2.0);
    let records = proxy.records_of("/", 27);
    let would: Vec<_> =
        records.iter().filter(|record| record.text("limited_dry_run") == "client 2").collect();
    assert!(would.iter().any(|record| record.status() == 200), "a dry run refuses nobody");
}

/// Row 23 of the public mistakes, and HTTP/2 and gRPC: however a request comes, it counts.
#[test]
fn every_framing_counts() {
    let (endpoint, proxy) = limited("{ rate: 1/h, burst: 4 }");
    let mut client = proxy.client();
    for body in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"] {
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{body}"));
        client.response().expect(200);
    }
    let runtime = runtime();
    let connection = runtime.block_on(connect(&proxy.address()));
    let ask = |grpc: bool| {
        let mut request = get_of("/h2");
        if grpc {
            *request.method_mut() = http::Method::POST;
            request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        }
        runtime.block_on(http2::request(&connection, request, &[]))
    };
    assert_eq!([(); 3].map(|()| ask(false).status.as_u16()), [200, 200, 429]);
    assert_eq!(ask(true).status, 200);
    assert_eq!(proxy.records_of("/h2", 4).pop().unwrap().number("grpc_status"), 8);
    for body in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{body}"));
        client.response().expect(429);
    }
    assert_eq!(endpoint.count(), 4);
}

#[test]
fn who_is_denied_uses_up_nothing() {
    let endpoint = Endpoint::named("a");
    let route = "name: api, pool: default, deny: [192.0.2.1], rate_limit: { rate: 1/h, burst: 2, by: route }";
    let proxy = Proxy::to([&endpoint]).routes(&[route]).listener("trusted_proxies: [127.0.0.1]").start();
    let mut client = proxy.client();
    for _ in 0..5 {
        client.request("GET", "/", &from("192.0.2.1")).expect(403);
    }
    assert_eq!(passed(&mut client, "", 5), 2);
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let (_endpoint, proxy) = limited("{ rate: 1/h, burst: 2 }");
    let mut client = proxy.client();
    assert_eq!(passed(&mut client, "", 5), 2);
    let mut generation = 1;
    let mut reload = |old: &str, new: &str| {
        generation += 1;
        let text = proxy.config_text().replace(old, new);
        proxy.reload(&text);
        eventually("the reload", || (proxy.status()["generation"] == generation).then_some(()));
    };
    reload("name: api,", "name: api, timeout: 9s,");
    assert_eq!(passed(&mut client, "", 5), 0, "the same limit");
    reload("burst: 2 }", "burst: 3 }");
    assert_eq!(passed(&mut client, "", 5), 1, "a larger burst");
    reload("rate: 1/h, burst: 2", "rate: 100/s, burst: 10");
    eventually("a faster rate pays the debt off", || (passed(&mut client, "", 1) == 1).then_some(()));
    reload("burst: 2 }", "burst: 2, table: 7 }");
    assert_eq!(passed(&mut client, "", 5), 2, "another table begins anew");
}

/// For some seconds, from several clients at once, with one worker and with four: the rate, and no more.
#[test]
fn the_rate_is_exact_whatever_the_number_of_threads() {
    const RATE: f64 = 200.0;
    const BURST: f64 = 200.0;
    for threads in [1, 4] {
        let endpoint = Endpoint::named("a");
        let route = "name: api, pool: default, rate_limit: { rate: 200/s, burst: 200, by: route }";
        let server = format!("threads: {threads}, drain: 10s");
        let proxy = Proxy::to([&endpoint]).routes(&[route]).server(&server).start();
        let (all, begun) = (AtomicUsize::new(0), Instant::now());
        let address = proxy.address();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(&address);
                    while begun.elapsed() < Duration::from_secs(4) {
                        all.fetch_add(passed(&mut client, "", 5), Ordering::Relaxed);
                    }
                });
            }
        });
        let (all, expected) = (all.into_inner() as f64, BURST + RATE * begun.elapsed().as_secs_f64());
        assert!(all <= expected + 1.0, "{threads} threads: {all} of {expected}");
        assert!(all >= expected * 0.99 - 4.0, "{threads} threads: {all} of {expected}");
    }
}
