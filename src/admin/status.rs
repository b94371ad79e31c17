//! The response to `/status`, which `evenkeel status` shows.

use serde::{Deserialize, Serialize};

use super::incident::IncidentStatus;
use crate::pool::status::{MirrorStatus, PoolStatus, RateLimitStatus, RouteStatus};
use crate::telemetry::events::LogLevelStatus;
use crate::telemetry::metrics::request_balance::RequestBalance;
use crate::tls::CertificateStatus;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// The config file; absent if it runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The number of the config in force.
    pub generation: u64,
    /// Seconds until the previous config comes back, if that config waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_seconds: Option<f64>,
    /// Seconds since the Unix epoch.
    pub started: f64,
    pub uptime_seconds: f64,
    pub state: ProcessState,
    pub listeners: Vec<ListenerStatus>,
    /// Those that have a limit of requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimitStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<MirrorStatus>,
    pub pools: Vec<PoolStatus>,
    pub log_dropped: LogDropped,
    /// Taps that are open: see `evenkeel tap`.
    #[serde(default)]
    pub taps: usize,
    /// Of the event log.
    #[serde(default)]
    pub log_level: LogLevelStatus,
    /// The last incident that this process has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_incident: Option<IncidentStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    Starting,
    Ready,
    /// Asked to stop: takes no new connections, or will soon stop taking them.
    Draining,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub name: String,
    /// As bound: port 0 is resolved.
    pub address: String,
    /// Clients' connections that are open.
    pub connections: u64,
    /// The balance of its requests.
    pub requests: RequestBalance,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
}

/// Lines lost since the start.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct LogDropped {
    pub access: u64,
    pub events: u64,
}
