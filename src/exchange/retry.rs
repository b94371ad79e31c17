//! Whether a request may be tried once more.

use super::{Exchange, Failure, OpenAttempt, Side};
use crate::telemetry::record::AttemptResult;

/// What a carrier knows of an attempt that failed.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The request can be sent again: its body is empty or kept.
    pub replayable: bool,
    /// The attempt used a connection that had served another request before.
    pub reused: bool,
    /// The client has seen the beginning of a response.
    pub response_begun: bool,
}

impl Exchange {
    /// The attempt under way has failed; `true`: ask for the next one.
    pub fn attempt_failed(&mut self, failure: Failure, circumstances: Circumstances) -> bool {
        let Some(open) = &mut self.open else { return false };
        open.record.result = AttemptResult::Failed(failure.label());
        // A kept connection that the endpoint closed just then says nothing about the endpoint, and there may be more
        // of its kind: such an attempt counts neither as its failure nor as a retry.
        let at_its_end = matches!(failure, Failure::EndpointReset | Failure::StreamRefused);
        let stale = at_its_end && circumstances.reused;
        if failure.side() == Side::Endpoint && !stale {
            open.lease.failed();
        }
        let retry = self.may_retry(failure, circumstances, stale);
        if retry && !stale {
            self.retries_left -= 1;
        }
        self.close_attempt();
        retry
    }

    fn may_retry(&self, failure: Failure, circumstances: Circumstances, stale: bool) -> bool {
        let Some(pool) = self.pool() else { return false };
        let on = &pool.spec().retry.on;
        let again = circumstances.replayable && !circumstances.response_begun;
        let allowed = match failure {
            // Nothing has been sent, or nobody has looked at it: any method.
            Failure::ConnectFailed
            | Failure::ConnectTimeout
            | Failure::EndpointTls
            | Failure::StreamRefused => on.connect && again,
            Failure::EndpointReset => on.reset && again && self.idempotent,
            Failure::ResponseTimeout => on.timeout && again && self.idempotent,
            _ => false,
        };
        allowed && (stale || self.retries_left > 0)
    }

    /// The attempt is over, and another one may follow: not at the same endpoint, if there is a choice.
    pub(super) fn close_attempt(&mut self) {
        if let Some(open) = &self.open {
            self.tried.push(open.lease.endpoint().clone());
        }
        self.close_last_attempt();
    }

    pub(super) fn close_last_attempt(&mut self) {
        if let Some(OpenAttempt { record, .. }) = self.open.take() {
            self.record.attempts.push(record);
        }
    }

    pub(super) fn may_retry_status(&self, status: u16, circumstances: Circumstances) -> bool {
        let Some(pool) = self.pool() else { return false };
        pool.spec().retry.on.statuses.contains(&status)
            && self.retries_left > 0
            && self.idempotent
            && circumstances.replayable
            && !circumstances.response_begun
    }
}

/// RFC 9110, section 9.2.2.
pub(super) fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}
