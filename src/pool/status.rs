//! What a pool and its endpoints look like at one moment: for `evenkeel status` and the metrics.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PoolStatus {
    pub name: String,
    pub balance: String,
    /// Requests that wait now because no endpoint is healthy.
    pub waiting: u64,
    /// Requests that are at an endpoint now.
    pub in_flight: u64,
    /// How many there may be; `None`: any number.
    pub most: Option<u64>,
    /// Requests that were refused because there were as many.
    pub refused: u64,
    /// Host names among its endpoints.
    pub names: Vec<NameStatus>,
    pub endpoints: Vec<EndpointStatus>,
}

/// A host name of a pool, and how fresh its addresses are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NameStatus {
    /// With its port.
    pub name: String,
    /// How many it has, from its last resolution that succeeded.
    pub addresses: usize,
    /// When that was, in seconds since the Unix epoch; `None`: never.
    pub resolved: Option<f64>,
    /// Why it does not resolve now.
    pub failing: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// `10.0.0.1:3000`, `unix:/path`, or `name:port (10.0.0.1:3000)` where the config has a host name.
    pub address: String,
    pub state: EndpointState,
    /// Seconds since the Unix epoch at which it entered this state.
    pub since: f64,
    /// Why: the last probe's failure, or what made it healthy.
    pub reason: String,
    pub weight: u16,
    pub backup: bool,
    /// Attempts that were sent here.
    pub requests: u64,
    pub in_flight: u64,
    /// Open connections to it that wait for their next request.
    pub idle_connections: u64,
    /// Attempts that failed here.
    pub failures: u64,
    /// Body bytes from clients to it.
    pub bytes_in: u64,
    /// Body bytes from it to clients.
    pub bytes_out: u64,
    /// Of the pool's requests, 0 to 1.
    pub share: f64,
    /// What its weight would give it among the endpoints that get traffic now, 0 to 1.
    pub expected_share: f64,
    /// Probes that passed and failed.
    pub checks_passed: u64,
    pub checks_failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    Healthy,
    /// A connection to it has just failed, whatever its last probes have found: it gets what nobody else takes.
    Unreachable,
    Unhealthy,
    /// Not decided yet: not probed, or not often enough. Also whatever another version of evenkeel means by a word that
    /// this one does not know.
    #[serde(other)]
    Checking,
}
