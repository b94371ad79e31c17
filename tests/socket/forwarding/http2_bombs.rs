//! Fault: HTTP/2 requests that cost a client a few bytes and us far more, with answers that it does not take.

use crate::harness::frames::*;
use crate::harness::http2::{connect, get, runtime};
use crate::harness::{Endpoint, Gate, Proxy, eventually, lacks};

const MEGABYTE: usize = 1024 * 1024;

/// `GET` with this path, and nothing more.
fn get_fields(path: &str) -> Vec<u8> {
    [vec![0x82, 0x86], field(":authority", "a.example"), field(":path", path)].concat()
}

/// A hundred requests whose fields are references to one entry of the dynamic table; the client takes `window` bytes of
/// each response.
fn bomb(window: u32, value: usize, references: usize) -> Vec<u8> {
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, setting(4, window))].concat();
    for number in 0..100 {
        let entry = if number == 0 { indexed_field("x", "v".repeat(value)) } else { Vec::new() };
        let fields = [get_fields("/bomb"), entry, vec![0xbe; references]].concat();
        bytes.extend(frame(HEADERS, WHOLE, 2 * number + 1, fields));
    }
    bytes
}

/// The response with this status to each stream, or the end of the connection.
fn status_of(client: &mut FrameClient, stream: u32) -> Option<u16> {
    std::iter::from_fn(|| client.next()).find(|frame| frame.stream == stream)?.status()
}

/// Fault: each of many requests has a header list at the limit, and no answer can go out. Others do not notice.
#[test]
fn a_bomb_that_nobody_reads_costs_little() {
    if lacks("turns of HTTP/2 requests") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/bomb" => exchange.answer(&"x".repeat(100_000)),
        _ => exchange.answer("honest"),
    });
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    proxy.get("/before").expect(200);
    let memory = proxy.memory();
    let bombs: Vec<_> = (0..20)
        .map(|_| {
            let mut client = FrameClient::silent(&proxy.address());
            client.send(bomb(0, 3900, 7));
            client
        })
        .collect();
    endpoint.wait_for("what is begun of each", |state| state.requests.len() > 2 * 20);
    proxy.get("/beside").expect(200);
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for _ in 0..20 {
            assert_eq!(get(&client, "/beside").await.body, b"honest");
        }
    });
    // Two of each connection.
    assert_eq!(endpoint.count_of("/bomb"), 40);
    proxy.grew_less_than(60 * MEGABYTE, memory);
    drop(bombs);
    // Two of each connection were served, and eight have waited; the others were told to come again.
    assert_eq!(proxy.records_of("/bomb", 200).len(), 200);
    proxy.is_unharmed(endpoint.open());
}

/// Fields of next to nothing would take more memory than they have bytes: too many of them are not kept, and refused with an answer that even a
/// client without a window has; and who sends such requests again and again goes, too.
#[test]
fn many_fields_are_refused_at_once() {
    if lacks("heads that cannot be read") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let mut client = FrameClient::silent(&proxy.address());
    let large = |stream: u32| {
        frame(HEADERS, WHOLE, stream, [get_fields("/large"), field("x", "").repeat(900)].concat())
    };
    client.send([PREFACE, &frame(SETTINGS, 0, 0, setting(4, 0)), &large(1)].concat());
    assert_eq!(status_of(&mut client, 1), Some(431));
    client.send(frame(HEADERS, WHOLE, 3, get_fields("/good")));
    assert_eq!(status_of(&mut client, 3), Some(200));
    let record = proxy.record("/large");
    assert_eq!((record.status(), record.cause()), (431, "headers_too_large"));
    let mut client = FrameClient::silent(&proxy.address());
    client.send(bomb(0, 1, 900));
    client.rest();
    assert_eq!(proxy.records_of("/bomb", 33).len(), 33);
    assert!(proxy.metric("evenkeel_connections_refused_total", &["reason=\"http2_malformed\""]) > 0.0);
    assert_eq!(endpoint.count(), 1);
}

/// A connection has six, and all of them share the others; who waits and gives up has a line in the log.
#[test]
fn requests_wait_for_their_turn() {
    if lacks("turns of HTTP/2 requests") {
        return;
    }
    let gate = Gate::closed();
    let endpoint = {
        let gate = gate.clone();
        Endpoint::scripted("a", move |exchange| {
            if exchange.target() == "/held" {
                gate.wait();
            }
            exchange.answer("whole");
        })
    };
    let proxy =
        Proxy::to([&endpoint]).server("threads: 1, max_http2_requests: 1").listener("h2c: true").start();
    let [mut greedy, mut client] = [(); 2].map(|()| FrameClient::connect(&proxy.address()));
    let most = greedy.next_of(SETTINGS).expect("the proxy's settings").payload;
    assert!(most.chunks(6).any(|one| one == setting(3, 7)), "more than are served: {most:?}");
    for number in 0..7 {
        greedy.send(frame(HEADERS, WHOLE, 2 * number + 1, get_fields("/held")));
    }
    endpoint.wait_for_requests(7);
    for number in 0..7 {
        client.send(frame(HEADERS, WHOLE, 2 * number + 1, get_fields("/held")));
    }
    endpoint.wait_for_requests(13);
    let waiting = || proxy.metric("evenkeel_accept_pauses_total", &["reason=\"http2_requests\""]);
    eventually("one that waits", || (waiting() == 1.0).then_some(()));
    proxy.event("why", |event| event.message() == "HTTP/2 requests wait");
    runtime().block_on(async {
        assert_eq!(get(&connect(&proxy.address()).await, "/beside").await.body, b"whole");
    });
    // The last one gives up.
    client.send(frame(RST_STREAM, 0, 13, [0, 0, 0, 8]));
    assert_eq!(proxy.record("/held").status(), 499);
    client.send(frame(HEADERS, WHOLE, 15, get_fields("/held")));
    eventually("another one that waits", || (waiting() == 2.0).then_some(()));
    assert_eq!(endpoint.count_of("/held"), 13);
    gate.open();
    let records = proxy.records_of("/held", 15);
    assert_eq!(records.iter().filter(|record| record.status() == 200).count(), 14);
}

/// Its requests would wait for one another for ever.
#[test]
fn who_takes_nothing_is_closed() {
    if lacks("clients of HTTP/2 that stop") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").listener("timeouts: { write: 1s }").start();
    let mut client = FrameClient::silent(&proxy.address());
    client.send(bomb(0, 3900, 7));
    client.rest();
    // Two, and what has followed those of them that were given up before the connection ended.
    assert!((2..6).contains(&endpoint.count()), "{}", endpoint.count());
    assert_eq!(proxy.records_of("/bomb", 10).len(), 10);
    assert_eq!(proxy.metric("evenkeel_connections_refused_total", &["reason=\"http2_stalled\""]), 1.0);
    // One that has been taken in between is enough.
    let mut client = FrameClient::silent(&proxy.address());
    client.send([PREFACE, &frame(SETTINGS, 0, 0, setting(4, 0))].concat());
    for stream in [1, 5, 9] {
        client.send(frame(HEADERS, WHOLE, stream, get_fields("/stalled")));
        let reset = std::iter::from_fn(|| client.next()).find(|frame| frame.kind == RST_STREAM);
        assert_eq!(reset.expect("a reset").stream, stream);
        client.send(frame(HEADERS, WHOLE, stream + 2, get_fields("/taken")));
        client.send(frame(WINDOW_UPDATE, 0, stream + 2, [0, 0, 1, 0]));
        assert_eq!(status_of(&mut client, stream + 2).map(|_| ()), Some(()));
    }
}
