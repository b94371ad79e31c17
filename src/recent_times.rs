//! How long something takes that many threads do: the time that 95 % of the recent ones have not exceeded.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Buckets for each doubling: a time is known to within a quarter.
const STEPS: u32 = 4;
const STEP_BITS: u32 = STEPS.ilog2();

/// Up to 2^31 us, which is more than half an hour.
const BUCKETS: usize = (32 * STEPS) as usize;

/// How often the percentile is found anew.
const REFRESH: Duration = Duration::from_secs(1);

/// After so many refreshes, all that is known counts half.
const HALVING: u64 = 10;

/// With fewer, a percentile means nothing.
const LEAST: u64 = 100;

/// Times by their size, older ones counting less: half after ten seconds, a quarter after twenty.
#[derive(Debug)]
pub struct RecentTimes {
    epoch: Instant,
    counts: [AtomicU32; BUCKETS],
    /// Refreshes so far.
    refreshes: AtomicU64,
    /// In microseconds; 0: not known.
    p95: AtomicU64,
}

impl RecentTimes {
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            counts: [const { AtomicU32::new(0) }; BUCKETS],
            refreshes: AtomicU64::new(0),
            p95: AtomicU64::new(0),
        }
    }

    pub fn add(&self, took: Duration, now: Instant) {
        if let Some(count) = self.counts.get(bucket(took)) {
            count.fetch_add(1, Relaxed);
        }
        let due = now.saturating_duration_since(self.epoch).as_nanos() / REFRESH.as_nanos();
        let (due, refreshes) = (u64::try_from(due).unwrap_or(u64::MAX), self.refreshes.load(Relaxed));
        // One thread of those that see it refreshes.
        if due > refreshes && self.refreshes.compare_exchange(refreshes, due, Relaxed, Relaxed).is_ok() {
            self.refresh(due / HALVING - refreshes / HALVING);
        }
    }

    /// `None`: not enough is known.
    pub fn p95(&self) -> Option<Duration> {
        let micros = self.p95.load(Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    fn refresh(&self, halvings: u64) {
        let counts = self.counts.each_ref().map(|count| u64::from(count.load(Relaxed)));
        let all: u64 = counts.iter().sum();
        let beyond = all / 20;
        let mut above = 0;
        let found = (counts.iter().enumerate().rev()).find(|(_, count)| {
            above += **count;
            above > beyond
        });
        let p95 = found.filter(|_| all >= LEAST).map_or(0, |(index, _)| end_of(index));
        self.p95.store(p95, Relaxed);
        for (count, was) in self.counts.iter().zip(counts).filter(|_| halvings > 0) {
            let left = was >> halvings.min(63);
            count.fetch_sub(u32::try_from(was - left).unwrap_or(u32::MAX), Relaxed);
        }
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(STEPS);
    let doublings = micros.ilog2();
    let step = (micros >> (doublings - STEP_BITS)) & (STEPS - 1);
    (doublings * STEPS + step) as usize
}

/// The first time, in microseconds, that is too long for a bucket.
fn end_of(bucket: usize) -> u64 {
    let (doublings, step) = (bucket as u64 / u64::from(STEPS), bucket as u64 % u64::from(STEPS));
    (u64::from(STEPS) + step + 1) << doublings >> STEP_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_below_the_end_of_its_bucket_and_within_a_quarter() {
        for micros in (4..5_000).chain([1 << 20, (1 << 31) - 1]) {
            let end = end_of(bucket(Duration::from_micros(micros)));
            assert!(micros < end && end <= micros + micros / 4 + 1, "{micros} {end}");
        }
        for (extreme, index) in [(Duration::ZERO, 2 * STEPS), (Duration::MAX, 32 * STEPS - 1)] {
            assert_eq!(bucket(extreme), index as usize);
        }
    }

    #[test]
    fn it_is_the_time_that_one_of_twenty_exceeds() {
        let start = Instant::now();
        let times = RecentTimes::new(start);
        for index in 0..2_000u64 {
            let took = if index % 25 == 0 { 80 } else { 10 };
            times.add(Duration::from_millis(took), start + Duration::from_millis(index));
        }
        let p95 = times.p95().expect("there are enough");
        assert!((10..13).contains(&p95.as_millis()), "{p95:?}");
        for index in 2_000..4_000u64 {
            let took = if index % 10 == 0 { 80 } else { 10 };
            times.add(Duration::from_millis(took), start + Duration::from_millis(index));
        }
        let p95 = times.p95().expect("there are enough");
        assert!((80..100).contains(&p95.as_millis()), "{p95:?}");
    }

    #[test]
    fn few_say_nothing_and_what_is_old_is_forgotten() {
        let start = Instant::now();
        let times = RecentTimes::new(start);
        (0..50).for_each(|second| times.add(Duration::from_millis(5), start + Duration::from_secs(second)));
        assert_eq!(times.p95(), None);
        let second = |second| start + Duration::from_secs(second);
        (0..1_000).for_each(|_| times.add(Duration::from_millis(500), second(51)));
        times.add(Duration::from_millis(500), second(52));
        assert!(times.p95().expect("enough") > Duration::from_millis(500));
        // After an hour without a request nothing is left of them.
        times.add(Duration::from_millis(1), second(4_000));
        times.add(Duration::from_millis(1), second(4_002));
        assert_eq!(times.p95(), None);
    }
}
