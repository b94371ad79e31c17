//! Fault 56: the system's clock jumps. Only the times that are written follow it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Engine, Gate, Proxy, engine, eventually, lasted};

/// Debian's `faketime`.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// When the request arrived, as the access log has it, in minutes since the epoch.
fn logged_minutes(proxy: &Proxy, target: &str) -> i64 {
    let time = proxy.record(target).text("time").parse::<jiff::Timestamp>().expect("a time");
    time.as_second() / 60
}

/// Requests under way, deadlines and health checks go on as if nothing had happened, an hour forward and an hour back.
#[test]
fn a_jump_of_the_clock_changes_no_deadline() {
    if !Path::new(LIBRARY).exists() {
        eprintln!("skipped: {LIBRARY} is not here (Debian's faketime)");
        return;
    }
    let clock = tempfile::NamedTempFile::new().unwrap();
    let jump_to = |offset: &str| fs::write(clock.path(), offset).unwrap();
    jump_to("+0");
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target().starts_with("/held") {
            opened.wait();
        }
        exchange.answer("whole");
    });
    let mut proxy = Proxy::to([&endpoint])
        .health_check("type: tcp, interval: 200ms, timeout: 1s")
        .listener("timeouts: { keep_alive: 60s, header: 2s }")
        .after_shell(&format!(
            "export LD_PRELOAD={LIBRARY} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1",
            clock.path().display()
        ))
        .start();
    let mut kept = proxy.client();
    for (turn, (offset, minutes)) in [("+3600", 60), ("-3600", -60)].into_iter().enumerate() {
        kept.get(&format!("/before{turn}")).expect(200);
        let mut held = proxy.client();
        held.send(format!("GET /held{turn} HTTP/1.1\r\nHost: test.example\r\n\r\n"));
        let mut slow = proxy.client();
        slow.send("GET /slow HTTP/1.1\r\nHost: te");
        let since = Instant::now();
        eventually("the request", || (endpoint.count_of(&format!("/held{turn}")) == 1).then_some(()));
        jump_to(offset);
        thread::sleep(Duration::from_millis(1200));
        assert!(held.is_open() && kept.is_open() && slow.is_open());
        kept.get(&format!("/after{turn}")).expect(200);
        // Pingora has no deadline for a whole header.
        if engine() == Engine::Native {
            slow.response().expect(408);
            lasted(Duration::from_millis(1900), since.elapsed());
        }
        let jumped = logged_minutes(&proxy, &format!("/after{turn}")) - minutes_now();
        assert!((jumped - minutes).abs() <= 1, "the log says {jumped} minutes from now");
        jump_to("+0");
    }
    gate.open();
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["state"], "healthy");
    assert!(!proxy.events().iter().any(|event| event.message() == "endpoint is unhealthy"));
    drop(kept);
    proxy.is_unharmed(endpoint.open());
}

fn minutes_now() -> i64 {
    jiff::Timestamp::now().as_second() / 60
}

/// The control of the test above.
#[test]
fn without_a_jump_the_log_has_the_time() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    Client::connect(&proxy.address()).get("/x").expect(200);
    assert!((logged_minutes(&proxy, "/x") - minutes_now()).abs() <= 1);
}
