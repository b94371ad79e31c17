//! How a request ends: its failure, the reply to its client, and its record.

use std::time::Instant;

use http::{HeaderValue, header};

use super::grpc::{self, GrpcCall};
use super::{Exchange, Failure, LocalReply};
use crate::pool::{FailureCause, LeaseOutcome, Verdict};
use crate::telemetry::record::{AttemptResult, NamedRecord, Outcome};
use crate::wait_queue::WaitsFor;

impl Exchange {
    /// Records why the request fails; the first cause stays.
    pub fn failed(&mut self, failure: Failure, detail: Option<String>) {
        if self.failure.is_none() {
            self.failure = Some(failure);
            self.record.cause = Some(failure.label());
            if let Some(detail) = detail {
                self.record.unusual_mut().detail = Some(detail.into());
            }
        }
    }

    /// The local reply for a failure.
    pub fn local_reply(&mut self, failure: Failure) -> LocalReply {
        if self.grpc.is_some() {
            return self.grpc_local_reply(failure);
        }
        let mut reply =
            LocalReply::to(failure, Some(self.record.text.accept()), self.record.text.request_id());
        if let Some(challenge) = self.challenge().filter(|_| failure == Failure::Unauthorized) {
            reply.headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        if failure == Failure::RateLimited {
            reply.headers.extend(self.limited.take().into_iter().flatten());
        }
        self.add_strict_transport(&mut reply);
        reply
    }

    pub(super) fn add_strict_transport(&self, reply: &mut LocalReply) {
        if let Some(policy) = self.strict_transport().and_then(|policy| HeaderValue::from_str(policy).ok()) {
            reply.headers.push((header::STRICT_TRANSPORT_SECURITY, policy));
        }
    }

    /// Ends the request: writes its record, and returns it.
    ///
    /// `status` is what the client was sent, `bytes_out` the body bytes that it took.
    pub fn finish(&mut self, status: Option<u16>, bytes_out: u64, now: Instant) -> NamedRecord<'_> {
        self.finished = true;
        self.end_hedge(self.record.cause.unwrap_or(Failure::Internal.label()));
        if let Some(open) = &mut self.open
            && let Some(cause) = self.record.cause
        {
            open.result = AttemptResult::Failed(cause);
            if self.failure == Some(Failure::ResponseCut) {
                let took = now.saturating_duration_since(open.started);
                let verdict = Verdict::Failed(FailureCause::NoAnswer(cause));
                open.lease.judged(verdict, took, self.record.text.request_id(), now);
            }
        }
        self.judge_call(now);
        self.close_attempt(match self.failure {
            None => LeaseOutcome::Answered,
            Some(_) => LeaseOutcome::Abandoned,
        });
        self.stop_waiting(now);
        self.waiting.end();
        self.record.status = status.unwrap_or(499);
        self.record.outcome = self.outcome();
        self.record.bytes_out = bytes_out;
        self.record.duration = now.saturating_duration_since(self.started);
        let record = self.named_record();
        self.scope.telemetry().record(record, now);
        // Last: a stop ends the process as soon as no request counts as in flight, and all records must be written
        // then.
        self.scope.counters().request_closed(record.outcome);
        record
    }

    /// Tells the pool how a gRPC call has ended, which its head did not say.
    fn judge_call(&mut self, now: Instant) {
        let (None, Some(status), Some(open)) =
            (self.failure, self.record.unusual().grpc_status, &mut self.open)
        else {
            return;
        };
        if grpc::is_endpoints_failure(status) {
            let took = now.saturating_duration_since(open.started);
            let verdict = Verdict::Failed(FailureCause::GrpcStatus(status));
            open.lease.judged(verdict, took, self.record.text.request_id(), now);
        } else {
            open.lease.ended_well();
        }
    }

    /// Shows the request to those who watch requests in flight, as it begins to wait.
    pub(super) fn show_waiting(&mut self, waits_for: WaitsFor, now: Instant) {
        self.record.duration = now.saturating_duration_since(self.started);
        self.scope.telemetry().show_waiting(self.named_record(), waits_for, now);
    }

    /// Shows the request to those who watch requests in flight, as it is sent to an endpoint.
    pub(super) fn show_attempt(&mut self, now: Instant) {
        self.record.duration = now.saturating_duration_since(self.started);
        if let Some(open) = &self.open {
            self.scope.telemetry().show_attempt(self.named_record(), open.lease.endpoint(), now);
        }
    }

    fn named_record(&self) -> NamedRecord<'_> {
        let names = self.scope.names(self.route, self.target);
        NamedRecord {
            record: &self.record,
            listener: &self.listener().name,
            route: names.map(|(route, _)| route),
            pool: names.and_then(|(_, pool)| pool),
        }
    }

    fn outcome(&self) -> Outcome {
        match self.failure {
            None => Outcome::Answered,
            Some(Failure::ClientGone | Failure::ClientStalled) => Outcome::ClientGone,
            // No response tells the client of it.
            Some(Failure::Stopped) => Outcome::Cut,
            Some(failure) if failure.status().as_u16() == self.record.status => Outcome::Refused,
            Some(_) if self.record.status == 200 && self.grpc.as_ref().is_some_and(GrpcCall::is_answered) => {
                Outcome::Refused
            }
            // Another response had begun, so that no reply could be sent.
            Some(_) => Outcome::Cut,
        }
    }

    /// The status of the response that is under way.
    fn status_of_endpoint(&self) -> Option<u16> {
        match self.open.as_ref()?.result {
            AttemptResult::Status(status) => Some(status),
            AttemptResult::Failed(_) | AttemptResult::Overtaken => None,
        }
    }
}

impl Drop for Exchange {
    /// Writes the record of a request that its engine dropped, in a panic or because a stop cuts it.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let now = Instant::now();
        if std::thread::panicking() {
            self.failed(Failure::Internal, Some("dropped before its end".into()));
            self.finish(Some(Failure::Internal.status().as_u16()), 0, now);
        } else {
            self.failed(Failure::Stopped, None);
            let status = self.status_of_endpoint().unwrap_or(Failure::Stopped.status().as_u16());
            self.finish(Some(status), self.record.bytes_out, now);
        }
    }
}
