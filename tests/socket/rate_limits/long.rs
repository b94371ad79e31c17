//! For twenty seconds, which `make test` cannot afford: `make timing`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Proxy};

const RATE: u32 = 500;
/// What a pause of the bursty clients gives back fits into it.
const BURST: u32 = 250;
const TIME: Duration = Duration::from_secs(20);
/// Within it, bursty clients ask for `BUSY` and then pause.
const CYCLE: Duration = Duration::from_millis(500);
const BUSY: Duration = Duration::from_millis(250);

#[test]
#[ignore = "takes a calm machine and a minute and a half: make timing"]
fn for_twenty_seconds_the_rate_is_exact_and_who_is_under_it_waits_no_longer() {
    for threads in [1, 4] {
        for bursty in [false, true] {
            let told = format!("{threads} threads, {}", if bursty { "bursty" } else { "steady" });
            let run = Run::of(threads, bursty);
            eprintln!(
                "{told}: {} of {} passed ({:+.2} %), {} were refused; p99 under the limit {:?}, without one {:?}",
                run.passed,
                run.expected,
                (run.passed / run.expected - 1.0) * 100.0,
                run.refused,
                run.limited,
                run.free,
            );
            assert!((run.passed / run.expected - 1.0).abs() <= 0.01, "{told}: the rate");
            assert!(run.refused > 1_000, "{told}: nobody has asked for too much");
            // Both are a moment on the same machine, so that only a wait could make them differ.
            assert!(run.limited <= run.free * 2 + Duration::from_millis(2), "{told}: p99");
        }
    }
}

struct Run {
    passed: f64,
    /// What the limit lets pass of requests that come when these have come.
    expected: f64,
    refused: usize,
    /// The 99th percentiles of who asks for little: on the route with the limit, and on one without.
    limited: Duration,
    free: Duration,
}

impl Run {
    fn of(threads: usize, bursty: bool) -> Run {
        let endpoint = Endpoint::named("a");
        let limit = format!("rate_limit: {{ rate: {RATE}/s, burst: {BURST}, by: {{ header: X-Key }} }}");
        let proxy = Proxy::to([&endpoint])
            .routes(&[
                &format!("name: limited, pool: default, {limit}"),
                "name: free, pool: default, match: { paths: [/free] }",
            ])
            .server(&format!("threads: {threads}, drain: 10s"))
            .access_log("output: off")
            .start();
        let (address, is_over) = (proxy.address(), AtomicBool::new(false));
        let begun = Instant::now();
        let (asked, (limited, free)) = thread::scope(|scope| {
            let greedy: Vec<_> = (0..4).map(|_| scope.spawn(|| greedy(&address, begun, bursty))).collect();
            let modest = scope.spawn(|| modest(&address, &is_over));
            let asked: Vec<Asked> = greedy.into_iter().flat_map(|one| one.join().unwrap()).collect();
            is_over.store(true, Ordering::Relaxed);
            (asked, modest.join().unwrap())
        });
        let passed = asked.iter().filter(|asked| asked.passed).count();
        let refused = asked.len() - passed;
        Run { passed: passed as f64, expected: expected(asked), refused, limited, free }
    }
}

/// A request of who asks for too much.
struct Asked {
    /// Between its first byte and that of its answer, since the beginning.
    at: Duration,
    passed: bool,
}

/// Asks for far more than the rate, steadily or in bursts, but not for all that the machine has.
fn greedy(address: &str, begun: Instant, bursty: bool) -> Vec<Asked> {
    let mut client = Client::connect(address);
    let mut all = Vec::new();
    while begun.elapsed() < TIME {
        if !bursty || begun.elapsed().as_millis() % CYCLE.as_millis() < BUSY.as_millis() {
            let sent = begun.elapsed();
            let passed = client.request("GET", "/", "X-Key: greedy\r\n").status == 200;
            all.push(Asked { at: (sent + begun.elapsed()) / 2, passed });
        }
        thread::sleep(Duration::from_micros(if bursty { 700 } else { 2_000 }));
    }
    all
}

/// How many of them a bucket of `BURST` tokens lets pass, of which there are `RATE` new ones in a second.
fn expected(mut asked: Vec<Asked>) -> f64 {
    asked.sort_by_key(|asked| asked.at);
    let (mut tokens, mut last, mut passed) = (f64::from(BURST), Duration::ZERO, 0.0);
    for Asked { at, .. } in asked {
        tokens = f64::from(BURST).min(tokens + (at - last).as_secs_f64() * f64::from(RATE));
        last = at;
        if tokens >= 1.0 {
            tokens -= 1.0;
            passed += 1.0;
        }
    }
    passed
}

/// Asks fifty times a second, in turns on the two routes.
fn modest(address: &str, is_over: &AtomicBool) -> (Duration, Duration) {
    let mut client = Client::connect(address);
    let mut took = [Vec::new(), Vec::new()];
    while !is_over.load(Ordering::Relaxed) {
        for (target, took) in ["/", "/free"].iter().zip(&mut took) {
            let begun = Instant::now();
            client.request("GET", target, "X-Key: modest\r\n").expect(200);
            took.push(begun.elapsed());
            thread::sleep(Duration::from_millis(10));
        }
    }
    let [limited, free] = took.map(|mut took| {
        took.sort();
        took[took.len() * 99 / 100]
    });
    (limited, free)
}
