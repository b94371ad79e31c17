//! How requests wait for a pool, and what wakes them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use parking_lot::MutexGuard;

use super::Pool;
use crate::config::{RequestLimit as ConfigLimit, WhenNoneHealthy};
use crate::wait_queue::{Call, Place, Priority, RequestLimit, Turn, WaitQueue, WaitsFor};

/// The wait of a request that has a place in a queue.
pub struct Wait {
    turn: Turn,
    /// The pool that must have an endpoint to pick; `None`: the request waits for room.
    endpoint_of: Option<Arc<Pool>>,
}

impl Pool {
    /// The one queue of its requests, across reloads.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        self.table.request_limit().queue()
    }

    /// The limit of its requests in flight beyond which requests wait; `None`: there is none.
    pub fn request_limit(&self) -> Option<&Arc<RequestLimit>> {
        matches!(self.config.limits.requests, ConfigLimit::Fixed(_)).then(|| self.table.request_limit())
    }

    /// Puts its limit in force.
    pub fn set_request_limit(&self) {
        self.table.request_limit().set(match self.config.limits.requests {
            ConfigLimit::Fixed(most) => Some(usize::try_from(most).unwrap_or(usize::MAX)),
            ConfigLimit::Auto | ConfigLimit::Off => None,
        });
    }

    /// Whether requests wait in order of arrival for room in a limit.
    pub fn has_queue(&self) -> bool {
        self.config.limits.have_queue(self.config.protocol)
    }

    /// To be held while a request tries for all that it needs, where that is more than one limit: what it takes of one,
    /// and gives back for want of the other, must not be missing to another that tries meanwhile.
    pub fn try_alone(&self) -> Option<MutexGuard<'_, ()>> {
        let has_both = self.endpoint_most.is_some() && self.request_limit().is_some();
        has_both.then(|| self.table.request_limit().try_alone())
    }

    /// Takes a place for a request that lacks something, unless it has one; `false`: as many wait as may.
    pub fn enter_queue(
        &self,
        place: &mut Option<Place>,
        priority: Priority,
        waits_for: WaitsFor,
        now: Instant,
    ) -> bool {
        let most = match (waits_for, &self.config.when_none_healthy) {
            (WaitsFor::HealthyEndpoint, WhenNoneHealthy::Wait { queue, .. }) => *queue,
            _ => self.config.limits.queue.length,
        };
        let is_first = self.queue().is_empty();
        let has_place = self.queue().enter(place, priority, waits_for, most, now);
        if has_place && is_first && waits_for == WaitsFor::HealthyEndpoint {
            // Endpoints that are down are probed early from now on.
            self.hurry.notify_waiters();
        }
        has_place
    }

    /// Logs, throttled, that a request has been refused in the queue.
    pub fn log_refused_in_queue(&self, cause: &str, now: Instant) {
        let limit = self.table.request_limit();
        if let Some(count) = limit.report(now) {
            let (pool, most) = (&**self.name(), self.most_requests());
            log::warn!(pool, cause, most, count; "requests of the pool are refused");
        }
    }

    /// Whether its requests wait when no endpoint can be picked.
    pub fn lets_wait(&self) -> bool {
        matches!(self.config().when_none_healthy, WhenNoneHealthy::Wait { limit, .. } if !limit.is_zero())
    }

    /// Whether there is an endpoint to pick that is not known to be unreachable.
    pub fn has_reachable(&self) -> bool {
        self.picker.rotation().has_reachable()
    }

    /// Wakes waiting requests because another config is in force, so that they are routed anew.
    pub fn ask_again(&self) {
        self.queue().ask_again();
    }

    /// Whether requests wait in its queue.
    pub fn is_waited_for(&self) -> bool {
        !self.queue().is_empty()
    }
}

impl Wait {
    pub fn for_room(place: &Place) -> Self {
        Self { turn: place.turn(), endpoint_of: None }
    }

    pub fn for_endpoint(place: &Place, pool: Arc<Pool>) -> Self {
        Self { turn: place.turn(), endpoint_of: Some(pool) }
    }

    /// Ready as soon as there may be what the request waits for, it has been shed, or another config is in force. The
    /// time that it may take is the caller's affair.
    pub fn poll_over(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match (ready!(self.turn.poll_called(context)), &self.endpoint_of) {
                (Call::Try, Some(pool)) if !self.turn.try_only_if(|| pool.has_reachable()) => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    pub async fn over(&self) {
        poll_fn(|context| self.poll_over(context)).await;
    }
}
