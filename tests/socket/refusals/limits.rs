//! The limits of a listener: what just fits is served, what is over it is refused with the status that says so.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Engine, Proxy, Response, SOON, engine, lasted};

fn limited(limits: &str) -> (Endpoint, Proxy) {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener(&format!("limits: {{ {limits} }}")).start();
    (endpoint, proxy)
}

#[track_caller]
fn expect_refusal(proxy: &Proxy, endpoint: &Endpoint, target: &str, status: u16, cause: &str) {
    let record = proxy.record(target);
    assert_eq!((record.status(), record.cause()), (u64::from(status), cause));
    assert!(endpoint.requests().iter().all(|seen| seen.target() != target || !seen.whole));
}

fn upload_chunks(client: &mut Client, target: &str, chunks: &[usize]) -> Response {
    client
        .send(format!("POST {target} HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for size in chunks {
        let _ = client.try_send(format!("{size:x}\r\n{}\r\n", "x".repeat(*size)));
    }
    let _ = client.try_send("0\r\n\r\n");
    client.response()
}

/// 413 by the length that is announced, before a byte of it is sent on.
#[test]
fn a_body_that_is_announced_too_long_is_413() {
    let (endpoint, mut proxy) = limited("body_size: 1KiB");
    proxy.client().upload("POST", "/fits", &[b'x'; 1024]).expect(200);
    proxy.client().upload("POST", "/over", &[b'x'; 1025]).expect(413);
    expect_refusal(&proxy, &endpoint, "/over", 413, "body_too_large");
    assert_eq!(endpoint.count_of("/over"), 0);
    proxy.is_unharmed(endpoint.open());
}

/// 413 by what comes, where no length is announced.
#[test]
fn a_chunked_body_that_grows_too_long_is_413() {
    let (endpoint, mut proxy) = limited("body_size: 1KiB");
    upload_chunks(&mut proxy.client(), "/fits", &[512, 512]).expect(200);
    upload_chunks(&mut proxy.client(), "/over", &[512, 512, 1]).expect(413);
    expect_refusal(&proxy, &endpoint, "/over", 413, "body_too_large");
    proxy.is_unharmed(endpoint.open());
}

/// Without a limit there is none.
#[test]
fn there_is_no_limit_of_bodies_by_default() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.client().upload("POST", "/x", &vec![b'x'; 12_000_000]).expect(200);
    assert_eq!(endpoint.seen("/x").body_length, 12_000_000);
}

/// 414. Pingora alone knows no limit of its own for targets.
#[test]
fn a_target_that_is_too_long_is_414() {
    let (endpoint, mut proxy) = limited("target_size: 100B");
    let fits = format!("/{}", "x".repeat(99));
    proxy.get(&fits).expect(200);
    let over = format!("/{}", "x".repeat(100));
    proxy.get(&over).expect(414);
    expect_refusal(&proxy, &endpoint, &over, 414, "target_too_long");
    proxy.is_unharmed(endpoint.open());
}

/// 431 by the number of fields.
#[test]
fn too_many_fields_are_431() {
    let (endpoint, mut proxy) = limited("header_count: 20");
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    // The client adds a Host of its own.
    proxy.client().request("GET", "/fits", &fields(19)).expect(200);
    proxy.client().request("GET", "/over", &fields(20)).expect(431);
    expect_refusal(&proxy, &endpoint, "/over", 431, "headers_too_large");
    proxy.is_unharmed(endpoint.open());
}

/// 431 by the size of all fields.
#[test]
fn too_large_fields_are_431() {
    let (endpoint, mut proxy) = limited("header_size: 4KiB");
    let field = |length: usize| format!("X-Long: {}\r\n", "x".repeat(length));
    proxy.client().request("GET", "/fits", &field(3900)).expect(200);
    proxy.client().request("GET", "/over", &field(4200)).expect(431);
    expect_refusal(&proxy, &endpoint, "/over", 431, "headers_too_large");
    proxy.is_unharmed(endpoint.open());
}

/// The limits that hold when nothing is written: 32 KiB, 100 fields, 8 KiB of target. Pingora alone takes 1 MiB and
/// 256 fields, and answers 400 above.
#[test]
fn the_default_limits() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    proxy.client().request("GET", "/many", &many(99)).expect(200);
    proxy.client().request("GET", "/too-many", &many(101)).expect(431);
    proxy.client().request("GET", "/long", &format!("X: {}\r\n", "x".repeat(30_000))).expect(200);
    proxy.client().request("GET", "/too-long", &format!("X: {}\r\n", "x".repeat(33_000))).expect(431);
    proxy.get(&format!("/{}", "t".repeat(8000))).expect(200);
    proxy.get(&format!("/{}", "t".repeat(8200))).expect(414);
    proxy.is_unharmed(endpoint.open());
}

/// 408: a body that stops coming, long before it is whole.
#[test]
fn a_body_that_stops_is_408() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listener("timeouts: { body: 700ms }").start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100\r\n\r\nonly this");
    let start = Instant::now();
    client.response().expect(408);
    let took = start.elapsed();
    lasted(Duration::from_millis(700), took);
    expect_refusal(&proxy, &endpoint, "/x", 408, "request_timeout");
    endpoint.wait_until_free(SOON);
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["failures"], 0);
    proxy.is_unharmed(endpoint.open());
}

/// A body that comes slowly, yet comes, is whole in the end.
#[test]
fn a_body_that_is_slow_is_served() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { body: 1500ms }").start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 6\r\n\r\n");
    for byte in b"slowly" {
        thread::sleep(Duration::from_millis(300));
        client.send([*byte]);
    }
    client.response().expect(200);
    assert_eq!(endpoint.seen("/x").body, b"slowly");
}

/// Fault 27: a byte now and then moves each deadline, but is less than the least rate.
#[test]
fn a_body_below_the_least_rate_is_408() {
    if engine() == Engine::Pingora {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .listener("limits: { body_rate: 100B }")
        .listener("timeouts: { body: 700ms }")
        .start();
    let mut slow = proxy.client();
    slow.send("POST /slow HTTP/1.1\r\nHost: test.example\r\nContent-Length: 60\r\n\r\n");
    let start = Instant::now();
    while slow.try_send("x").is_ok() && start.elapsed() < Duration::from_secs(3) && slow.is_open() {
        thread::sleep(Duration::from_millis(100));
    }
    slow.response().expect(408);
    assert!(start.elapsed() < SOON);
    let record = proxy.record("/slow");
    assert_eq!((record.cause(), record.text("detail")), ("request_timeout", "slower than limits.body_rate"));
    // Who sends more than that may take its time.
    let mut steady = proxy.client();
    steady.send("POST /steady HTTP/1.1\r\nHost: test.example\r\nContent-Length: 2400\r\n\r\n");
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(100));
        steady.send([b'x'; 200]);
    }
    steady.response().expect(200);
    assert_eq!(endpoint.seen("/steady").body_length, 2400);
}

/// Limits belong to a listener: another one of the same proxy has its own.
#[test]
fn each_listener_has_its_own_limits() {
    let endpoint = Endpoint::named("a");
    let proxy =
        Proxy::to([&endpoint]).listener("limits: { target_size: 50B }").listen("wide", "127.0.0.1:0").start();
    let target = format!("/{}", "x".repeat(80));
    Client::connect(&proxy.address_of("default")).get(&target).expect(414);
    Client::connect(&proxy.address_of("wide")).get(&target).expect(200);
}

/// Asking for an upgrade is no way around the limit: until there is one, a body is a body.
#[test]
fn a_body_that_asks_for_an_upgrade_has_the_limit_too() {
    let (endpoint, mut proxy) = limited("body_size: 1KiB");
    let mut client = proxy.client();
    client.send(
        "POST /over HTTP/1.1\r\nHost: test.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
    );
    for _ in 0..3 {
        let _ = client.try_send(format!("200\r\n{}\r\n", "x".repeat(512)));
    }
    client.response().expect(413);
    expect_refusal(&proxy, &endpoint, "/over", 413, "body_too_large");
    proxy.is_unharmed(endpoint.open());
}

/// A proxy with one route for everything and one for `/small`, which has these keys.
fn routed(listener: &str, keys: &str) -> (Endpoint, Proxy) {
    let endpoint = Endpoint::named("a");
    let small = format!("name: small, match: {{ paths: [/small] }}, pool: default, {keys}");
    let proxy = Proxy::config()
        .listener(&format!("limits: {{ {listener} }}"))
        .routes(&["name: rest, pool: default", &small])
        .pool("default", [&endpoint])
        .start();
    (endpoint, proxy)
}

/// A route's own limits refuse with the same statuses as a listener's, and the log says which route it was.
#[test]
fn a_route_has_limits_of_its_own() {
    let (endpoint, mut proxy) = routed(
        "header_count: 30",
        "limits: { header_size: 2KiB, header_count: 10, target_size: 50B, body_size: 1KiB }",
    );
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let long = |length: usize| format!("X: {}\r\n", "x".repeat(length));
    let target = |start: &str| format!("{start}{}", "x".repeat(50));
    let refused = |target: &str, status: u16, cause: &str| {
        expect_refusal(&proxy, &endpoint, target, status, cause);
        assert_eq!(proxy.record(target).text("route"), "small");
        assert_eq!(endpoint.count_of(target), 0);
    };
    proxy.client().request("GET", "/small/fits", &fields(9)).expect(200);
    proxy.client().request("GET", "/small/count", &fields(10)).expect(431);
    refused("/small/count", 431, "headers_too_large");
    proxy.client().request("GET", "/small/size", &long(3000)).expect(431);
    refused("/small/size", 431, "headers_too_large");
    proxy.get(&target("/small/")).expect(414);
    refused(&target("/small/"), 414, "target_too_long");
    proxy.client().upload("POST", "/small/body", &[b'x'; 1025]).expect(413);
    refused("/small/body", 413, "body_too_large");
    // Elsewhere, what the listener says holds alone.
    proxy.client().request("GET", "/rest/fits", &(fields(20) + &long(3000))).expect(200);
    proxy.get(&target("/rest/")).expect(200);
    proxy.client().upload("POST", "/rest/body", &[b'x'; 5000]).expect(200);
    proxy.is_unharmed(endpoint.open());
}

/// A body may be larger on a route than the listener says, or as large as it wants; chunked ones are counted.
#[test]
fn a_route_may_take_larger_bodies() {
    for (keys, fits) in [("limits: { body_size: 4KiB }", 4096), ("limits: { body_size: off }", 200_000)] {
        let (endpoint, proxy) = routed("body_size: 1KiB", keys);
        proxy.client().upload("POST", "/small/x", &vec![b'x'; fits]).expect(200);
        assert_eq!(endpoint.seen("/small/x").body_length, fits);
        upload_chunks(&mut proxy.client(), "/small/chunks", &[2000, 2000]).expect(200);
        proxy.client().upload("POST", "/rest", &[b'x'; 1025]).expect(413);
        if fits == 4096 {
            upload_chunks(&mut proxy.client(), "/small/over", &[2000, 2000, 97]).expect(413);
            expect_refusal(&proxy, &endpoint, "/small/over", 413, "body_too_large");
        }
    }
}

/// Fault 26: a header that comes byte by byte has one deadline in all, on a fresh connection and on a used one. The
/// engine `pingora` has a timeout for each read, which a trickle never meets.
#[test]
fn a_header_that_trickles_is_408() {
    if engine() == Engine::Pingora {
        return;
    }
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listener("timeouts: { header: 1s }").start();
    let mut used = proxy.client();
    used.get("/before").expect(200);
    for (mut client, target) in [(proxy.client(), "/fresh"), (used, "/used")] {
        let start = Instant::now();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test.example\r\nX: "));
        while start.elapsed() < Duration::from_millis(800) {
            let _ = client.try_send("y");
            thread::sleep(Duration::from_millis(50));
        }
        client.response().expect(408);
        let took = start.elapsed();
        lasted(Duration::from_secs(1), took);
        client.rest();
        expect_refusal(&proxy, &endpoint, target, 408, "request_timeout");
    }
    assert_eq!(endpoint.count(), 1);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 26: a client that says nothing at all is let go of as soon.
#[test]
fn a_silent_client_is_let_go_of() {
    if engine() == Engine::Pingora {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { header: 500ms }").start();
    let took = proxy.client().closed_within(SOON);
    assert!(took > Duration::from_millis(400), "after {took:?}");
}

/// Fault 38: a header of a megabyte, or of ten thousand fields, is refused as soon as it is too large, and not kept.
#[test]
fn a_header_bomb_is_431() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    proxy.get("/before").expect(200);
    let before = proxy.memory();
    let bombs = [format!("X: {}\r\n", "x".repeat(1 << 20)), "X: y\r\n".repeat(10_000)];
    for bomb in bombs.iter().cycle().take(20) {
        let mut client = proxy.client();
        let _ = client.try_send(format!("GET /x HTTP/1.1\r\nHost: test.example\r\n{bomb}\r\n"));
        // The engine `pingora` has a parser with limits of its own.
        let status = if engine() == Engine::Pingora { 400 } else { 431 };
        client.response().expect(status);
    }
    let most = if engine() == Engine::Pingora { 48_000_000 } else { 8_000_000 };
    proxy.grew_less_than(most, before);
    assert_eq!(endpoint.count(), 1);
    proxy.is_unharmed(endpoint.open());
}
