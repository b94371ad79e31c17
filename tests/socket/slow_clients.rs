//! Slow clients of every kind at once, beside an honest one. `make pressure` has more of them, and other people's.

use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Engine, Proxy, SOON, engine, eventually, within};

/// Of each kind.
const SLOW: usize = 70;

/// All that there are; one more is the honest client.
const KINDS: [&str; 3] = [
    "GET /header HTTP/1.1\r\nHost: test.example\r\n",
    "POST /body HTTP/1.1\r\nHost: test.example\r\nContent-Length: 4096\r\n\r\nx",
    "GET /read HTTP/1.1\r\nHost: test.example\r\n\r\n",
];

fn open(proxy: &Proxy) -> usize {
    proxy.metric("evenkeel_connections", &[]) as usize
}

/// One more byte of each header. Those whose time is over cannot send any more.
fn drip(clients: &mut [Client]) {
    for client in clients {
        let _ = client.try_send("x");
    }
}

#[test]
fn slow_clients_are_gone_in_time_and_honest_ones_served() {
    // Pingora's engine has no total deadline for a header.
    if engine() == Engine::Pingora {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        match exchange.target() {
            "/read" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
                exchange.send(vec![b'x'; 1_000_000]);
            }
            _ => exchange.answer("well"),
        }
    });
    let mut proxy = Proxy::to([&endpoint]).listener("timeouts: { header: 4s, body: 4s, write: 4s }").start();
    let mut honest = proxy.client();
    honest.get("/honest").expect(200);
    let begun = Instant::now();
    let mut slow: Vec<Vec<Client>> = KINDS
        .iter()
        .map(|kind| {
            let mut clients: Vec<_> = (0..SLOW).map(|_| proxy.client()).collect();
            for client in &mut clients {
                client.send(kind);
            }
            clients
        })
        .collect();
    let come = begun.elapsed();
    eventually("all of them", || (open(&proxy) > KINDS.len() * SLOW).then_some(()));
    let mut slowest = Duration::ZERO;
    // A refused client has two seconds more to read why.
    within(3 * SOON, "only the honest one", || {
        drip(&mut slow[0]);
        let asked = Instant::now();
        honest.get("/honest").expect(200);
        slowest = slowest.max(asked.elapsed());
        (open(&proxy) == 1).then_some(())
    });
    let gone = begun.elapsed();
    assert!(gone >= Duration::from_secs(4), "gone after {gone:?}, before their time");
    assert!(gone < come + Duration::from_secs(6) + SOON, "gone after {gone:?}");
    assert!(slowest < Duration::from_secs(3), "the honest client waited {slowest:?}");
    for (target, cause) in
        [("/header", "request_timeout"), ("/body", "request_timeout"), ("/read", "client_stalled")]
    {
        let records = proxy.records();
        let caused = |record: &&crate::harness::Record| record.cause() == cause;
        let of_kind = |record: &&crate::harness::Record| {
            record.text("target") == target || (target == "/header" && record.text("target").is_empty())
        };
        assert_eq!(records.iter().filter(caused).filter(of_kind).count(), SLOW, "{target}");
    }
    drop(slow);
    drop(honest);
    proxy.is_unharmed(endpoint.open());
}
