//! That the status is true: states, counts, shares; and the commands that show it.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Endpoint, Gate, Proxy, eventually, load, nobody_listens};

fn number(status: &Value, field: &str) -> u64 {
    status[field].as_u64().unwrap_or_else(|| panic!("no {field} in {status}"))
}

fn share(status: &Value, field: &str) -> f64 {
    status[field].as_f64().unwrap_or_else(|| panic!("no {field} in {status}"))
}

/// Counts equal the requests that were sent, and shares are what they come to.
#[test]
fn counts_and_shares_are_true() {
    let [a, b, c] = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to([a.weight(2), b.weight(1), c.weight(1)]).start();
    load(&proxy.address(), 4, 100);
    proxy.records_of("/load", 400);
    for (endpoint, requests, part) in [(&a, 200, 0.5), (&b, 100, 0.25), (&c, 100, 0.25)] {
        let status = proxy.endpoint_status(endpoint.address()).unwrap();
        assert_eq!(number(&status, "requests"), requests);
        assert_eq!((number(&status, "in_flight"), number(&status, "failures")), (0, 0));
        assert_eq!(number(&status, "bytes_out"), requests, "one byte of body each");
        assert!((share(&status, "share") - part).abs() < 1e-6, "{status}");
        assert!((share(&status, "expected_share") - part).abs() < 1e-6, "{status}");
    }
    proxy.client().upload("POST", "/up", &[b'x'; 500]).expect(200);
    proxy.record("/up");
    let bytes: u64 = [&a, &b, &c]
        .iter()
        .map(|endpoint| number(&proxy.endpoint_status(endpoint.address()).unwrap(), "bytes_in"))
        .sum();
    assert_eq!(bytes, 500);
}

/// Who has the most traffic can be seen while it flows.
#[test]
fn what_is_in_flight_is_shown() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        opened.wait();
        exchange.answer("done");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    let in_flight = |count: u64| {
        eventually(&format!("{count} in flight"), || {
            (number(&proxy.endpoint_status(endpoint.address())?, "in_flight") == count).then_some(())
        });
    };
    in_flight(3);
    gate.open();
    for client in &mut clients {
        client.response().expect(200);
    }
    in_flight(0);
}

/// A state comes with its reason and the moment it began, and with the probes that led to it.
#[test]
fn states_have_reasons() {
    let well = Endpoint::named("well");
    let dead = nobody_listens();
    let proxy = Proxy::to([&well, &dead])
        .health_check("type: tcp, interval: 100ms, timeout: 500ms, healthy_after: 1, unhealthy_after: 1")
        .start();
    proxy.wait_until(well.address(), "healthy");
    proxy.wait_until(dead.address(), "unhealthy");
    let status = proxy.endpoint_status(dead.address()).unwrap();
    assert!(status["reason"].as_str().unwrap().contains("refused"), "{status}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let since = share(&status, "since");
    assert!((now - 30.0..now + 1.0).contains(&since), "since {since}, now {now}");
    assert!(number(&status, "checks_failed") >= 1 && number(&status, "checks_passed") == 0, "{status}");
    assert_eq!(share(&status, "expected_share"), 0.0);
    let status = proxy.endpoint_status(well.address()).unwrap();
    assert!(number(&status, "checks_passed") >= 1, "{status}");
    assert_eq!(share(&status, "expected_share"), 1.0);
}

/// Runs another command of the same binary.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(arguments).output().unwrap()
}

/// `evenkeel status` shows each endpoint, found through the same file as the proxy was started with.
#[test]
fn the_status_command_shows_it() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).start();
    load(&proxy.address(), 1, 20);
    proxy.records_of("/load", 20);
    let config = proxy.config_path();
    let config = config.to_str().unwrap();
    let output = run(&["status", "-c", config]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [a.address(), b.address(), "healthy", "default", "50"] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    let output = run(&["status", "-c", config, "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["pools"][0]["endpoints"][0]["requests"], 10);
    let socket = format!("unix:{}", proxy.folder().join("admin.sock").display());
    assert!(run(&["status", "--admin", &socket]).status.success());
}

/// `evenkeel health` says by its exit code whether the process is there and ready.
#[test]
fn the_health_command_says_whether_it_is_ready() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let config = proxy.config_path();
    let config = config.to_str().unwrap();
    assert_eq!(run(&["health", "-c", config]).status.code(), Some(0));
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    proxy.ended();
    let output = run(&["health", "-c", config]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
}
