//! The report of a run.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::tally::{Counts, Failure};

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub steps: Vec<Step>,
    /// The first failures.
    pub failures: Vec<Failure>,
    pub failures_in_all: u64,
    /// Where the proxy's log is, if something failed.
    pub log: Option<String>,
}

/// All repetitions of one operation.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub name: &'static str,
    /// How often the operation was planned, and how often it was done.
    pub count: u64,
    pub done: u64,
    pub seconds: f64,
    /// Requests, including WebSocket messages.
    pub requests: u64,
    pub failed: u64,
    /// Connections refused while nothing ran.
    pub refused: u64,
    /// Connections whose close was announced by their last response.
    pub announced: u64,
    pub websockets: usize,
    pub websockets_cut: u64,
    /// WebSockets closed with the code 1001.
    pub websockets_told: u64,
    pub p99_ms: f64,
    pub worst_ms: f64,
    pub memory: Option<Memory>,
    /// Failures of any kind in this step, including those of operations.
    pub failures: u64,
    /// Why the operation was skipped, if it was.
    pub skipped: Option<Cow<'static, str>>,
}

/// Resident memory of the proxy before and after the reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub before_kib: u64,
    pub after_kib: u64,
}

// === impl Report ===

impl Report {
    pub fn lost_nothing(&self) -> bool {
        self.failures_in_all == 0
    }
}

// === impl Step ===

impl Step {
    pub(super) fn new(
        name: &'static str,
        (done, count): (u64, u64),
        took: Duration,
        counts: &Counts,
    ) -> Self {
        Self {
            name,
            count,
            done,
            seconds: took.as_secs_f64(),
            requests: counts.requests,
            failed: counts.failed,
            refused: counts.refused,
            announced: counts.announced,
            websockets: 0,
            websockets_cut: counts.cut,
            websockets_told: counts.told,
            p99_ms: counts.latencies.p99().as_secs_f64() * 1000.0,
            worst_ms: counts.latencies.worst().as_secs_f64() * 1000.0,
            memory: None,
            failures: 0,
            skipped: None,
        }
    }
}
