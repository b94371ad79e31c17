//! The one background service that runs the health checks of all pools, and asks what names their endpoints.
//!
//! Every endpoint has a task of its own, so that one that hangs delays no other. Pools and endpoints come and go while
//! the service runs.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::probe::Probe;
use super::probe_schedule::{ProbeKind, ProbeSchedule, jittered};
use super::{Member, Moment, Pool};

/// How long a start waits for the first round of probes, so that an endpoint that is dead from the beginning gets no
/// request. An endpoint that has not answered by then is `checking`.
const FIRST_ROUND_LIMIT: Duration = Duration::from_secs(2);

type Pools = Arc<[Arc<Pool>]>;

pub struct Supervisor {
    pools: watch::Receiver<Pools>,
    first_round: watch::Sender<bool>,
}

/// Sets the supervisor's pools, and waits for its first round of probes.
#[derive(Clone)]
pub struct SupervisorHandle {
    pools: Arc<watch::Sender<Pools>>,
    first_round: watch::Receiver<bool>,
}

impl SupervisorHandle {
    /// Replaces the set of pools that are checked.
    pub fn set_pools(&self, pools: impl IntoIterator<Item = Arc<Pool>>) {
        self.pools.send_replace(pools.into_iter().collect());
    }

    /// Returns once every endpoint known at the start has been probed, or the time limit for that is over.
    pub async fn first_round(mut self) {
        // An error means that the supervisor is gone: nothing to wait for.
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
            watch_only(&wanted, &mut running, &self.pools);
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
    /// Ignores the shutdown: while the proxy drains, requests may still need another endpoint.
    async fn start(&self, _shutdown: ShutdownWatch) {
        self.run().await;
    }
}

/// Watches exactly the `wanted` pools: starts and stops what is needed, and leaves the others running.
fn watch_only(wanted: &[Arc<Pool>], running: &mut Vec<(Arc<Pool>, Watched)>, all: &watch::Receiver<Pools>) {
    let is_wanted: HashSet<_> = wanted.iter().map(Arc::as_ptr).collect();
    running.retain(|(pool, _)| is_wanted.contains(&Arc::as_ptr(pool)));
    let is_running: HashSet<_> = running.iter().map(|(pool, _)| Arc::as_ptr(pool)).collect();
    let new = wanted.iter().filter(|pool| !is_running.contains(&Arc::as_ptr(pool)));
    running.extend(new.map(|pool| (pool.clone(), Watched::start(pool.clone(), all.clone()))));
}

async fn first_round(running: &mut [(Arc<Pool>, Watched)]) {
    let deadline = Instant::now() + FIRST_ROUND_LIMIT;
    for (_, watched) in running {
        let _ = tokio::time::timeout_at(deadline, watched.probed.wait_for(|probed| *probed)).await;
    }
}

/// The task that watches one pool; dropping this ends it.
struct Watched {
    task: AbortHandle,
    probed: watch::Receiver<bool>,
}

impl Watched {
    fn start(pool: Arc<Pool>, all: watch::Receiver<Pools>) -> Self {
        let (probed, probed_seen) = watch::channel(false);
        let task = tokio::spawn(watch_pool(pool, all, probed)).abort_handle();
        Self { task, probed: probed_seen }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks sources of endpoints again and again, and keeps one checking task for each member.
async fn watch_pool(pool: Arc<Pool>, all: watch::Receiver<Pools>, probed: watch::Sender<bool>) {
    let mut checks = Checks::default();
    let publishing = pool.clone();
    checks.tasks.spawn(async move { publishing.publish_all_health().await });
    let adjusted = pool.clone();
    checks.tasks.spawn(async move { adjusted.end_adjustments().await });
    checks.tasks.spawn(review(pool.clone(), all));
    let (first, mut all_first) = mpsc::channel::<()>(1);
    // The members that are known do not wait for a source.
    checks.follow(&pool, Some(&first));
    pool.discover(|| checks.follow(&pool, Some(&first))).await;
    pool.forget_gone();
    checks.follow(&pool, Some(&first));
    drop(first);
    // Every task drops its sender after its first probe.
    let _ = all_first.recv().await;
    pool.publish_health();
    probed.send_replace(true);
    pool.follow_sources(|| checks.follow(&pool, None)).await;
}

/// Ejects outliers and takes them back, for ever.
async fn review(pool: Arc<Pool>, all: watch::Receiver<Pools>) {
    loop {
        let moment =
            Moment { now: Instant::now().into_std(), time: SystemTime::now(), chance: unit_random() };
        let next = {
            let all = all.borrow().clone();
            pool.review(&all, moment)
        };
        let next = async {
            match next {
                Some(next) => sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next => {}
            () = pool.review_due() => {}
        }
    }
}

/// The tasks that probe the members of a pool.
#[derive(Default)]
struct Checks {
    tasks: JoinSet<()>,
    /// By the endpoint's label.
    of_members: HashMap<Arc<str>, AbortHandle>,
}

impl Checks {
    /// Keeps one task for each current member, and aborts those of others.
    fn follow(&mut self, pool: &Arc<Pool>, first: Option<&mpsc::Sender<()>>) {
        // Those of members that are gone.
        while self.tasks.try_join_next().is_some() {}
        let members = pool.members();
        let labels: HashSet<&Arc<str>> = members.iter().map(|member| member.endpoint.label()).collect();
        self.of_members.retain(|label, task| {
            let keep = labels.contains(label);
            if !keep {
                task.abort();
            }
            keep
        });
        for member in members {
            let label = member.endpoint.label().clone();
            self.of_members
                .entry(label)
                .or_insert_with(|| self.tasks.spawn(check(pool.clone(), member, first.cloned())));
        }
    }
}

/// Probes one endpoint as long as it is a member: at the interval of its health check, if there is one, and early while
/// it is down.
async fn check(pool: Arc<Pool>, member: Member, first: Option<mpsc::Sender<()>>) {
    let endpoint = &member.endpoint;
    let spec = pool.config().health_check.as_ref();
    let probe = match spec {
        Some(_) => pool.probe_of(&member),
        None => Probe::connect(endpoint, pool.config()),
    };
    let Some(probe) = probe else {
        log::error!(pool = &**pool.name(), endpoint = &**endpoint.label(); "endpoint cannot be probed");
        return;
    };
    let mut first = first.filter(|_| spec.is_some());
    // A pool's first probes start together; a random first interval spreads the next.
    let mut interval = spec.map(|spec| spec.interval.mul_f64(unit_random()));
    let (mut schedule, mut due) = (ProbeSchedule::new(Instant::now().into_std()), ProbeKind::Regular);
    loop {
        // Without a health check, only an endpoint that is down is probed.
        if spec.is_some() || due == ProbeKind::Early {
            // Counted from its start, so that a slow endpoint is probed as often as a fast one.
            schedule.probed_at(pool.probe_until_decided(&member, &probe, due).await.into_std());
        }
        drop(first.take());
        due = schedule.next(&pool, endpoint, interval).await;
        interval = spec.map(|spec| jittered(spec.interval, unit_random()));
    }
}

/// From 0 to 1, and random enough to keep probes out of step.
fn unit_random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
