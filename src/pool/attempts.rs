//! What came of the attempts at one endpoint, for the metrics.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::status::EndpointState;
use crate::histogram::{self, Histogram, HistogramCounts, Observation};
use crate::sharded_counter::ShardedCounter;

/// The classes that statuses are counted in.
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why another attempt follows: the failures that may be tried again, and an answer that `retry` names.
pub const RETRY_REASONS: [&str; 8] = [
    "connect_failed",
    "connect_timeout",
    "endpoint_tls",
    "resources_short",
    "stream_refused",
    "endpoint_reset",
    "response_timeout",
    "status",
];

/// The states whose beginnings are counted. Ejections have a count of their own.
pub const COUNTED_STATES: [EndpointState; 3] =
    [EndpointState::Healthy, EndpointState::Unhealthy, EndpointState::Unreachable];

/// The index in [`STATUS_CLASSES`].
pub fn status_class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, STATUS_CLASSES.len()) - 1
}

/// Where the times begin in [`AttemptCounts::answers`].
const TIMES: usize = STATUS_CLASSES.len();

#[derive(Debug, Default)]
pub struct AttemptCounts {
    /// Answers by class of status, then their times to the first byte: together, because an answer adds to both.
    answers: ShardedCounter<{ TIMES + histogram::COUNTS }>,
    /// The times of connects; `None` until there is one.
    connects: OnceLock<Box<Histogram>>,
    /// By [`RETRY_REASONS`].
    retries: [AtomicU64; RETRY_REASONS.len()],
    /// By [`COUNTED_STATES`].
    states: [AtomicU64; COUNTED_STATES.len()],
}

impl AttemptCounts {
    /// Counts an answer, and the time to its first byte.
    pub fn answered(&self, status: u16, first_byte: Observation) {
        let [bucket, sum] = first_byte.additions(TIMES);
        self.answers.add_all([(status_class(status), 1), bucket, sum], Relaxed);
    }

    /// Counts the time to the first byte of an answer that was not taken to its end.
    pub fn broke_off(&self, first_byte: Observation) {
        self.answers.add_all(first_byte.additions(TIMES), Relaxed);
    }

    /// Counts an open connection, and how long that took.
    pub fn connected(&self, took: Observation) {
        self.connects.get_or_init(Box::default).add(took);
    }

    /// Counts an attempt that another one followed.
    pub fn retried(&self, reason: &str) {
        if let Some(counter) = counter(&RETRY_REASONS, &self.retries, &reason) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts that the endpoint has come into this state.
    pub(super) fn entered(&self, state: EndpointState) {
        if let Some(counter) = counter(&COUNTED_STATES, &self.states, &state) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Answers by class of status.
    pub fn answers(&self) -> [u64; STATUS_CLASSES.len()] {
        std::array::from_fn(|class| self.answers.sum(class, Relaxed))
    }

    pub fn first_bytes(&self) -> HistogramCounts {
        HistogramCounts::read(&self.answers, TIMES)
    }

    pub fn connects(&self) -> HistogramCounts {
        self.connects.get().map(|connects| connects.counts()).unwrap_or_default()
    }

    /// Attempts that others followed, by reason.
    pub fn retries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RETRY_REASONS.into_iter().zip(&self.retries).map(|(reason, count)| (reason, count.load(Relaxed)))
    }

    /// How often it came into each state.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, u64)> {
        COUNTED_STATES.into_iter().zip(&self.states).map(|(state, count)| (state.name(), count.load(Relaxed)))
    }
}

fn counter<'a, T: PartialEq>(labels: &[T], counters: &'a [AtomicU64], label: &T) -> Option<&'a AtomicU64> {
    counters.get(labels.iter().position(|known| known == label)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_counted_is_read() {
        let counts = AttemptCounts::default();
        let time = |millis| Observation::of(Duration::from_millis(millis));
        assert_eq!(counts.connects(), HistogramCounts::default());
        counts.answered(204, time(3));
        counts.answered(503, time(20_000));
        counts.answered(999, time(1));
        counts.broke_off(time(1));
        counts.connected(time(4));
        counts.retried("connect_failed");
        counts.retried("no reason");
        counts.entered(EndpointState::Unreachable);
        counts.entered(EndpointState::Ejected);
        assert_eq!(counts.answers(), [0, 1, 0, 0, 2]);
        let times = counts.first_bytes();
        assert_eq!((times.buckets[1], times.buckets[3], times.buckets[17]), (2, 1, 1));
        assert!((times.seconds - 20.005).abs() < 1e-9, "{times:?}");
        assert_eq!(counts.connects().buckets.iter().sum::<u64>(), 1);
        assert_eq!(counts.retries().next(), Some(("connect_failed", 1)));
        assert_eq!(counts.retries().map(|(_, count)| count).sum::<u64>(), 1);
        let states: Vec<_> = counts.states().collect();
        assert_eq!(states, [("healthy", 0), ("unhealthy", 0), ("unreachable", 1)]);
    }
}
