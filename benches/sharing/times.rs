//! Measures what sharing costs on this machine: the life of a request in one thread and in several, and a cache line
//! that moves between two processors.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel::exchange::RequestScope;

use super::traffic::{self, PLAIN, Read, Times};

const TIMES: u32 = 400_000;
const ROUNDS: usize = 7;

/// Turns of a cache line in a round: few, so that some rounds run without other load on the two processors.
const TURNS: u32 = 2_000;
const SHORT_ROUNDS: usize = 5_000;

/// Measures the life of a request, with its count, in one thread and in several that share a snapshot, its pools and
/// the metrics, as workers do.
pub fn lives() {
    let most = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1];
    counts.extend((1..).map(|power| 1 << power).take_while(|count| *count <= most));
    for threads in counts {
        println!("{threads} threads: {:?} a request", median(|| together(threads)) / TIMES);
    }
}

/// Measures how long it takes to move a cache line from the processor that has written it to another one.
pub fn transfers() {
    let least = (0..SHORT_ROUNDS).map(|_| to_and_fro()).min().unwrap_or_default();
    println!("a cache line from one processor to another: {:?}", least / TURNS);
}

fn median(mut round: impl FnMut() -> Duration) -> Duration {
    let mut each: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    each.sort();
    each[ROUNDS / 2]
}

/// The processor time of the slowest of so many threads.
fn together(threads: usize) -> Duration {
    let (snapshot, telemetry) = (traffic::snapshot(1), traffic::telemetry());
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let work = || {
            start.wait();
            serve(&traffic::pinned(&snapshot, &telemetry))
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().map(|one| one.join().expect("it does not panic")).max().unwrap_or_default()
    })
}

fn serve(scope: &Arc<RequestScope>) -> Duration {
    let (read, times, client) = (Read::of(PLAIN), Times::new(), traffic::client());
    let begun = processor_time();
    for _ in 0..TIMES {
        let mut exchange = traffic::begin(scope, &read.view(), &client, times);
        traffic::admit_and_connect(&mut exchange, &read.view(), times);
        traffic::answer(&mut exchange, times);
        exchange.finish(Some(200), 100, times.later());
    }
    processor_time() - begun
}

/// The processor time of this thread, without that of others on its processor.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    Duration::from_nanos(
        text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds first"),
    )
}

/// Two threads that answer each other by a shared number: each turn moves its cache line to the other processor.
fn to_and_fro() -> Duration {
    let (number, start) = (AtomicU64::new(0), Barrier::new(2));
    let answer = |first: u64| {
        start.wait();
        let begun = Instant::now();
        for turn in (first..u64::from(TURNS)).step_by(2) {
            while number.load(Relaxed) != turn {
                std::hint::spin_loop();
            }
            number.store(turn + 1, SeqCst);
        }
        begun.elapsed()
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| answer(1));
        let own = answer(0);
        other.join().expect("it does not panic").max(own)
    })
}
