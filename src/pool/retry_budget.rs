//! How many of a pool's attempts may be retries, so that retries do not make an overload worse.
//!
//! Each thread counts first attempts for itself; only a request that asks for a retry sums them up, under a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::status::RetryStatus;
use crate::config;
use crate::log_throttle::LogThrottle;
use crate::sharded_counter::ShardedCounter;

/// The span over which first attempts and retries are compared, in slots of a second each.
const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_secs(1);

/// How many attempts a pool may have beyond one for each request, across reloads: retries, or second attempts beside the
/// first.
#[derive(Debug)]
pub struct RetryBudget {
    first_attempts: ShardedCounter<1>,
    window: Mutex<Window>,
    refused: AtomicU64,
    report: Mutex<LogThrottle>,
}

/// What the last [`SLOTS`] seconds have had.
#[derive(Debug, Clone)]
struct Window {
    /// The last look: when, and how many first attempts there had been since the start.
    last: (Instant, u64),
    /// The time from the beginning of the current slot to the last look.
    into_slot: Duration,
    /// The oldest first, the current one last.
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    first_attempts: f64,
    retries: u32,
}

// === impl RetryBudget ===

impl RetryBudget {
    pub fn new(now: Instant) -> Self {
        Self {
            first_attempts: ShardedCounter::default(),
            window: Mutex::new(Window::new(now)),
            refused: AtomicU64::new(0),
            report: Mutex::default(),
        }
    }

    pub fn count_first_attempt(&self) {
        self.first_attempts.add(0, 1, Relaxed);
    }

    /// Takes a retry; `false`: the budget is spent.
    pub fn take(&self, limits: &config::RetryBudget, now: Instant) -> bool {
        self.window.lock().take(limits, self.first_attempts.sum(0, Relaxed), now)
    }

    /// Counts a retry that was refused, and logs it, throttled.
    pub fn refuse(&self, pool: &str, now: Instant) {
        self.refused.fetch_add(1, Relaxed);
        if let Some(count) = self.report.lock().due(now) {
            log::warn!(pool, count; "retry budget is spent");
        }
    }

    /// How many retries there may be now, and how many in the last ten seconds' attempts in all. Nothing is taken.
    pub fn left(&self, limits: &config::RetryBudget, now: Instant) -> (u64, u64) {
        let mut window = self.window.lock().clone();
        window.advance(self.first_attempts.sum(0, Relaxed), now);
        let allowed = window.allowed(limits) as u64;
        (allowed.saturating_sub(window.retries()), allowed)
    }

    /// `None`: there is no budget.
    pub(super) fn status(&self, limits: Option<&config::RetryBudget>, now: Instant) -> RetryStatus {
        let mut window = self.window.lock();
        window.advance(self.first_attempts.sum(0, Relaxed), now);
        RetryStatus {
            first_attempts: window.first_attempts().round() as u64,
            retries: window.retries(),
            allowed: limits.map(|limits| window.allowed(limits) as u64),
            refused: self.refused.load(Relaxed),
        }
    }
}

// === impl Window ===

impl Window {
    fn new(now: Instant) -> Self {
        Self { last: (now, 0), into_slot: Duration::ZERO, slots: Default::default() }
    }

    fn take(&mut self, limits: &config::RetryBudget, first_attempts: u64, now: Instant) -> bool {
        self.advance(first_attempts, now);
        let fits = (self.retries() + 1) as f64 <= self.allowed(limits);
        if fits && let Some(slot) = self.slots.last_mut() {
            slot.retries += 1;
        }
        fits
    }

    /// How many retries there may be among the last [`SLOTS`] seconds' attempts: the larger of share and floor.
    fn allowed(&self, limits: &config::RetryBudget) -> f64 {
        let floor = f64::from(limits.floor) * SLOTS as f64;
        floor.max(limits.share * self.first_attempts())
    }

    fn first_attempts(&self) -> f64 {
        self.slots.iter().map(|slot| slot.first_attempts).sum()
    }

    fn retries(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.retries)).sum()
    }

    /// Moves the window on. First attempts since the last look count as spread evenly over that time: those of an hour
    /// without a retry are not all of the last second.
    fn advance(&mut self, first_attempts: u64, now: Instant) {
        let (at, seen) = self.last;
        // Threads may come with times in another order than they get the lock.
        let now = now.max(at);
        let new = first_attempts.saturating_sub(seen) as f64;
        let elapsed = now - at;
        self.last = (now, first_attempts.max(seen));
        let room = SLOT - self.into_slot;
        if elapsed < room {
            self.add(new);
            self.into_slot += elapsed;
            return;
        }
        let per_second = new / elapsed.as_secs_f64();
        self.add(per_second * room.as_secs_f64());
        let whole = (elapsed - room).as_secs();
        for _ in 0..whole.min(SLOTS as u64) {
            self.next_slot();
            self.add(per_second);
        }
        self.next_slot();
        self.into_slot = elapsed - room - Duration::from_secs(whole);
        self.add(per_second * self.into_slot.as_secs_f64());
    }

    fn add(&mut self, first_attempts: f64) {
        if let Some(slot) = self.slots.last_mut() {
            slot.first_attempts += first_attempts;
        }
    }

    fn next_slot(&mut self) {
        self.slots.rotate_left(1);
        if let Some(slot) = self.slots.last_mut() {
            *slot = Slot::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(share: f64, floor: u32) -> config::RetryBudget {
        config::RetryBudget { share, floor }
    }

    /// A pool's life: requests come evenly in each second, and each asks for a retry if it is its turn to fail.
    struct History {
        window: Window,
        start: Instant,
        first_attempts: u64,
        /// First attempts and retries of each second.
        seconds: Vec<(u64, u64)>,
    }

    impl History {
        fn new() -> Self {
            let start = Instant::now();
            Self { window: Window::new(start), start, first_attempts: 0, seconds: Vec::new() }
        }

        /// A second of `requests`, of which `asks` ask for a retry, spread over all.
        fn second(&mut self, limits: &config::RetryBudget, requests: u64, asks: u64) {
            let begin = self.start + Duration::from_secs(self.seconds.len() as u64);
            let (mut retries, steps) = (0, requests.max(asks));
            for step in 0..steps {
                let now = begin + Duration::from_secs_f64(step as f64 / steps as f64);
                let due = |count: u64| (step + 1) * count / steps > step * count / steps;
                self.first_attempts += u64::from(due(requests));
                retries += u64::from(due(asks) && self.window.take(limits, self.first_attempts, now));
            }
            self.seconds.push((requests, retries));
        }

        fn totals(&self) -> (u64, u64) {
            self.seconds.iter().fold((0, 0), |sum, second| (sum.0 + second.0, sum.1 + second.1))
        }
    }

    proptest! {
        #[test]
        fn attempts_are_at_most_one_and_the_share(
            share in 0.01f64..1.0,
            floor in 0u32..20,
            seconds in prop::collection::vec((0u64..400, 0u64..400), 5..40),
        ) {
            let (limits, mut history) = (limits(share, floor), History::new());
            seconds.iter().for_each(|(requests, asks)| history.second(&limits, *requests, *asks));
            let (requests, retries) = history.totals();
            let of_floor = u64::from(floor) * 10 * (seconds.len() as u64).div_ceil(10);
            prop_assert!(retries as f64 <= share * requests as f64 + of_floor as f64);
        }

        /// The larger of the two, not their sum.
        #[test]
        fn beside_enough_requests_the_floor_adds_nothing(
            failing in 30u64..=100,
            requests in 100u64..300,
            tens in 1usize..4,
        ) {
            let (limits, mut history) = (limits(0.2, 10), History::new());
            (0..10 * tens).for_each(|_| history.second(&limits, requests, requests * failing / 100));
            let (requests, retries) = history.totals();
            prop_assert!(retries as f64 <= 0.2 * requests as f64 + 1.0, "{retries} of {requests}");
            prop_assert!(retries as f64 >= 0.19 * requests as f64 - 1.0, "{retries} of {requests}");
        }

        #[test]
        fn the_floor_is_always_granted(
            floor in 1u32..20,
            seconds in prop::collection::vec((0u64..3, 0u64..20), 1..40),
        ) {
            let (limits, mut history) = (limits(0.2, floor), History::new());
            for (requests, asks) in seconds {
                let asks = asks.min(floor.into());
                history.second(&limits, requests, asks);
                prop_assert_eq!(history.seconds.last(), Some(&(requests, asks)));
            }
        }
    }

    #[test]
    fn requests_of_long_ago_pay_for_no_retries_now() {
        let start = Instant::now();
        let (mut window, limits) = (Window::new(start), limits(0.2, 0));
        assert!(!window.take(&limits, 4, start + SLOT));
        assert!(window.take(&limits, 5, start + SLOT));
        let later = start + Duration::from_hours(1);
        let granted = (0..10_000).filter(|_| window.take(&limits, 3_600 * 100, later)).count();
        // 100 requests a second; the current slot has just begun.
        assert!((179..=200).contains(&granted), "{granted}");
    }

    #[test]
    fn without_share_and_floor_nothing_is_granted() {
        let mut history = History::new();
        (0..20).for_each(|_| history.second(&limits(0.0, 0), 100, 100));
        assert_eq!(history.totals(), (2000, 0));
    }

    #[test]
    fn threads_may_come_in_any_order() {
        let start = Instant::now();
        let (mut window, limits) = (Window::new(start), limits(0.5, 0));
        let at = |millis| start + Duration::from_millis(millis);
        window.advance(0, at(900));
        assert!(window.take(&limits, 2, at(800)));
        assert!(!window.take(&limits, 1, at(700)), "the newer count has been seen");
        assert!(window.take(&limits, 4, at(950)));
    }
}
