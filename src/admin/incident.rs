//! Incidents, as the admin address tells of them.

use serde::{Deserialize, Serialize};

/// An incident that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentStatus {
    /// Seconds since the Unix epoch.
    pub at: f64,
    pub reason: String,
    pub path: String,
}

/// The first line of an incident's file. Each other line is an object with `at` and one of `event`, `request` and
/// `second`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentHead {
    /// Seconds since the Unix epoch.
    pub at: f64,
    pub reason: String,
    pub version: String,
    pub pid: u32,
    pub generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// How long before it the timeline begins.
    pub span_seconds: u64,
    /// Entries of that time for which there was no room.
    pub lost: u64,
}
