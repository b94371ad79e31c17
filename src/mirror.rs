//! Copies of requests that go to another pool: how many there may be at a time, and what has become of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use crate::log_throttle::LogThrottle;
use crate::permits::{Permit, Permits};

/// What is counted of the copies of one route. It outlives reloads.
#[derive(Debug)]
pub struct MirrorState {
    route: Arc<str>,
    pool: Arc<str>,
    permits: Arc<Permits>,
    sent: AtomicU64,
    /// In the order of [`NotMirrored::ALL`].
    dropped: [AtomicU64; NotMirrored::ALL.len()],
    /// By class of the status, from 1xx on.
    answered: [AtomicU64; CLASSES.len()],
    /// By the label of the failure.
    failed: Mutex<BTreeMap<&'static str, u64>>,
    drops: Mutex<LogThrottle>,
    failures: Mutex<LogThrottle>,
}

/// Classes of statuses, as metrics have them.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a request that was to be mirrored was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMirrored {
    /// As many copies were under way as may be.
    TooMany,
    /// Its body is larger than what is copied.
    BodyTooLarge,
    /// Its body was never whole.
    BodyIncomplete,
    /// Its head has something that cannot be copied.
    Unfit,
}

impl NotMirrored {
    pub const ALL: [Self; 4] = [Self::TooMany, Self::BodyTooLarge, Self::BodyIncomplete, Self::Unfit];

    /// The cause in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyIncomplete => "body_incomplete",
            Self::Unfit => "unfit",
        }
    }
}

impl MirrorState {
    pub fn new(route: Arc<str>, pool: Arc<str>) -> Arc<Self> {
        let (permits, sent, dropped, answered) = Default::default();
        let (failed, drops, failures) = Default::default();
        Arc::new(Self { route, pool, permits, sent, dropped, answered, failed, drops, failures })
    }

    pub fn is_of(&self, route: &str, pool: &str) -> bool {
        (&*self.route, &*self.pool) == (route, pool)
    }

    pub fn route(&self) -> &str {
        &self.route
    }

    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// The right to be one of `most` copies; `None`: there are as many.
    pub fn take(&self, most: usize) -> Option<Permit> {
        self.permits.take(most)
    }

    pub fn in_flight(&self) -> usize {
        self.permits.taken()
    }

    /// A copy goes on its way.
    pub fn count_sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    pub fn count_dropped(&self, why: NotMirrored, now: Instant) {
        let mut counters = NotMirrored::ALL.iter().zip(&self.dropped);
        if let Some((_, counter)) = counters.find(|(cause, _)| **cause == why) {
            counter.fetch_add(1, Relaxed);
        }
        if let Some(count) = self.drops.lock().due(now) {
            let (route, pool, cause) = (&*self.route, &*self.pool, why.label());
            log::warn!(route, pool, cause, count; "requests are not mirrored");
        }
    }

    /// A copy was answered with this status.
    pub fn count_answered(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.answered.get(class)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// A copy got no answer. `label`: of the failure.
    pub fn count_failed(&self, label: &'static str, reason: Option<&str>, now: Instant) {
        *self.failed.lock().entry(label).or_default() += 1;
        if let Some(count) = self.failures.lock().due(now) {
            let (route, pool, reason) = (&*self.route, &*self.pool, reason.unwrap_or_default());
            log::warn!(route, pool, cause = label, reason, count; "mirrored requests fail");
        }
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub fn dropped(&self) -> impl Iterator<Item = (NotMirrored, u64)> {
        NotMirrored::ALL.into_iter().zip(self.dropped.iter().map(|counter| counter.load(Relaxed)))
    }

    /// By class of the status.
    pub fn answered(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.answered.iter().map(|counter| counter.load(Relaxed)))
    }

    /// By the label of the failure.
    pub fn failed(&self) -> BTreeMap<&'static str, u64> {
        self.failed.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_copy_has_its_count() {
        let state = MirrorState::new("api".into(), "shadow".into());
        let now = Instant::now();
        let permit = state.take(1);
        assert!(permit.is_some() && state.take(1).is_none());
        assert_eq!(state.in_flight(), 1);
        state.count_sent();
        state.count_dropped(NotMirrored::BodyTooLarge, now);
        for status in [200, 204, 503, 999, 0] {
            state.count_answered(status);
        }
        state.count_failed("connect_failed", Some("refused"), now);
        state.count_failed("connect_failed", None, now);
        drop(permit);
        assert_eq!((state.sent(), state.in_flight()), (1, 0));
        let dropped: Vec<_> = state.dropped().map(|(why, count)| (why.label(), count)).collect();
        assert_eq!(dropped, [("too_many", 0), ("body_too_large", 1), ("body_incomplete", 0), ("unfit", 0)]);
        let answered: Vec<_> = state.answered().map(|(_, count)| count).collect();
        assert_eq!(answered, [0, 2, 0, 0, 1]);
        assert_eq!(state.failed().into_iter().collect::<Vec<_>>(), [("connect_failed", 2)]);
    }
}
