//! Twice as many requests as can be served: what is served is served fresh, and what matters is served.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Proxy};

/// Requests that are served at a time, and how long each takes: 200 a second.
const PERMITS: usize = 20;
const SERVICE: Duration = Duration::from_millis(100);

/// One client's request every so often, whether the one before was quick or not.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Figures {
    /// How long those took that were served.
    served: Vec<Duration>,
    refused: usize,
}

impl Figures {
    fn p99(&self) -> Duration {
        let mut served = self.served.clone();
        served.sort();
        served[served.len() * 99 / 100]
    }
}

/// Load by `clients`, of whom each sends two requests a second to `target`, evenly spread, for so long.
fn load(proxy: &Proxy, target: &str, clients: u32, time: Duration) -> Figures {
    let figures = Mutex::new(Figures::default());
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..clients {
            let figures = &figures;
            scope.spawn(move || {
                let mut client = proxy.client();
                let mut due = begun + EVERY * number / clients;
                while due < begun + time {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let sent = Instant::now();
                    let response = client.get(target);
                    let (status, took) = (response.status, sent.elapsed());
                    if response.header("connection").is_some_and(|value| value == "close") {
                        client = proxy.client();
                    }
                    let figures = &mut *figures.lock().unwrap();
                    match status {
                        200 => figures.served.push(took),
                        503 => figures.refused += 1,
                        other => panic!("{other}"),
                    }
                    due = (due + EVERY).max(Instant::now());
                }
            });
        }
    });
    figures.into_inner().unwrap()
}

/// What is wrong with how twice as many requests as can be served were served, if anything is.
fn overload(proxy: &Proxy) -> Result<(), String> {
    let time = Duration::from_secs(4);
    // Three fifths of what can be served.
    let calm = load(proxy, "/calm", 60, time);
    // Twice of it, a quarter of that of high priority.
    let (high, normal) = thread::scope(|scope| {
        let high = scope.spawn(|| load(proxy, "/high", 50, time));
        let normal = load(proxy, "/normal", 150, time);
        (high.join().unwrap(), normal)
    });
    let served = high.served.len() + normal.served.len();
    let capacity = PERMITS as f64 * time.as_secs_f64() / SERVICE.as_secs_f64();
    let is_good = calm.refused == 0
        && served as f64 > 0.9 * capacity
        && high.refused == 0
        && high.p99().max(normal.p99()) < 3 * calm.p99()
        && normal.refused > 100;
    let said = format!(
        "calm {} refused, {:?}; high {} served, {} refused, {:?}; normal {} served, {} refused, {:?}",
        calm.refused,
        calm.p99(),
        high.served.len(),
        high.refused,
        high.p99(),
        normal.served.len(),
        normal.refused,
        normal.p99(),
    );
    eprintln!("{said}");
    if is_good { Ok(()) } else { Err(said) }
}

#[test]
fn what_is_served_under_overload_is_served_fresh() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        thread::sleep(SERVICE);
        exchange.answer("served");
    });
    let proxy = Proxy::to([&endpoint])
        .routes(&[
            "name: high, pool: default, match: { paths: [/high] }, priority: high",
            "name: normal, pool: default",
        ])
        .with(&format!("limits: {{ requests: {PERMITS}, queue: 1024, wait: 5s }}"))
        .start();
    // A machine that has much else to do may stop everything for a while.
    let wrong: Vec<_> = (0..3).map_while(|_| overload(&proxy).err()).collect();
    assert!(wrong.len() < 3, "{wrong:#?}");
}
