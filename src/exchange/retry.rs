//! Whether another attempt may follow one that failed.

use std::time::Instant;

use super::{Exchange, Failure, FailureSide, OpenAttempt};
use crate::pool::{ConnectFailure, FailureCause, LeaseOutcome, Verdict};
use crate::telemetry::record::{AttemptRecord, AttemptResult};

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
        let Some(open) = &mut self.open else { return false };
        open.result = AttemptResult::Failed(failure.label());
        // An idle connection that the endpoint closed just as it was reused says nothing about the endpoint, and more
        // of them may be closed: such an attempt counts neither as the endpoint's failure nor as a retry.
        let at_its_end = matches!(failure, Failure::EndpointReset | Failure::StreamRefused);
        let stale = at_its_end && circumstances.reused;
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
        let retry = self.may_retry(failure, circumstances, stale, now);
        if retry && !stale && !failure.is_of_connect() {
            self.retries_left -= 1;
        }
        self.close_attempt(outcome);
        retry
    }

    /// Records the failed connect of the attempt under way, for this request and in the pool.
    fn not_connected(&mut self, failure: Failure, reason: &str, now: Instant) {
        let (Some(pool), Some(open)) = (self.scope.route(self.route).map(|route| route.pool()), &self.open)
        else {
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
                took = took.max(pool.config().timeouts.connect);
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
        let Some(pool) = self.pool() else { return false };
        let on = &pool.config().retry.on;
        let allowed = match failure {
            // The endpoint has not processed the request: any method may be retried.
            Failure::EndpointTls | Failure::StreamRefused => on.connect,
            Failure::EndpointReset => on.reset && self.idempotent,
            Failure::ResponseTimeout => on.timeout && self.idempotent,
            _ => false,
        };
        allowed && (stale || self.retries_left > 0)
    }

    /// Whether another attempt may follow a failed connect. Such attempts cost only time, so the time is bounded: by
    /// what the attempts of `retry.limit` take where each needs `timeouts.connect`.
    ///
    /// A request that may wait does so once no untried endpoint or no time is left, unless this machine is short of
    /// resources: an endpoint that could be reached would end the wait at once.
    fn may_connect_elsewhere(&mut self, now: Instant) -> bool {
        let Some(pool) = self.scope.route(self.route).map(|route| route.pool()) else { return false };
        let (retry, connect) = (&pool.config().retry, pool.config().timeouts.connect);
        if !retry.on.connect || retry.limit == 0 {
            return false;
        }
        let in_time = self.waiting.connecting < connect * (u32::from(retry.limit) + 1);
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
            let endpoint = lease.end(outcome);
            self.record.attempts.push(AttemptRecord { endpoint, connect, first_byte, result });
        }
    }

    pub(super) fn may_retry_status(&self, status: u16, circumstances: Circumstances) -> bool {
        let Some(pool) = self.pool() else { return false };
        pool.config().retry.on.statuses.contains(&status)
            && self.retries_left > 0
            && self.idempotent
            && self.may_send_again(circumstances)
    }

    /// Whether the request can be sent again, whatever ended the attempt under way.
    fn may_send_again(&self, circumstances: Circumstances) -> bool {
        let with_this_one = self.record.attempts.len() + 1;
        circumstances.replayable && !circumstances.response_begun && with_this_one < ATTEMPTS_MAX
    }
}

/// RFC 9110, section 9.2.2.
pub(super) fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}
