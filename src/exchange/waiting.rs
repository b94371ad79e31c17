//! Requests that wait for an endpoint because none can be picked; a reload meanwhile routes them anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::scope::Scope;
use super::{Exchange, Failure, Next, RequestScope};
use crate::config::WhenNoneHealthy;
use crate::permits::Permit;
use crate::pool::Pool;
use crate::routing::RequestHead;

/// What a request has of its pool beside an endpoint.
#[derive(Default)]
pub(super) struct Waiting {
    /// The pool's request limit has let it in: it waits, or has had an endpoint.
    pub admitted: bool,
    /// Start of the wait for an endpoint that is under way.
    pub since: Option<Instant>,
    /// The permit of the pool's wait queue, kept until a connection is open.
    pub permit: Option<Permit>,
    /// Time that failed connects have taken since the last wait.
    pub connecting: Duration,
}

impl Exchange {
    /// Waits, if the pool's config allows it, because no endpoint can be picked.
    pub(super) fn wait(&mut self, pool: &Arc<Pool>, now: Instant) -> Next {
        let WhenNoneHealthy::Wait { limit, queue } = pool.config().when_none_healthy else {
            return Next::Fail(Failure::NoHealthyEndpoint);
        };
        if limit.is_zero() {
            return Next::Fail(Failure::NoHealthyEndpoint);
        }
        if !self.waiting.admitted && !pool.may_wait(self.holds()) {
            return self.refused_by(pool);
        }
        self.waiting.admitted = true;
        // Failed connects before the first wait have a time limit of their own. Those between two waits count as
        // waiting, or a request that times out at one endpoint after the other would never end.
        let connecting = std::mem::take(&mut self.waiting.connecting);
        self.record.waited = self.record.waited.map(|waited| waited + connecting);
        let since = *self.waiting.since.get_or_insert(now);
        // The limit is for all waits of the request together.
        let until = since + limit.saturating_sub(self.record.waited.unwrap_or_default());
        if until <= now {
            self.stop_waiting(now);
            return Next::Fail(Failure::WaitExpired);
        }
        if !self.waiting.permit.as_ref().is_some_and(|permit| pool.has_queued(permit)) {
            let Some(permit) = pool.queue(queue) else { return Next::Fail(Failure::WaitQueueFull) };
            self.waiting.permit = Some(permit);
        }
        // After the wait, any endpoint may be back.
        self.tried.forget();
        let left = self.deadline.map_or(until, |deadline| until.min(deadline)).saturating_duration_since(now);
        Next::Wait(pool.wait(), left)
    }

    pub(super) fn stop_waiting(&mut self, now: Instant) {
        let Some(since) = self.waiting.since.take() else { return };
        let waited = self.record.waited.unwrap_or_default() + now.saturating_duration_since(since);
        self.record.waited = Some(waited);
    }

    /// Routes a waiting request anew if the snapshot in force is not its own, so that a reload that repairs a pool
    /// helps those that already wait in it. The time waited so far counts.
    ///
    /// `true`: ask for the next attempt at once.
    pub fn reroute<H: RequestHead>(
        &mut self,
        scope: Arc<RequestScope>,
        head: &H,
        now: Instant,
    ) -> Result<bool, Failure> {
        if self.scope.is_same(&scope) {
            return Ok(false);
        }
        let used = self.retry_limit().saturating_sub(self.retries_left);
        self.stop_waiting(now);
        self.record.generation = scope.snapshot().generation();
        let before = self.pool().cloned();
        self.scope = Scope::Request(scope);
        self.record.skipped = None;
        self.waiting.connecting = Duration::ZERO;
        self.find_route(head)?;
        if !before.zip(self.pool()).is_some_and(|(before, pool)| before.shares_load(pool)) {
            // The new pool has not admitted it, and its place in the old pool's queue is free.
            self.waiting.admitted = false;
            self.waiting.permit = None;
        }
        self.retries_left = self.retry_limit().saturating_sub(used);
        Ok(true)
    }

    fn retry_limit(&self) -> u8 {
        self.pool().map_or(0, |pool| pool.config().retry.limit)
    }
}
