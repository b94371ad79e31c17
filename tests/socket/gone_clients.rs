//! Clients of HTTP/1.1 that close their connection while their request is served or waits: each has gone (499), whatever
//! it has sent before. A reset is in `client_faults`.

use std::time::{Duration, Instant};

use crate::harness::{
    Client, Endpoint, Engine, Gate, Proxy, SOON, engine, eventually, nobody_listens, silent_network,
};

/// How a client goes.
const WAYS: [fn(Client); 2] = [drop, |mut client| {
    client.half_close();
    // It does not read on, and is there until the test ends.
    std::mem::forget(client);
}];

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n")
}

/// More than fits a buffer of the proxy's, and less than one of the kernel's.
fn large_post(target: &str) -> String {
    let body = "x".repeat(100_000);
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: test.example\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Sends a request, waits until it is `under_way`, and goes. It must be known soon.
fn is_499(proxy: &Proxy, target: &str, request: &str, go: fn(Client), under_way: impl Fn()) {
    let mut client = proxy.client();
    client.send(request);
    under_way();
    let gone = Instant::now();
    go(client);
    let record = proxy.record(target);
    assert!(gone.elapsed() < SOON, "{target}: known after {:?}", gone.elapsed());
    assert_eq!((record.status(), record.cause()), (499, "client_gone"), "{target}");
}

#[test]
fn while_the_endpoint_works() {
    let released = Gate::closed();
    let let_go = released.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        exchange.drain_body();
        if exchange.target().starts_with("/x") && exchange.ended_within(Duration::from_secs(5)) {
            let_go.open();
        }
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let fields = "HTTP/1.1\r\nHost: test.example\r\n";
    let requests: [fn(&str, &str) -> String; 4] = [
        |target, _| get(target),
        |target, fields| format!("POST {target} {fields}Content-Length: 4\r\n\r\nbody"),
        |target, fields| {
            format!("POST {target} {fields}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        },
        |target, _| large_post(target),
    ];
    for (number, go) in WAYS.into_iter().enumerate() {
        for (kind, request) in requests.iter().enumerate() {
            let target = format!("/x{number}{kind}");
            let arrived = || endpoint.wait_for_requests(number * requests.len() + kind + 1);
            is_499(&proxy, &target, &request(&target, fields), go, arrived);
            released.wait();
        }
    }
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["failures"], 0);
}

/// What it has sent ahead is not begun.
#[test]
fn with_requests_sent_ahead() {
    if engine() == Engine::Pingora {
        // It looks no further than the next request.
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.ended_within(Duration::from_secs(5));
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let ahead = [get("/x"), get("/ahead"), get("/ahead")].concat();
    is_499(&proxy, "/x", &ahead, drop, || endpoint.wait_for_requests(1));
    assert_eq!(endpoint.count_of("/ahead"), 0);
}

#[test]
fn in_the_middle_of_a_response() {
    let released = Gate::closed();
    let let_go = released.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("tick");
        if exchange.ended_within(Duration::from_secs(5)) {
            let_go.open();
        }
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send(get("/x"));
    client.until(b"tick");
    let gone = Instant::now();
    drop(client);
    released.wait();
    assert!(gone.elapsed() < SOON, "released after {:?}", gone.elapsed());
    assert_eq!(proxy.record("/x").cause(), "client_gone");
}

/// Its place in the queue is free for others.
#[test]
fn while_it_waits_for_an_endpoint() {
    if engine() == Engine::Pingora {
        // It does not look at a client that waits: docs/engines.md.
        return;
    }
    let proxy = Proxy::to([&nobody_listens()]).with("when_none_healthy: { wait: 60s }").start();
    let waiting = |count: u64| {
        eventually("those that wait", || (proxy.status()["pools"][0]["waiting"] == count).then_some(()))
    };
    for (number, go) in WAYS.into_iter().enumerate() {
        let (small, large) = (format!("/small{number}"), format!("/large{number}"));
        is_499(&proxy, &small, &get(&small), go, || waiting(1));
        waiting(0);
        is_499(&proxy, &large, &large_post(&large), go, || waiting(1));
        waiting(0);
    }
}

#[test]
fn while_a_connection_is_opened() {
    if engine() == Engine::Pingora {
        return;
    }
    let silent = silent_network();
    let proxy = Proxy::to([&silent]).with("timeouts: { connect: 20s }").start();
    for (number, go) in WAYS.into_iter().enumerate() {
        let target = format!("/x{number}");
        is_499(&proxy, &target, &get(&target), go, || std::thread::sleep(Duration::from_millis(200)));
    }
}

/// Where half a connection is enough, a reset still ends it, though a body in front of it is unread.
#[test]
fn by_a_reset_where_half_a_connection_is_enough() {
    if engine() == Engine::Pingora {
        return;
    }
    let builder = Proxy::to([&nobody_listens()]).with("when_none_healthy: { wait: 60s }");
    let proxy = builder.listener("half_close: true").start();
    let waits =
        || eventually("a request that waits", || (proxy.status()["pools"][0]["waiting"] == 1).then_some(()));
    is_499(&proxy, "/x", &large_post("/x"), Client::reset, waits);
}
