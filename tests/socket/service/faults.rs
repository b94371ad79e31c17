//! What the process survives while it runs.

use std::thread;
use std::time::Duration;

use crate::harness::{Endpoint, Proxy, SOON, eventually};

/// The hook of debug builds that makes a request's handler panic.
const PANIC: &str = "x-evenkeel-test-panic: 1\r\n";

/// Fault 65: a panic costs its request and nothing else. It is counted, logged, and leaves nothing in flight.
#[test]
fn a_panic_costs_one_request() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).env("EVENKEEL_TEST_PANIC", "1").start();
    proxy.get("/before").expect(200);
    let mut bystander = proxy.client();
    bystander.get("/bystander").expect(200);
    for n in 1..=3 {
        let mut client = proxy.client();
        client.send(format!("GET /x HTTP/1.1\r\nHost: test.example\r\n{PANIC}\r\n"));
        // Whether it can still be answered or only closed is the engine's business.
        if let Ok(response) = client.try_response_to("GET") {
            assert_eq!(response.status, 500);
        }
        eventually("the panic to be counted", || {
            (proxy.metric("evenkeel_panics_total", &[]) as u64 == n).then_some(())
        });
    }
    assert!(proxy.is_running());
    bystander.get("/bystander").expect(200);
    proxy.get("/after").expect(200);
    proxy.event("the panic in the log", |event| {
        event.level() == "error" && event.0.to_string().contains("panic")
    });
    eventually("nothing in flight", || {
        let in_flight = proxy.endpoint_status(endpoint.address())?["in_flight"].as_u64()?;
        (in_flight == 0 && proxy.metric("evenkeel_active_requests", &[]) as u64 == 0).then_some(())
    });
}

/// After a panic the stop still finds that nothing is left to wait for.
#[test]
fn a_stop_after_a_panic_is_prompt() {
    let endpoint = Endpoint::named("a");
    let mut proxy =
        Proxy::to([&endpoint]).server("threads: 2, drain: 30s").env("EVENKEEL_TEST_PANIC", "1").start();
    let mut client = proxy.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: test.example\r\n{PANIC}\r\n"));
    let _ = client.try_response_to("GET");
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.ended_within(SOON).code, Some(0));
}

/// Without the variable the hook is not there: the field is a field like any other.
#[test]
fn the_panic_hook_is_not_for_clients() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.client().request("GET", "/x", PANIC).expect(200);
}

/// Every fault of the endpoints and clients at once, for a while, and honest requests between them: those are served,
/// and at the end nothing is left over.
#[test]
fn chaos_leaves_nothing_behind() {
    let faulty = Endpoint::scripted("faulty", |exchange| {
        exchange.drain_body();
        match exchange.number() % 4 {
            0 => exchange.reset(),
            1 => exchange.close(),
            2 => {
                exchange.send("HTTP/1.1 200 OK\r\nCont");
                exchange.reset();
            }
            _ => {
                exchange.send("garbage\r\n\r\n");
                exchange.close();
            }
        }
    });
    let well = Endpoint::named("well");
    let mut proxy = Proxy::to([&faulty, &well]).start();
    let address = proxy.address();
    thread::scope(|scope| {
        for worker in 0..4 {
            let address = &address;
            scope.spawn(move || {
                for n in 0..40 {
                    let mut client = crate::harness::Client::connect(address);
                    match (n + worker) % 4 {
                        0 => client.reset(),
                        1 => {
                            client.send("GET /x HTTP/1.1\r\nHo");
                            client.reset();
                        }
                        2 => {
                            let _ = client.upload("POST", "/post", b"pay");
                        }
                        _ => {
                            let _ = client.get("/get");
                        }
                    }
                }
            });
        }
    });
    eventually("nothing in flight", || {
        (proxy.metric("evenkeel_active_requests", &[]) as u64 == 0).then_some(())
    });
    // The endpoint that is at fault is still in the pool: the request after is one that moves on.
    proxy.is_unharmed(well.open() + faulty.open());
}

/// Part of fault 47: when clients hold every descriptor, the admin address answers all the same, no endpoint is blamed,
/// and once they are gone all is as before.
#[test]
fn a_lack_of_descriptors_does_not_shut_the_operator_out() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .health_check("type: tcp, interval: 200ms, timeout: 200ms, unhealthy_after: 1")
        .after_shell("ulimit -n 96")
        .start();
    proxy.wait_until(endpoint.address(), "healthy");
    let clients: Vec<_> = (0..150).map(|_| proxy.client()).collect();
    for _ in 0..5 {
        // Longer than the time between two probes.
        thread::sleep(Duration::from_millis(250));
        let status = proxy.endpoint_status(endpoint.address()).expect("it is in the pool");
        assert_eq!(status["state"], "healthy");
    }
    drop(clients);
    eventually("an answer", || {
        let mut client = proxy.client();
        client.try_send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n").ok()?;
        client.try_response_to("GET").ok().filter(|response| response.status == 200).map(drop)
    });
}
