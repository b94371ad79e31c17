//! Which endpoint a request would be picked, and why each other one would not: for `evenkeel explain`.
//!
//! Asks the functions that pick, and takes nothing: no turn, no claim to find out about an endpoint, no room.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::balance::{self, PickInput};
use super::candidates::{Candidates, Tier};
use super::endpoint::HealthStatus;
use super::member::Member;
use super::outliers::{Ejection, Phase};
use super::rotation::{Pick, Rotation};
use super::status::{ByHandStatus, EndpointState, ProbeStatus, SourceStatus};
use super::{Endpoint, NoPick, PickRequest, Pool, drained, unix_seconds};
use crate::config::Balance;
use crate::human;

/// What a pool would do with a request now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PoolExplanation {
    pub name: String,
    /// The balance policy, as the config has it.
    pub balance: String,
    /// The address of the endpoint that is picked; `None`: there is none.
    pub picked: Option<String>,
    /// By what it is picked, or why none is.
    pub by: String,
    /// No endpoint is healthy, and the pool fails open.
    pub failed_open: bool,
    /// Requests at its endpoints now, and how many there may be; `None`: no limit.
    pub in_flight: u64,
    pub most: Option<u64>,
    /// Requests that wait now.
    pub waiting: u64,
    /// What names its endpoints, beside the config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
    /// In the order of the config.
    pub endpoints: Vec<EndpointExplanation>,
    /// How many more there are than `endpoints` has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endpoints_left_out: usize,
}

/// Whether an endpoint may be picked, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointExplanation {
    pub address: String,
    pub role: Role,
    pub why: String,
    pub state: EndpointState,
    /// When it entered that state, in seconds since the Unix epoch.
    pub since: f64,
    /// What made it so: the last probe's answer, failed connect or failures of requests.
    pub reason: String,
    pub weight: u16,
    pub backup: bool,
    /// Its share by weight among those that get the traffic now, 0 to 1.
    pub expected_share: f64,
    pub in_flight: u64,
    /// How many requests it may have; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<ByHandStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected: Option<EjectionExplanation>,
    /// In a slow start, the part of its share that it gets, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<f64>,
    /// The last probes, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeStatus>,
    /// Seconds to the first byte, as `balance: least_time` reckons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_seconds: Option<f64>,
}

/// The part that an endpoint has in a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Picked,
    /// It gets a part of the traffic, and is not this request's.
    Candidate,
    /// It is tried after those.
    Fallback,
    /// It is tried when all others have failed.
    LastResort,
    /// It gets no request.
    Excluded,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EjectionExplanation {
    /// How often in a row.
    pub count: u32,
    /// Seconds until a request may find out how it is; 0: the next one does.
    pub seconds_left: f64,
}

/// What is asked about a pick beside what the request has.
#[derive(Debug, Clone, Copy)]
pub struct PickQuestion<'a> {
    pub pick: PickRequest<'a>,
    pub time: SystemTime,
    /// The most endpoints that are told about.
    pub endpoints_max: usize,
}

// serde wants a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Pool {
    /// Explains a first attempt.
    pub fn explain(&self, question: &PickQuestion<'_>) -> (PoolExplanation, Option<Arc<Endpoint>>) {
        let rotation = self.picker.rotation();
        let request = &question.pick;
        let turn = self.picker.peek_turn();
        let input = PickInput::<false> { turn, may_probe: request.may_probe, ..request.without_turn() };
        let pick = self.pick_in(&rotation, &input, request.tried);
        let picked = pick.as_ref().ok().map(|pick| pick.member);
        let by = match &pick {
            Ok(pick) => self.by_what(&rotation, &input, pick),
            Err(NoPick::Full) => "each endpoint has as many requests as it may have".to_owned(),
            Err(NoPick::NoneHealthy) if rotation.candidates().members().is_empty() => self.why_empty(),
            Err(NoPick::NoneHealthy) => "no endpoint may be picked".to_owned(),
        };
        let shares = rotation.expected_shares();
        let seen = Seen { pool: self, candidates: rotation.candidates(), picked, question };
        let members = rotation.candidates().members();
        let mut endpoints: Vec<EndpointExplanation> =
            members.iter().zip(shares).map(|(member, share)| seen.explain(member, share)).collect();
        let left_out = leave_out(&mut endpoints, question.endpoints_max);
        let explanation = PoolExplanation {
            name: self.config.name.to_string(),
            balance: balance::name(&self.config.balance).to_owned(),
            picked: picked.map(|member| member.endpoint.label().to_string()),
            by,
            failed_open: pick.as_ref().is_ok_and(|pick| pick.failed_open),
            in_flight: self.in_flight_limit().in_flight(),
            most: self.most_requests(),
            waiting: self.queue().len() as u64,
            sources: self.sources.status(),
            endpoints,
            endpoints_left_out: left_out,
        };
        (explanation, picked.map(|member| member.endpoint.clone()))
    }

    /// By what an endpoint is picked, as if no other request came before.
    fn by_what(&self, rotation: &Rotation, input: &PickInput<false>, pick: &Pick<'_>) -> String {
        let is_it = |other: &Member| other.index == pick.member.index;
        if rotation.stuck_to(input).is_some_and(is_it) {
            return "the cookie of the client, which stays at its endpoint".to_owned();
        }
        if pick.probes {
            return "an ejected endpoint whose time is over: the request finds out how it is".to_owned();
        }
        let last_resort = match rotation.candidates().serving() {
            Tier::Available => "",
            Tier::Unreachable => "; all others are unreachable, too",
            Tier::FailedOpen => "; no endpoint is healthy, and the pool fails open",
        };
        let period = rotation.period();
        let place = input.turn.checked_rem(period).unwrap_or_default() + 1;
        let turn = format!("turn {place} of {period}, if no other request comes before");
        let policy = match (&self.config.balance, input.key) {
            (Balance::RoundRobin, _) => turn,
            (Balance::LeastRequests, _) => {
                format!("fewest requests in flight for its weight; of equals, {turn}")
            }
            (Balance::LeastTime, _) => {
                format!(
                    "least time to the first byte, requests in flight and weight considered; of equals, {turn}"
                )
            }
            (Balance::Random, _) => "chance, which depends on the number of requests so far".to_owned(),
            (Balance::Hash(_), Some(_)) => "the hash of its key".to_owned(),
            (Balance::Hash(_), None) => format!("{turn}, because the request has no key"),
        };
        format!("{policy}{last_resort}")
    }
}

/// Keeps those that matter most: the one that is picked, those that are not as they should be, then the first.
fn leave_out(endpoints: &mut Vec<EndpointExplanation>, most: usize) -> usize {
    let left_out = endpoints.len().saturating_sub(most);
    if left_out == 0 {
        return 0;
    }
    let is_well = |endpoint: &EndpointExplanation| {
        endpoint.state == EndpointState::Healthy && endpoint.drained.is_none()
    };
    let mut order: Vec<usize> = (0..endpoints.len()).collect();
    order.sort_by_key(|index| {
        endpoints.get(*index).map(|endpoint| (endpoint.role != Role::Picked, is_well(endpoint)))
    });
    let mut keeps = vec![false; endpoints.len()];
    for index in order.into_iter().take(most) {
        if let Some(keep) = keeps.get_mut(index) {
            *keep = true;
        }
    }
    let mut keeps = keeps.into_iter();
    endpoints.retain(|_| keeps.next().unwrap_or(false));
    left_out
}

/// The moment at which endpoints are explained.
struct Seen<'a> {
    pool: &'a Pool,
    candidates: &'a Candidates,
    picked: Option<&'a Member>,
    question: &'a PickQuestion<'a>,
}

// === impl Seen ===

impl Seen<'_> {
    fn explain(&self, member: &Member, expected_share: f64) -> EndpointExplanation {
        let now = self.question.pick.now;
        let endpoint = &*member.endpoint;
        let HealthStatus { state, since, reason } = endpoint.health_status();
        let record = endpoint.outliers();
        let ejected = record.is_ejected().then(|| {
            let Ejection { count, .. } = record.ejection();
            let seconds_left = record.seconds_left(now).unwrap_or_default();
            EjectionExplanation { count, seconds_left }
        });
        let ramp = endpoint.ramp();
        let role = self.role(member);
        let mut explained = EndpointExplanation {
            address: endpoint.label().to_string(),
            role,
            why: String::new(),
            state,
            since: unix_seconds(since),
            reason: reason.to_string(),
            weight: member.weight(),
            backup: member.attributes.backup,
            expected_share,
            in_flight: endpoint.load().in_flight,
            most: self.pool.endpoint_most,
            drained: drained(member),
            ejected,
            slow_start: ramp.is_under_way(now).then(|| ramp.share(now)),
            probes: endpoint.recent_probes().status(),
            response_seconds: endpoint.response_time().average().map(|time| time.as_secs_f64()),
        };
        explained.why = self.why(member, &explained, since);
        explained
    }

    fn role(&self, member: &Member) -> Role {
        let is_in = |tier: &[u32]| tier.iter().any(|index| *index as usize == member.index);
        let candidates = self.candidates;
        match () {
            () if self.picked.is_some_and(|picked| picked.index == member.index) => Role::Picked,
            () if is_in(candidates.first()) || is_in(candidates.half_open()) => Role::Candidate,
            () if is_in(candidates.fallback()) => Role::Fallback,
            () if is_in(candidates.unreachable()) || is_in(candidates.unhealthy()) => Role::LastResort,
            () => Role::Excluded,
        }
    }

    fn why(&self, member: &Member, explained: &EndpointExplanation, since: SystemTime) -> String {
        let EndpointExplanation { state, reason, .. } = explained;
        let age = human::coarse_duration(self.question.time.duration_since(since).unwrap_or_default());
        let mut parts = Vec::new();
        if let Some(drained) = &explained.drained {
            let until = drained.until.map(|end| format!(" until {}", human::date(end))).unwrap_or_default();
            let by = &drained.by;
            let keeps = match self.pool.config.sticky {
                Some(_) => ", it gets no new clients, and keeps those with its cookie",
                None => ", it gets no new requests",
            };
            parts.push(format!("drained by hand by {by}{until}{keeps}"));
        }
        parts.push(match state {
            EndpointState::Healthy => format!("healthy for {age}"),
            EndpointState::Checking => format!("not known yet: {reason}"),
            EndpointState::Unhealthy => format!("unhealthy for {age}: {reason}"),
            EndpointState::Unreachable => format!("unreachable for {age}: {reason}"),
            EndpointState::Ejected => self.why_ejected(member, explained, &age),
        });
        parts.extend((member.weight() == 0).then(|| "its weight is 0".to_owned()));
        let full = self.pool.endpoint_most.filter(|most| member.endpoint.exact_in_flight() >= *most);
        parts.extend(full.map(|most| format!("at its limit of {most} requests")));
        let percent = |share: f64| format!("in slow start at {:.0} % of its share", share * 100.0);
        parts.extend(explained.slow_start.map(percent));
        parts.extend(self.order(member, explained.role));
        parts.join(", ")
    }

    /// Why it comes after others.
    fn order(&self, member: &Member, role: Role) -> Option<String> {
        let zone =
            || self.pool.config.zone.as_deref().filter(|own| member.attributes.zone.as_deref() != Some(own));
        Some(match role {
            Role::Fallback if member.attributes.backup => {
                "a backup, for when all others have failed".to_owned()
            }
            Role::Fallback => match zone() {
                Some(own) => format!("tried after those of zone {own}"),
                None => "tried after those that are known to be well".to_owned(),
            },
            Role::LastResort => "tried when all others have failed".to_owned(),
            Role::Picked | Role::Candidate | Role::Excluded => return None,
        })
    }

    fn why_ejected(&self, member: &Member, explained: &EndpointExplanation, age: &str) -> String {
        let reason = &explained.reason;
        let (count, left) =
            explained.ejected.as_ref().map_or((1, 0.0), |ejected| (ejected.count, ejected.seconds_left));
        let left = human::coarse_duration(Duration::try_from_secs_f64(left).unwrap_or_default());
        let then = match member.endpoint.outliers().phase() {
            Phase::In | Phase::Out => format!("for {left} more"),
            Phase::HalfOpen => {
                "its time is over: the next request that can be sent again finds out".to_owned()
            }
            Phase::Probing => "its time is over: a request is finding out".to_owned(),
        };
        let row = if count > 1 { format!(", {count} times in a row") } else { String::new() };
        format!("ejected {age} ago{row}, {then}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::pool::tests::{no_wait, pool_config, set};
    use crate::pool::{MayProbe, Picked, TriedEndpoints};

    fn request(tried: &TriedEndpoints, key: Option<u64>) -> PickRequest<'_> {
        PickRequest { tried, key, sticky: None, may_probe: MayProbe::AtOnce, now: Instant::now() }
    }

    fn explained(pool: &Pool, key: Option<u64>) -> PoolExplanation {
        let tried = TriedEndpoints::default();
        let pick = request(&tried, key);
        let question = PickQuestion { pick, time: SystemTime::now(), endpoints_max: 100 };
        pool.explain(&question).0
    }

    fn picked(pool: &Pool, key: Option<u64>) -> Option<String> {
        match pool.pick(&request(&TriedEndpoints::default(), key)) {
            Picked::Endpoint { endpoint, .. } => Some(endpoint.label().to_string()),
            Picked::NoneHealthy { .. } | Picked::Full => None,
        }
    }

    #[test]
    fn the_next_request_gets_what_was_explained_and_asking_takes_no_turn() {
        for balance in [
            Balance::RoundRobin,
            Balance::LeastRequests,
            Balance::LeastTime,
            Balance::Random,
            Balance::Hash(crate::config::HashKey::Path),
        ] {
            let mut config = pool_config(&[(1, false), (3, false), (2, false), (1, true)], no_wait());
            config.balance = balance.clone();
            let pool = Pool::new(config, None, &Default::default());
            (0..4).for_each(|index| set(&pool, index, index != 1));
            for round in 0..200 {
                let key = Some(round * 7_919).filter(|_| round % 3 > 0);
                let asked = [(); 3].map(|()| explained(&pool, key).picked);
                assert_eq!(asked, [(); 3].map(|()| asked[0].clone()));
                assert_eq!(asked[0], picked(&pool, key), "{balance:?}, request {round}");
            }
        }
    }

    #[test]
    fn each_endpoint_says_why_it_is_passed_over() {
        let pool = Pool::new(
            pool_config(&[(1, false), (1, false), (0, false), (1, true)], no_wait()),
            None,
            &Default::default(),
        );
        (0..4).for_each(|index| set(&pool, index, index != 1));
        let explanation = explained(&pool, None);
        let roles: Vec<Role> = explanation.endpoints.iter().map(|endpoint| endpoint.role).collect();
        assert_eq!(roles, [Role::Picked, Role::Excluded, Role::Excluded, Role::Fallback]);
        for (index, words) in
            [(0, "healthy for 0s"), (1, "unhealthy for"), (2, "its weight is 0"), (3, "a backup")]
        {
            let why = &explanation.endpoints[index].why;
            assert!(why.contains(words), "{why}");
        }
        assert!(explanation.by.starts_with("turn 1 of 1"), "{}", explanation.by);
    }

    #[test]
    fn of_a_large_pool_those_that_matter_are_told() {
        let pool = Pool::new(pool_config(&[(1, false); 50], no_wait()), None, &Default::default());
        (0..50).for_each(|index| set(&pool, index, index != 40));
        let tried = TriedEndpoints::default();
        let question =
            PickQuestion { pick: request(&tried, None), time: SystemTime::now(), endpoints_max: 3 };
        let explanation = pool.explain(&question).0;
        assert_eq!((explanation.endpoints.len(), explanation.endpoints_left_out), (3, 47));
        let states: Vec<EndpointState> =
            explanation.endpoints.iter().map(|endpoint| endpoint.state).collect();
        assert_eq!(states, [EndpointState::Healthy, EndpointState::Healthy, EndpointState::Unhealthy]);
    }
}
