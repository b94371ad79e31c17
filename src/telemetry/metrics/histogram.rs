//! A histogram of durations with fixed buckets. An observation is two atomic additions.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::exposition::{Exposition, Label};
use crate::sharded_counter::ShardedCounter;

/// Upper bounds, as text for the label and in nanoseconds: from a tenth of OpenTelemetry's smallest bound, for connects
/// within a rack, to its largest.
const BUCKETS: [(&str, u64); 17] = [
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

#[derive(Debug, Default)]
pub(super) struct Histogram(ShardedCounter<{ SUM + 1 }>);

// === impl Histogram ===

impl Histogram {
    pub(super) fn observe(&self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let index = BUCKETS.partition_point(|&(_, bound)| bound < nanos);
        self.0.add(index, 1, Relaxed);
        self.0.add(SUM, nanos, Relaxed);
    }

    pub(super) fn encode(&self, out: &mut Exposition, labels: &[Label<'_>]) {
        // Buckets are cumulative. `_count` is the last of them, because a separate counter could disagree with it.
        let mut count = 0;
        for (bucket, (bound, _)) in BUCKETS.iter().enumerate() {
            count += self.0.sum(bucket, Relaxed);
            out.suffixed("_bucket", labels, Some(("le", bound)), count);
        }
        count += self.0.sum(BEYOND, Relaxed);
        out.suffixed("_bucket", labels, Some(("le", "+Inf")), count);
        out.suffixed("_sum", labels, None, self.0.sum(SUM, Relaxed) as f64 / 1e9);
        out.suffixed("_count", labels, None, count);
    }
}
