//! Faults 28 to 31 over HTTP/1.1: clients that do not read, half-close, go away, or do not wait.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Engine, Gate, Proxy, SOON, engine, eventually};

/// A body far beyond what the kernel keeps for a connection.
const LONG: usize = 60_000_000;

/// Clients that do not read, at once.
const STALLED: usize = 16;

/// Answers `/long` with [`LONG`] bytes, and anything else at once.
fn generous() -> Endpoint {
    Endpoint::scripted("a", |exchange| {
        if exchange.target() != "/long" {
            return exchange.answer("well");
        }
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
        let piece = vec![b'x'; 100_000];
        for _ in 0..LONG / piece.len() {
            if !exchange.send(&piece) {
                return;
            }
        }
    })
}

/// What a connection may cost whose client does not read: 256 KiB. Pingora holds three rows of four pieces of
/// 64 KiB each, and the batch it makes of them.
fn held_for_a_stalled_client() -> usize {
    match engine() {
        Engine::Pingora => 1_400_000,
        Engine::Native => 256 * 1024,
    }
}

/// Fault 28: a client that never reads. The write timeout ends it, the endpoint is free again, and memory does not grow
/// with the body. Pingora alone waits for ever.
#[test]
fn a_client_that_never_reads_is_given_up() {
    let endpoint = generous();
    let mut proxy = Proxy::to([&endpoint]).listener("timeouts: { write: 1s }").start();
    proxy.get("/before").expect(200);
    let before = proxy.memory();
    let start = Instant::now();
    let stalled: Vec<Client> = (0..STALLED)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET /long HTTP/1.1\r\nHost: test.example\r\n\r\n");
            client
        })
        .collect();
    endpoint.wait_for_requests(1 + STALLED);
    let records = proxy.records_of("/long", STALLED);
    assert!(start.elapsed() < Duration::from_secs(6), "given up after {:?}", start.elapsed());
    for record in records {
        assert_eq!((record.status(), record.cause()), (200, "client_stalled"));
        assert!(record.number("bytes_out") < LONG as u64);
    }
    // The connection of the first request may be kept by a worker that served none of the stalled ones.
    eventually("the endpoint to be free", || (endpoint.open() <= 1).then_some(()));
    // Beside what is held, code that runs for the first time comes in.
    proxy.grew_less_than(STALLED * held_for_a_stalled_client() + 8_000_000, before);
    drop(stalled);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 28 of a client that goes on sending its body: that is no reading of its answer.
#[test]
fn a_client_that_sends_and_never_reads_is_given_up() {
    let endpoint = generous();
    let mut proxy = Proxy::to([&endpoint]).listener("timeouts: { write: 1s }").start();
    let mut client = proxy.client();
    let start = Instant::now();
    client.send("POST /long HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1000\r\n\r\n");
    while start.elapsed() < Duration::from_secs(6) && client.try_send("x").is_ok() {
        thread::sleep(Duration::from_millis(150));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "given up after {:?}", start.elapsed());
    assert_eq!(proxy.record("/long").cause(), "client_stalled");
    endpoint.wait_until_free(SOON);
    drop(client);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 28, with a response that the kernel could keep as a whole: it is not done with before its client has taken it.
#[test]
fn a_client_that_never_reads_a_megabyte_is_given_up_too() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        exchange.send(vec![b'x'; 1_000_000]);
    });
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { write: 1s }").start();
    let mut client = proxy.client();
    client.send("GET /megabyte HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let record = proxy.record("/megabyte");
    assert_eq!((record.status(), record.cause()), (200, "client_stalled"));
    assert!(record.number("bytes_out") < 1_000_000);
}

/// Fault 28, the other side of it: a client that reads slowly, yet reads, is served to the end.
#[test]
fn a_slow_reader_is_served_to_the_end() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n");
        exchange.send(vec![b'x'; 8_000_000]);
    });
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { write: 1s }").start();
    let mut client = proxy.client();
    client.send("GET /long HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.head_only();
    for _ in 0..8 {
        client.bytes(1_000_000);
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(proxy.record("/long").cause(), "");
}

/// Fault 29: with `half_close`, a client that has said all it has to say, and says so, is answered.
#[test]
fn a_half_closed_client_is_answered() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        thread::sleep(Duration::from_millis(300));
        exchange.answer("a late answer");
    });
    let mut proxy = Proxy::to([&endpoint]).listener("half_close: true").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.half_close();
    assert_eq!(client.response().expect(200).text(), "a late answer");
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (200, ""));
    proxy.is_unharmed(endpoint.open());
}

/// Bytes that arrive just as the connection is closed behind its response turn the close into a reset, which must not
/// cost the response. They come at another moment of it in each round.
#[test]
fn a_response_survives_what_its_client_sends_as_it_ends() {
    let together = Arc::new(Barrier::new(2));
    let answers = together.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        answers.wait();
        exchange.answer("well");
    });
    let proxy = Proxy::to([&endpoint]).start();
    for round in 0..400 {
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.0\r\nHost: test.example\r\n\r\n");
        together.wait();
        thread::sleep(Duration::from_micros(round * 5));
        client.send("GET /more HTTP/1.0\r\nHost: test.example\r\n\r\n");
        assert_eq!(client.response().expect(200).text(), "well", "round {round}");
    }
    assert_eq!(endpoint.count_of("/more"), 0);
}

/// Fault 29 with a body before the half-close, and a response that streams on after it.
#[test]
fn a_half_closed_upload_is_answered_whole() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..4 {
            thread::sleep(Duration::from_millis(150));
            exchange.chunk("part ");
        }
        exchange.send("0\r\n\r\n");
    });
    let proxy = Proxy::to([&endpoint]).listener("half_close: true").start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 4\r\n\r\nbody");
    client.half_close();
    assert_eq!(client.response().expect(200).text(), "part part part part ");
}

/// Fault 29 with requests that were sent ahead: the FIN is behind them, so they are answered too.
#[test]
fn what_was_pipelined_before_a_half_close_is_answered() {
    if engine() == Engine::Pingora {
        // It takes a client that has half-closed for gone.
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        let target = exchange.target().to_owned();
        thread::sleep(Duration::from_millis(50));
        exchange.answer(&target);
    });
    let proxy = Proxy::to([&endpoint]).listener("half_close: true").start();
    let mut client = proxy.client();
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.send([request("/1"), request("/2"), request("/3")].concat());
    client.half_close();
    for target in ["/1", "/2", "/3"] {
        assert_eq!(client.response().expect(200).text(), target);
    }
}

/// What a request or a response needed is not kept for as long as its client is idle.
#[test]
fn idle_clients_do_not_keep_what_a_body_needed() {
    const CLIENTS: usize = 200;
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk(&"x".repeat(50_000));
        exchange.send("0\r\n\r\n");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let idle_after_a_response = || {
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
        assert_eq!(client.response().expect(200).text().len(), 50_000);
        client
    };
    // Beside the clients' own memory, what all share comes in at first.
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| idle_after_a_response()).collect();
    let before = proxy.memory();
    clients.extend((0..CLIENTS).map(|_| idle_after_a_response()));
    let each = proxy.memory().saturating_sub(before) / CLIENTS;
    let most = match engine() {
        Engine::Pingora => 128 * 1024,
        Engine::Native => 16 * 1024,
    };
    assert!(each < most, "{each} bytes for each idle client");
    drop(clients);
}

/// An endpoint that streams without end, and says through the gate that the proxy has let go of it.
fn endless(released: Gate) -> Endpoint {
    Endpoint::scripted("a", move |exchange| {
        if exchange.target() != "/x" {
            return exchange.answer("well");
        }
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while exchange.chunk("tick") {
            thread::sleep(Duration::from_millis(20));
        }
        released.open();
    })
}

/// Fault 30: the client goes away in the middle of the answer. The endpoint's side ends at once, and it counts
/// as the client's doing, not as an error of ours or the endpoint's.
#[test]
fn a_client_that_goes_mid_answer_frees_the_endpoint() {
    let released = Gate::closed();
    let endpoint = endless(released.clone());
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.until(b"tick");
    let gone = Instant::now();
    client.reset();
    released.wait();
    assert!(gone.elapsed() < SOON, "released after {:?}", gone.elapsed());
    let record = proxy.record("/x");
    assert_eq!(record.cause(), "client_gone");
    assert!(record.status() < 500, "{}", record.status());
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["failures"], 0);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 30 before the answer has begun: 499 in the log, and the endpoint is let go of.
#[test]
fn a_client_that_goes_before_the_answer_is_499() {
    let (went, asked) = (Gate::closed(), Gate::closed());
    let (let_go, arrived) = (went.clone(), asked.clone());
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target() != "/x" {
            return exchange.answer("well");
        }
        arrived.open();
        if exchange.ended_within(Duration::from_secs(5)) {
            let_go.open();
        }
        exchange.close();
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    asked.wait();
    let gone = Instant::now();
    client.reset();
    went.wait();
    assert!(gone.elapsed() < SOON, "released after {:?}", gone.elapsed());
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (499, "client_gone"));
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["failures"], 0);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 30, where the answer began before the upload was through, and is silent now.
#[test]
fn a_client_that_goes_after_an_early_answer_frees_the_endpoint() {
    if engine() == Engine::Pingora {
        // It looks for clients that have gone only when it reads or writes.
        return;
    }
    let (uploaded, released) = (Gate::closed(), Gate::closed());
    let (got_all, let_go) = (uploaded.clone(), released.clone());
    let endpoint = Endpoint::scripted("a", move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("tick");
        exchange.drain_body();
        got_all.open();
        if exchange.ended_within(Duration::from_secs(5)) {
            let_go.open();
        }
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 10\r\n\r\nfirst");
    client.until(b"tick");
    client.send("later");
    uploaded.wait();
    let gone = Instant::now();
    client.reset();
    released.wait();
    assert!(gone.elapsed() < SOON, "released after {:?}", gone.elapsed());
    assert_eq!(proxy.record("/x").cause(), "client_gone");
}

/// Fault 30 in the middle of an upload.
#[test]
fn a_client_that_goes_mid_upload_is_499() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1000\r\n\r\nonly this");
    endpoint.wait_for_requests(1);
    client.reset();
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (499, "client_gone"));
    assert!(!endpoint.seen("/x").whole, "half a body was passed on as a whole one");
    proxy.is_unharmed(endpoint.open());
}

/// Fifty clients that go away leave nothing behind: no descriptor, nothing in flight.
#[test]
fn departures_leak_nothing() {
    let endpoint = endless(Gate::closed());
    let mut proxy = Proxy::to([&endpoint]).start();
    for _ in 0..50 {
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
        client.until(b"tick");
        client.reset();
    }
    proxy.records_of("/x", 50);
    proxy.is_unharmed(endpoint.open());
    eventually("nothing in flight", || {
        (proxy.endpoint_status(endpoint.address())?["in_flight"] == 0).then_some(())
    });
}

/// Fault 31: three requests sent at once are answered in order, or the first is and the connection ends; never mixed.
#[test]
fn pipelined_requests_are_never_mixed() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let target = exchange.target().to_owned();
        thread::sleep(Duration::from_millis(if target == "/1" { 100 } else { 0 }));
        exchange.answer(&target);
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.send([request("/1"), request("/2"), request("/3")].concat());
    assert_eq!(client.response().expect(200).text(), "/1");
    for target in ["/2", "/3"] {
        match client.try_response_to("GET") {
            Ok(response) => assert_eq!(response.expect(200).text(), target),
            Err(_) => break,
        }
    }
    proxy.is_unharmed(endpoint.open());
}

/// Fault 30, after an interim response: that was no answer, so the status is not its one.
#[test]
fn a_client_that_leaves_after_100_continue_is_499() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        exchange.hang();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send(
        "POST /x HTTP/1.1\r\nHost: test.example\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\nhalf",
    );
    assert_eq!(client.head_only().word(1), "100");
    client.reset();
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (499, "client_gone"));
}
