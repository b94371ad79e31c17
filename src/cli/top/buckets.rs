//! Percentiles of a histogram's last seconds.

use std::cmp::Ordering;
use std::time::Duration;

use crate::human;

/// The cumulative counts of a histogram, by upper bound in seconds, the lowest first; the last bound is infinite.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, u64)>);

/// A time that so many were not slower than, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Quantile {
    At(f64),
    /// Beyond the last bound.
    Beyond(f64),
}

// === impl Buckets ===

impl Buckets {
    pub fn add(&mut self, bound: f64, count: u64) {
        let at = self.0.partition_point(|(lower, _)| *lower < bound);
        match self.0.get_mut(at).filter(|(found, _)| *found == bound) {
            Some((_, sum)) => *sum += count,
            None => self.0.insert(at, (bound, count)),
        }
    }

    /// Of what was counted since `before`, the time that `part` of it was not slower than; `None`: there was nothing.
    ///
    /// Within a bucket, times are taken for evenly spread.
    pub fn quantile_since(&self, before: &Self, part: f64) -> Option<Quantile> {
        let earlier =
            |bound| before.0.iter().find(|(found, _)| *found == bound).map_or(0, |(_, count)| *count);
        let counts: Vec<(f64, u64)> =
            self.0.iter().map(|&(bound, count)| (bound, count.saturating_sub(earlier(bound)))).collect();
        let total = counts.last()?.1;
        if total == 0 {
            return None;
        }
        let rank = part * total as f64;
        let index = counts.iter().position(|(_, count)| *count as f64 >= rank)?;
        let (bound, count) = counts[index];
        let (lower, below) = index.checked_sub(1).map_or((0.0, 0), |index| counts[index]);
        if bound.is_infinite() {
            return Some(Quantile::Beyond(lower));
        }
        let within = (rank - below as f64) / count.saturating_sub(below).max(1) as f64;
        Some(Quantile::At(lower + (bound - lower) * within.clamp(0.0, 1.0)))
    }
}

// === impl Quantile ===

impl Quantile {
    /// `3.4ms`, `>10s`
    pub fn text(self) -> String {
        let text = |seconds| human::fine_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        match self {
            Self::At(seconds) => text(seconds),
            Self::Beyond(seconds) => format!(">{}", text(seconds)),
        }
    }

    pub fn compare(one: Option<Self>, other: Option<Self>) -> Ordering {
        let rank = |quantile: Option<Self>| match quantile {
            None => -1.0,
            Some(Self::At(seconds)) => seconds,
            Some(Self::Beyond(_)) => f64::INFINITY,
        };
        rank(one).total_cmp(&rank(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: [u64; 3]) -> Buckets {
        let mut buckets = Buckets::default();
        [0.1, 0.2, f64::INFINITY]
            .into_iter()
            .zip(counts)
            .for_each(|(bound, count)| buckets.add(bound, count));
        buckets
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let before = buckets([1000, 1000, 1000]);
        let of = |counts: [u64; 3], part| buckets(counts.map(|n| n + 1000)).quantile_since(&before, part);
        assert_eq!(of([0, 0, 0], 0.5), None);
        assert_eq!(of([10, 10, 10], 0.5), Some(Quantile::At(0.05)));
        assert_eq!(of([0, 10, 10], 0.5), Some(Quantile::At(0.1 + 0.1 * 0.5)));
        assert_eq!(of([0, 0, 1], 0.5), Some(Quantile::Beyond(0.2)));
        assert_eq!(of([98, 98, 100], 0.99), Some(Quantile::Beyond(0.2)));
        let text = |quantile: Option<Quantile>| quantile.map(Quantile::text);
        assert_eq!(text(of([98, 100, 100], 0.99)).as_deref(), Some("150ms"));
        assert_eq!(text(of([0, 0, 1], 0.99)).as_deref(), Some(">200ms"));
    }

    #[test]
    fn a_new_process_counts_from_zero() {
        assert_eq!(buckets([1, 1, 1]).quantile_since(&buckets([9, 9, 9]), 0.5), None);
        assert_eq!(Buckets::default().quantile_since(&buckets([9, 9, 9]), 0.5), None);
        assert_eq!(buckets([10, 10, 10]).quantile_since(&Buckets::default(), 0.5), Some(Quantile::At(0.05)));
    }
}
