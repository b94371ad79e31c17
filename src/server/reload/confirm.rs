//! A config that is in force until further notice: it goes unless somebody confirms it in time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Whether a confirmation is awaited, for whoever asks.
#[derive(Debug, Default)]
pub struct Confirmation(Mutex<Option<Instant>>);

impl Confirmation {
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

    /// Returns when the time is over; not at all if none is awaited.
    pub async fn expired(&self) {
        match self.left() {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    }
}
