//! The metrics, in Prometheus' text format. `docs/metrics.md` explains each metric.
//!
//! No client library is used: one would look up each label set under a lock for every request, need a collector for
//! values known only at the scrape, and write OpenMetrics, whose names differ. Here a request finds its counters by
//! its route in a map that is read without a lock, and counts by atomic additions.
//!
//! Every label is bounded: names come from the config, methods from a fixed set, statuses are classes, causes and
//! reasons are the labels of `exchange`'s failures. Nothing that a client sends becomes a label.

mod compression;
mod counters;
mod endpoints;
mod exposition;
mod histogram;
pub mod listeners;
pub mod request_balance;
mod scrape;
mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use super::record::{AttemptResult, NamedRecord, Record};
use crate::histogram::Observation;
use crate::pool::Endpoint;
use crate::pool::status::{MirrorStatus, PoolStatus, RateLimitStatus, RouteStatus};
use crate::tls::CertificateStatus;
use compression::Compression;
use counters::Counters;
use listeners::{ByListener, ListenerCounters};
use request_balance::RequestBalance;
use series::Series;

/// All counters of the process; clones share them.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

/// Values that other modules provide at the moment of a scrape.
#[derive(Debug, Clone, Copy)]
pub struct Scrape<'a> {
    pub pools: &'a [PoolStatus],
    /// The endpoints of each pool, with its name.
    pub members: &'a [(Arc<str>, Vec<Arc<Endpoint>>)],
    /// How many endpoints have all their series; those beyond have only the ones of their state and load.
    pub endpoints_max: usize,
    /// Those that have a limit of requests.
    pub routes: &'a [RouteStatus],
    pub rate_limits: &'a [RateLimitStatus],
    pub mirrors: &'a [MirrorStatus],
    /// Each with the name of its listener.
    pub certificates: &'a [(String, CertificateStatus)],
    /// The number of connections of each worker.
    pub workers: &'a [usize],
    /// The config in force will be rolled back unless it is confirmed.
    pub confirmation_awaited: bool,
    pub memory: MemoryUse,
    /// What the system says of the process; `None`: it does not.
    pub process: Option<ProcessUse>,
    pub to_endpoints: ConnectionsToEndpoints,
    pub access_log_dropped: u64,
    pub events_dropped: u64,
}

/// The memory that the process uses, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryUse {
    pub resident: u64,
    /// Bytes that count against `server.max_memory`, and that limit; `None`: there is no limit.
    pub of_limit: Option<(u64, u64)>,
    /// New requests are refused because memory is short.
    pub short: bool,
}

/// What the process takes of its machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessUse {
    /// Seconds of processor time since its start, of itself and of the kernel for it.
    pub cpu_seconds: f64,
    pub threads: u64,
    pub virtual_bytes: u64,
    pub open_files: u64,
    pub open_files_max: u64,
}

/// Connections to endpoints.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionsToEndpoints {
    pub open: usize,
    /// Idle connections closed since the start because descriptors were needed.
    pub closed: u64,
}

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadResult {
    Done,
    Refused,
    /// An earlier config was put back in force.
    RolledBack,
}

struct Shared {
    started: SystemTime,
    series: Series,
    failures: Counters,
    compression: Compression,
    listeners: ByListener,
    panics: Arc<AtomicU64>,
    reload_successful: AtomicBool,
    /// Seconds since the Unix epoch.
    reload_time: AtomicU64,
    generation: AtomicU64,
    snapshots: AtomicU64,
    /// By [`ReloadResult`].
    reloads: [AtomicU64; 3],
    upgrades_succeeded: AtomicU64,
    upgrades_failed: AtomicU64,
}

// === impl Metrics ===

impl Metrics {
    /// `started` is the time of the process's start, at which its first config came into force.
    pub fn new(started: SystemTime) -> Metrics {
        let shared = Shared {
            started,
            series: Series::default(),
            failures: Counters::default(),
            compression: Compression::default(),
            listeners: ByListener::default(),
            panics: Arc::default(),
            reload_successful: AtomicBool::new(true),
            reload_time: AtomicU64::new(unix_seconds(started) as u64),
            generation: AtomicU64::new(1),
            snapshots: AtomicU64::new(1),
            reloads: Default::default(),
            upgrades_succeeded: AtomicU64::new(0),
            upgrades_failed: AtomicU64::new(0),
        };
        Metrics { shared: Arc::new(shared) }
    }

    /// Begins the series of these causes of failure.
    pub fn begin_failures(&self, causes: impl IntoIterator<Item = &'static str>) {
        self.shared.failures.begin(causes);
    }

    /// Begins the series of combinations of listener, route and pool; an empty name stands for none.
    pub fn begin_requests<'a>(&self, combinations: impl Iterator<Item = (&'a str, &'a str, &'a str)>) {
        self.shared.series.begin(combinations);
    }

    /// Counts a finished request.
    pub fn request(&self, record: NamedRecord<'_>) {
        let (route, pool) = (record.route.unwrap_or_default(), record.pool.unwrap_or_default());
        self.shared.series.with(record.listener, route, pool, |requests| {
            requests.count(&record);
            count_attempts(&requests.pool, &record);
            if let Some(unusual) = &record.unusual {
                requests.unusual(unusual);
            }
        });
        if let Some(encoded) = record.unusual().encoded {
            self.shared.compression.count(encoded, record.bytes_out);
        }
        if let Some(cause) = record.cause {
            self.shared.failures.add(cause);
        }
    }

    /// The counters of a listener.
    pub fn listener(&self, listener: &Arc<str>) -> Arc<ListenerCounters> {
        self.shared.listeners.of(listener)
    }

    /// The sum of the request balances of all listeners.
    pub fn balance(&self) -> RequestBalance {
        self.shared.listeners.balance()
    }

    /// Records that a config came into force at `now`.
    pub fn config_in_force(&self, generation: u64, now: SystemTime) {
        self.shared.generation.store(generation, Ordering::Relaxed);
        self.shared.reload_time.store(unix_seconds(now) as u64, Ordering::Relaxed);
    }

    /// Sets the number of configs in memory: the one in force, and those that requests still use.
    pub fn snapshots_in_use(&self, count: usize) {
        self.shared.snapshots.store(count as u64, Ordering::Relaxed);
    }

    pub fn count_reload(&self, result: ReloadResult) {
        self.shared.reload_successful.store(result != ReloadResult::Refused, Ordering::Relaxed);
        let [done, refused, rolled_back] = &self.shared.reloads;
        let counter = match result {
            ReloadResult::Done => done,
            ReloadResult::Refused => refused,
            ReloadResult::RolledBack => rolled_back,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that this process has taken over from another one.
    pub fn upgraded(&self) {
        self.shared.upgrades_succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an upgrade in which no successor took over from this process.
    pub fn upgrade_failed(&self) {
        self.shared.upgrades_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The counter that `events::install_panic_hook` increments.
    pub fn panics(&self) -> Arc<AtomicU64> {
        self.shared.panics.clone()
    }

    /// All metrics in Prometheus' text format.
    pub fn encode(&self, scrape: Scrape<'_>) -> String {
        let mut out = exposition::Exposition::default();
        scrape::process(&mut out, &self.shared, scrape);
        scrape::of_system(&mut out, &self.shared, scrape);
        self.shared.listeners.encode(&mut out);
        self.shared.compression.encode(&mut out);
        scrape::certificates(&mut out, scrape.certificates);
        scrape::workers(&mut out, scrape.workers);
        scrape::to_endpoints(&mut out, scrape.to_endpoints);
        self.shared.series.encode(&mut out);
        scrape::pools(&mut out, scrape.pools);
        endpoints::encode(&mut out, scrape);
        scrape::routes(&mut out, scrape.routes);
        scrape::rate_limits(&mut out, scrape.rate_limits);
        scrape::mirrors(&mut out, scrape.mirrors);
        out.finish()
    }
}

/// Counts the attempts of one request in its pool.
fn count_attempts(pool: &series::PoolSeries, record: &Record) {
    for (index, attempt) in record.attempts.iter().enumerate() {
        let counts = attempt.endpoint.attempts();
        if let Some(connect) = attempt.connect.map(Observation::of) {
            pool.connect.add(connect);
            counts.connected(connect);
        }
        if let Some(first_byte) = attempt.first_byte.map(Observation::of) {
            pool.first_byte.add(first_byte);
            match attempt.result {
                AttemptResult::Status(status) => counts.answered(status, first_byte),
                AttemptResult::Failed(_) | AttemptResult::Overtaken => counts.broke_off(first_byte),
            }
        }
        if index + 1 < record.attempts.len() && !attempt.beside {
            let reason = match attempt.result {
                AttemptResult::Failed(label) => label,
                AttemptResult::Status(_) | AttemptResult::Overtaken => "status",
            };
            pool.retries.add(reason);
            counts.retried(reason);
        }
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
