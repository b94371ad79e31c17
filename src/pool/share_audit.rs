//! The balance audit: why an endpoint has had another share of its pool's requests than it is due now.
//!
//! The share counts since the start, and what is due is what the endpoints get as they are now. So a difference mostly
//! comes from the time when they were otherwise, or from what the balance policy goes by.

use super::status::{EndpointState, EndpointStatus};
use crate::config::{self, Balance};

/// Below so many requests of the pool, a difference is chance.
const REQUESTS_MIN: u64 = 100;

/// The least difference that is worth a word: absolute, and as a part of the larger share.
const DIFFERENCE_MIN: f64 = 0.02;
const PART_MIN: f64 = 0.1;

/// The least part of what an endpoint lacks that others must have had for it to be theirs.
const GONE_MIN: f64 = 0.5;

/// What is known of a pool.
#[derive(Debug)]
pub(super) struct Audit<'a> {
    balance: &'a Balance,
    is_sticky: bool,
    requests: u64,
    /// Endpoints that are or were away.
    away: usize,
    /// The share of those that are due nothing now.
    gone: f64,
    /// Since when the endpoint is as it is that has not changed for longest, in seconds since the Unix epoch.
    earliest: f64,
}

impl<'a> Audit<'a> {
    pub fn new(pool: &'a config::Pool, endpoints: &[EndpointStatus]) -> Self {
        Self {
            balance: &pool.balance,
            is_sticky: pool.sticky.is_some(),
            requests: endpoints.iter().map(|endpoint| endpoint.requests).sum(),
            away: endpoints.iter().filter(|endpoint| was_away(endpoint)).count(),
            gone: endpoints.iter().filter(|other| other.expected_share == 0.0).map(|other| other.share).sum(),
            earliest: endpoints.iter().map(|endpoint| endpoint.since).fold(f64::INFINITY, f64::min),
        }
    }

    /// The cause for an endpoint of the pool; `None`: it has had what it is due. `ramps`: it is in its slow start.
    pub fn cause(&self, endpoint: &EndpointStatus, ramps: bool) -> Option<String> {
        let (had, due) = (endpoint.share, endpoint.expected_share);
        let difference = (had - due).abs();
        if self.requests < REQUESTS_MIN || difference < DIFFERENCE_MIN || difference < PART_MIN * had.max(due)
        {
            return None;
        }
        Some(match due < had {
            _ if ramps => "it is in its slow start".to_owned(),
            true => self.why_more(endpoint),
            false => self.why_less(endpoint),
        })
    }

    /// It is due less now than it has had.
    fn why_more(&self, endpoint: &EndpointStatus) -> String {
        if endpoint.drained.is_some() {
            return "it had its share until it was drained".to_owned();
        }
        if endpoint.state != EndpointState::Healthy {
            return format!("it had its share until it was {}", endpoint.state.name());
        }
        if endpoint.weight_by_hand.is_some() {
            return "its weight was set by hand".to_owned();
        }
        if endpoint.backup {
            return "it was needed as a backup".to_owned();
        }
        match self.away - usize::from(was_away(endpoint)) {
            0 => self.why_uneven("answers faster than others"),
            1 => "another endpoint was away".to_owned(),
            several => format!("{several} other endpoints were away"),
        }
    }

    /// It is due more now than it has had.
    fn why_less(&self, endpoint: &EndpointStatus) -> String {
        if endpoint.weight_by_hand.is_some() {
            return "its weight was set by hand".to_owned();
        }
        if self.gone >= GONE_MIN * (endpoint.expected_share - endpoint.share) {
            return "others had a share until they were away".to_owned();
        }
        let mut causes = Vec::new();
        if endpoint.ejections > 0 {
            causes.push(match endpoint.ejections {
                1 => "it was ejected once".to_owned(),
                times => format!("it was ejected {times} times"),
            });
        }
        if endpoint.checks_failed > 0 {
            causes.push(format!("{} of its probes failed", endpoint.checks_failed));
        }
        if causes.is_empty() {
            if endpoint.since > self.earliest + 1.0 {
                return "it serves for a shorter time than others".to_owned();
            }
            return self.why_uneven("answers slower than others");
        }
        causes.join(", ")
    }

    /// Nothing has happened: the policy makes the difference.
    fn why_uneven(&self, by_load: &str) -> String {
        if self.is_sticky {
            return "clients stay at their endpoints (sticky)".to_owned();
        }
        match self.balance {
            Balance::Hash(_) => "its keys are asked for more or less than others (hash)".to_owned(),
            Balance::LeastRequests | Balance::LeastTime => format!("it {by_load}"),
            Balance::RoundRobin | Balance::Random => "endpoints or weights were others before".to_owned(),
        }
    }
}

fn was_away(endpoint: &EndpointStatus) -> bool {
    endpoint.state != EndpointState::Healthy
        || endpoint.drained.is_some()
        || endpoint.ejections > 0
        || endpoint.checks_failed > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::{no_wait, pool_config};

    /// The endpoints of a pool, each with its requests and the share that it is due.
    fn endpoints(all: &[(u64, f64)]) -> Vec<EndpointStatus> {
        let total: u64 = all.iter().map(|(requests, _)| requests).sum();
        let status = |(index, (requests, due)): (usize, &(u64, f64))| EndpointStatus {
            requests: *requests,
            share: *requests as f64 / total as f64,
            expected_share: *due,
            ..EndpointStatus::named(&format!("10.0.0.{index}:80"))
        };
        all.iter().enumerate().map(status).collect()
    }

    fn causes(balance: Balance, endpoints: &[EndpointStatus], ramps: bool) -> Vec<Option<String>> {
        let pool = config::Pool { balance, ..pool_config(&[(1, false)], no_wait()) };
        let audit = Audit::new(&pool, endpoints);
        endpoints.iter().map(|endpoint| audit.cause(endpoint, ramps)).collect()
    }

    fn told(causes: &[Option<String>]) -> Vec<&str> {
        causes.iter().map(|cause| cause.as_deref().unwrap_or("-")).collect()
    }

    #[test]
    fn small_differences_need_no_cause() {
        for all in [&[(500, 0.5), (500, 0.5)][..], &[(510, 0.5), (490, 0.5)], &[(9, 0.5), (1, 0.5)]] {
            assert_eq!(told(&causes(Balance::RoundRobin, &endpoints(all), false)), ["-", "-"], "{all:?}");
        }
    }

    #[test]
    fn what_has_happened_to_an_endpoint_is_the_cause() {
        let mut all = endpoints(&[(700, 0.5), (200, 0.5), (100, 0.0)]);
        (all[1].ejections, all[1].checks_failed) = (2, 3);
        all[2].state = EndpointState::Unhealthy;
        assert_eq!(
            told(&causes(Balance::RoundRobin, &all, false)),
            [
                "2 other endpoints were away",
                "it was ejected 2 times, 3 of its probes failed",
                "it had its share until it was unhealthy",
            ]
        );
        assert_eq!(causes(Balance::RoundRobin, &all, true)[1].as_deref(), Some("it is in its slow start"));
        (all[1].ejections, all[1].checks_failed, all[1].since) = (0, 0, 100.0);
        assert_eq!(
            causes(Balance::RoundRobin, &all, false)[1].as_deref(),
            Some("it serves for a shorter time than others")
        );
    }

    #[test]
    fn what_others_had_before_they_went_is_not_its_own_fault() {
        let mut all = endpoints(&[(800, 1.0), (200, 0.0)]);
        (all[0].checks_failed, all[1].state) = (1, EndpointState::Unhealthy);
        assert_eq!(
            told(&causes(Balance::RoundRobin, &all, false)),
            ["others had a share until they were away", "it had its share until it was unhealthy"]
        );
    }

    #[test]
    fn where_nothing_has_happened_it_is_the_policy() {
        let all = endpoints(&[(700, 0.5), (300, 0.5)]);
        for (balance, expected) in [
            (Balance::LeastTime, ["it answers faster than others", "it answers slower than others"]),
            (Balance::RoundRobin, ["endpoints or weights were others before"; 2]),
        ] {
            assert_eq!(told(&causes(balance, &all, false)), expected);
        }
    }
}
