//! Encodes a histogram with its classic buckets. The text format has no others.

use super::exposition::{Exposition, Label};
use crate::histogram::{BUCKETS, HistogramCounts};

pub(super) fn encode(out: &mut Exposition, labels: &[Label<'_>], counts: &HistogramCounts) {
    // Buckets are cumulative. `_count` is the last of them, because a separate counter could disagree with it.
    let mut count = 0;
    let bounds = BUCKETS.iter().map(|(bound, _)| *bound).chain(["+Inf"]);
    for (bound, in_bucket) in bounds.zip(counts.buckets) {
        count += in_bucket;
        out.suffixed("_bucket", labels, Some(("le", bound)), count);
    }
    out.suffixed("_sum", labels, None, counts.seconds);
    out.suffixed("_count", labels, None, count);
}
