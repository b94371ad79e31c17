//! Proves that reloads, restarts, upgrades, stops and dead endpoints lose nothing: runs the real binary as a process,
//! puts load on it by clients that retry nothing, and changes it under them.
//!
//! Clients and endpoints are in this process. All traffic is on loopback, all files are in a temporary folder.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod admin;
mod client;
mod content;
mod endpoint;
mod folder;
mod latency;
mod message;
mod operation;
mod report;
mod resolver;
pub mod settings;
mod stage;
mod subject;
mod tally;
#[cfg(test)]
mod tests;
mod websocket;

pub use admin::AdminError;
pub use client::Clients;
pub use report::{Memory, Report, Step};
pub use subject::SubjectError;
pub use tally::{Failure, Kind};

use client::{Crowd, Load};
use endpoint::Endpoint;
use folder::Folder;
use operation::{Operation, Operator, Outcome};
use settings::{Form, Settings};
use subject::Subject;

/// Each config leaves one of them out of the tested pool.
const ENDPOINTS: usize = 6;

/// How much the memory may grow over all reloads.
const GROWTH_KIB_MAX: u64 = 5 * 1024;
/// Reloads before the first measurement of memory: they allocate what later ones reuse.
const RELOADS_TO_SETTLE: u64 = 5;
/// Measurements of memory of which the least counts, to leave out the memory of requests in flight.
const MEASURES: usize = 20;
const MEASURE_PAUSE: Duration = Duration::from_millis(50);

/// The ports to choose from: below the ephemeral ports, or a client could connect to itself on the proxy's port while
/// nothing listens there.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How often to do each operation, and under which load.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How long the load runs first without any operation, for comparison.
    pub load: Duration,
    pub reloads: u64,
    pub upgrades: u64,
    pub failed_upgrades: u64,
    pub restarts: u64,
    /// Outages of most endpoints, alternating with outages of all.
    pub outages: u64,
    pub signals: u64,
    pub dns_outages: u64,
    pub clients: Clients,
}

/// What is reported while it runs.
#[derive(Debug)]
pub enum Progress<'a> {
    Begun { pid: u32, listen: SocketAddr, clients: &'a Clients },
    Step(&'a Step),
}

#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error("the proof needs a folder, loopback ports and a copy of this binary: {0}")]
    SetUp(#[from] io::Error),
    #[error("no loopback port is free between {} and {}", PORTS.start, PORTS.end)]
    NoPort,
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

/// The state of a run.
struct Proof<'a> {
    operator: Operator<'a>,
    plan: &'a Plan,
    tell: &'a mut dyn FnMut(Progress<'_>),
    steps: Vec<Step>,
    /// Operations done in the present step.
    done: u64,
}

/// Runs the whole plan. Dropping the future ends the processes that were started.
pub async fn run(plan: &Plan, tell: &mut dyn FnMut(Progress<'_>)) -> Result<Report, ProveError> {
    let began = Instant::now();
    let mut folder = Folder::make()?;
    let endpoints: Vec<Endpoint> = (0..ENDPOINTS).map(|_| Endpoint::start()).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
    let mut ports = free_ports();
    let listen = ports.next().ok_or(ProveError::NoPort)?;
    let other = ports.next().ok_or(ProveError::NoPort)?;
    let (admin, state) = (folder.admin(), folder.state());
    let form = Form::Plain;
    let settings = Settings { listen, other, admin: &admin, state: &state, endpoints: &addresses, form };
    folder.put_config(&settings.yaml(0))?;
    let subject = Subject::start(&folder, None).await?;
    tell(Progress::Begun { pid: subject.pid(), listen, clients: &plan.clients });
    let load = Arc::new(Load::new(listen, began));
    let operator = Operator {
        load: load.clone(),
        folder: &folder,
        endpoints: &endpoints,
        settings,
        subject,
        resolver: None,
        number: 0,
        upgrade_took: Duration::ZERO,
    };
    let mut proof = Proof { operator, plan, tell, steps: Vec::new(), done: 0 };
    proof.under_load().await;
    let Proof { operator, steps, .. } = proof;
    drop(operator);
    let (failures, failures_in_all) = load.tally.complaints();
    let mut log = None;
    if failures_in_all > 0 {
        folder.keep();
        log = Some(folder.log().display().to_string());
    }
    Ok(Report { version: env!("CARGO_PKG_VERSION"), steps, failures, failures_in_all, log })
}

// === impl Proof ===

impl Proof<'_> {
    /// Runs all steps under load; the last one stops the proxy.
    async fn under_load(&mut self) {
        let mut crowd = Some(Crowd::start(&self.operator.load, &self.plan.clients));
        let began = Instant::now();
        if let Err(error) = self.steps(&mut crowd).await {
            self.operator.complain(began, "a proxy that goes on", error.to_string());
        }
        if let Some(crowd) = crowd {
            crowd.stop().await;
        }
    }

    async fn steps(&mut self, crowd: &mut Option<Crowd>) -> Result<(), SubjectError> {
        let plan = self.plan;
        self.quiet_load().await;
        self.reloads().await?;
        self.repeat(Operation::Upgrade, plan.upgrades).await?;
        self.repeat(Operation::FailedUpgrade, plan.failed_upgrades).await?;
        self.repeat(Operation::Restart, plan.restarts).await?;
        self.repeat(Operation::Outage, plan.outages).await?;
        self.repeat(Operation::Signal, plan.signals).await?;
        self.repeat(Operation::DnsOutage, plan.dns_outages).await?;
        if plan.restarts == 0
            && let Some(crowd) = crowd.take()
        {
            crowd.stop().await;
        }
        self.repeat(Operation::Stop, 1).await
    }

    async fn quiet_load(&mut self) {
        let began = Instant::now();
        tokio::time::sleep(self.plan.load).await;
        self.conclude("load", 0, began, |_| {});
    }

    async fn reloads(&mut self) -> Result<(), SubjectError> {
        let count = self.plan.reloads;
        if count == 0 {
            return Ok(());
        }
        let began = Instant::now();
        let measured = self.reloads_measured(count).await;
        if let Ok(Some(Memory { before_kib, after_kib })) = measured
            && after_kib > before_kib + GROWTH_KIB_MAX
        {
            let limit = format!("at most {GROWTH_KIB_MAX} KiB more memory after {count} reloads");
            self.operator.complain(began, &limit, format!("{} KiB more", after_kib - before_kib));
        }
        let memory = measured.as_ref().ok().copied().flatten();
        self.conclude(Operation::Reload.name(), count, began, |step| step.memory = memory);
        measured.map(drop)
    }

    async fn reloads_measured(&mut self, count: u64) -> Result<Option<Memory>, SubjectError> {
        let settling = count.min(RELOADS_TO_SETTLE);
        self.times(Operation::Reload, 1..=settling).await?;
        let before = self.memory().await;
        self.times(Operation::Reload, settling + 1..=count).await?;
        let after = self.memory().await;
        Ok(before.zip(after).map(|(before_kib, after_kib)| Memory { before_kib, after_kib }))
    }

    async fn repeat(&mut self, operation: Operation, count: u64) -> Result<(), SubjectError> {
        if count == 0 {
            return Ok(());
        }
        let began = Instant::now();
        let ended = self.times(operation, 1..=count).await;
        let (skipped, ended) = match ended {
            Ok(Outcome::Skipped(why)) => (Some(why), Ok(())),
            other => (None, other.map(drop)),
        };
        self.conclude(operation.name(), count, began, |step| step.skipped = skipped);
        ended
    }

    async fn times(
        &mut self,
        operation: Operation,
        numbers: std::ops::RangeInclusive<u64>,
    ) -> Result<Outcome, SubjectError> {
        for number in numbers {
            let outcome = self.operator.perform(operation, number).await?;
            if outcome != Outcome::Done {
                return Ok(outcome);
            }
            self.done = number;
        }
        Ok(Outcome::Done)
    }

    async fn memory(&self) -> Option<u64> {
        let mut least = None;
        for _ in 0..MEASURES {
            let now = self.operator.subject.memory_kib();
            least = [least, now].into_iter().flatten().min();
            tokio::time::sleep(MEASURE_PAUSE).await;
        }
        least
    }

    /// Ends a step and reports it.
    fn conclude(&mut self, name: &'static str, count: u64, began: Instant, more: impl FnOnce(&mut Step)) {
        let tally = &self.operator.load.tally;
        let done = std::mem::take(&mut self.done);
        let mut step = Step::new(name, (done, count), began.elapsed(), &tally.take());
        step.websockets = tally.websockets();
        step.failures = tally.failures() - self.steps.iter().map(|step| step.failures).sum::<u64>();
        more(&mut step);
        (self.tell)(Progress::Step(&step));
        self.steps.push(step);
    }
}

/// Ports that are free now. Two runs at the same time begin at different ports.
fn free_ports() -> impl Iterator<Item = SocketAddr> {
    let count = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(17) % count;
    (0..count)
        .filter_map(move |step| u16::try_from((first + step) % count).ok())
        .map(|step| SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + step)))
        .filter(|address| TcpListener::bind(address).is_ok())
}
