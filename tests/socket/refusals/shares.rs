//! What one part may take from the others: descriptors, and seats.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::harness::frames::*;
use crate::harness::{Client, Endpoint, Engine, Gate, Proxy, engine, eventually, lacks, nobody_listens};

/// `GET` with this path, and nothing more.
fn get_fields(path: &str) -> Vec<u8> {
    [vec![0x82, 0x86], field(":authority", "a.example"), field(":path", path)].concat()
}

/// A request for each of the clients, all of them under way at the same time.
fn burst(clients: &mut [Client], target: &str) -> Vec<u16> {
    for client in clients.iter_mut() {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n"));
    }
    clients.iter_mut().map(|client| client.response().status).collect()
}

/// An endpoint that answers once so many requests have come.
fn together(name: &str, count: usize) -> Endpoint {
    let barrier = Arc::new(Barrier::new(count));
    Endpoint::scripted(name, move |exchange| {
        barrier.wait();
        exchange.answer("whole");
    })
}

/// Fault 47: connections to one pool that are kept for later do not stand in the way of those to another.
#[test]
fn idle_connections_go_for_those_that_are_needed() {
    if engine() == Engine::Pingora {
        // It keeps connections to endpoints in a pool of its own.
        return;
    }
    const CLIENTS: usize = 60;
    let names = ["a", "b", "c", "d", "e"];
    let endpoints = names.map(|name| together(name, CLIENTS));
    let mut config = Proxy::config().routes(&[
        "name: a, pool: a, match: { paths: [/a] }",
        "name: b, pool: b, match: { paths: [/b] }",
        "name: c, pool: c, match: { paths: [/c] }",
        "name: d, pool: d, match: { paths: [/d] }",
        "name: e, pool: e, match: { paths: [/e] }",
    ]);
    for (name, endpoint) in names.iter().zip(&endpoints) {
        config = config.pool(name, [endpoint]).with("limits: { requests: off }");
    }
    let proxy = config.after_shell("ulimit -n 256").start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for name in names {
        assert_eq!(burst(&mut clients, &format!("/{name}")), [200; CLIENTS]);
    }
    assert!(proxy.open_descriptors() < 256);
    proxy.event("the shortage", |event| event.message().starts_with("descriptors are short"));
    assert!(proxy.metric("evenkeel_endpoint_connections_closed_total", &[]) > 100.0);
    assert!(proxy.metric("evenkeel_endpoint_connections", &[]) <= 68.0);
    proxy.admin("/livez").expect(200);
}

/// Fault 47: many slow requests of a few HTTP/2 clients take only a share of the descriptors, and none of them is refused.
#[test]
fn slow_http2_requests_leave_descriptors_to_others() {
    if lacks("turns of HTTP/2 requests") {
        return;
    }
    const HONEST: usize = 30;
    let (gate, barrier) = (Gate::closed(), Barrier::new(HONEST));
    let endpoint = {
        let gate = gate.clone();
        Endpoint::scripted("a", move |exchange| {
            match exchange.target() {
                "/held" => gate.wait(),
                _ => drop(barrier.wait()),
            }
            exchange.answer("whole");
        })
    };
    let builder = Proxy::to([&endpoint]).server("threads: 1").listener("h2c: true");
    let proxy = builder.after_shell("ulimit -n 256").start();
    let mut greedy: Vec<_> = (0..10).map(|_| FrameClient::connect(&proxy.address())).collect();
    for client in &mut greedy {
        for number in 0..20 {
            client.send(frame(HEADERS, WHOLE, 2 * number + 1, get_fields("/held")));
        }
    }
    eventually("all that wait", || {
        let waiting = proxy.metric("evenkeel_accept_pauses_total", &["reason=\"http2_requests\""]);
        (waiting as usize + endpoint.count_of("/held") >= 200).then_some(())
    });
    assert!((10..50).contains(&endpoint.count_of("/held")), "{}", endpoint.count_of("/held"));
    let mut honest: Vec<_> = (0..HONEST).map(|_| proxy.client()).collect();
    assert_eq!(burst(&mut honest, "/honest"), [200; HONEST]);
    gate.open();
    let held = proxy.records_of("/held", 200);
    assert!(held.iter().all(|record| record.status() == 200));
}

/// The one that has been idle for the longest has to give up its seat to who waits for one.
#[test]
fn an_idle_client_goes_for_one_that_waits() {
    if engine() == Engine::Pingora {
        // Its idle clients have timeouts only.
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).server("threads: 1, max_connections: 3").start();
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    // The first one is the last that is served.
    for client in clients.iter_mut().rev() {
        client.get("/served").expect(200);
    }
    let mut next = proxy.client();
    next.get("/next").expect(200);
    clients[2].closed_within(Duration::from_secs(1));
    assert!(clients[0].is_open());
    let closed = ["listener=\"default\"", "reason=\"max_connections\""];
    assert!(proxy.metric("evenkeel_idle_connections_closed_total", &closed) >= 1.0);
}

/// Two pools, of which one answers nothing until its gate is opened; `limits` of that one.
fn hanging(server: &str, limits: &str) -> (Gate, Endpoint, Endpoint, Proxy) {
    let gate = Gate::closed();
    let hangs = {
        let gate = gate.clone();
        Endpoint::scripted("hangs", move |exchange| {
            gate.wait();
            exchange.answer("late");
        })
    };
    let serves = Endpoint::named("serves");
    let proxy = Proxy::config()
        .server(server)
        .listener("h2c: true")
        .routes(&["name: h, pool: hangs, match: { paths: [/hangs] }", "name: s, pool: serves"])
        .pool("hangs", [&hangs])
        .with(limits)
        .pool("serves", [&serves])
        .start();
    (gate, hangs, serves, proxy)
}

/// What `/status` says of a pool.
fn of_pool(proxy: &Proxy, name: &str, key: &str) -> u64 {
    let status = proxy.status();
    let pools = status["pools"].as_array().unwrap();
    pools.iter().find(|pool| pool["name"] == name).unwrap()[key].as_u64().unwrap()
}

/// Fault 70: whoever asks for the pool that hangs is refused once it has nine tenths of the connections, and everybody
/// else is served.
#[test]
fn a_pool_that_hangs_leaves_others_their_share() {
    let (gate, hangs, _serves, proxy) = hanging("threads: 2, max_connections: 40", "retry: off");
    let mut clients: Vec<_> = (0..40).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /hangs HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    hangs.wait_for_requests(36);
    eventually("the others to be refused", || (of_pool(&proxy, "hangs", "refused") == 4).then_some(()));
    assert_eq!((of_pool(&proxy, "hangs", "in_flight"), of_pool(&proxy, "hangs", "most")), (36, 36));
    let event = proxy.event("why", |event| event.message() == "pool is full, requests are refused");
    assert_eq!((event.text("pool"), event.0["most"].as_u64()), ("hangs", Some(36)));
    for _ in 0..9 {
        proxy.get("/serves").expect(200);
    }
    proxy.admin("/readyz").expect(200);
    let said = proxy.command(&["status"]).stdout;
    assert!(said.contains("36 of at most 36 in flight, 4 refused"), "{said}");
    assert_eq!(proxy.metric("evenkeel_pool_requests_refused_total", &["pool=\"hangs\""]), 4.0);
    gate.open();
    let mut statuses: Vec<_> = clients.iter_mut().map(|client| client.response().status).collect();
    statuses.sort();
    assert_eq!(statuses, [vec![200; 36], vec![503; 4]].concat());
    assert_eq!(hangs.count(), 36);
    assert!(proxy.records().iter().any(|record| record.cause() == "pool_full"));
    proxy.get("/hangs").expect(200);
    eventually("its end to be counted", || (of_pool(&proxy, "hangs", "in_flight") == 0).then_some(()));
}

/// Fault 70: the same where nobody is healthy, and requests wait.
#[test]
fn a_pool_that_is_waited_for_leaves_others_their_share() {
    let serves = Endpoint::named("serves");
    let proxy = Proxy::config()
        .server("threads: 2, max_connections: 8")
        .routes(&["name: w, pool: waits, match: { paths: [/waits] }", "name: s, pool: serves"])
        .pool("waits", [nobody_listens()])
        .health_check("type: tcp, unhealthy_after: 1")
        .with("when_none_healthy: { wait: 30s }")
        .pool("serves", [&serves])
        .start();
    proxy.wait_until("127.0.0.1", "unhealthy");
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /waits HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    eventually("seven that wait", || {
        let now = (of_pool(&proxy, "waits", "waiting"), of_pool(&proxy, "waits", "refused"));
        (now == (7, 1)).then_some(())
    });
    proxy.get("/serves").expect(200);
}

/// Fault 70: requests over HTTP/2 count as well; a number is a limit for all of them. Here none may wait.
#[test]
fn over_http2_a_pool_has_its_share_too() {
    let (gate, hangs, _serves, proxy) = hanging("threads: 2", "limits: { requests: 5, queue: 0 }");
    let mut client = FrameClient::connect(&proxy.address());
    for number in 0..9 {
        client.send(frame(HEADERS, WHOLE, 2 * number + 1, get_fields("/hangs")));
    }
    hangs.wait_for_requests(5);
    proxy.records_of("/hangs", 4).iter().for_each(|record| {
        assert_eq!((record.status(), record.cause()), (503, "pool_full"));
    });
    proxy.client().get("/hangs").expect(503);
    proxy.get("/serves").expect(200);
    gate.open();
    let records = proxy.records_of("/hangs", 10);
    assert_eq!(records.iter().filter(|record| record.status() == 200).count(), 5);
}
