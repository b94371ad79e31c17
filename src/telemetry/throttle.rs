//! Events that may happen often, and of which the log is told now and then.

use std::time::{Duration, Instant};

/// How often the log is told of the same thing, unless it is said otherwise.
const EVERY: Duration = Duration::from_secs(10);

/// What the log has been told of one thing.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    last: Option<Instant>,
    /// Since then.
    untold: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::every(EVERY)
    }
}

impl Throttle {
    pub fn every(every: Duration) -> Self {
        Self { every, last: None, untold: 0 }
    }

    /// How many to tell of, this one included, if it is time to.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        self.due_of(1, now)
    }

    /// The same, where so many have happened at once.
    pub fn due_of(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.untold += count;
        if self.last.is_some_and(|last| now.duration_since(last) < self.every) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_of_all_but_not_at_once() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.due(start), Some(1));
        assert_eq!(throttle.due(start), None);
        assert_eq!(throttle.due(start + EVERY / 2), None);
        assert_eq!(throttle.due(start + EVERY), Some(3));
        assert_eq!(throttle.due_of(7, start + EVERY * 3), Some(7));
    }
}
