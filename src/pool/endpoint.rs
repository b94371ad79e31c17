//! One endpoint's live state: health, load and counters. It belongs to (pool, address) and outlives reloads.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::adjustment::AdjustmentState;
use super::attempts::AttemptCounts;
use super::balance::ResponseTime;
use super::check_id::CheckId;
use super::connect::{Backlog, TlsTarget};
use super::health::{Health, Thresholds};
use super::in_flight_limit::InFlightLimit;
use super::live_state::KnownState;
use super::outliers::{Counts, OutlierRecord, OutlierSettings, Verdict};
use super::probe_schedule::ProbeKind;
use super::reachability::Reachability;
use super::recent_probes::RecentProbes;
use super::retry_budget::RetryBudget;
use super::slow_start::Ramp;
use super::status::EndpointState;
use crate::permits::Permits;
use crate::sharded_counter::ShardedCounter;
use crate::tls::ClientTls;
use crate::wait_queue::RequestLimit;

/// Where an endpoint is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Aligned so that its fields, which requests read, are not in the cache line of its `Arc`'s reference count, which
/// every request writes.
#[derive(Debug)]
#[repr(align(64))]
pub struct Endpoint {
    /// Its name in logs and metrics: `10.0.0.1:3000`, `unix:/path`, or `name:port (10.0.0.1:3000)`.
    label: Arc<str>,
    /// Host and port as the config has them, `localhost` for a unix socket: what `host: endpoint` sends.
    authority: Arc<str>,
    target: Target,
    health: Mutex<Health>,
    reachability: Reachability,
    adjustment: AdjustmentState,
    backlog: Backlog,
    counters: Counters,
    attempts: AttemptCounts,
    load: Load,
    outliers: OutlierRecord,
    outlier_settings: Arc<OutlierSettings>,
    ramp: Ramp,
    recent_probes: RecentProbes,
    /// It has not been a member before.
    is_new: AtomicBool,
    /// No pool in force has it.
    is_gone: AtomicBool,
    /// Its open connections.
    connections: Arc<Permits>,
    /// The count of requests of its pool.
    pub(super) pool: Arc<InFlightLimit>,
}

/// An endpoint's state at one moment, and the reason.
#[derive(Debug, Clone)]
pub struct HealthStatus {
    pub state: EndpointState,
    pub since: SystemTime,
    pub reason: Arc<str>,
}

/// The change that a probe's result caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthChange {
    None,
    /// The endpoint's state of health.
    State,
    /// The endpoint is reachable again, after that time.
    Reachability(Duration),
}

/// What balance policies read. Kept only where one does, because all threads write it; in a pair of cache lines of its
/// own for that reason.
#[derive(Debug)]
#[repr(align(128))]
struct Load {
    in_flight: AtomicU64,
    response_time: ResponseTime,
}

#[derive(Debug, Default)]
struct Counters {
    /// Counts by requests, at the indexes below.
    traffic: ShardedCounter<10>,
    /// Permits that all [`IdleConnections`] of the endpoint have together.
    idle_permits: AtomicU64,
    checks_passed: AtomicU64,
    checks_failed: AtomicU64,
    ejections: AtomicU64,
}

pub(super) const REQUESTS: usize = 0;
pub(super) const IN_FLIGHT: usize = 1;
pub(super) const FAILURES: usize = 2;
pub(super) const BYTES_IN: usize = 3;
pub(super) const BYTES_OUT: usize = 4;
const CONNECTS: usize = 5;
const IDLE: usize = 6;
/// For outlier detection: failures and answers of 429.
const BAD: usize = 7;
/// The same: answers, and their times to the first byte, where those are asked for.
const ANSWERED: usize = 8;
const MICROS: usize = 9;

/// The counters at one moment. Counts of what is under way are not handed to another process.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointLoad {
    pub requests: u64,
    #[serde(skip)]
    pub in_flight: u64,
    #[serde(skip)]
    pub idle_connections: u64,
    pub failures: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub checks_passed: u64,
    pub checks_failed: u64,
    pub ejections: u64,
}

impl Endpoint {
    fn new(
        label: Arc<str>,
        authority: Arc<str>,
        target: Target,
        health: Health,
        table: &EndpointTable,
    ) -> Self {
        let (reachability, adjustment, backlog, counters, attempts, connections) = Default::default();
        let recent_probes = RecentProbes::default();
        let epoch = table.epoch;
        Self {
            label,
            authority,
            target,
            health: Mutex::new(health),
            reachability,
            adjustment,
            backlog,
            counters,
            attempts,
            load: Load { in_flight: AtomicU64::new(0), response_time: ResponseTime::new(epoch) },
            outliers: OutlierRecord::default(),
            outlier_settings: table.outliers.clone(),
            ramp: Ramp::new(epoch),
            recent_probes,
            is_new: AtomicBool::new(true),
            is_gone: AtomicBool::new(false),
            connections,
            pool: table.in_flight_limit.clone(),
        }
    }

    /// For tests that only need its name.
    #[cfg(test)]
    pub fn named(label: &str) -> Arc<Self> {
        EndpointTable::new(Instant::now()).endpoint(label, &label.into(), &Target::Unix(label.into()), None)
    }

    /// Whether a person means this endpoint: by its label, its address, or its host name and port.
    pub fn is_named(&self, name: &str) -> bool {
        let is_address = || match &self.target {
            Target::Inet(address) => name.parse() == Ok::<SocketAddr, _>(*address),
            Target::Unix(_) => false,
        };
        *self.label == *name || is_address() || *self.authority == *name
    }

    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub fn authority(&self) -> &Arc<str> {
        &self.authority
    }

    /// The TLS settings with the name that its certificate must have; `None`: without TLS. If it has no valid name, one
    /// that no certificate matches.
    pub fn tls_target(&self, tls: &Option<Arc<ClientTls>>) -> Option<TlsTarget> {
        let tls = tls.clone()?;
        let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let name = tls.name(&self.authority).unwrap_or(nobody);
        Some(TlsTarget { tls, name })
    }

    /// Whether no pool in force has it: its idle connections are of no use.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Relaxed)
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its open connections.
    pub fn connections(&self) -> &Arc<Permits> {
        &self.connections
    }

    /// One worker's equal part of `all`, at least one.
    pub fn part_of_worker(&self, all: u64) -> u64 {
        self.pool.half_of_thread(2 * all).max(1)
    }

    /// The connects that wait for room in a full backlog.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    pub fn state(&self) -> EndpointState {
        match self.health.lock().state() {
            EndpointState::Unhealthy => EndpointState::Unhealthy,
            _ if self.reachability.is_marked() => EndpointState::Unreachable,
            _ if self.outliers.is_ejected() => EndpointState::Ejected,
            state => state,
        }
    }

    pub fn health_status(&self) -> HealthStatus {
        let health = self.health.lock();
        let by_health =
            || HealthStatus { state: health.state(), since: health.since(), reason: health.reason().into() };
        match self.reachability.mark() {
            Some(mark) if health.state() != EndpointState::Unhealthy => {
                HealthStatus { state: EndpointState::Unreachable, since: mark.since, reason: mark.reason }
            }
            _ if health.state() != EndpointState::Unhealthy && self.outliers.is_ejected() => {
                let ejection = self.outliers.ejection();
                let reason = ejection.evidence().into();
                HealthStatus { state: EndpointState::Ejected, since: ejection.since, reason }
            }
            _ => by_health(),
        }
    }

    /// The state by its health check alone.
    pub(super) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Whether probes of this check have come to a verdict.
    pub(super) fn is_decided_by(&self, check: CheckId) -> bool {
        self.health.lock().is_decided_by(check)
    }

    pub(super) fn reachability(&self) -> &Reachability {
        &self.reachability
    }

    /// What has been changed of it by hand.
    pub(super) fn adjustment(&self) -> &AdjustmentState {
        &self.adjustment
    }

    /// Whether it gets no new requests because it was drained by hand.
    pub fn is_draining(&self) -> bool {
        self.adjustment.is_draining()
    }

    /// Whether its last connect failed.
    pub fn is_unreachable(&self) -> bool {
        self.reachability.is_marked()
    }

    /// Records that a connection has opened; returns how long it was marked unreachable, if it was.
    pub(super) fn connected(&self, time: SystemTime) -> Option<Duration> {
        self.count(CONNECTS, 1);
        if self.is_unreachable() { self.reachability.clear(time) } else { None }
    }

    /// How many connections requests have opened.
    pub(super) fn connects(&self) -> u64 {
        self.counters.traffic.sum(CONNECTS, Relaxed)
    }

    /// What came of its attempts. They belong to this process: another one begins anew.
    pub fn attempts(&self) -> &AttemptCounts {
        &self.attempts
    }

    pub(super) fn outliers(&self) -> &OutlierRecord {
        &self.outliers
    }

    pub(super) fn recent_probes(&self) -> &RecentProbes {
        &self.recent_probes
    }

    pub(super) fn ramp(&self) -> &Ramp {
        &self.ramp
    }

    /// Whether it becomes a member for the first time; `true` only once.
    pub(super) fn take_new(&self) -> bool {
        self.is_new.swap(false, Relaxed)
    }

    /// Notes how an attempt was judged that took `took` to its answer.
    pub(super) fn judged(&self, verdict: Verdict, took: Duration, request: &str) {
        if !matches!(verdict, Verdict::Good | Verdict::Begun) {
            self.count(BAD, 1);
        } else if self.outlier_settings.measures_time.load(Relaxed) {
            self.count(ANSWERED, 1);
            self.count(MICROS, took.as_micros() as u64);
        }
        self.outlier_settings.judged(&self.outliers, verdict, took, request);
    }

    /// What has [`Begun`](Verdict::Begun) has ended well.
    pub(super) fn ended_well(&self) {
        self.outlier_settings.judged(&self.outliers, Verdict::Good, Duration::ZERO, "");
    }

    /// What it has done so far, for outlier detection.
    pub(super) fn outlier_counts(&self) -> Counts {
        let count = |what| self.counters.traffic.sum(what, Relaxed);
        Counts {
            requests: count(REQUESTS),
            bad: count(BAD),
            answered: count(ANSWERED),
            micros: count(MICROS),
        }
    }

    pub(super) fn count_ejection(&self) {
        self.counters.ejections.fetch_add(1, Relaxed);
    }

    /// The requests in flight of all threads, exactly; 0 where no balance policy reads it.
    pub(super) fn exact_in_flight(&self) -> u64 {
        self.load.in_flight.load(Relaxed)
    }

    /// The same of all endpoints of its pool.
    pub(super) fn exact_in_flight_of_pool(&self) -> u64 {
        self.pool.exact_in_flight.0.load(Relaxed)
    }

    /// `false`: it has `most` requests already.
    pub(super) fn load_begins(&self, most: Option<u64>, now: Instant) -> bool {
        let most = most.unwrap_or(u64::MAX);
        let next = |in_flight: u64| (in_flight < most).then_some(in_flight + 1);
        // In order with what the queue of those that wait for room counts.
        if self.load.in_flight.fetch_update(SeqCst, SeqCst, next).is_err() {
            return false;
        }
        self.pool.exact_in_flight.0.fetch_add(1, Relaxed);
        self.load.response_time.request_begins(now);
        true
    }

    pub(super) fn load_ends(&self) {
        self.load.in_flight.fetch_sub(1, SeqCst);
        self.pool.exact_in_flight.0.fetch_sub(1, Relaxed);
    }

    pub(super) fn response_time(&self) -> &ResponseTime {
        &self.load.response_time
    }

    /// Records a probe's result. `asked` is the health check, if there is one.
    ///
    /// The failure of an early probe does not count against a healthy endpoint: only the probes that its health check
    /// schedules can make it unhealthy.
    pub(super) fn probed(
        &self,
        result: Result<(), String>,
        asked: Option<(CheckId, Thresholds)>,
        due: ProbeKind,
        now: SystemTime,
    ) -> HealthChange {
        let passed = result.is_ok();
        let counter = if passed { &self.counters.checks_passed } else { &self.counters.checks_failed };
        counter.fetch_add(1, Relaxed);
        let mut health = self.health.lock();
        let counts = passed || due == ProbeKind::Regular || health.state() != EndpointState::Healthy;
        let changed = match asked.filter(|_| counts) {
            Some((check, thresholds)) => health.record(result, check, thresholds, now),
            None => false,
        };
        let is_well = passed && health.state() == EndpointState::Healthy;
        let away = if is_well { self.reachability.clear(now) } else { None };
        match (changed, away) {
            (true, _) => HealthChange::State,
            (false, Some(away)) => HealthChange::Reachability(away),
            (false, None) => HealthChange::None,
        }
    }

    /// Makes it healthy, because its pool has no health check.
    pub(super) fn unchecked(&self, now: SystemTime) {
        let mut health = self.health.lock();
        if health.state() != EndpointState::Healthy {
            *health = Health::unchecked(now);
        }
    }

    /// A count that goes up and down.
    fn gauge(&self, what: usize) -> u64 {
        // A sum over shards may see a decrement without its increment, and be negative for a moment.
        u64::try_from(self.counters.traffic.sum(what, Relaxed).cast_signed()).unwrap_or(0)
    }

    pub(super) fn count(&self, what: usize, value: u64) {
        self.counters.traffic.add(what, value, Relaxed);
    }

    /// Adds what has been counted before, by another process or pool.
    fn add_counts(&self, load: EndpointLoad) {
        for (what, value) in [
            (REQUESTS, load.requests),
            (FAILURES, load.failures),
            (BYTES_IN, load.bytes_in),
            (BYTES_OUT, load.bytes_out),
        ] {
            // Adding 0 would allocate a shard.
            if value > 0 {
                self.count(what, value);
            }
        }
        self.counters.checks_passed.fetch_add(load.checks_passed, Relaxed);
        self.counters.checks_failed.fetch_add(load.checks_failed, Relaxed);
        self.counters.ejections.fetch_add(load.ejections, Relaxed);
    }

    pub fn load(&self) -> EndpointLoad {
        let Counters { traffic, checks_passed, checks_failed, ejections, .. } = &self.counters;
        EndpointLoad {
            requests: traffic.sum(REQUESTS, Relaxed),
            in_flight: self.gauge(IN_FLIGHT),
            idle_connections: self.gauge(IDLE),
            failures: traffic.sum(FAILURES, Relaxed),
            bytes_in: traffic.sum(BYTES_IN, Relaxed),
            bytes_out: traffic.sum(BYTES_OUT, Relaxed),
            checks_passed: checks_passed.load(Relaxed),
            checks_failed: checks_failed.load(Relaxed),
            ejections: ejections.load(Relaxed),
        }
    }
}

/// One owner's count of idle connections to an endpoint; dropping it takes them off the endpoint's count.
///
/// All owners together have as many permits as the endpoint may have idle connections. A worker keeps some unused
/// permits, so that a request that takes a connection and gives it back writes nothing that other workers write.
#[derive(Debug)]
pub struct IdleConnections {
    endpoint: Arc<Endpoint>,
    /// This owner's idle connections.
    count: u64,
    /// This owner's permits, at least `count`.
    permits: u64,
    /// The owner is a worker, which may keep unused permits.
    of_worker: bool,
    /// How many permits it may keep unused.
    spare: u64,
}

impl IdleConnections {
    pub fn of(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, count: 0, permits: 0, of_worker: false, spare: 0 }
    }

    /// For all idle connections of one worker.
    pub fn of_worker(endpoint: Arc<Endpoint>) -> Self {
        let mut idle = Self::of(endpoint);
        idle.of_worker = true;
        idle
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Counts one more, unless all owners together have `most` already, or permits for as many.
    pub fn add_within(&mut self, most: u64) -> bool {
        if self.of_worker {
            self.spare = self.endpoint.pool.half_of_thread(most);
        }
        // A reload may have lowered the limit.
        let are_too_many = self.endpoint.counters.idle_permits.load(Relaxed) > most;
        if (self.count == self.permits || are_too_many) && !self.take_permits(most) {
            return false;
        }
        self.count += 1;
        self.endpoint.count(IDLE, 1);
        true
    }

    pub fn remove(&mut self, count: u64) {
        self.count -= count;
        self.endpoint.count(IDLE, count.wrapping_neg());
        self.give_back_beyond(self.spare);
    }

    /// Gives back unused permits. To be called now and then, because other owners may need them.
    pub fn give_back_unused(&mut self) {
        self.give_back_beyond(0);
    }

    /// Takes at least one permit; `false`: there is none.
    fn take_permits(&mut self, most: u64) -> bool {
        self.give_back_unused();
        let at_once = (self.spare / 2).max(1);
        let more = |all: u64| (all < most).then(|| most.min(all + at_once));
        // Atomic, because owners on other threads take permits at the same time.
        let Ok(before) = self.endpoint.counters.idle_permits.fetch_update(Relaxed, Relaxed, more) else {
            return false;
        };
        self.permits += at_once.min(most - before);
        true
    }

    fn give_back_beyond(&mut self, spare: u64) {
        let surplus = (self.permits - self.count).saturating_sub(spare);
        if surplus > 0 {
            self.permits -= surplus;
            self.endpoint.counters.idle_permits.fetch_sub(surplus, Relaxed);
        }
    }
}

impl Drop for IdleConnections {
    fn drop(&mut self) {
        self.remove(self.count);
        self.give_back_unused();
    }
}

/// The endpoints of all pools of one name, with those that have left but still have requests in flight.
///
/// A reload hands the table from the old pool to the new one, and with it the live state.
#[derive(Debug)]
pub struct EndpointTable {
    /// From which its endpoints count time.
    epoch: Instant,
    entries: Mutex<HashMap<Arc<str>, Arc<Endpoint>>>,
    in_flight_limit: Arc<InFlightLimit>,
    request_limit: Arc<RequestLimit>,
    retry_budget: RetryBudget,
    hedge_budget: RetryBudget,
    outliers: Arc<OutlierSettings>,
    /// The pool's name, and live state for endpoints that are not in the table yet, until names have been resolved.
    inherited: Mutex<Option<(Arc<str>, Arc<KnownState>)>>,
    /// Notified when something is changed of an endpoint by hand.
    pub(super) adjusted: Notify,
}

impl EndpointTable {
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            entries: Mutex::default(),
            in_flight_limit: Arc::default(),
            request_limit: Arc::default(),
            retry_budget: RetryBudget::new(epoch),
            hedge_budget: RetryBudget::new(epoch),
            outliers: Arc::default(),
            inherited: Mutex::default(),
            adjusted: Notify::new(),
        }
    }

    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The one limit of the pool, across reloads.
    pub fn in_flight_limit(&self) -> &Arc<InFlightLimit> {
        &self.in_flight_limit
    }

    /// The limit beyond which the pool's requests wait, and their queue, across reloads.
    pub fn request_limit(&self) -> &Arc<RequestLimit> {
        &self.request_limit
    }

    pub fn retry_budget(&self) -> &RetryBudget {
        &self.retry_budget
    }

    pub fn hedge_budget(&self) -> &RetryBudget {
        &self.hedge_budget
    }

    /// The pool's outlier detection, across reloads.
    pub(super) fn outlier_settings(&self) -> &Arc<OutlierSettings> {
        &self.outliers
    }

    pub fn inherit(&self, pool: &Arc<str>, known: &Arc<KnownState>) {
        *self.inherited.lock() = Some((pool.clone(), known.clone()));
    }

    /// Endpoints that are added from now on begin without live state.
    pub fn forget_inherited(&self) {
        *self.inherited.lock() = None;
    }

    /// The endpoint with that label, created if it is not there.
    pub fn endpoint(
        &self,
        label: &str,
        authority: &Arc<str>,
        target: &Target,
        check: Option<CheckId>,
    ) -> Arc<Endpoint> {
        let mut entries = self.entries.lock();
        if let Some(known) = entries.get(label) {
            if check.is_none() {
                known.unchecked(SystemTime::now());
            }
            return known.clone();
        }
        let label: Arc<str> = label.into();
        let new = Arc::new(self.new_endpoint(label.clone(), authority.clone(), target.clone(), check));
        entries.insert(label, new.clone());
        new
    }

    fn new_endpoint(
        &self,
        label: Arc<str>,
        authority: Arc<str>,
        target: Target,
        check: Option<CheckId>,
    ) -> Endpoint {
        let now = SystemTime::now();
        let inherited = self.inherited.lock();
        let inherited = inherited.as_ref().map(|(pool, known)| (pool, known, target.to_string()));
        let known = |check| inherited.as_ref().and_then(|(pool, known, at)| known.health(pool, at, check));
        let health = match check {
            Some(check) => known(check).unwrap_or_else(|| Health::checking(now)),
            None => Health::unchecked(now),
        };
        let mut endpoint = Endpoint::new(label, authority, target, health, self);
        if let Some((pool, known, address)) = &inherited {
            endpoint.add_counts(known.load(pool, address));
            if let Some(ejection) = known.ejection(pool, address) {
                endpoint.outliers.inherit(ejection, Instant::now(), now);
            }
            if let Some(adjustment) = known.adjustment(pool, address) {
                endpoint.adjustment = AdjustmentState::new(adjustment);
                self.adjusted.notify_one();
            }
        }
        endpoint
    }

    /// Forgets endpoints that are not members and have nothing in flight.
    pub fn retain(&self, is_member: impl Fn(&Endpoint) -> bool) {
        self.entries.lock().retain(|_, endpoint| {
            let is_member = is_member(endpoint);
            endpoint.is_gone.store(!is_member, Relaxed);
            is_member || endpoint.gauge(IN_FLIGHT) > 0
        });
    }

    /// The endpoints of which something has been changed by hand.
    pub(super) fn adjusted(&self) -> Vec<Arc<Endpoint>> {
        let entries = self.entries.lock();
        entries.values().filter(|endpoint| !endpoint.adjustment.is_empty()).cloned().collect()
    }
}
