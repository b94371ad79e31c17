//! What workers cost each other: the life of a request and its count, in one thread and in several that share a
//! snapshot, its pools and the metrics, as workers do: `cargo bench --bench sharing`.

#![expect(clippy::print_stdout, reason = "what is found is to be seen")]
#![expect(clippy::panic, reason = "what is measured is written here: it works, or this is to be mended")]

#[path = "../instructions/traffic.rs"]
#[expect(dead_code, reason = "what instructions are counted for needs more of it")]
mod traffic;

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use evenkeel::exchange::{RequestScope, Tracked};
use traffic::{PLAIN, Read, Times};

const TIMES: u32 = 400_000;
const ROUNDS: usize = 7;

fn main() {
    let most = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1];
    counts.extend((1..).map(|power| 1 << power).take_while(|count| *count <= most));
    for threads in counts {
        let mut each: Vec<Duration> = (0..ROUNDS).map(|_| together(threads)).collect();
        each.sort();
        println!("{threads} threads: {:?} a request", each[ROUNDS / 2] / TIMES);
    }
}

/// The processor time of the slowest for all that each of them does.
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

fn serve(pinned: &Arc<RequestScope>) -> Duration {
    let (read, times, client) = (Read::of(PLAIN), Times::new(), traffic::client());
    let begun = processor_time();
    for _ in 0..TIMES {
        let mut tracked = Tracked::new(traffic::begin(pinned, &read.view(), &client, times));
        traffic::carry(&mut tracked, &read.view(), times);
        traffic::answer(&mut tracked, times);
        tracked.finish(Some(200), 100, times.later());
    }
    processor_time() - begun
}

/// Of this thread: what others take of its processor does not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    Duration::from_nanos(
        text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds first"),
    )
}
