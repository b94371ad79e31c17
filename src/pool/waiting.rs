//! The queue of requests that wait for an endpoint, and what wakes them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Pool;
use crate::config::WhenNoneHealthy;

/// More requests wait already than the pool's `when_none_healthy.queue` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// A place in a pool's queue, given back when dropped.
pub struct WaitPermit {
    pool: Arc<Pool>,
}

/// The wait of a request that has a [`WaitPermit`].
pub struct Wait {
    pool: Arc<Pool>,
    /// The count of [`Pool::ask_again`] when the wait was made.
    asked_again: u64,
}

impl Pool {
    /// Takes a place in the queue of requests that wait for an endpoint.
    pub fn queue(self: &Arc<Self>) -> Result<WaitPermit, QueueFull> {
        let WhenNoneHealthy::Wait { queue, .. } = self.config().when_none_healthy else {
            return Err(QueueFull);
        };
        let permit = WaitPermit { pool: self.clone() };
        match self.waiting.fetch_add(1, Relaxed) {
            waiting if waiting >= queue => Err(QueueFull),
            0 => {
                // Endpoints that are down are probed early from now on.
                self.hurry.notify_waiters();
                Ok(permit)
            }
            _ => Ok(permit),
        }
    }

    /// For a request that has a permit. To be made before the snapshot in force is read for the last time, so that no
    /// reload is missed.
    pub fn wait(self: &Arc<Self>) -> Wait {
        Wait { asked_again: self.picker.asked_again(), pool: self.clone() }
    }

    /// Whether its requests wait when no endpoint can be picked.
    pub fn lets_wait(&self) -> bool {
        matches!(self.config().when_none_healthy, WhenNoneHealthy::Wait { limit, .. } if !limit.is_zero())
    }

    /// Wakes waiting requests because another config is in force, so that they are routed anew.
    pub fn ask_again(&self) {
        self.picker.ask_again();
    }

    /// Whether requests wait in its queue.
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
    /// Returns as soon as there may be an endpoint to pick, or another config is in force; `false` if `limit` was over
    /// first.
    pub async fn until_available(&self, limit: Duration) -> bool {
        let picker = &self.pool.picker;
        let available = async {
            loop {
                let notified = picker.available.notified();
                tokio::pin!(notified);
                // Registered before the check, so that no notification in between is missed.
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
