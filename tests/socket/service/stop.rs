//! How it stops: what is in flight finishes, nothing is waited for that is not there, and a second signal is an order.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{self, SIGINT, SIGQUIT, SIGTERM};

use crate::harness::{
    ASKS_FOR_WEBSOCKET, Client, End, Endpoint, Engine, Gate, Proxy, SOON, SWITCHING, engine, eventually,
    lasted,
};

/// An endpoint that answers `/x` when the gate is open, and everything else at once.
fn gated(gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    Endpoint::scripted("a", move |exchange| {
        if exchange.target() == "/x" {
            gate.wait();
        }
        exchange.answer("whole answer");
    })
}

/// A proxy with all the time in the world to drain, and a request in flight through it.
fn with_a_request_in_flight(gate: &Gate, server: &str) -> (Endpoint, Proxy, Client) {
    let endpoint = gated(gate);
    let proxy = Proxy::to([&endpoint]).server(server).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    endpoint.wait_for_requests(1);
    (endpoint, proxy, client)
}

/// Waits until no new connection is accepted.
fn closes_its_door(address: &str) {
    eventually("no new connections", || TcpStream::connect(address).is_err().then_some(()));
}

/// The request in flight gets its whole answer and is told that the connection ends; new ones are not accepted; the
/// process ends with 0 as soon as the answer is out. Pingora alone says keep-alive, cuts, and sleeps the drain out.
#[test]
fn what_is_in_flight_finishes() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, "threads: 2, drain: 30s");
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    gate.open();
    let response = client.response().expect(200);
    assert_eq!((response.text(), response.header("connection")), ("whole answer", Some("close")));
    let answered = Instant::now();
    assert_eq!(proxy.ended().code, Some(0));
    assert!(answered.elapsed() < SOON, "ended {:?} after the answer", answered.elapsed());
    assert_eq!(proxy.record("/x").status(), 200);
}

/// A long answer that is under way is not cut.
#[test]
fn a_long_answer_is_not_cut() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("first ");
        opened.wait();
        exchange.chunk("last");
        exchange.send("0\r\n\r\n");
    });
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 30s").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.until(b"first ");
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    gate.open();
    client.until(b"last\r\n0\r\n\r\n");
    assert_eq!(proxy.ended().code, Some(0));
}

fn idle_ends_at_once(signal: Signal) {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint])
        .server("threads: 2, drain: 30s")
        .health_check("type: tcp, interval: 1s, timeout: 1s")
        .start();
    // An idle connection to an endpoint is nothing to wait for.
    proxy.client().get("/").expect(200);
    eventually("the client to be gone", || (proxy.metric("evenkeel_connections", &[]) == 0.0).then_some(()));
    let start = Instant::now();
    proxy.signal(signal);
    assert_eq!(proxy.ended().code, Some(0));
    assert!(start.elapsed() < SOON, "{signal} took {:?}", start.elapsed());
}

/// Clients that keep their connections are closed only after they could have been told: whoever asks once more is
/// answered, and sent away; whoever does not is closed after `drain_idle`.
#[test]
fn idle_clients_are_told_first() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 30s, drain_idle: 2s").start();
    let mut clients = [proxy.client(), proxy.client()];
    for client in &mut clients {
        client.get("/kept").expect(200);
    }
    let [mut asks, mut silent] = clients;
    // A client may have its response a moment before it counts as answered.
    eventually("the books", || (proxy.metric("evenkeel_active_requests", &[]) == 0.0).then_some(()));
    let start = Instant::now();
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    thread::sleep(Duration::from_millis(300));
    let last = asks.get("/last").expect(200);
    assert_eq!(last.header("connection"), Some("close"));
    assert!(silent.rest().is_empty());
    lasted(Duration::from_secs(2), start.elapsed());
    assert_eq!(proxy.ended_within(SOON).code, Some(0));
    let stopped = proxy.event("the end", |event| event.message() == "stopped");
    assert_eq!((stopped.0["finished"].as_u64(), stopped.0["cut"].as_u64()), (Some(1), Some(0)));
}

/// Requests that have arrived behind the one that is served when a stop begins are answered, and the last of them says that
/// it is the last.
#[test]
fn what_was_sent_ahead_is_answered() {
    if engine() == Engine::Pingora {
        // It knows nothing of what has been sent ahead.
        return;
    }
    let gate = Gate::closed();
    let (endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, "threads: 2, drain: 30s");
    let upload = "POST /2 HTTP/1.1\r\nHost: test.example\r\nContent-Length: 4\r\n\r\nbody";
    client.send("GET /1 HTTP/1.1\r\nHost: test.example\r\n\r\n".to_owned() + upload);
    client.send("GET /3 HTTP/1.1\r\nHost: test.example\r\n\r\n");
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    gate.open();
    for told in [None, None, None, Some("close")] {
        let response = client.response().expect(200);
        assert_eq!((response.text(), response.header("connection")), ("whole answer", told));
    }
    client.closed_within(SOON);
    assert_eq!(proxy.ended().code, Some(0));
    assert_eq!(endpoint.count_of("/3"), 1);
}

/// A client that sends ahead as fast as it is answered comes to an end all the same.
#[test]
fn who_goes_on_sending_ahead_is_told() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, "threads: 2, drain: 30s");
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    client.send("GET /ahead HTTP/1.1\r\nHost: test.example\r\n\r\n");
    gate.open();
    let told = (0..100).find(|_| {
        let response = client.response().expect(200);
        // The connection may be gone by then.
        let _ = client.try_send("GET /ahead HTTP/1.1\r\nHost: test.example\r\n\r\n");
        response.header("connection") == Some("close")
    });
    assert!(told.is_some());
    assert_eq!(proxy.ended().code, Some(0));
}

/// Who has waited in the queue for a place may take as long to ask as those who were inside when the stop began.
#[test]
fn a_late_client_has_time_to_ask() {
    let gate = Gate::closed();
    let server = "threads: 2, drain: 30s, drain_idle: 3s, max_connections: 1";
    let (_endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, server);
    let mut late = proxy.client();
    proxy.signal(SIGTERM);
    proxy.event("the end of the listener", |event| event.message() == "listener closed");
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(1500));
    gate.open();
    client.response().expect(200);
    // Those who were there before are closed by now.
    thread::sleep(Duration::from_millis(3500).saturating_sub(begun.elapsed()));
    let response = late.get("/late").expect(200);
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(proxy.ended().code, Some(0));
}

/// A request whose header has begun to arrive is finished, however long nothing comes of it.
#[test]
fn a_half_read_request_is_finished() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 30s, drain_idle: 200ms").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: te");
    eventually("the connection", || (proxy.metric("evenkeel_connections", &[]) == 1.0).then_some(()));
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    thread::sleep(Duration::from_millis(600));
    client.send("st.example\r\n\r\n");
    assert_eq!(client.response().expect(200).header("connection"), Some("close"));
    assert_eq!(proxy.ended().code, Some(0));
}

/// At the end of the drain a WebSocket is told that its server goes away (RFC 6455, section 7.4.1), on both sides, behind
/// a whole frame; that is no cut.
#[test]
fn a_websocket_is_told_at_the_end() {
    if engine() == Engine::Pingora {
        // It carries no upgrades but in tests, and cuts them.
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send(SWITCHING);
        exchange.send(b"\x81\x05hello");
        let mut heard = Vec::new();
        loop {
            let bytes = exchange.receive();
            if bytes.is_empty() {
                break;
            }
            heard.extend(bytes);
        }
        assert_eq!(heard, b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe9", "what the endpoint is told");
        exchange.close();
    });
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 1s").start();
    let mut client = proxy.client();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
    assert_eq!(client.head_only().word(1), "101");
    client.until(b"hello");
    client.send(b"\x81\x82\0\0\0\0hi");
    let start = Instant::now();
    proxy.signal(SIGTERM);
    assert_eq!(client.rest(), b"\x88\x02\x03\xe9");
    lasted(Duration::from_secs(1), start.elapsed());
    drop(client);
    assert_eq!(proxy.ended_within(SOON).code, Some(0));
    let record = proxy.record("/ws");
    assert_eq!((record.status(), record.cause()), (101, ""));
}

/// With nothing in flight the end comes at once, though it had 30 s. Pingora alone always sleeps them out.
#[test]
fn an_idle_one_ends_at_once() {
    idle_ends_at_once(SIGTERM);
}

#[test]
fn an_interrupt_is_a_stop() {
    idle_ends_at_once(SIGINT);
}

/// Pingora alone takes this one for an upgrade, and stops serving with nobody to take over.
#[test]
fn a_quit_is_a_stop() {
    idle_ends_at_once(SIGQUIT);
}

fn second_signal_is_an_order(first: Signal, second: Signal) {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, "threads: 2, drain: 30s");
    proxy.signal(first);
    closes_its_door(&proxy.address());
    assert!(proxy.is_running());
    let start = Instant::now();
    proxy.signal(second);
    assert_eq!(proxy.ended().code, Some(1));
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    assert!(client.try_response_to("GET").is_err());
    assert_eq!(proxy.record("/x").cause(), "stopped");
    gate.open();
}

/// Fault 58: a second signal ends it at once, with 1. Pingora alone swallows it.
#[test]
fn a_second_term_is_an_order() {
    second_signal_is_an_order(SIGTERM, SIGTERM);
}

#[test]
fn an_interrupt_after_a_term_is_an_order() {
    second_signal_is_an_order(SIGTERM, SIGINT);
}

/// A second signal during the delay before the drain is an order as well.
#[test]
fn a_second_term_in_the_delay_is_an_order() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 30s, drain_delay: 30s").start();
    proxy.signal(SIGTERM);
    eventually("readiness to be gone", || (proxy.admin("/readyz").status == 503).then_some(()));
    proxy.signal(SIGTERM);
    assert_eq!(proxy.ended_within(SOON).code, Some(1));
}

/// The drain has an end: what does not finish in it is cut, and counted.
#[test]
fn the_drain_ends() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, "threads: 2, drain: 1s");
    let start = Instant::now();
    proxy.signal(SIGTERM);
    let ended = proxy.ended();
    lasted(Duration::from_secs(1), start.elapsed());
    assert_eq!(ended.code, Some(1), "a forced stop");
    assert!(client.try_response_to("GET").is_err());
    let stopped = proxy.event("how many were cut", |event| event.message().starts_with("stopped"));
    assert_eq!(stopped.0["cut"], 1);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (503, "stopped"));
    gate.open();
}

/// What is cut does not seem whole to a client of HTTP/1.0, which takes the end of the connection for the end of a body.
#[test]
fn a_cut_response_does_not_seem_whole() {
    if engine() == Engine::Pingora {
        return;
    }
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("the beginning");
        opened.wait();
    });
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 0s").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.0\r\nHost: test.example\r\n\r\n");
    client.until(b"the beginning");
    proxy.signal(SIGTERM);
    assert!(client.is_reset());
    assert_eq!(proxy.ended().code, Some(1));
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (200, "stopped"));
    gate.open();
}

/// A tunnel that is open is given the drain time, and no more.
#[test]
fn a_tunnel_does_not_hold_it() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send(SWITCHING);
        while !exchange.receive().is_empty() {}
        exchange.close();
    });
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 1s").start();
    let mut client = proxy.client();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
    assert_eq!(client.head_only().word(1), "101");
    proxy.signal(SIGTERM);
    proxy.ended_within(SOON);
    client.rest();
}

/// During `drain_delay` it still accepts and serves, while readiness tells the load balancers in front to go
/// elsewhere; the admin address answers until the end.
#[test]
fn the_delay_before_the_drain() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 5s, drain_delay: 3s").start();
    let start = Instant::now();
    proxy.signal(SIGTERM);
    eventually("readiness to be gone", || (proxy.admin("/readyz").status == 503).then_some(()));
    proxy.admin("/livez").expect(200);
    assert_eq!(proxy.status()["state"], "draining");
    while start.elapsed() < Duration::from_millis(1000) {
        // Whoever asks now is served, and sent away afterwards.
        let response = proxy.client().get("/x").expect(200);
        assert_eq!(response.header("connection"), Some("close"));
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(proxy.ended().code, Some(0));
    lasted(Duration::from_secs(3), start.elapsed());
}

/// Whoever is refused early while it stops can send on for a while, and read why: a reset might take the answer along.
/// Nobody waits for such a client at the end.
#[test]
fn who_is_refused_in_a_stop_reads_why() {
    if engine() == Engine::Pingora {
        // It closes at once, stop or not.
        return;
    }
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint])
        .listener("limits: { body_size: 1KiB }")
        .server("threads: 2, drain: 30s, drain_delay: 1500ms")
        .start();
    let start = Instant::now();
    proxy.signal(SIGTERM);
    eventually("readiness to be gone", || (proxy.admin("/readyz").status == 503).then_some(()));
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1000000\r\n\r\n");
    for _ in 0..10 {
        client.send([b'x'; 1000]);
        thread::sleep(Duration::from_millis(50));
    }
    let response = client.response().expect(413);
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(proxy.ended().code, Some(0));
    assert!(start.elapsed() < Duration::from_millis(2500), "it took {:?}", start.elapsed());
}

/// Clients in the queue of a socket that is to be closed are let in once there are descriptors for them again.
#[test]
fn a_lack_of_descriptors_does_not_empty_the_queue() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, "threads: 2, drain: 30s");
    proxy.limit_descriptors(1);
    let mut waiting = proxy.client();
    waiting.send("GET /waiting HTTP/1.1\r\nHost: test.example\r\n\r\n");
    proxy.event("the lack", |event| event.message() == "connections cannot be accepted");
    proxy.signal(SIGTERM);
    proxy.event("the end of the listener", |event| event.message() == "listener closed");
    thread::sleep(Duration::from_millis(200));
    proxy.limit_descriptors(1024);
    waiting.response().expect(200);
    gate.open();
    client.response().expect(200);
    assert_eq!(proxy.ended().code, Some(0));
}

/// The admin address answers while requests finish: just then somebody wants to know how it goes.
#[test]
fn the_admin_address_answers_during_the_drain() {
    let gate = Gate::closed();
    let (endpoint, mut proxy, mut client) = with_a_request_in_flight(&gate, "threads: 2, drain: 30s");
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    proxy.admin("/readyz").expect(503);
    let refused = proxy.command(&["reload"]);
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), "error: the process stops\n"));
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["in_flight"], 1);
    gate.open();
    client.response().expect(200);
    assert_eq!(proxy.ended().code, Some(0));
}

/// Of the requests that were sent before the stop none is lost: a hundred at once, all answered.
#[test]
fn a_stop_under_load_loses_nothing_in_flight() {
    let gate = Gate::closed();
    let endpoint = gated(&gate);
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 30s").start();
    let mut clients: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
            client
        })
        .collect();
    endpoint.wait_for_requests(100);
    proxy.signal(SIGTERM);
    closes_its_door(&proxy.address());
    gate.open();
    for client in &mut clients {
        let response = client.response();
        assert_eq!((response.status, response.end), (200, End::Whole));
    }
    assert_eq!(proxy.ended().code, Some(0));
    assert_eq!(proxy.records().len(), 100, "every request has its line in the log");
}
