//! A request for which no endpoint is left: it waits, and is decided anew where another config comes into force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::scope::Held;
use super::{Exchange, Failure, Next, RequestScope};
use crate::config::WhenNoneHealthy;
use crate::pool::Pool;
use crate::routing::RequestHead;

impl Exchange {
    /// What to do where the pool has nobody to pick.
    pub(super) fn wait(&mut self, pool: &Arc<Pool>, now: Instant) -> Next {
        let WhenNoneHealthy::Wait { limit, .. } = pool.spec().when_none_healthy else {
            return Next::Fail(Failure::NoHealthyEndpoint);
        };
        if limit.is_zero() {
            return Next::Fail(Failure::NoHealthyEndpoint);
        }
        if !self.admitted && !pool.may_wait(self.holds()) {
            return self.refused_by(pool);
        }
        self.admitted = true;
        // Connects have their own time before the first wait. What fails between two is part of the wait: without that, it
        // would have no end where one endpoint after the other lets it hang.
        let connecting = std::mem::take(&mut self.connecting);
        self.record.waited = self.record.waited.map(|waited| waited + connecting);
        let since = *self.waiting_since.get_or_insert(now);
        // All its times of waiting together have this limit.
        let until = since + limit.saturating_sub(self.record.waited.unwrap_or_default());
        if until <= now {
            self.stop_waiting(now);
            return Next::Fail(Failure::WaitExpired);
        }
        if !self.permit.as_ref().is_some_and(|permit| permit.is_of(pool)) {
            let Ok(permit) = pool.queue() else { return Next::Fail(Failure::WaitQueueFull) };
            self.permit = Some(permit);
        }
        // By then, any of them may have come back.
        self.tried.forget();
        let left = self.deadline.map_or(until, |deadline| until.min(deadline)).saturating_duration_since(now);
        Next::Wait(pool.wait(), left)
    }

    pub(super) fn stop_waiting(&mut self, now: Instant) {
        let Some(since) = self.waiting_since.take() else { return };
        let waited = self.record.waited.unwrap_or_default() + now.saturating_duration_since(since);
        self.record.waited = Some(waited);
    }

    /// Decides a request that waits once more, where another snapshot than its own is in force: no endpoint has it, and
    /// what repairs a pool is for those that wait in it, too. The time that it has waited counts.
    ///
    /// `true`: it is to ask for its next attempt at once.
    pub fn decide_anew<H: RequestHead>(
        &mut self,
        scope: Arc<RequestScope>,
        head: &H,
        now: Instant,
    ) -> Result<bool, Failure> {
        if self.held.is_same(&scope) {
            return Ok(false);
        }
        let used = self.retry_limit().saturating_sub(self.retries_left);
        self.stop_waiting(now);
        self.record.generation = scope.snapshot().generation();
        let before = self.pool().cloned();
        self.held = Held::All(scope);
        self.record.skipped = None;
        self.connecting = Duration::ZERO;
        self.find_route(head)?;
        if !before.zip(self.pool()).is_some_and(|(before, pool)| before.shares_load(pool)) {
            // Another pool has not let it in, and the first one has its place back.
            self.admitted = false;
            self.permit = None;
        }
        self.retries_left = self.retry_limit().saturating_sub(used);
        Ok(true)
    }

    fn retry_limit(&self) -> u8 {
        self.pool().map_or(0, |pool| pool.spec().retry.limit)
    }
}
