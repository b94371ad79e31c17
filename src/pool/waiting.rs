//! Requests that wait for an endpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Pool;
use crate::config::WhenNoneHealthy;

/// More requests wait already than the pool's `when_none_healthy.queue` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// The right to wait in a pool's queue; while it lives, it counts.
pub struct WaitPermit {
    pool: Arc<Pool>,
}

/// What a request waits for that has such a permit.
pub struct Wait {
    pool: Arc<Pool>,
    /// How often the pool's requests had been told to ask again when it was made.
    asked_again: u64,
}

impl Pool {
    /// A place in the queue of requests that wait for an endpoint.
    pub fn queue(self: &Arc<Self>) -> Result<WaitPermit, QueueFull> {
        let WhenNoneHealthy::Wait { queue, .. } = self.spec().when_none_healthy else {
            return Err(QueueFull);
        };
        let permit = WaitPermit { pool: self.clone() };
        match self.waiting.fetch_add(1, Relaxed) {
            waiting if waiting >= queue => Err(QueueFull),
            0 => {
                // Somebody wants an endpoint: those that are down are probed early.
                self.hurry.notify_waiters();
                Ok(permit)
            }
            _ => Ok(permit),
        }
    }

    /// For who has a permit. To be made before the last look at what is in force.
    pub fn wait(self: &Arc<Self>) -> Wait {
        Wait { asked_again: self.picker.asked_again(), pool: self.clone() }
    }

    /// Whether its requests wait where nobody is there to take them.
    pub fn lets_wait(&self) -> bool {
        matches!(self.spec().when_none_healthy, WhenNoneHealthy::Wait { limit, .. } if !limit.is_zero())
    }

    /// Another config is in force: requests that wait ask again what is to be done with them.
    pub fn ask_again(&self) {
        self.picker.ask_again();
    }

    /// Whether requests wait for an endpoint of it.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }
}

impl WaitPermit {
    pub fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Relaxed);
    }
}

impl Wait {
    /// Returns as soon as there may be an endpoint to pick, or another config is in force; `false` when `limit` was
    /// over first.
    pub async fn until_available(&self, limit: Duration) -> bool {
        let picker = &self.pool.picker;
        let available = async {
            loop {
                let notified = picker.available.notified();
                tokio::pin!(notified);
                // Registered before the look, so that a probe that passes in between is not missed.
                notified.as_mut().enable();
                if picker.asked_again() != self.asked_again || picker.rotation().has_reachable() {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(limit, available).await.is_ok()
    }
}
