//! The deadline of the confirmation, shared with the status and the metrics.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time until which the config in force has to be confirmed, if it is unconfirmed.
#[derive(Debug, Default)]
pub struct ConfirmDeadline(Mutex<Option<Instant>>);

impl ConfirmDeadline {
    /// Sets the deadline.
    pub fn await_for(&self, limit: Duration) {
        *self.0.lock() = Some(Instant::now() + limit);
    }

    pub fn end(&self) {
        *self.0.lock() = None;
    }

    /// The time that is left, if a confirmation is awaited.
    pub fn left(&self) -> Option<Duration> {
        self.0.lock().map(|until| until.saturating_duration_since(Instant::now()))
    }
}
