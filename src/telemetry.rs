//! What is written for people and their tools: access log records, the event log, metrics. Fed from above.

pub mod access;
pub mod events;
pub mod human;
pub mod metrics;
pub mod record;
pub mod writer;

mod json;
mod time;

use std::time::SystemTime;

/// `NO_COLOR`, set to anything, turns colours off everywhere.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where finished requests are written.
pub struct Telemetry {
    pub metrics: metrics::Metrics,
    pub access_log: access::AccessLog,
}

impl Telemetry {
    pub fn new(access_log: access::AccessLog, started: SystemTime) -> Self {
        Self { metrics: metrics::Metrics::new(started), access_log }
    }

    pub fn record(&self, record: record::NamedRecord<'_>) {
        self.metrics.request(record);
        self.access_log.log(record);
    }
}
