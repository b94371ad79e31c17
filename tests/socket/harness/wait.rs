//! Waiting: always for a condition, never for ever.

use std::thread;
use std::time::{Duration, Instant};

/// What any single step of a scenario may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What should take no time may take this long on a machine that has much else to do. Whatever a test has to tell it from
/// (a default timeout, a drain of 30 s, never) takes longer.
pub const SOON: Duration = Duration::from_secs(6);

const STEP: Duration = Duration::from_millis(3);

/// Asks until there is an answer, for at most [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask)
}

/// Asks until there is an answer; fails when `limit` has passed without one.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(STEP);
    }
}

/// Fails unless `took` is what a timer comes to: no less, and no more than a busy machine adds.
#[track_caller]
pub fn lasted(timer: Duration, took: Duration) {
    // The clocks of the test and of the proxy are not read at the same moment.
    let least = timer - Duration::from_millis(10);
    assert!((least..timer + SOON).contains(&took), "it took {took:?} where a timer has {timer:?}");
}
