//! The one background service that runs the health checks and the name resolution of all pools.
//!
//! Every endpoint has a task of its own, so that one that hangs delays no other; pools and endpoints come and go while
//! it runs.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::Pool;
use super::endpoint::Endpoint;
use super::health::Thresholds;
use super::probe::Probe;
use crate::config::HealthCheck;

/// Probes start up to this share of the interval early or late, so that those of many endpoints, and of many proxies,
/// do not come in step.
const JITTER: f64 = 0.1;

/// How long a start waits for the first round of probes, so that an endpoint that is dead from the beginning gets no
/// request. What has not answered by then counts as `checking`.
const FIRST_ROUND_LIMIT: Duration = Duration::from_secs(2);

type Pools = Arc<[Arc<Pool>]>;

pub struct Supervisor {
    pools: watch::Receiver<Pools>,
    first_round: watch::Sender<bool>,
}

/// Tells the supervisor which pools there are, and when the first of them have been probed.
#[derive(Clone)]
pub struct SupervisorHandle {
    pools: Arc<watch::Sender<Pools>>,
    first_round: watch::Receiver<bool>,
}

impl SupervisorHandle {
    /// These pools, and no others, are checked from now on.
    pub fn set_pools(&self, pools: impl IntoIterator<Item = Arc<Pool>>) {
        self.pools.send_replace(pools.into_iter().collect());
    }

    /// Returns once every endpoint known at the start has been probed, or has had its time.
    pub async fn first_round(mut self) {
        // An error means that there is no supervisor any more: nothing to wait for.
        let _ = self.first_round.wait_for(|done| *done).await;
    }
}

impl Supervisor {
    pub fn new() -> (Self, SupervisorHandle) {
        let (pools, pools_seen) = watch::channel(Pools::default());
        let (first_round, first_round_seen) = watch::channel(false);
        let handle = SupervisorHandle { pools: Arc::new(pools), first_round: first_round_seen };
        (Self { pools: pools_seen, first_round }, handle)
    }

    pub async fn run(&self) {
        let mut pools = self.pools.clone();
        let mut running: Vec<(Arc<Pool>, Watched)> = Vec::new();
        loop {
            let wanted = pools.borrow_and_update().clone();
            running.retain(|(pool, _)| wanted.iter().any(|wanted| Arc::ptr_eq(wanted, pool)));
            for pool in wanted.iter() {
                if !running.iter().any(|(running, _)| Arc::ptr_eq(running, pool)) {
                    running.push((pool.clone(), Watched::start(pool.clone())));
                }
            }
            if !*self.first_round.borrow() {
                first_round(&mut running).await;
                self.first_round.send_replace(true);
            }
            if pools.changed().await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl BackgroundService for Supervisor {
    /// Goes on while the proxy drains: requests in flight may still need another endpoint.
    async fn start(&self, _shutdown: ShutdownWatch) {
        self.run().await;
    }
}

async fn first_round(running: &mut [(Arc<Pool>, Watched)]) {
    let deadline = Instant::now() + FIRST_ROUND_LIMIT;
    for (_, watched) in running {
        let _ = tokio::time::timeout_at(deadline, watched.probed.wait_for(|probed| *probed)).await;
    }
}

/// The task that looks after one pool; it ends with this value.
struct Watched {
    task: AbortHandle,
    probed: watch::Receiver<bool>,
}

impl Watched {
    fn start(pool: Arc<Pool>) -> Self {
        let (probed, probed_seen) = watch::channel(false);
        let task = tokio::spawn(watch_pool(pool, probed)).abort_handle();
        Self { task, probed: probed_seen }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Resolves names again and again, and keeps one checking task for each member.
async fn watch_pool(pool: Arc<Pool>, probed: watch::Sender<bool>) {
    let mut checks = JoinSet::new();
    let mut checked: HashMap<Arc<str>, AbortHandle> = HashMap::new();
    loop {
        pool.discover().await;
        let (first, mut all_first) = tokio::sync::mpsc::channel::<()>(1);
        let members = pool.members();
        checked.retain(|label, task| {
            let keep = members.iter().any(|member| member.endpoint.label() == label);
            if !keep {
                task.abort();
            }
            keep
        });
        for member in members {
            if let Some(spec) = &pool.spec().health_check
                && !checked.contains_key(member.endpoint.label())
            {
                let label = member.endpoint.label().clone();
                let task = check(pool.clone(), member.endpoint, spec.clone(), first.clone());
                checked.insert(label, checks.spawn(task));
            }
        }
        drop(first);
        if !*probed.borrow() {
            // Every task drops its end after its first probe.
            let _ = all_first.recv().await;
            probed.send_replace(true);
        }
        if !has_names(&pool) {
            // The members never change: the checks are all there is to do.
            while checks.join_next().await.is_some() {}
            return std::future::pending().await;
        }
        sleep(pool.spec().resolve).await;
    }
}

fn has_names(pool: &Pool) -> bool {
    pool.spec()
        .endpoints
        .iter()
        .any(|spec| matches!(spec.address, crate::config::EndpointAddress::Name { .. }))
}

/// Probes one endpoint for as long as it is a member.
async fn check(
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    spec: HealthCheck,
    first: tokio::sync::mpsc::Sender<()>,
) {
    let Some(probe) = Probe::new(&endpoint, &spec, pool.spec()) else {
        log::error!(pool = &**pool.name(), endpoint = &**endpoint.label(); "endpoint cannot be probed");
        return;
    };
    let thresholds = Thresholds::of(&spec);
    let mut first = Some(first);
    loop {
        let started = Instant::now();
        if let Some(result) = probe.run().await {
            pool.probed(&endpoint, result, thresholds);
        }
        drop(first.take());
        // From start to start, so that a slow endpoint is probed as often as a fast one.
        sleep_until(started + spec.interval.mul_f64(1.0 + JITTER * (2.0 * unit_random() - 1.0))).await;
    }
}

/// From 0 to 1; good enough to get probes out of step.
fn unit_random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
