//! Limits how often a frequent event is logged; the events in between are counted.

use std::time::{Duration, Instant};

/// The default interval between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// The throttle of one kind of event.
#[derive(Debug)]
pub struct LogThrottle {
    every: Duration,
    last: Option<Instant>,
    /// Events since the last line.
    unlogged: u64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self::every(EVERY)
    }
}

impl LogThrottle {
    pub fn every(every: Duration) -> Self {
        Self { every, last: None, unlogged: 0 }
    }

    /// Counts an event; returns how many events the line stands for if one is due.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        self.due_of(1, now)
    }

    /// Counts several events at once.
    pub fn due_of(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.unlogged += count;
        if self.last.is_some_and(|last| now.duration_since(last) < self.every) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_of_all_but_not_at_once() {
        let mut throttle = LogThrottle::default();
        let start = Instant::now();
        assert_eq!(throttle.due(start), Some(1));
        assert_eq!(throttle.due(start), None);
        assert_eq!(throttle.due(start + EVERY / 2), None);
        assert_eq!(throttle.due(start + EVERY), Some(3));
        assert_eq!(throttle.due_of(7, start + EVERY * 3), Some(7));
    }
}
