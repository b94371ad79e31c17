//! Limits of requests in flight, and the queues beyond them: order, bounds, who leaves, and what a reload changes.

mod overload;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::frames::*;
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{
    ASKS_FOR_WEBSOCKET, Client, Endpoint, Engine, Gate, Proxy, SOON, SWITCHING, engine, eventually, lacks,
    lasted,
};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n")
}

/// An endpoint whose answers to `.../held` wait for a gate.
fn held() -> (Gate, Endpoint) {
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target().ends_with("/held") {
            opened.wait();
        }
        exchange.answer("served");
    });
    (gate, endpoint)
}

/// Waits until so many wait in the queue of the first pool, or of the first route that has one.
fn waiting(proxy: &Proxy, count: u64) {
    eventually(&format!("{count} that wait"), || {
        let status = proxy.status();
        let of_route = status["routes"][0]["queue"]["waiting"].as_u64().unwrap_or(0);
        (status["pools"][0]["waiting"].as_u64().unwrap() + of_route == count).then_some(())
    });
}

/// Sends a request on a connection of its own.
fn sent(proxy: &Proxy, request: impl AsRef<[u8]>) -> Client {
    let mut client = proxy.client();
    client.send(request);
    client
}

#[test]
fn beyond_a_limit_requests_wait_in_order() {
    for of_route in [true, false] {
        let (gate, endpoint) = held();
        let limits = "limits: { requests: 1, wait: 9s, shed: off }";
        let proxy = match of_route {
            true => Proxy::to([&endpoint]).routes(&[&format!("name: r, pool: default, {limits}")]),
            false => Proxy::to([&endpoint]).with(limits),
        };
        let proxy = proxy.start();
        let mut clients = vec![sent(&proxy, get("/held"))];
        endpoint.wait_for_requests(1);
        for number in 1..=4 {
            clients.push(sent(&proxy, get(&format!("/{number}"))));
            waiting(&proxy, number);
        }
        gate.open();
        clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
        let order: Vec<_> = endpoint.requests().iter().map(|seen| seen.target().to_owned()).collect();
        assert_eq!(order, ["/held", "/1", "/2", "/3", "/4"]);
        let record = proxy.record("/4");
        assert!(record.seconds("waited_seconds") > 0.0);
        assert_eq!(record.0["waited_for"][0], if of_route { "route" } else { "pool" });
        waiting(&proxy, 0);
        let kind = if of_route { "route" } else { "pool" };
        assert_eq!(proxy.metric(&format!("evenkeel_{kind}_waits_total"), &[]), 4.0);
        eventually("the end to be counted", || {
            (proxy.metric(&format!("evenkeel_{kind}_in_flight"), &[]) == 0.0).then_some(())
        });
    }
}

#[test]
fn the_bounds_of_a_queue_are_said() {
    let (gate, endpoint) = held();
    let proxy = Proxy::to([&endpoint])
        .routes(&[
            "name: low, pool: default, match: { paths: [/low] }, priority: low",
            "name: route, pool: default, match: { paths: [/route] }, limits: { requests: 1, queue: 0 }",
            "name: rest, pool: default, priority: { header: X-Priority }",
        ])
        .with("limits: { requests: 2, queue: 1, wait: 600ms }")
        .start();
    let first = [sent(&proxy, get("/held")), sent(&proxy, get("/route/held"))];
    endpoint.wait_for_requests(1);
    eventually("two in flight", || (proxy.status()["pools"][0]["in_flight"] == 2).then_some(()));
    // A route with room for one.
    let refused = proxy.get("/route/full").expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(proxy.record("/route/full").cause(), "route_full");

    let mut low = sent(&proxy, get("/low"));
    waiting(&proxy, 1);
    proxy.get("/low/full").expect(503);
    let begun = Instant::now();
    let mut high = sent(&proxy, "GET /high HTTP/1.1\r\nHost: test.example\r\nX-Priority: high\r\n\r\n");
    low.response().expect(503);
    high.response().expect(503);
    lasted(Duration::from_millis(600), begun.elapsed());
    for (target, cause) in [("/low/full", "queue_full"), ("/low", "overloaded"), ("/high", "queue_expired")] {
        let record = proxy.record(target);
        assert_eq!((record.status(), record.cause()), (503, cause), "{target}");
    }
    let told = proxy.event("why", |event| event.message() == "requests of the pool are refused");
    assert_eq!(told.text("pool"), "default");
    let said = proxy.command(&["status"]).stdout;
    assert!(said.contains("1 refused by the full queue, 1 waited in vain, 1 shed"), "{said}");
    assert!(said.contains("route route, 1 of at most 1 in flight, 1 refused"), "{said}");
    for cause in ["full", "expired", "shed"] {
        let cause = format!("cause=\"{cause}\"");
        assert_eq!(proxy.metric("evenkeel_pool_queue_refused_total", &[&cause]), 1.0);
    }
    gate.open();
    drop(first);
}

/// A queue full of clients that have gone, however they went: the next live one waits, and is served next.
#[test]
fn clients_that_have_gone_take_no_place() {
    if lacks("a client of HTTP/1.1 that goes while its request waits for room") {
        return;
    }
    let (gate, endpoint) = held();
    let proxy = Proxy::to([&endpoint])
        .listener("h2c: true")
        .with("limits: { requests: 1, queue: 6, wait: 30s, shed: off }")
        .start();
    let mut first = sent(&proxy, get("/held"));
    endpoint.wait_for_requests(1);
    let post = format!(
        "POST /gone HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100000\r\n\r\n{}",
        "x".repeat(99_999)
    );
    let requests = [get("/gone"), post.clone(), get("/gone"), post];
    let mut clients: Vec<_> = requests.iter().map(|request| sent(&proxy, request)).collect();
    let mut http2 = FrameClient::connect(&proxy.address());
    let fields = [vec![0x82, 0x86], field(":authority", "a.example"), field(":path", "/gone")].concat();
    let post = [vec![0x83, 0x86], field(":authority", "a.example"), field(":path", "/gone")].concat();
    http2.send(frame(HEADERS, WHOLE, 1, fields));
    http2.send(frame(HEADERS, END_HEADERS, 3, post));
    waiting(&proxy, 6);
    proxy.get("/full").expect(503);

    let went = Instant::now();
    clients.drain(2..).for_each(Client::reset);
    clients.iter_mut().for_each(Client::half_close);
    for stream in [1, 3] {
        http2.send(frame(RST_STREAM, 0, stream, [0, 0, 0, 8]));
    }
    waiting(&proxy, 0);
    assert!(went.elapsed() < SOON);
    let records = proxy.records_of("/gone", 6);
    assert!(records.iter().all(|record| record.status() == 499), "{records:?}");
    let mut live = sent(&proxy, get("/live"));
    waiting(&proxy, 1);
    gate.open();
    first.response().expect(200);
    live.response().expect(200);
    assert_eq!(endpoint.count_of("/gone"), 0);
}

/// A client that has closed its side only, with a body that nobody reads, waits on where that is allowed.
#[test]
fn half_a_client_keeps_its_place() {
    if lacks("a client of HTTP/1.1 that goes while its request waits for room") {
        return;
    }
    let (gate, endpoint) = held();
    let proxy = Proxy::to([&endpoint])
        .listener("half_close: true")
        .with("limits: { requests: 1, wait: 30s, shed: off }")
        .start();
    let mut first = sent(&proxy, get("/held"));
    endpoint.wait_for_requests(1);
    let post = format!(
        "POST /half HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100000\r\n\r\n{}",
        "x".repeat(100_000)
    );
    let mut half = sent(&proxy, post);
    waiting(&proxy, 1);
    half.half_close();
    thread::sleep(Duration::from_millis(700));
    // The worker is free all the time.
    proxy.admin("/livez").expect(200);
    waiting(&proxy, 1);
    gate.open();
    first.response().expect(200);
    half.response().expect(200);
}

/// An endpoint that takes a moment for each request, and the most that it had at a time.
fn busy(name: &str, highest: Arc<AtomicUsize>) -> (Endpoint, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), highest.clone());
    let endpoint = Endpoint::scripted(name, move |exchange| {
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        thread::sleep(Duration::from_millis(2));
        // Before the answer, with which the proxy may let in another request.
        now.fetch_sub(1, SeqCst);
        exchange.answer("served");
    });
    (endpoint, highest)
}

/// As many as the limit says are at the endpoint at a time, and never one more.
#[test]
fn limits_are_exact_over_all_workers() {
    const MOST: usize = 7;
    for (threads, of_route) in [(2, true), (2, false), (4, false)] {
        let (endpoint, highest) = busy("a", Arc::default());
        let limits = format!("limits: {{ requests: {MOST}, wait: 9s, shed: off }}");
        let proxy = Proxy::to([&endpoint]).server(&format!("threads: {threads}"));
        let proxy = match of_route {
            true => proxy.routes(&[&format!("name: r, pool: default, {limits}")]),
            false => proxy.with(&limits),
        };
        let proxy = proxy.start();
        let tally = crate::harness::load(&proxy.address(), 30, 40);
        assert_eq!(tally["served"], 1200);
        assert_eq!(highest.load(SeqCst), MOST, "{threads} threads");
        eventually("nobody in flight", || {
            let status = proxy.status();
            let of_route = status["routes"][0]["in_flight"].as_u64().unwrap_or(0);
            (status["pools"][0]["in_flight"] == 0 && of_route == 0).then_some(())
        });
    }
}

/// Two endpoints of which each has its limit, whatever the policy: what is beyond waits, and none has one more.
#[test]
fn limits_of_endpoints_are_exact_over_all_workers() {
    const MOST: usize = 3;
    for (threads, keys) in [
        (2, "limits: { endpoint_requests: 3, wait: 9s, shed: off }"),
        (
            4,
            "limits: { endpoint_requests: 3, requests: 5, wait: 9s, shed: off }\n    balance: least_requests",
        ),
    ] {
        let all: Vec<_> = ["a", "b"].map(|name| busy(name, Arc::default())).into();
        let proxy =
            Proxy::to(all.iter().map(|(endpoint, _)| endpoint)).server(&format!("threads: {threads}"));
        let proxy = proxy.with(keys).start();
        let tally = crate::harness::load(&proxy.address(), 20, 40);
        assert_eq!(tally["served"], 800);
        for (endpoint, highest) in &all {
            let highest = highest.load(SeqCst);
            assert!(highest <= MOST && endpoint.count() > 200, "{highest} of {}", endpoint.count());
        }
        waiting(&proxy, 0);
        assert!(proxy.metric("evenkeel_pool_waits_total", &[]) > 0.0);
        eventually("nobody in flight", || {
            (proxy.metric("evenkeel_endpoint_in_flight", &[]) == 0.0).then_some(())
        });
    }
}

/// An endpoint that has as many as it may have is passed over; where all have, requests wait, also those that failed
/// elsewhere.
#[test]
fn an_endpoint_without_room_is_passed_over() {
    let (gate, held) = held();
    let fails = Endpoint::scripted("b", |exchange| exchange.reset());
    let proxy = Proxy::to([&held, &fails]).with("limits: { endpoint_requests: 1, wait: 9s }").start();
    let mut first = sent(&proxy, get("/held"));
    eventually("one that is held", || (held.count() == 1).then_some(()));
    // It has failed at the one, and there is no room at the other.
    let mut second = sent(&proxy, get("/second"));
    waiting(&proxy, 1);
    gate.open();
    first.response().expect(200);
    second.response().expect(200);
    let record = proxy.record("/second");
    assert_eq!(record.0["waited_for"][0], "endpoint");
    assert_eq!(record.endpoints().last().map(String::as_str), Some(held.address()));
}

/// No more connections than may be, idle ones included, and each worker has one when it needs one.
#[test]
fn connections_to_an_endpoint_are_limited_over_all_workers() {
    if lacks("`limits.endpoint_connections`") {
        return;
    }
    for (threads, most, clients) in [(2, 1, 6), (2, 3, 12), (4, 2, 12)] {
        let (endpoint, highest) = busy("a", Arc::default());
        let proxy = Proxy::to([&endpoint])
            .server(&format!("threads: {threads}"))
            .with(&format!("limits: {{ endpoint_connections: {most}, wait: 9s, shed: off }}"))
            .start();
        let open = thread::scope(|scope| {
            let load = scope.spawn(|| crate::harness::load(&proxy.address(), clients, 40));
            let mut open: f64 = 0.0;
            while !load.is_finished() {
                open = open.max(proxy.metric("evenkeel_endpoint_connections", &[]));
            }
            assert_eq!(load.join().unwrap()["served"], clients * 40);
            open
        });
        assert!(open <= most as f64, "{open} of {most}");
        assert!(highest.load(SeqCst) <= most);
        let of_endpoint = proxy.endpoint_status(endpoint.address()).unwrap();
        assert_eq!(
            (of_endpoint["failures"].as_u64(), of_endpoint["state"].as_str()),
            (Some(0), Some("healthy"))
        );
    }
}

/// Over HTTP/2 as many connections, with many streams each; who finds none free waits, and the endpoint is not blamed.
#[test]
fn connections_of_http2_are_limited_too() {
    if lacks("`limits.endpoint_connections`") {
        return;
    }
    let endpoint = Http2Endpoint::scripted(|call| async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        call.answer("served");
    });
    let proxy = Proxy::to([&endpoint])
        .with("protocol: h2")
        .with("connections: { streams: 2 }")
        .with("limits: { endpoint_connections: 2 }")
        .start();
    let tally = crate::harness::load(&proxy.address(), 12, 40);
    assert_eq!(tally.values().sum::<usize>(), 480);
    assert!(proxy.metric("evenkeel_endpoint_connections", &[]) <= 2.0);
    assert_eq!(proxy.endpoint_status(&endpoint.to_string()).unwrap()["failures"], 0);
}

#[test]
fn a_reload_that_raises_a_limit_lets_in_who_waits() {
    for of_route in [true, false] {
        let barrier = Arc::new(Barrier::new(3));
        let endpoint = Endpoint::scripted("a", move |exchange| {
            // All of them at the same time.
            barrier.wait();
            exchange.answer("served");
        });
        let limits = "limits: { requests: 1, wait: 30s }";
        let proxy = match of_route {
            true => Proxy::to([&endpoint]).routes(&[&format!("name: r, pool: default, {limits}")]),
            false => Proxy::to([&endpoint]).with(limits),
        };
        let proxy = proxy.start();
        let mut clients: Vec<_> = (0..3).map(|_| sent(&proxy, get("/x"))).collect();
        waiting(&proxy, 2);
        proxy.reload(&proxy.config_text().replace("requests: 1,", "requests: 3,"));
        clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
        let begun = Instant::now();
        assert!(begun.elapsed() < SOON);
    }
}

/// A limit that is taken away lets in who waits for it, too.
#[test]
fn a_reload_that_removes_a_limit_lets_in_who_waits() {
    let (gate, endpoint) = held();
    let proxy = Proxy::to([&endpoint])
        .routes(&["name: r, pool: default, limits: { requests: 1, wait: 30s }"])
        .with("limits: { requests: 2, wait: 30s }")
        .start();
    let first = sent(&proxy, get("/held"));
    endpoint.wait_for_requests(1);
    let mut second = sent(&proxy, get("/second"));
    waiting(&proxy, 1);
    let without_route = proxy.config_text().replace(", limits: { requests: 1, wait: 30s }", "");
    proxy.reload(&without_route);
    second.response().expect(200);
    let held_too = sent(&proxy, get("/held"));
    endpoint.wait_for_requests(3);
    let mut third = sent(&proxy, get("/third"));
    waiting(&proxy, 1);
    proxy.reload(&without_route.replace("limits: { requests: 2, wait: 30s }", "limits: { requests: off }"));
    third.response().expect(200);
    gate.open();
    drop((first, held_too));
}

/// An upgraded connection is in flight for as long as it lives.
#[test]
fn a_websocket_counts_until_it_ends() {
    let gate = Gate::closed();
    let endpoint = {
        let gate = gate.clone();
        Endpoint::scripted("a", move |exchange| match exchange.target() {
            "/socket" => {
                exchange.send(SWITCHING);
                gate.wait();
                exchange.close();
            }
            _ => exchange.answer("served"),
        })
    };
    let proxy = Proxy::to([&endpoint]).with("limits: { requests: 1, wait: 9s, shed: off }").start();
    let socket =
        sent(&proxy, format!("GET /socket HTTP/1.1\r\nHost: test.example\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
    endpoint.wait_for_requests(1);
    let mut next = sent(&proxy, get("/next"));
    waiting(&proxy, 1);
    gate.open();
    next.response().expect(200);
    assert_eq!(proxy.record("/next").0["waited_for"][0], "pool");
    drop(socket);
}

/// A client of HTTP/2 waits stream by stream, beside others of its connection that are served.
#[test]
fn streams_of_one_connection_wait_for_themselves() {
    if engine() == Engine::Pingora {
        // Its clients of HTTP/2 are answered, too, but the test's client is not made for its frames.
        return;
    }
    let (gate, endpoint) = held();
    let proxy = Proxy::to([&endpoint])
        .listener("h2c: true")
        .routes(&[
            "name: narrow, pool: default, match: { paths: [/held, /narrow] }, limits: { requests: 1, wait: 9s, shed: off }",
            "name: rest, pool: default",
        ])
        .start();
    let mut client = FrameClient::connect(&proxy.address());
    for (stream, path) in [(1, "/held"), (3, "/narrow"), (5, "/rest")] {
        let fields = [vec![0x82, 0x86], field(":authority", "a.example"), field(":path", path)].concat();
        client.send(frame(HEADERS, WHOLE, stream, fields));
        if stream == 1 {
            endpoint.wait_for_requests(1);
        }
    }
    proxy.record("/rest");
    waiting(&proxy, 1);
    gate.open();
    assert_eq!(proxy.record("/narrow").status(), 200);
}
