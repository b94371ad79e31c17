//! The queue of requests that wait for an endpoint, and what wakes them.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use crate::config::WhenNoneHealthy;
use crate::permits::Permit;

/// The wait of a request that has a permit of its pool's queue.
pub struct Wait {
    pool: Arc<Pool>,
    /// The count of [`Pool::ask_again`] when the wait was made.
    asked_again: u64,
}

impl Pool {
    /// Takes a permit of the queue of requests that wait for an endpoint; `None` if `most` are taken.
    pub fn queue(&self, most: usize) -> Option<Permit> {
        let (permit, before) = self.waiting.take_counted(most)?;
        if before == 0 {
            // Endpoints that are down are probed early from now on.
            self.hurry.notify_waiters();
        }
        Some(permit)
    }

    /// Whether the permit is one of its queue.
    pub fn has_queued(&self, permit: &Permit) -> bool {
        permit.is_of(&self.waiting)
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
        self.waiting.taken() > 0
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
