//! A second attempt beside the one under way, at another endpoint: the first good answer goes to the client (Dean and
//! Barroso, "The Tail at Scale", 2013).
//!
//! All other methods of an [`Exchange`] speak of one attempt; while there are two, the engine says of which.

use std::time::Instant;

use super::retry::is_stale;
use super::{Exchange, Failure, OpenAttempt};
use crate::config::{self, HedgeAfter};
use crate::pool::{LeaseOutcome, LeaseRequest, Leased, MayProbe, PickRequest, Pool};
use crate::telemetry::record::{AttemptResult, HedgeResult};

impl Exchange {
    /// When a second attempt is due beside the one under way; `None`: never. Only for requests without a body.
    pub fn hedge_due(&self) -> Option<Instant> {
        let target = self.target()?;
        let hedge = target.retry.hedge.as_ref()?;
        if !self.may_hedge() {
            return None;
        }
        let after = match hedge.after {
            HedgeAfter::Time(after) => after,
            HedgeAfter::P95 => target.response_times.as_ref()?.p95()?,
        };
        self.attempt_began()?.checked_add(after)
    }

    /// Whether the request may have a second attempt, as far as it is known before the first.
    pub(super) fn may_hedge(&self) -> bool {
        self.record.unusual().hedge.is_none()
            && !self.is_upgrade()
            && matches!(self.record.text.method(), "GET" | "HEAD")
    }

    /// Begins a second attempt at another endpoint; `false`: there is none, or there were too many. The methods go on
    /// to speak of the first.
    pub fn begin_hedge(&mut self, now: Instant) -> bool {
        let target = self.scope.target(self.route, self.target);
        let (Some(target), Some(first)) = (target, &self.open) else { return false };
        let (pool, hedge) = (&target.pool, target.retry.hedge);
        self.tried.add(first.lease.endpoint().clone());
        let pick = PickRequest { may_probe: MayProbe::Never, ..self.pick_request(now) };
        let Some(hedge) = hedge.filter(|_| pool.has_fresh(&pick)) else { return false };
        // Not as one that the pool has admitted: it is one request more.
        let leased = pool.lease(LeaseRequest { pick, holds: self.holds(), admitted: false });
        let Leased::Lease { lease, failed_open: false, tag, .. } = leased else { return false };
        if !takes_budget(pool, hedge, now) {
            self.record.unusual_mut().hedge = Some(HedgeResult::Refused);
            return false;
        }
        self.other = Some(Box::new(OpenAttempt {
            lease,
            tag,
            started: now,
            connect: None,
            first_byte: None,
            result: AttemptResult::Failed(Failure::Internal.label()),
            is_hedge: true,
        }));
        self.record.unusual_mut().hedge = Some(HedgeResult::Lost);
        true
    }

    /// Whether two attempts are under way.
    pub fn is_hedged(&self) -> bool {
        self.other.is_some()
    }

    /// From now on, the methods speak of the other attempt.
    pub fn switch_attempts(&mut self) {
        if let (Some(open), Some(other)) = (&mut self.open, &mut self.other) {
            std::mem::swap(open, &mut **other);
        }
    }

    /// Has `work` done with the methods speaking of the other attempt.
    pub fn beside<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.switch_attempts();
        let done = work(self);
        self.switch_attempts();
        done
    }

    /// The other attempt has answered: gives up the one spoken of, and speaks of the other.
    pub fn overtaken(&mut self, now: Instant) {
        let Some(open) = &mut self.open else { return };
        open.result = AttemptResult::Overtaken;
        let took = now.saturating_duration_since(open.started);
        open.lease.overtaken(took, now);
        self.give_way(LeaseOutcome::Abandoned);
    }

    /// The attempt spoken of has failed, and the other goes on: speaks of that.
    pub fn fails_beside(&mut self, failure: Failure, detail: Option<&str>, reused: bool, now: Instant) {
        if let Some(outcome) = self.record_failure(failure, detail, is_stale(failure, reused), now) {
            self.give_way(outcome);
        }
    }

    /// The attempt spoken of got a response with a status from 500, and the other goes on: speaks of that.
    pub fn answers_badly_beside(&mut self, status: u16, now: Instant) {
        self.judge_status(status, self.verdict(status), now);
        let Some(open) = &self.open else { return };
        self.tried.add(open.lease.endpoint().clone());
        if open.is_hedge {
            self.record.unusual_mut().hedge = Some(HedgeResult::Failed);
        }
        self.give_way(LeaseOutcome::Failed);
    }

    fn give_way(&mut self, outcome: LeaseOutcome) {
        if self.open.as_ref().is_some_and(|open| !open.is_hedge) {
            self.record.unusual_mut().hedge = Some(HedgeResult::Won);
        }
        self.close_attempt(outcome);
        self.open = self.other.take().map(|other| *other);
    }

    /// Ends both attempts of a request that ends without an answer of either.
    pub(super) fn end_hedge(&mut self, cause: &'static str) {
        if self.is_hedged() {
            self.switch_attempts();
            self.open.iter_mut().for_each(|open| open.result = AttemptResult::Failed(cause));
            self.give_way(LeaseOutcome::Abandoned);
        }
    }
}

/// Whether the pool may have one more: a share of its requests.
fn takes_budget(pool: &Pool, hedge: config::Hedge, now: Instant) -> bool {
    pool.hedge_budget().take(&config::RetryBudget { share: hedge.share, floor: 0 }, now)
}
