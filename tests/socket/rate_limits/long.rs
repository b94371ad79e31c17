//! For twenty seconds, which `make test` cannot afford: `make timing`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
            assert!(run.refused > 0.0, "{told}: nobody has asked for too much");
            // Both are a moment on the same machine, so that only a wait could make them differ.
            assert!(run.limited <= run.free * 2 + Duration::from_millis(2), "{told}: p99");
        }
    }
}

struct Run {
    passed: f64,
    /// The burst, and the rate for as long as it took.
    expected: f64,
    refused: f64,
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
        let (passed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begun = Instant::now();
        let (limited, free) = thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(&address);
                    while begun.elapsed() < TIME {
                        if !bursty || is_busy(begun.elapsed()) {
                            let status = client.request("GET", "/", "X-Key: greedy\r\n").status;
                            let counted = if status == 200 { &passed } else { &refused };
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                        // Far more than the rate, and not all that the machine has.
                        thread::sleep(Duration::from_micros(if bursty { 700 } else { 2_000 }));
                    }
                });
            }
            let modest = scope.spawn(|| modest(&address, &is_over));
            thread::sleep(TIME);
            is_over.store(true, Ordering::Relaxed);
            modest.join().unwrap()
        });
        let seconds = if bursty { last_busy(begun.elapsed()) } else { begun.elapsed() }.as_secs_f64();
        Run {
            passed: passed.into_inner() as f64,
            expected: f64::from(BURST) + f64::from(RATE) * seconds,
            refused: refused.into_inner() as f64,
            limited,
            free,
        }
    }
}

fn is_busy(elapsed: Duration) -> bool {
    elapsed.as_millis() % CYCLE.as_millis() < BUSY.as_millis()
}

/// When the bursty clients have asked for the last time.
fn last_busy(elapsed: Duration) -> Duration {
    let cycles = (elapsed.min(TIME).as_millis() - 1) / CYCLE.as_millis();
    CYCLE * u32::try_from(cycles).unwrap() + BUSY
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
