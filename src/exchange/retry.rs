//! Whether another attempt may follow one that failed.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, retry_after};
use super::{Exchange, Failure, FailureSide, OpenAttempt};
use crate::pool::{ConnectFailure, FailureCause, LeaseOutcome, MayProbe, Verdict};
use crate::telemetry::record::{AttemptRecord, AttemptResult, HedgeResult, RetryRefused};

/// What an engine knows of an attempt that failed.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The request can be sent again: its body is empty or kept.
    pub replayable: bool,
    /// The attempt used a connection that had served another request before.
    pub reused: bool,
    /// The client has seen the beginning of a response.
    pub response_begun: bool,
}

/// What a request may still do after a failure.
#[derive(Debug, Default)]
pub(super) struct Retries {
    pub left: u8,
    /// It may reach an endpoint twice: see `retry.methods`.
    pub repeatable: bool,
    pub backoff: Backoff,
}

/// The most attempts of one request: more than any `retry.limit` allows, as a bound on those that do not count as
/// retries.
pub const ATTEMPTS_MAX: usize = 256;

impl Exchange {
    /// Records that the attempt under way has failed; `true`: ask for the next one.
    pub fn attempt_failed(
        &mut self,
        failure: Failure,
        detail: Option<&str>,
        circumstances: Circumstances,
        now: Instant,
    ) -> bool {
        let stale = is_stale(failure, circumstances.reused);
        let probes = self.probes() && !stale;
        let Some(outcome) = self.record_failure(failure, detail, stale, now) else { return false };
        let finds_out = probes && failure.side() == FailureSide::Endpoint && !failure.is_of_connect();
        let retry = finds_out && self.may_send_elsewhere(circumstances, now)
            || self.may_retry(failure, circumstances, stale, now)
                && (stale || failure.is_of_connect() || self.take_retry(now));
        self.retries.backoff.due = retry && !stale;
        self.close_attempt(outcome);
        retry
    }

    /// Records the failure of the attempt under way, for this request and in the pool; `None`: there is none.
    pub(super) fn record_failure(
        &mut self,
        failure: Failure,
        detail: Option<&str>,
        stale: bool,
        now: Instant,
    ) -> Option<LeaseOutcome> {
        let open = self.open.as_mut()?;
        open.result = AttemptResult::Failed(failure.label());
        if open.is_hedge {
            self.record.unusual_mut().hedge = Some(HedgeResult::Failed);
        }
        let is_endpoints = failure.side() == FailureSide::Endpoint && !stale;
        let outcome = if is_endpoints { LeaseOutcome::Failed } else { LeaseOutcome::Abandoned };
        if is_endpoints {
            let (took, cause) =
                (now.saturating_duration_since(open.started), FailureCause::NoAnswer(failure.label()));
            open.lease.judged(Verdict::Failed(cause), took, self.record.text.request_id(), now);
        }
        if failure.is_of_connect() {
            self.not_connected(failure, detail.unwrap_or("no connection in time"), now);
        } else {
            self.tried.add(open.lease.endpoint().clone());
        }
        Some(outcome)
    }

    /// Records the failed connect of the attempt under way, for this request and in the pool.
    fn not_connected(&mut self, failure: Failure, reason: &str, now: Instant) {
        let (Some(pool), Some(open)) = (self.pool(), &self.open) else {
            return;
        };
        let endpoint = open.lease.endpoint();
        let time = self.time_of_day(now);
        let mut took = now.saturating_duration_since(open.started);
        match failure {
            Failure::ResourcesShort => {
                pool.log_shortage(reason, now);
                self.tried.rule_out(endpoint, ConnectFailure::Shortage);
            }
            Failure::ConnectTimeout => {
                pool.connect_failed(endpoint, reason, now, time);
                took = took.max(self.connect_limit());
                self.tried.add(endpoint.clone());
            }
            _ if pool.connect_failed(endpoint, reason, now, time) => {
                self.tried.rule_out(endpoint, ConnectFailure::Unreachable);
            }
            _ => self.tried.rule_out(endpoint, ConnectFailure::KnownUnreachable),
        }
        // Shortages count too: to wait for a descriptor at each of many endpoints takes long.
        self.waiting.connecting += took;
    }

    fn may_retry(
        &mut self,
        failure: Failure,
        circumstances: Circumstances,
        stale: bool,
        now: Instant,
    ) -> bool {
        if !self.may_send_again(circumstances) {
            return false;
        }
        if failure.is_of_connect() {
            return self.may_connect_elsewhere(now);
        }
        let Some(target) = self.target() else { return false };
        let on = &target.retry.on;
        let allowed = match failure {
            // The endpoint has not processed the request: any method may be retried.
            Failure::EndpointTls | Failure::StreamRefused => on.connect,
            Failure::EndpointReset => on.reset && self.retries.repeatable,
            Failure::ResponseTimeout => on.timeout && self.retries.repeatable,
            _ => false,
        };
        allowed && (stale || self.retries.left > 0)
    }

    /// Whether another attempt may follow a failed connect. Such attempts cost only time, so the time is bounded: by
    /// what the attempts of `retry.limit` take where each needs `timeouts.connect`.
    ///
    /// A request that may wait does so once no untried endpoint or no time is left, unless this machine is short of
    /// resources: an endpoint that could be reached would end the wait at once.
    fn may_connect_elsewhere(&mut self, now: Instant) -> bool {
        let Some(target) = self.scope.target(self.route, self.target) else { return false };
        let (pool, retry) = (&target.pool, &target.retry);
        if !retry.on.connect || retry.limit == 0 {
            return false;
        }
        let in_time = self.waiting.connecting < self.connect_limit() * (u32::from(retry.limit) + 1);
        if in_time && pool.has_fresh(&self.pick_request(now)) {
            return true;
        }
        if pool.lets_wait() && !self.tried.has_shortage() {
            self.tried.exhaust();
            return true;
        }
        in_time && pool.has_another(&self.pick_request(now))
    }

    pub(super) fn close_attempt(&mut self, outcome: LeaseOutcome) {
        if let Some(OpenAttempt { lease, connect, first_byte, result, .. }) = self.open.take() {
            let (endpoint, beside) = (lease.end(outcome), self.other.is_some());
            self.record.attempts.push(AttemptRecord { endpoint, connect, first_byte, result, beside });
        }
    }

    /// Whether another attempt follows a response with that status, whose `Retry-After` is given. Its endpoint counts as
    /// tried then.
    pub(super) fn retries_status(
        &mut self,
        status: u16,
        after: Option<&[u8]>,
        verdict: Verdict,
        circumstances: Circumstances,
        now: Instant,
    ) -> bool {
        let finds_out = self.probes() && matches!(verdict, Verdict::Failed(_));
        let is_asked = self.target().is_some_and(|target| target.retry.on.statuses.contains(&status))
            && self.retries.left > 0
            && self.retries.repeatable;
        let may_retry = (finds_out || is_asked) && self.may_send_again(circumstances);
        let Some(open) = self.open.as_ref().filter(|_| may_retry) else { return false };
        let endpoint = open.lease.endpoint().clone();
        let time = self.time_of_day(now);
        match after.and_then(|after| retry_after(after, now, time)) {
            Some(until) => self.tried.defer(endpoint, until),
            None => self.tried.add(endpoint),
        }
        if finds_out && self.may_send_elsewhere(circumstances, now) {
            return true;
        }
        let retry = is_asked && self.take_retry(now);
        self.retries.backoff.due = retry;
        retry
    }

    /// Whether the request may find out how an ejected endpoint is: at once where it could be sent again, whatever
    /// comes of it.
    pub(super) fn may_probe(&self) -> MayProbe {
        let is_safe = || matches!(self.record.text.method(), "GET" | "HEAD" | "OPTIONS");
        let at_once = self.retries.left > 0 && self.retries.repeatable && is_safe();
        if at_once { MayProbe::AtOnce } else { MayProbe::Late }
    }

    fn probes(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.lease.probes())
    }

    /// Whether another endpoint may have a request that has found an ejected one failing. It is not the client's to bear
    /// that this was asked, so it is no retry: neither `retry.on` nor the budget is asked.
    fn may_send_elsewhere(&mut self, circumstances: Circumstances, now: Instant) -> bool {
        self.may_probe() == MayProbe::AtOnce
            && self.may_send_again(circumstances)
            && self.pool().is_some_and(|pool| pool.has_fresh(&self.pick_request(now)))
    }

    /// Takes one of the request's retries, and of its pool's; `false`: there is none, or no endpoint to be tried.
    fn take_retry(&mut self, now: Instant) -> bool {
        let Some(target) = self.scope.target(self.route, self.target) else { return false };
        let (pool, budget) = (&target.pool, target.retry.budget.as_ref());
        let refused = if self.tried.has_deferred(now) && !pool.has_another(&self.pick_request(now)) {
            RetryRefused::RetryAfter
        } else if budget.is_some_and(|budget| !pool.retry_budget().take(budget, now)) {
            pool.retry_budget().refuse(pool.name(), now);
            RetryRefused::Budget
        } else {
            self.retries.left = self.retries.left.saturating_sub(1);
            return true;
        };
        self.record.unusual_mut().retry_refused = Some(refused);
        false
    }

    /// How long the connect of one attempt may take.
    pub fn connect_limit(&self) -> Duration {
        let Some(target) = self.target() else { return Duration::ZERO };
        target.retry.connect_limit(target.pool.config().timeouts.connect)
    }

    /// How long one attempt may take to the response's head; `None`: only the pool's timeouts bound it.
    pub fn attempt_timeout(&self) -> Option<Duration> {
        self.target()?.retry.attempt_timeout
    }

    /// When the attempt under way began.
    pub fn attempt_began(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.started)
    }

    /// Whether the request may reach an endpoint twice, because of its method.
    pub fn is_repeatable(&self) -> bool {
        self.retries.repeatable
    }

    /// Whether the request can be sent again, whatever ended the attempt under way.
    fn may_send_again(&self, circumstances: Circumstances) -> bool {
        let with_this_one = self.record.attempts.len() + 1;
        circumstances.replayable && !circumstances.response_begun && with_this_one < ATTEMPTS_MAX
    }
}

/// An idle connection that the endpoint closed just as it was reused says nothing about the endpoint, and more of them
/// may be closed: such an attempt counts neither as the endpoint's failure nor as a retry.
pub(super) fn is_stale(failure: Failure, reused: bool) -> bool {
    reused && matches!(failure, Failure::EndpointReset | Failure::StreamRefused)
}
