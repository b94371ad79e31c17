//! The access log, the event log and the metrics. Other modules report to this one; it calls none of them back.

pub mod access;
pub mod events;
pub mod flight_recorder;
pub mod metrics;
pub mod record;
pub mod share;
pub mod tap;
pub mod writer;

mod json;
mod time;
mod wanted;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::pool::Endpoint;
use crate::routing::RequestHead;
use crate::wait_queue::WaitsFor;
use access::shown::InFlight;
use flight_recorder::FlightRecorder;
use record::{NamedRecord, Record};
use wanted::Wanted;

/// Metrics and access log of the process. Each worker records its requests through its own [`WorkerTelemetry`].
pub struct Telemetry {
    pub metrics: metrics::Metrics,
    pub access_log: access::AccessLog,
    pub recorder: Arc<FlightRecorder>,
    pub taps: tap::Taps,
}

/// Records the finished requests of one worker.
pub struct WorkerTelemetry {
    metrics: metrics::Metrics,
    log: access::WorkerLog,
    recorder: Arc<FlightRecorder>,
    taps: tap::WorkerTaps,
    wanted: Arc<Wanted>,
}

impl Telemetry {
    pub fn new(access_log: access::AccessLog, started: SystemTime) -> Self {
        Self {
            metrics: metrics::Metrics::new(started),
            access_log,
            recorder: Arc::default(),
            taps: tap::Taps::default(),
        }
    }

    /// A handle for one worker thread.
    pub fn worker(&self) -> WorkerTelemetry {
        let wanted = Arc::<Wanted>::default();
        WorkerTelemetry {
            metrics: self.metrics.clone(),
            log: self.access_log.worker_with(wanted.clone()),
            recorder: self.recorder.clone(),
            taps: self.taps.worker(wanted.clone()),
            wanted,
        }
    }
}

impl WorkerTelemetry {
    /// Counts and logs a request that ended at `now`.
    pub fn record(&self, record: NamedRecord<'_>, now: Instant) {
        self.metrics.request(record);
        self.log.log(record, now);
        self.recorder.request(record);
        if self.wanted.is_tapped() {
            self.taps.show(record, None, now);
        }
    }

    /// Whether somebody watches requests in flight, so that the two functions below have to be called.
    #[inline]
    pub fn watches_in_flight(&self) -> bool {
        self.wanted.in_flight()
    }

    /// Shows a request that begins to wait.
    pub fn show_waiting(&self, record: NamedRecord<'_>, waits_for: WaitsFor, now: Instant) {
        self.taps.show(record, Some(InFlight::For(waits_for)), now);
    }

    /// Shows a request that is sent to an endpoint.
    pub fn show_attempt(&self, record: NamedRecord<'_>, endpoint: &Endpoint, now: Instant) {
        self.taps.show(record, Some(InFlight::At(endpoint)), now);
    }

    /// Keeps the fields of a request that somebody has asked for.
    #[inline]
    pub fn capture_request(&self, record: &mut Record, head: &impl RequestHead) {
        self.wanted.capture_request(record, head);
    }

    /// Keeps the fields of a response that somebody has asked for.
    #[inline]
    pub fn capture_response<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
        &self,
        record: &mut Record,
        fields: impl Fn() -> I,
    ) {
        self.wanted.capture_response(record, fields);
    }
}
