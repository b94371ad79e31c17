//! A histogram of latencies, exact to about 6 %, in a few kilobytes.

use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u64 = 16;
/// Enough for any number of microseconds.
const BUCKETS: usize = 61 * 16;

#[derive(Debug, Clone)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    worst: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], worst: Duration::ZERO }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
        }
        self.worst = self.worst.max(latency);
    }

    pub(super) fn worst(&self) -> Duration {
        self.worst
    }

    /// The 99th percentile.
    pub(super) fn p99(&self) -> Duration {
        let all: u64 = self.counts.iter().sum();
        let mut slower = all / 100;
        for (at, count) in self.counts.iter().enumerate().rev() {
            if *count > slower {
                return Duration::from_micros(upper_bound(at)).min(self.worst);
            }
            slower -= count;
        }
        Duration::ZERO
    }
}

/// The bucket of a duration. The first two rows of buckets are single microseconds; each row after them is a doubling.
fn bucket(micros: u64) -> usize {
    let row = u64::from(micros.checked_ilog2().unwrap_or_default()).saturating_sub(4);
    usize::try_from(row * STEPS + (micros >> row)).unwrap_or(usize::MAX)
}

/// The longest duration in a bucket.
fn upper_bound(at: usize) -> u64 {
    let at = at as u64;
    let row = (at / STEPS).saturating_sub(1);
    ((at - row * STEPS + 1) << row) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_hold_what_they_say() {
        let mut last = 0;
        for micros in 0..100_000 {
            let at = bucket(micros);
            assert!(at == last || at == last + 1, "{micros}");
            assert!(
                micros <= upper_bound(at) && upper_bound(at) <= micros + micros / 16,
                "{micros} in {}",
                upper_bound(at)
            );
            last = at;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn one_of_a_hundred_is_beyond() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.p99(), Duration::ZERO);
        for millis in 1..=100 {
            latencies.add(Duration::from_millis(millis));
        }
        let p99 = latencies.p99().as_secs_f64();
        assert!((0.099..0.106).contains(&p99), "{p99}");
        assert_eq!(latencies.worst(), Duration::from_millis(100));
    }
}
