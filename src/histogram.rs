//! How long something takes that many threads do: counts in buckets with fixed bounds. An observation is two atomic
//! additions.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::sharded_counter::ShardedCounter;

/// Upper bounds, as text for the label and in nanoseconds: from a tenth of OpenTelemetry's smallest bound, for connects
/// within a rack, to its largest.
pub const BUCKETS: [(&str, u64); 17] = [
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.075", 75_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("0.75", 750_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("7.5", 7_500_000_000),
    ("10", 10_000_000_000),
];

/// The index of the count of observations beyond the last bound.
const BEYOND: usize = BUCKETS.len();
/// The index of the sum of all observations in nanoseconds, which overflows after 584 years.
const SUM: usize = BEYOND + 1;

/// How many counts a histogram has among those of a [`ShardedCounter`].
pub const COUNTS: usize = SUM + 1;

#[derive(Debug, Default)]
pub struct Histogram(ShardedCounter<COUNTS>);

/// One time, for the same bucket of several histograms.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    bucket: usize,
    nanos: u64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HistogramCounts {
    /// Not cumulative; the last is of those beyond the last bound.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// The sum of all observations.
    pub seconds: f64,
}

// === impl Histogram ===

impl Histogram {
    pub fn observe(&self, value: Duration) {
        self.add(Observation::of(value));
    }

    pub fn add(&self, observation: Observation) {
        self.0.add_all(observation.additions(0), Relaxed);
    }

    pub fn counts(&self) -> HistogramCounts {
        HistogramCounts::read(&self.0, 0)
    }
}

// === impl Observation ===

impl Observation {
    pub fn of(value: Duration) -> Self {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        Self { bucket: BUCKETS.partition_point(|&(_, bound)| bound < nanos), nanos }
    }

    /// What it adds to a counter in which the histogram's counts begin at `first`.
    pub fn additions(self, first: usize) -> [(usize, u64); 2] {
        [(first + self.bucket, 1), (first + SUM, self.nanos)]
    }
}

// === impl HistogramCounts ===

impl HistogramCounts {
    /// The histogram whose counts begin at `first`.
    pub fn read<const N: usize>(counter: &ShardedCounter<N>, first: usize) -> Self {
        Self {
            buckets: std::array::from_fn(|bucket| counter.sum(first + bucket, Relaxed)),
            seconds: counter.sum(first + SUM, Relaxed) as f64 / 1e9,
        }
    }
}
