//! Whether requests can connect to one endpoint: known at once, and independent of its health.
//!
//! A connect that fails marks the endpoint, and other requests pass it over. A connect that succeeds clears the mark,
//! and so does a probe that finds the endpoint healthy; the supervisor probes a marked endpoint early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::log_throttle::LogThrottle;

#[derive(Debug, Default)]
pub(super) struct Reachability {
    /// All that requests read.
    marked: AtomicBool,
    mark: Mutex<Option<Mark>>,
    /// Notified when the mark is set, so that the endpoint is probed early.
    pub changed: Notify,
    throttle: Mutex<LogThrottle>,
    /// The log says that the endpoint is unreachable.
    logged: AtomicBool,
}

/// Why connects fail, and since when.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub since: SystemTime,
    pub reason: Arc<str>,
}

impl Reachability {
    pub fn is_marked(&self) -> bool {
        self.marked.load(Relaxed)
    }

    pub fn mark(&self) -> Option<Mark> {
        self.mark.lock().clone()
    }

    /// Marks the endpoint after a failed connect; `true` if it was not marked.
    pub fn set(&self, reason: &str, now: SystemTime) -> bool {
        let mut mark = self.mark.lock();
        if mark.is_some() {
            return false;
        }
        *mark = Some(Mark { since: now, reason: reason.into() });
        self.marked.store(true, Relaxed);
        self.changed.notify_one();
        true
    }

    /// Clears the mark after a connect, and returns how long there was one.
    pub fn clear(&self, now: SystemTime) -> Option<Duration> {
        if !self.is_marked() {
            return None;
        }
        let mut mark = self.mark.lock();
        self.marked.store(false, Relaxed);
        mark.take().map(|mark| now.duration_since(mark.since).unwrap_or_default())
    }

    /// If the mark is to be logged, the number of marks since the last that was. Throttled, because an endpoint may
    /// come and go many times a second.
    pub fn should_log(&self, now: Instant) -> Option<u64> {
        let count = self.throttle.lock().due(now)?;
        self.logged.store(true, Relaxed);
        Some(count)
    }

    /// Whether the mark was logged, so that its end must be, too; `true` only once.
    pub fn take_logged(&self) -> bool {
        self.logged.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_news_once_and_keeps_its_first_reason() {
        let reachability = Reachability::default();
        assert_eq!(reachability.clear(SystemTime::UNIX_EPOCH), None);
        assert!(reachability.set("refused", SystemTime::UNIX_EPOCH));
        assert!(!reachability.set("no route", SystemTime::now()));
        let mark = reachability.mark().expect("it is marked");
        assert_eq!((&*mark.reason, mark.since), ("refused", SystemTime::UNIX_EPOCH));
        let away = reachability.clear(SystemTime::UNIX_EPOCH + Duration::from_secs(3));
        assert!(
            away == Some(Duration::from_secs(3))
                && !reachability.is_marked()
                && reachability.mark().is_none()
        );
        assert_eq!(reachability.clear(SystemTime::UNIX_EPOCH), None);
    }
}
