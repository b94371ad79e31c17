//! Whether the config in force waits for its confirmation, for whoever asks.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When the wait for a confirmation ends, if there is one.
#[derive(Debug, Default)]
pub struct ConfirmDeadline(Mutex<Option<Instant>>);

impl ConfirmDeadline {
    /// It is awaited for so long.
    pub fn await_for(&self, limit: Duration) {
        *self.0.lock() = Some(Instant::now() + limit);
    }

    pub fn end(&self) {
        *self.0.lock() = None;
    }

    /// How much time is left, if it is awaited.
    pub fn left(&self) -> Option<Duration> {
        self.0.lock().map(|until| until.saturating_duration_since(Instant::now()))
    }
}
