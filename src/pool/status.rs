//! The state of a pool and its endpoints at one moment, for `evenkeel status` and the metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mirror::MirrorState;
use crate::wait_queue::QueueStatus;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PoolStatus {
    pub name: String,
    pub balance: String,
    /// Requests that wait now.
    pub waiting: u64,
    #[serde(default)]
    pub queue: QueueStatus,
    #[serde(default)]
    pub retries: RetryStatus,
    /// Requests that are at an endpoint now.
    pub in_flight: u64,
    /// The limit of requests in flight; `None`: no limit.
    pub most: Option<u64>,
    /// Requests that were refused at that limit without waiting.
    pub refused: u64,
    /// What names its endpoints, beside the config.
    pub sources: Vec<SourceStatus>,
    pub endpoints: Vec<EndpointStatus>,
}

/// The retry budget of a pool: what the last ten seconds have had.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RetryStatus {
    pub first_attempts: u64,
    /// Failed connects are not among them.
    pub retries: u64,
    /// How many retries there might have been; `None`: any number.
    pub allowed: Option<u64>,
    /// Retries refused since the start because the budget was spent.
    pub refused: u64,
}

/// A route that has a limit of requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteStatus {
    pub name: String,
    pub in_flight: u64,
    /// `None`: no limit any more.
    pub most: Option<u64>,
    /// Requests that were refused at that limit without waiting.
    pub refused: u64,
    pub queue: QueueStatus,
}

/// A limit of how many requests of a key a route takes in a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RateLimitStatus {
    pub route: String,
    /// The key that it counts by.
    pub limit: String,
    /// Requests that were answered 429.
    pub refused: u64,
    /// Requests that a dry run would have refused.
    pub would_refuse: u64,
    /// Keys that are remembered.
    pub keys: u64,
    /// Keys that were forgotten while they counted, because no room was left.
    pub forgotten: u64,
}

/// Copies of a route's requests that go to another pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MirrorStatus {
    pub route: String,
    pub pool: String,
    /// Copies under way, those whose bodies are still to come among them.
    pub in_flight: u64,
    /// Copies that went on their way.
    pub sent: u64,
    /// Requests that were not copied, by cause.
    pub dropped: BTreeMap<String, u64>,
    /// Copies that were answered, by class of the status.
    pub answered: BTreeMap<String, u64>,
    /// Copies that got no answer, by cause.
    pub failed: BTreeMap<String, u64>,
}

impl MirrorStatus {
    pub fn of(state: &MirrorState) -> Self {
        Self {
            route: state.route().to_owned(),
            pool: state.pool().to_owned(),
            in_flight: state.in_flight() as u64,
            sent: state.sent(),
            dropped: state.dropped().map(|(why, count)| (why.label().to_owned(), count)).collect(),
            answered: state.answered().map(|(class, count)| (class.to_owned(), count)).collect(),
            failed: state.failed().into_iter().map(|(label, count)| (label.to_owned(), count)).collect(),
        }
    }
}

/// A source of a pool's endpoints, such as a host name, and how fresh its last answer is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceStatus {
    /// As the config has it.
    pub source: String,
    /// How many it named in its last answer.
    pub endpoints: usize,
    /// Time of that answer, in seconds since the Unix epoch; `None`: there was none.
    pub answered: Option<f64>,
    /// Why it failed when it was asked last, if it did.
    pub failing: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// `10.0.0.1:3000`, `unix:/path`, or `name:port (10.0.0.1:3000)` where the config has a host name.
    pub address: String,
    pub state: EndpointState,
    /// When it entered this state, in seconds since the Unix epoch.
    pub since: f64,
    /// Why: the last probe's failure, or what made it healthy.
    pub reason: String,
    /// The weight in force.
    pub weight: u16,
    /// Where `weight` was set by hand: by whom, and the one in the config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_by_hand: Option<WeightByHand>,
    /// Where it was drained by hand: by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<ByHandStatus>,
    pub backup: bool,
    /// Attempts that were sent here.
    pub requests: u64,
    pub in_flight: u64,
    /// Open connections that wait for their next request.
    pub idle_connections: u64,
    /// Attempts that failed here.
    pub failures: u64,
    /// Body bytes sent to it.
    pub bytes_in: u64,
    /// Body bytes received from it.
    pub bytes_out: u64,
    /// Its share of the pool's requests, 0 to 1.
    pub share: f64,
    /// Its share by weight among the endpoints that get traffic now, 0 to 1.
    pub expected_share: f64,
    /// Seconds to the first byte, as `balance: least_time` reckons; `None`: it does not, or there was no response.
    #[serde(default)]
    pub response_seconds: Option<f64>,
    /// How often it was ejected.
    #[serde(default)]
    pub ejections: u64,
    /// While it is ejected, the seconds until a request may find out how it is.
    #[serde(default)]
    pub ejected_seconds: Option<f64>,
    /// Probes that passed, and those that failed.
    pub checks_passed: u64,
    pub checks_failed: u64,
    /// The last probes, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeStatus>,
    /// Why its share is not the expected one, where they differ by much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_cause: Option<String>,
}

/// A probe of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// When it ended, in seconds since the Unix epoch.
    pub at: f64,
    pub result: ProbeOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    Passed,
    Failed,
    /// No connection opened in time, but requests could connect meanwhile: it says nothing about the endpoint.
    Busy,
    /// This machine lacked the resources for a connection.
    Shortage,
}

/// Who has changed something of an endpoint by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ByHandStatus {
    /// `uid 0`, or the address of a client over TCP.
    pub by: String,
    /// When it ends by itself, in seconds since the Unix epoch; `None`: when it is taken back.
    pub until: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightByHand {
    /// The weight in the config.
    pub file: u16,
    #[serde(flatten)]
    pub by_hand: ByHandStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    Healthy,
    /// A connect of a request has failed, whatever the last probes have found: it gets a request only as a last resort.
    Unreachable,
    Unhealthy,
    /// Its answers to requests were bad: it gets none for a time.
    Ejected,
    /// No verdict yet: not probed, or not often enough. Also stands for states of other versions that this one does not
    /// know.
    #[serde(other)]
    Checking,
}

impl EndpointStatus {
    /// For tests that only need some of it.
    #[cfg(test)]
    pub fn named(address: &str) -> Self {
        Self {
            address: address.into(),
            state: EndpointState::Healthy,
            since: 0.0,
            reason: "a probe passed".into(),
            weight: 1,
            weight_by_hand: None,
            drained: None,
            backup: false,
            requests: 0,
            in_flight: 0,
            idle_connections: 0,
            failures: 0,
            bytes_in: 0,
            bytes_out: 0,
            share: 0.0,
            expected_share: 0.0,
            response_seconds: None,
            ejections: 0,
            ejected_seconds: None,
            checks_passed: 0,
            checks_failed: 0,
            probes: Vec::new(),
            share_cause: None,
        }
    }
}

impl ProbeOutcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::Shortage => "shortage",
        }
    }
}

impl EndpointState {
    pub const ALL: [Self; 5] =
        [Self::Checking, Self::Healthy, Self::Unreachable, Self::Unhealthy, Self::Ejected];

    pub fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Healthy => "healthy",
            Self::Unreachable => "unreachable",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}
