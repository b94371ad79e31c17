//! One endpoint's live state: health, load and counters. It belongs to (pool, address) and outlives reloads.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

use super::check_id::CheckId;
use super::connect::{Backlog, TlsTarget};
use super::health::{Health, Thresholds};
use super::in_flight_limit::{Holds, InFlightLimit};
use super::live_state::KnownState;
use super::probe_schedule::ProbeKind;
use super::reachability::Reachability;
use super::status::EndpointState;
use crate::sharded_counter::ShardedCounter;
use crate::tls::ClientTls;

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

/// In cache lines beside the one with the count of those who hold it: each request writes that, and reads of these.
#[derive(Debug)]
#[repr(align(64))]
pub struct Endpoint {
    /// How people know it: `10.0.0.1:3000`, `unix:/path`, or `name:port (10.0.0.1:3000)`.
    label: Arc<str>,
    /// The address as the config has it: what `host: endpoint` sends.
    written: Arc<str>,
    target: Target,
    health: Mutex<Health>,
    reachability: Reachability,
    backlog: Backlog,
    counters: Counters,
    /// Of its pool.
    pool: Arc<InFlightLimit>,
}

/// What an endpoint is like at one moment, and why.
#[derive(Debug, Clone)]
pub struct HealthStatus {
    pub state: EndpointState,
    pub since: SystemTime,
    pub reason: Arc<str>,
}

/// What a probe has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthChange {
    None,
    /// Its health.
    State,
    /// Connections to it open again.
    Reachability,
}

#[derive(Debug, Default)]
struct Counters {
    /// What requests count: see the places below.
    traffic: ShardedCounter<7>,
    /// Of all owners of idle connections.
    idle_permits: AtomicU64,
    checks_passed: AtomicU64,
    checks_failed: AtomicU64,
}

const REQUESTS: usize = 0;
const IN_FLIGHT: usize = 1;
const FAILURES: usize = 2;
const BYTES_IN: usize = 3;
const BYTES_OUT: usize = 4;
const CONNECTS: usize = 5;
const IDLE: usize = 6;

/// The counters at one moment. What is under way stays with the process that does it.
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
}

impl Endpoint {
    fn new(
        label: Arc<str>,
        written: Arc<str>,
        target: Target,
        health: Health,
        pool: Arc<InFlightLimit>,
    ) -> Self {
        let (reachability, backlog, counters) = Default::default();
        Self { label, written, target, health: Mutex::new(health), reachability, backlog, counters, pool }
    }

    /// For those who only name it.
    #[cfg(test)]
    pub fn named(label: &str) -> Arc<Self> {
        EndpointTable::default().endpoint(label, &label.into(), &Target::Unix(label.into()), None)
    }

    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub fn written(&self) -> &Arc<str> {
        &self.written
    }

    /// What it must be with these settings of TLS; `None`: there are none. Where they give no name that a certificate
    /// can have, no certificate has it.
    pub fn expected(&self, tls: &Option<Arc<ClientTls>>) -> Option<TlsTarget> {
        let tls = tls.clone()?;
        let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let name = tls.name(&self.written).unwrap_or(nobody);
        Some(TlsTarget { tls, name })
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Of the connects that a full backlog holds up.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    pub fn state(&self) -> EndpointState {
        match self.health.lock().state() {
            EndpointState::Unhealthy => EndpointState::Unhealthy,
            _ if self.reachability.is_marked() => EndpointState::Unreachable,
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
            _ => by_health(),
        }
    }

    /// What its health check thinks of it.
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

    /// Connections to it have just failed.
    pub fn is_unreachable(&self) -> bool {
        self.reachability.is_marked()
    }

    /// A connection to it has opened; `true` if it was thought to be unreachable.
    pub(super) fn connected(&self) -> bool {
        self.count(CONNECTS, 1);
        self.reachability.clear()
    }

    /// How many connections requests have opened.
    pub(super) fn connects(&self) -> u64 {
        self.counters.traffic.sum(CONNECTS, Relaxed)
    }

    /// Takes in what a probe has found. `asked`: by which health check, if there is one.
    ///
    /// An early probe that fails says nothing against an endpoint that counts as healthy: its health check says how
    /// often, and how far apart, that has to happen.
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
        let reached = passed && health.state() == EndpointState::Healthy && self.reachability.clear();
        match (changed, reached) {
            (true, _) => HealthChange::State,
            (false, true) => HealthChange::Reachability,
            (false, false) => HealthChange::None,
        }
    }

    /// Its pool has no health check any more, or has none yet.
    pub(super) fn unchecked(&self, now: SystemTime) {
        let mut health = self.health.lock();
        if health.state() != EndpointState::Healthy {
            *health = Health::unchecked(now);
        }
    }

    /// Of what begins and ends.
    fn at_a_time(&self, what: usize) -> u64 {
        // Summed while some begin and end, it may miss the beginning of one whose end it sees.
        u64::try_from(self.counters.traffic.sum(what, Relaxed).cast_signed()).unwrap_or(0)
    }

    fn count(&self, what: usize, value: u64) {
        self.counters.traffic.add(what, value, Relaxed);
    }

    /// Goes on from what has been counted elsewhere.
    fn count_on(&self, load: EndpointLoad) {
        for (what, value) in [
            (REQUESTS, load.requests),
            (FAILURES, load.failures),
            (BYTES_IN, load.bytes_in),
            (BYTES_OUT, load.bytes_out),
        ] {
            // A count that is 0 needs no memory.
            if value > 0 {
                self.count(what, value);
            }
        }
        self.counters.checks_passed.fetch_add(load.checks_passed, Relaxed);
        self.counters.checks_failed.fetch_add(load.checks_failed, Relaxed);
    }

    pub fn load(&self) -> EndpointLoad {
        let Counters { traffic, checks_passed, checks_failed, .. } = &self.counters;
        EndpointLoad {
            requests: traffic.sum(REQUESTS, Relaxed),
            in_flight: self.at_a_time(IN_FLIGHT),
            idle_connections: self.at_a_time(IDLE),
            failures: traffic.sum(FAILURES, Relaxed),
            bytes_in: traffic.sum(BYTES_IN, Relaxed),
            bytes_out: traffic.sum(BYTES_OUT, Relaxed),
            checks_passed: checks_passed.load(Relaxed),
            checks_failed: checks_failed.load(Relaxed),
        }
    }
}

/// Connections to an endpoint that wait for their next request; while this lives, they count.
///
/// All owners together have as many permits as the endpoint may have idle connections. A worker keeps some that it does not
/// use, so that a request that takes a connection and keeps it again writes nothing that other workers write.
#[derive(Debug)]
pub struct IdleConnections {
    endpoint: Arc<Endpoint>,
    /// Of this owner.
    count: u64,
    /// How many permits it has.
    permits: u64,
    /// It has all connections of a worker.
    of_worker: bool,
    /// How many of them it may leave unused.
    spare: u64,
}

impl IdleConnections {
    pub fn of(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, count: 0, permits: 0, of_worker: false, spare: 0 }
    }

    /// All those of one worker.
    pub fn of_worker(endpoint: Arc<Endpoint>) -> Self {
        let mut idle = Self::of(endpoint);
        idle.of_worker = true;
        idle
    }

    /// Counts one more, unless all owners together have `most` already, or permits for as many.
    pub fn add_within(&mut self, most: u64) -> bool {
        if self.of_worker {
            self.spare = self.endpoint.pool.half_of_thread(most);
        }
        // There may be more than there may be now.
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

    /// Gives back the permits that are not used. To be called now and then: others may want them.
    pub fn give_back_unused(&mut self) {
        self.give_back_beyond(0);
    }

    /// Takes one at least, where there is one.
    fn take_permits(&mut self, most: u64) -> bool {
        self.give_back_unused();
        let at_once = (self.spare / 2).max(1);
        let more = |all: u64| (all < most).then(|| most.min(all + at_once));
        // Look and count are one step: owners on other threads take some at the same time.
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

/// The right to send one attempt to an endpoint; while it lives, the attempt counts as in flight, there and in the
/// pool.
#[derive(Debug)]
pub struct Lease {
    /// `None` once it has ended.
    endpoint: Option<Arc<Endpoint>>,
    holds: Holds,
}

impl Lease {
    /// For a request that the pool sees first; `None`: it would be one too many for its limit.
    pub fn within_limit(endpoint: Arc<Endpoint>, holds: Holds) -> Option<Self> {
        if !endpoint.pool.begin(holds) {
            endpoint.pool.end(holds);
            return None;
        }
        Some(Self::counted(endpoint, holds))
    }

    /// For a request that the pool has let in before: it counts, and is not refused.
    pub fn beyond_limit(endpoint: Arc<Endpoint>, holds: Holds) -> Self {
        endpoint.pool.begin(holds);
        Self::counted(endpoint, holds)
    }

    /// The pool has counted it.
    fn counted(endpoint: Arc<Endpoint>, holds: Holds) -> Self {
        endpoint.count(REQUESTS, 1);
        endpoint.count(IN_FLIGHT, 1);
        Self { endpoint: Some(endpoint), holds }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.as_ref().expect("a lease that has ended is nobody's")
    }

    /// Ends it; the endpoint is left to be named.
    pub fn end(mut self) -> Arc<Endpoint> {
        self.give_back().expect("it has not ended before")
    }

    fn give_back(&mut self) -> Option<Arc<Endpoint>> {
        let endpoint = self.endpoint.take()?;
        endpoint.count(IN_FLIGHT, 1u64.wrapping_neg());
        endpoint.pool.end(self.holds);
        Some(endpoint)
    }

    pub fn failed(&self) {
        self.endpoint().count(FAILURES, 1);
    }

    /// Body bytes on their way to the endpoint.
    pub fn sent(&self, bytes: u64) {
        self.endpoint().count(BYTES_IN, bytes);
    }

    /// Body bytes on their way from the endpoint.
    pub fn received(&self, bytes: u64) {
        self.endpoint().count(BYTES_OUT, bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Every endpoint that a pool of this name has had and may still need.
///
/// A reload gives the table on from the old pool to the new one, and so the live state.
#[derive(Debug, Default)]
pub struct EndpointTable {
    entries: Mutex<HashMap<Arc<str>, Arc<Endpoint>>>,
    in_flight_limit: Arc<InFlightLimit>,
    /// What was known before of endpoints that are not here yet, until the members have been found; with the pool's
    /// name.
    inherited: Mutex<Option<(Arc<str>, Arc<KnownState>)>>,
}

impl EndpointTable {
    /// Of the pool, whatever reloads it has seen.
    pub fn in_flight_limit(&self) -> &Arc<InFlightLimit> {
        &self.in_flight_limit
    }

    pub fn inherit(&self, pool: &Arc<str>, known: &Arc<KnownState>) {
        *self.inherited.lock() = Some((pool.clone(), known.clone()));
    }

    /// Whatever endpoint comes from now on is a new one.
    pub fn forget_inherited(&self) {
        *self.inherited.lock() = None;
    }

    /// The endpoint of that label, made if it is new.
    pub fn endpoint(
        &self,
        label: &str,
        written: &Arc<str>,
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
        let new = Arc::new(self.new_endpoint(label.clone(), written.clone(), target.clone(), check));
        entries.insert(label, new.clone());
        new
    }

    fn new_endpoint(
        &self,
        label: Arc<str>,
        written: Arc<str>,
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
        let endpoint = Endpoint::new(label, written, target, health, self.in_flight_limit.clone());
        if let Some((pool, known, address)) = &inherited {
            endpoint.count_on(known.load(pool, address));
        }
        endpoint
    }

    /// Forgets endpoints that are no member any more and have nothing in flight.
    pub fn retain(&self, is_member: impl Fn(&str) -> bool) {
        self.entries.lock().retain(|label, endpoint| is_member(label) || endpoint.at_a_time(IN_FLIGHT) > 0);
    }
}
