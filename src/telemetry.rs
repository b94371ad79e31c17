//! The access log, the event log and the metrics. Other modules report to this one; it calls none of them back.

pub mod access;
pub mod events;
pub mod flight_recorder;
pub mod metrics;
pub mod record;
pub mod writer;

mod json;
mod time;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use flight_recorder::FlightRecorder;

/// Metrics and access log of the process. Each worker records its requests through its own [`WorkerTelemetry`].
pub struct Telemetry {
    pub metrics: metrics::Metrics,
    pub access_log: access::AccessLog,
    pub recorder: Arc<FlightRecorder>,
}

/// Records the finished requests of one worker.
pub struct WorkerTelemetry {
    metrics: metrics::Metrics,
    log: access::WorkerLog,
    recorder: Arc<FlightRecorder>,
}

impl Telemetry {
    pub fn new(access_log: access::AccessLog, started: SystemTime) -> Self {
        Self { metrics: metrics::Metrics::new(started), access_log, recorder: Arc::default() }
    }

    /// A handle for one worker thread.
    pub fn worker(&self) -> WorkerTelemetry {
        WorkerTelemetry {
            metrics: self.metrics.clone(),
            log: self.access_log.worker(),
            recorder: self.recorder.clone(),
        }
    }
}

impl WorkerTelemetry {
    /// Counts and logs a request that ended at `now`.
    pub fn record(&self, record: record::NamedRecord<'_>, now: Instant) {
        self.metrics.request(record);
        self.log.log(record, now);
        self.recorder.request(record);
    }
}
