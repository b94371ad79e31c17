//! What `evenkeel simulate` says beside what happens: the same config, real endpoints and real clients.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde_json::Value;

use crate::harness::{Client, Endpoint, Proxy};

const WORKERS: usize = 4;
const CLIENTS: usize = 24;
const TIME: Duration = Duration::from_secs(6);

/// The requests that an endpoint has got and answered; they begin in order of arrival, as simulated ones do.
#[derive(Default)]
struct Work {
    arrived: usize,
    ended: usize,
}

/// An endpoint that works on as many requests at a time as it has workers, each for that long.
fn working(name: &'static str, service: Duration) -> Endpoint {
    let work = Arc::new((Mutex::new(Work::default()), Condvar::new()));
    Endpoint::scripted(name, move |exchange| {
        let (work, changed) = &*work;
        let mut now = work.lock();
        let turn = now.arrived;
        now.arrived += 1;
        changed.wait_while(&mut now, |now| turn >= now.ended + WORKERS);
        drop(now);
        thread::sleep(service);
        work.lock().ended += 1;
        changed.notify_all();
        exchange.answer(name);
    })
}

/// The times of all requests, in milliseconds, of clients that each wait for every response.
fn ask(address: &str) -> Vec<f64> {
    let end = Instant::now() + TIME;
    let client = || {
        let mut client = Client::connect(address);
        let mut times = Vec::new();
        while Instant::now() < end {
            let begin = Instant::now();
            client.get("/").expect(200);
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        times
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("it was answered")).collect()
    })
}

fn simulated(proxy: &Proxy, slow: &str) -> Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("simulate")
        .arg(proxy.config_path())
        .args(["--clients", &CLIENTS.to_string(), "--for", "6s", "--workers", &WORKERS.to_string()])
        .args(["--constant", "--service", "40ms", "--service", &format!("{slow}=200ms"), "--json"])
        .output()
        .expect("the binary can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// One endpoint of four is five times slower. Shares agree within a percent of all requests, and p99 within a quarter.
fn agrees(balance: &str) {
    let endpoints = [working("a", Duration::from_millis(200))]
        .into_iter()
        .chain(["b", "c", "d"].map(|name| working(name, Duration::from_millis(40))));
    let endpoints: Vec<Endpoint> = endpoints.collect();
    let proxy = Proxy::to(&endpoints).with(&format!("balance: {balance}")).start();
    let mut times = ask(&proxy.address());
    times.sort_by(f64::total_cmp);
    let simulated = simulated(&proxy, endpoints[0].address());
    for (endpoint, said) in endpoints.iter().zip(simulated["endpoints"].as_array().expect("a list")) {
        assert_eq!(said["address"], endpoint.address());
        let share = endpoint.count() as f64 / times.len() as f64;
        let said = said["share"].as_f64().expect("a share");
        assert!(
            (share - said).abs() <= 0.01,
            "{balance}, {}: {share:.3}, simulated {said:.3}",
            endpoint.address()
        );
    }
    let p99 = times[times.len() * 99 / 100];
    let said = simulated["totals"]["p99_ms"].as_f64().expect("requests were answered");
    eprintln!("{balance}: {} requests, p99 {p99:.1} ms, simulated {said:.1} ms", times.len());
    assert!((0.8..=1.25).contains(&(p99 / said)), "{balance}: p99 {p99:.1} ms, simulated {said:.1} ms");
}

#[test]
fn round_robin_does_what_is_simulated() {
    agrees("round_robin");
}

#[test]
fn least_requests_does_what_is_simulated() {
    agrees("least_requests");
}
