//! The state shared by the parts of the server: the snapshot in force, telemetry, sockets, limits, and the lifecycle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use super::bind::BoundAddress;
use super::connection_limit::Capacity;
use super::control::{AdminCommand, STOPS};
use super::drain::DrainStage;
use super::incidents::Incidents;
use super::inherit::Takeover;
use super::listen_socket::ListenSockets;
use super::log_level;
use super::overload_guard;
use super::process_use;
use super::reload::confirm_deadline::ConfirmDeadline;
use super::reload::plan::Planner;
use super::worker_load::WorkerLoads;
use crate::admin::incident::IncidentStatus;
use crate::admin::status::{ListenerStatus, LogDropped, ProcessState, Status};
use crate::admin::{Caller, ExplainRequest, Operation, OperationOutcome};
use crate::config::Listener;
use crate::explain;
use crate::lifecycle::{Lifecycle, Phase};
use crate::listener_state::ListenerState;
use crate::net::descriptors::Descriptors;
use crate::pool::SupervisorHandle;
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;
use crate::telemetry::events::EventLog;
use crate::telemetry::metrics::{ConnectionsToEndpoints, MemoryUse, Scrape};
use crate::telemetry::tap::Taps;
use crate::tls::{Certificate, CertificateStatus};

pub struct ServerState {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub telemetry: Arc<Telemetry>,
    pub lifecycle: Arc<Lifecycle>,
    pub listen_sockets: Arc<ListenSockets>,
    /// The connections of each worker.
    pub loads: WorkerLoads,
    /// The budget of descriptors for connections of clients and to endpoints.
    pub descriptors: Arc<Descriptors>,
    pub capacity: Capacity,
    pub supervisor: SupervisorHandle,
    pub events: EventLog,
    /// The stage of the drain.
    pub drain_stage: watch::Sender<DrainStage>,
    /// Commands of the admin address to the control thread.
    pub commands: mpsc::Sender<AdminCommand>,
    pub takeover: Takeover,
    pub started: SystemTime,
    pub confirm_deadline: ConfirmDeadline,
    pub planner: Planner,
    pub incidents: Incidents,
    /// The config file that a reload reads; `None`: the config was given on the command line.
    pub file: Option<PathBuf>,
}

#[async_trait]
impl crate::admin::Process for ServerState {
    fn status(&self) -> Status {
        let snapshot = self.snapshot.load();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            file: self.file().map(|file| file.to_string_lossy().into_owned()),
            generation: snapshot.generation(),
            confirm_seconds: self.confirm_deadline.left().map(|left| left.as_secs_f64()),
            started: self.started.duration_since(UNIX_EPOCH).map_or(0.0, |at| at.as_secs_f64()),
            uptime_seconds: self.started.elapsed().map_or(0.0, |uptime| uptime.as_secs_f64()),
            state: match self.lifecycle.phase() {
                Phase::Starting => ProcessState::Starting,
                Phase::Ready => ProcessState::Ready,
                Phase::Stopping => ProcessState::Draining,
            },
            listeners: self
                .listen_sockets
                .list()
                .into_iter()
                .map(|(listener_state, address)| ListenerStatus {
                    name: listener_state.listener.to_string(),
                    address: address.to_string(),
                    connections: listener_state.counters.open_connections(),
                    requests: listener_state.counters.balance(),
                    certificates: certificates(snapshot.listener(&listener_state.listener)).collect(),
                })
                .collect(),
            routes: snapshot.route_status(),
            rate_limits: snapshot.rate_limit_status(),
            mirrors: snapshot.mirror_status(),
            pools: snapshot.status(),
            log_dropped: LogDropped {
                access: self.telemetry.access_log.dropped(),
                events: self.events.dropped(),
            },
            taps: self.telemetry.taps.count(),
            log_level: self.events.level(),
            last_incident: self.last_incident(),
        }
    }

    fn file(&self) -> Option<PathBuf> {
        self.file.as_deref().and_then(|file| std::path::absolute(file).ok())
    }

    fn incidents(&self) -> Result<Vec<IncidentStatus>, String> {
        self.list_incidents()
    }

    fn incident(&self, name: &str) -> Result<String, String> {
        self.read_incident(name)
    }

    fn explain(&self, request: &ExplainRequest) -> Result<String, String> {
        let sockets = self.listen_sockets.list();
        let bound = |listener: &Listener| {
            let of_name = |(state, _): &&(Arc<ListenerState>, BoundAddress)| state.listener == listener.name;
            sockets.iter().find(of_name).and_then(|(_, address)| address.inet())
        };
        let snapshot = self.snapshot.load_full();
        let explained = explain::explain(&snapshot, &explain::Source::Running(&bound), request);
        let explanation = explained.map_err(|error| error.to_string())?;
        serde_json::to_string(&explanation).map_err(|error| error.to_string())
    }

    fn taps(&self) -> &Taps {
        &self.telemetry.taps
    }

    fn events(&self) -> Vec<u8> {
        self.telemetry.recorder.event_lines(SystemTime::now())
    }

    async fn perform(&self, operation: Operation, caller: &Caller) -> OperationOutcome {
        let (reply, outcome) = oneshot::channel();
        let command = match operation {
            Operation::Incident => return self.ask_incident(caller.as_str()).await,
            _ if self.lifecycle.is_stopping() => return OperationOutcome::refused(format!("{STOPS}\n")),
            Operation::Plan { text, name } => {
                return self.planner.plan(self.snapshot.load_full(), text, name).await;
            }
            Operation::Config(change) => AdminCommand::Change(change, reply),
            Operation::Adjust(adjust) => AdminCommand::Adjust(adjust, caller.clone(), reply),
            Operation::Log(order) => return log_level::carry_out(&self.events, &order, caller),
            Operation::Upgrade => AdminCommand::Upgrade(reply),
        };
        let _ = self.commands.send(command).await;
        outcome.await.unwrap_or_else(|_| OperationOutcome::refused(format!("{STOPS}\n")))
    }

    fn ready(&self) -> Result<(), String> {
        match self.lifecycle.phase() {
            Phase::Starting => Err("starting".into()),
            Phase::Ready if self.lifecycle.is_short_of_memory() => Err("short of memory".into()),
            Phase::Ready => knows_an_endpoint(&self.snapshot.load()),
            Phase::Stopping => Err("stopping".into()),
        }
    }

    fn metrics(&self) -> String {
        let snapshot = self.snapshot.load();
        let (pools, routes) = (snapshot.status(), snapshot.route_status());
        let members: Vec<_> =
            snapshot.pools().iter().map(|pool| (pool.name().clone(), pool.endpoints())).collect();
        let of_listener = |listener: &Arc<Listener>| {
            let name = listener.name.to_string();
            certificates(Some(listener))
                .map(move |certificate| (name.clone(), certificate))
                .collect::<Vec<_>>()
        };
        let certificates: Vec<_> = snapshot.listeners().iter().flat_map(of_listener).collect();
        self.telemetry.metrics.encode(Scrape {
            pools: &pools,
            members: &members,
            endpoints_max: snapshot.config().admin.metrics_endpoints,
            routes: &routes,
            rate_limits: &snapshot.rate_limit_status(),
            mirrors: &snapshot.mirror_status(),
            certificates: &certificates,
            workers: &self.loads.list(),
            confirmation_awaited: self.confirm_deadline.left().is_some(),
            memory: self.memory(),
            process: process_use::read(),
            to_endpoints: ConnectionsToEndpoints {
                open: self.descriptors.to_endpoints(),
                closed: self.descriptors.closed(),
            },
            access_log_dropped: self.telemetry.access_log.dropped(),
            events_dropped: self.events.dropped(),
        })
    }
}

impl ServerState {
    fn memory(&self) -> MemoryUse {
        let gauge = overload_guard::gauge(self.snapshot.load().config().server.max_memory);
        let reading = gauge.and_then(|gauge| gauge.read());
        MemoryUse {
            resident: overload_guard::resident().unwrap_or_default(),
            of_limit: reading.map(|reading| (reading.used, reading.limit)),
            short: self.lifecycle.is_short_of_memory(),
        }
    }
}

/// Ready if any pool has an endpoint, healthy or not: another proxy would fare no better with the same endpoints. If no
/// pool has one, the fault is this process's or its resolver's.
fn knows_an_endpoint(snapshot: &Snapshot) -> Result<(), String> {
    let mut pools = snapshot.pools().iter();
    let knows = pools.clone().any(|pool| !pool.is_unresolved());
    match pools.next() {
        Some(first) if !knows => Err(first.why_unavailable()),
        _ => Ok(()),
    }
}

fn certificates(listener: Option<&Arc<Listener>>) -> impl Iterator<Item = CertificateStatus> {
    let tls = listener.and_then(|listener| listener.tls.as_ref());
    tls.into_iter().flat_map(|tls| tls.certificates.iter().map(Certificate::status))
}
