//! What becomes of a request that goes to a pool: an endpoint, a wait or a failure, and the times and attempts that it has.

use std::sync::Arc;
use std::time::Duration;

use super::policies::{location, seconds};
use super::{
    AnswerExplanation, Asked, End, Forwarded, PathExplanation, RequestExplanation, TimesExplanation, Verdict,
};
use crate::config::{HedgeAfter, QueueLimits, RetryOn, WhenNoneHealthy};
use crate::exchange::Failure;
use crate::pool::Pool;
use crate::pool::explain::{PickQuestion, PoolExplanation};
use crate::snapshot::Route;
use crate::wait_queue::{Claim, WaitQueue};

/// What follows when an endpoint is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    Attempt,
    /// It waits at most that long; then this failure follows.
    Wait(Duration, Failure),
    Fail(Failure),
}

impl Asked {
    /// What the pool does with the request. Describes at most so many endpoints.
    pub fn forward(&self, endpoints_max: usize) -> Option<Forwarded> {
        let route = self.exchange.route()?;
        let pool = self.exchange.pool()?;
        let question =
            PickQuestion { pick: self.exchange.pick_request(self.now), time: self.time, endpoints_max };
        let (explanation, endpoint) = pool.explain(&question);
        let outlook = self.outlook(route, pool, endpoint.is_some());
        let is_sent = matches!(outlook, Outlook::Attempt);
        Some(Forwarded { outlook, pool: explanation, endpoint: endpoint.filter(|_| is_sent) })
    }

    /// As [`Exchange::next`](super::Exchange::next) would have it.
    fn outlook(&self, route: &Route, pool: &Arc<Pool>, picks: bool) -> Outlook {
        let limits = &pool.config().limits.queue;
        if let Some(requests) = &route.requests {
            let queue = requests.limit.queue();
            if !self.may_try(queue) || !requests.limit.has_room() {
                return room(queue, &requests.queue, Failure::RouteFull);
            }
        }
        if pool.has_queue() {
            let may_try = self.may_try(pool.queue());
            let has_room = pool.request_limit().is_none_or(|limit| limit.has_room());
            match may_try {
                false if !pool.has_reachable() => return self.healthy_endpoint(pool),
                true if has_room => {}
                _ => return room(pool.queue(), limits, Failure::PoolFull),
            }
        }
        match (picks, pool.serves()) {
            (true, _) if pool.in_flight_limit().has_room(self.exchange.holds(), 0) => Outlook::Attempt,
            (true, _) => Outlook::Fail(Failure::PoolFull),
            // There is one to pick, and none has room.
            (false, true) => room(pool.queue(), limits, Failure::PoolFull),
            (false, false) => self.healthy_endpoint(pool),
        }
    }

    /// Whether nobody waits before the request.
    fn may_try(&self, queue: &Arc<WaitQueue>) -> bool {
        queue.claim(None, self.exchange.waiting.priority, None, self.now) == Claim::Try
    }

    fn healthy_endpoint(&self, pool: &Pool) -> Outlook {
        match pool.config().when_none_healthy {
            WhenNoneHealthy::Wait { limit, .. } if !limit.is_zero() => {
                if !pool.may_wait(self.exchange.holds()) {
                    return Outlook::Fail(Failure::PoolFull);
                }
                Outlook::Wait(limit, Failure::WaitExpired)
            }
            _ => Outlook::Fail(Failure::NoHealthyEndpoint),
        }
    }

    /// The request as it is understood.
    pub fn request(&self, url: String) -> RequestExplanation {
        let sender = &self.exchange.sender;
        let text = |address: &crate::telemetry::record::ClientAddress| {
            address.ip_text().unwrap_or("unix").to_owned()
        };
        RequestExplanation {
            method: self.exchange.record.text.method().to_owned(),
            url,
            protocol: self.exchange.record.protocol.as_str().to_owned(),
            client: text(sender.client()),
            peer: (sender.client() != sender.peer()).then(|| text(sender.peer())),
            scheme: sender.scheme.to_owned(),
        }
    }

    /// `sent`: the path as the client sends it.
    pub fn path(&self, sent: String) -> PathExplanation {
        let record = &self.exchange.record;
        PathExplanation {
            normal: record.path.as_deref().filter(|normal| *normal != sent).map(str::to_owned),
            rewritten: record.unusual().rewritten.as_deref().map(str::to_owned),
            sent,
        }
    }

    /// The answer in short.
    pub fn answer_of(&self, end: &End) -> AnswerExplanation {
        let record = &self.exchange.record;
        let (verdict, status, cause) = match end {
            End::Refused(failure) => (Verdict::Refuse, Some(failure.status().as_u16()), Some(*failure)),
            End::Answered(reply) => (Verdict::Answer, Some(reply.status.as_u16()), None),
            End::Forwarded(forwarded) => match forwarded.outlook {
                Outlook::Attempt => (Verdict::Forward, None, None),
                Outlook::Wait(_, failure) => (Verdict::Wait, None, Some(failure)),
                Outlook::Fail(failure) => (Verdict::Refuse, Some(failure.status().as_u16()), Some(failure)),
            },
        };
        let forwarded = match end {
            End::Forwarded(forwarded) => Some(forwarded),
            End::Refused(_) | End::Answered(_) => None,
        };
        let wait = forwarded.and_then(|forwarded| match forwarded.outlook {
            Outlook::Wait(limit, _) => Some(seconds(limit)),
            Outlook::Attempt | Outlook::Fail(_) => None,
        });
        AnswerExplanation {
            verdict,
            text: forwarded
                .map_or_else(|| self.in_words(end), |forwarded| self.forwarded_in_words(forwarded)),
            status,
            cause: cause.map(|cause| cause.label().to_owned()),
            refused_by: record.unusual().refused_by.as_ref().map(ToString::to_string),
            limited: record.unusual().limited.as_deref().map(str::to_owned),
            action: record.unusual().action.map(str::to_owned),
            location: match end {
                End::Answered(reply) => location(reply),
                End::Refused(_) | End::Forwarded(_) => None,
            },
            route: self.exchange.route().map(|route| route.name.to_string()),
            pool: self.exchange.pool().map(|pool| pool.name().to_string()),
            endpoint: forwarded
                .and_then(|forwarded| forwarded.endpoint.as_ref())
                .map(|endpoint| endpoint.label().to_string()),
            if_passed_by: self.would_ask.clone(),
            wait_seconds: wait,
        }
    }

    fn in_words(&self, end: &End) -> String {
        let by = self.exchange.route().map(|route| format!(", by route {}", route.name)).unwrap_or_default();
        format!("{}{by}", self.ending(end))
    }

    fn forwarded_in_words(&self, forwarded: &Forwarded) -> String {
        let Forwarded { outlook, pool: PoolExplanation { name, by, .. }, endpoint } = forwarded;
        let route = self.exchange.route().map(|route| route.name.to_string()).unwrap_or_default();
        let passes =
            self.would_ask.as_ref().map(|url| format!("if {url} lets it pass, ")).unwrap_or_default();
        match (outlook, endpoint) {
            (Outlook::Attempt, Some(endpoint)) => {
                format!("{passes}to endpoint {} of pool {name}, by route {route}", endpoint.label())
            }
            (Outlook::Wait(limit, failure), _) => format!(
                "{passes}waits for pool {name} at most {}, then {} {}: {by}; by route {route}",
                crate::human::fine_duration(*limit),
                failure.status().as_u16(),
                failure.label()
            ),
            (Outlook::Fail(failure), _) => format!(
                "{passes}{} {}: pool {name}: {by}; by route {route}",
                failure.status().as_u16(),
                failure.label()
            ),
            (Outlook::Attempt, None) => format!("{passes}to pool {name}, by route {route}"),
        }
    }

    /// The times and attempts of the request; `None`: it goes to no pool.
    pub fn times(&self) -> Option<TimesExplanation> {
        let target = self.exchange.target()?;
        let (retry, pool) = (&target.retry, target.pool.config());
        let deadline = self.exchange.deadline().map(|end| seconds(end.saturating_duration_since(self.now)));
        let budget = retry.budget.as_ref().map(|budget| target.pool.retry_budget().left(budget, self.now).0);
        let hedge = retry.hedge.filter(|_| self.exchange.may_hedge()).and_then(|hedge| match hedge.after {
            HedgeAfter::Time(after) => Some(after),
            HedgeAfter::P95 => target.response_times.as_ref()?.p95(),
        });
        Some(TimesExplanation {
            deadline_seconds: deadline,
            connect_seconds: seconds(self.exchange.connect_limit()),
            response_seconds: seconds(pool.timeouts.response),
            idle_seconds: seconds(pool.timeouts.idle),
            attempt_seconds: retry.attempt_timeout.map(seconds),
            retries: retry.limit,
            retry_on: retry_on(&retry.on),
            repeatable: self.exchange.is_repeatable(),
            budget_left: budget,
            hedge_seconds: hedge.map(seconds),
        })
    }

    /// What the route does with the response.
    pub fn response(&self) -> Vec<String> {
        let rate = self.exchange.response_rate().map(|rate| {
            let (rate, after) = (crate::human::bytes(rate.rate), crate::human::bytes(rate.after));
            format!("sent at {rate} a second, after the first {after}")
        });
        let policy = self.exchange.response_policy().map(super::policies::of_response).unwrap_or_default();
        policy.into_iter().chain(rate).collect()
    }

    /// By what its pool balances, where that is a part of the request.
    pub fn hash_key(&self) -> Option<String> {
        match &self.exchange.pool()?.config().balance {
            crate::config::Balance::Hash(by) => Some(super::policies::hash_key(by)),
            _ => None,
        }
    }
}

/// A wait for room, or the failure where nobody may wait.
fn room(queue: &WaitQueue, limits: &QueueLimits, full: Failure) -> Outlook {
    match () {
        () if !limits.lets_wait() => Outlook::Fail(full),
        () if queue.len() >= limits.length => Outlook::Fail(Failure::QueueFull),
        () => Outlook::Wait(limits.wait, Failure::QueueExpired),
    }
}

fn retry_on(on: &RetryOn) -> Vec<String> {
    let named = [(on.connect, "connect"), (on.reset, "reset"), (on.timeout, "timeout")];
    let named = named.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name.to_owned());
    named.chain(on.statuses.iter().map(u16::to_string)).collect()
}
