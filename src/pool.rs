//! Pools of endpoints: their live state, how one is picked, and the health checks.
//!
//! A [`Pool`] has a Pingora `LoadBalancer`: discovery and membership go through it, and it makes the turns anew when the
//! members change. Picking asks the turns directly. The live state of endpoints is in a table of ours that reloads hand
//! on, because Pingora's own forgets it.

pub mod dial;
mod discovery;
mod endpoint;
mod health;
mod names;
mod probe;
mod rotation;
mod round_robin;
pub mod status;
mod supervisor;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use pingora_load_balancing::{Backends, LoadBalancer};
use tokio::sync::Notify;

pub use endpoint::{Endpoint, EndpointTable, IdleConnections, Lease, Target};
pub use rotation::Member;
pub use supervisor::{Supervisor, SupervisorHandle};

use crate::config::{self, WhenNoneHealthy};
use crate::telemetry::record::SkippedEndpoints;
use discovery::Discovery;
use health::Thresholds;
use names::Names;
use probe::Probe;
use rotation::{Generations, Turns};
use round_robin::RoundRobin;
use status::{EndpointState, EndpointStatus, PoolStatus};

/// A pool as it runs.
pub struct Pool {
    spec: config::Pool,
    balancer: LoadBalancer<RoundRobin>,
    turns: Arc<Turns>,
    generations: Arc<Generations>,
    table: Arc<EndpointTable>,
    names: Arc<Names>,
    waiting: AtomicUsize,
    /// Probes have found what requests do not know yet.
    health_news: Notify,
}

/// What came of asking a pool for an endpoint.
#[derive(Debug)]
pub enum Picked {
    Endpoint { lease: Lease, failed_open: bool, skipped: Option<Arc<SkippedEndpoints>> },
    NoneHealthy { skipped: Option<Arc<SkippedEndpoints>> },
}

/// More requests wait already than the pool's `when_none_healthy.queue` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

impl Pool {
    /// Makes the pool; the endpoints that it shares with `previous` keep their live state.
    pub fn new(spec: config::Pool, previous: Option<&Pool>) -> Arc<Self> {
        let table = previous.map(|pool| pool.table.clone()).unwrap_or_default();
        let names = previous.map(|pool| pool.names.clone()).unwrap_or_default();
        let turns = Arc::new(Turns::new(spec.when_none_healthy == WhenNoneHealthy::FailOpen));
        let generations = previous.map(|pool| pool.generations.clone()).unwrap_or_default();
        generations.add(&turns);
        let discovery = Discovery::new(&spec, table.clone(), names.clone());
        let balancer =
            LoadBalancer::from_backends_with_config(Backends::new(Box::new(discovery)), Some(turns.clone()));
        let pool = Arc::new(Self {
            spec,
            balancer,
            turns,
            generations,
            table,
            names,
            waiting: AtomicUsize::new(0),
            health_news: Notify::new(),
        });
        pool.discover_at_once();
        pool
    }

    /// Finds the members that need no name to be looked up, so that a pool of addresses is whole from the beginning.
    fn discover_at_once(&self) {
        let discovery = std::pin::pin!(self.balancer.update());
        let _ = discovery.poll(&mut Context::from_waker(Waker::noop()));
    }

    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    pub fn spec(&self) -> &config::Pool {
        &self.spec
    }

    /// The endpoint whose turn it is, other than those in `tried` as long as another is left.
    ///
    /// The turns of the balancer's selector are asked directly: `LoadBalancer::select_with` clones the backend and keeps
    /// a set of those it has seen, at seven times the cost (docs/growth.md).
    pub fn pick(&self, tried: &[Arc<Endpoint>]) -> Picked {
        let (rotation, start) = self.turns.look(!tried.is_empty());
        let skipped = rotation.skipped();
        match rotation.pick(start, tried) {
            Some(member) => Picked::Endpoint {
                lease: Lease::new(member.endpoint.clone()),
                failed_open: rotation.failed_open(),
                skipped,
            },
            None => Picked::NoneHealthy { skipped },
        }
    }

    /// A place among the requests that wait for an endpoint.
    pub fn wait(self: &Arc<Self>) -> Result<Wait, QueueFull> {
        let WhenNoneHealthy::Wait { queue, .. } = self.spec.when_none_healthy else { return Err(QueueFull) };
        let place = Wait { pool: self.clone() };
        if self.waiting.fetch_add(1, Relaxed) >= queue { Err(QueueFull) } else { Ok(place) }
    }

    /// Finds the members anew: resolves the host names among the endpoints.
    pub async fn discover(&self) {
        // Ours never fails: what cannot be resolved keeps its last addresses.
        let _ = self.balancer.update().await;
        let members: HashSet<Arc<str>> =
            self.turns.rotation().members().map(|member| member.endpoint.label().clone()).collect();
        self.table.retain(|label| members.contains(label));
    }

    pub fn members(&self) -> Vec<Member> {
        self.turns.rotation().members().cloned().collect()
    }

    /// Probes a member once and does nothing about what was found; `None`: there is no health check, or no probe could
    /// be made.
    pub async fn probe_once(&self, member: &Member) -> Option<Result<(), String>> {
        let probe = Probe::new(&member.endpoint, self.spec.health_check.as_ref()?, &self.spec)?;
        probe.run().await
    }

    /// The first probe of a member, before the supervisor knows of it. What it finds is to be published.
    pub async fn probe_first(&self, member: &Member) {
        let Some(check) = &self.spec.health_check else { return };
        if let Some(result) = self.probe_once(member).await {
            self.probed(&member.endpoint, result, Thresholds::of(check));
        }
    }

    /// Makes the turns anew by what probes have found.
    ///
    /// This takes as long as the pool is large, so it is done for all probes together that ended at the same time: ten
    /// thousand that pass one by one must not make ten thousand times ten thousand turns.
    pub fn publish_health(&self) {
        self.generations.health_changed();
    }

    /// Publishes the news of probes for as long as they run.
    async fn publish_all_health(&self) {
        loop {
            self.health_news.notified().await;
            // Others that have ended first: whoever is woken runs next, before those that wait for their turn.
            tokio::task::yield_now().await;
            self.publish_health();
        }
    }

    /// Takes a probe's result in, and says it once when it changes the endpoint's state.
    fn probed(&self, endpoint: &Endpoint, result: Result<(), String>, thresholds: Thresholds) {
        if !endpoint.probed(result, thresholds, SystemTime::now()) {
            return;
        }
        self.health_news.notify_one();
        let health = endpoint.health();
        let (pool, label, reason) = (&*self.spec.name, &**endpoint.label(), health.reason());
        match health.state() {
            EndpointState::Healthy => {
                log::info!(pool, endpoint = label, reason; "endpoint is healthy");
            }
            _ => log::warn!(pool, endpoint = label, reason; "endpoint is unhealthy"),
        }
    }

    pub fn status(&self) -> PoolStatus {
        let rotation = self.turns.rotation();
        let loads: Vec<_> = rotation.members().map(|member| (member, member.endpoint.load())).collect();
        let total: u64 = loads.iter().map(|(_, load)| load.requests).sum();
        let endpoints = loads
            .iter()
            .zip(rotation.expected_shares())
            .map(|((member, load), expected_share)| {
                let health = member.endpoint.health();
                EndpointStatus {
                    address: member.endpoint.label().to_string(),
                    state: health.state(),
                    since: unix_seconds(health.since()),
                    reason: health.reason().to_owned(),
                    weight: member.weight,
                    backup: member.backup,
                    requests: load.requests,
                    in_flight: load.in_flight,
                    idle_connections: load.idle_connections,
                    failures: load.failures,
                    bytes_in: load.bytes_in,
                    bytes_out: load.bytes_out,
                    share: if total == 0 { 0.0 } else { load.requests as f64 / total as f64 },
                    expected_share,
                    checks_passed: load.checks_passed,
                    checks_failed: load.checks_failed,
                }
            })
            .collect();
        PoolStatus {
            name: self.spec.name.to_string(),
            balance: "round_robin".into(),
            waiting: self.waiting.load(Relaxed) as u64,
            names: self.names.status(),
            endpoints,
        }
    }
}

/// A request that waits for an endpoint; it counts against the pool's queue while it lives.
pub struct Wait {
    pool: Arc<Pool>,
}

impl Wait {
    /// Returns as soon as there is an endpoint to pick; `false` when `limit` was over first.
    pub async fn until_available(&self, limit: Duration) -> bool {
        let available = async {
            loop {
                let notified = self.pool.turns.available.notified();
                tokio::pin!(notified);
                // Registered before the look, so that a probe that passes in between is not missed.
                notified.as_mut().enable();
                if !self.pool.turns.rotation().is_empty() {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(limit, available).await.is_ok()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Relaxed);
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
