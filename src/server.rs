//! Assembles the server from a config (sockets, control thread, Pingora's `Server`), and runs it until it is told to
//! stop.

mod accept_error;
mod accept_loop;
mod adjusted;
mod bind;
mod connection_limit;
mod control;
mod drain;
mod fd_passing;
mod fd_store;
mod incidents;
pub mod inherit;
mod listen_socket;
mod log_level;
mod overload_guard;
mod process_use;
mod reload;
mod reload_queue;
mod series;
mod startup;
mod state;
pub mod upgrade;
mod worker_load;
mod worker_threads;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora_core::services::background::background_service;

use crate::admin::{self, AdminSocket};
use crate::config::Config;
use crate::exchange;
use crate::lifecycle::Lifecycle;
use crate::net::descriptors::Descriptors;
use crate::pool::Supervisor;
use crate::snapshot::Snapshot;
use crate::telemetry::events;
use connection_limit::Capacity;
use control::Signals;
use incidents::Incidents;
use inherit::InheritedSockets;
use reload::InitialConfig;
use reload::confirm_deadline::ConfirmDeadline;
pub use reload::fallback_for_invalid;
use reload::plan::Planner;
use startup::Opened;
use state::ServerState;
use upgrade::launch::Invocation;
use worker_load::WorkerLoads;
use worker_threads::WorkerThreads;

/// Idle connections to endpoints that Pingora's pool keeps, for each worker thread.
const PINGORA_IDLE_MAX: usize = 1024;

/// Admin commands that wait while another one is carried out.
const COMMANDS_MAX: usize = 16;

/// Fewer descriptors than this cannot even start the runtimes.
const DESCRIPTORS_MIN: u64 = 64;

/// What a server is started with.
pub struct Start {
    pub config: Config,
    /// The file that the config was read from, and that a reload reads again.
    pub file: Option<PathBuf>,
    /// The command that an upgrade starts a successor with; `None`: upgrades are refused.
    pub invocation: Option<Invocation>,
    /// The sockets that were open before this process started.
    pub inherited: InheritedSockets,
}

/// Why a server did not start: one line, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] bind::BindError),
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    #[error("the access log cannot be written: {0}")]
    AccessLog(io::Error),
    #[error(
        "the limit of open files is {0}, and at least {DESCRIPTORS_MIN} are needed: raise it (ulimit -n, LimitNOFILE=)"
    )]
    Descriptors(u64),
    #[error("the process cannot start: {0}")]
    Process(#[from] io::Error),
}

/// Runs until a signal ends the process; returns only if it could not start.
pub fn run(start: Start) -> Result<(), StartError> {
    let descriptors = raise_descriptor_limit()?;
    let Start { config, file, invocation, mut inherited } = start;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::install()?
    };
    let events = events::init(&config.log)?;
    let (config, mut initial_config) = runtime.block_on(InitialConfig::of(config, file.as_deref()));
    let started = SystemTime::now();
    let (config, opened) = match startup::open(config, &mut initial_config, &mut inherited, started) {
        Ok(opened) => opened,
        Err(error) => {
            // Dropping the runtime would wait for a thread that hangs in a file system, before the error is reported.
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let Opened { telemetry, listen_sockets, sockets, admin } = opened;
    events.set(&config.log);
    events.record_into(telemetry.recorder.clone());
    initial_config.log(file.as_deref());
    let takeover = inherited.settle(admin.iter().filter_map(AdminSocket::claim).collect());
    events::install_panic_hook(telemetry.metrics.panics());
    listen_sockets.put(sockets);
    announce(&admin);

    let (supervisor, handle) = Supervisor::new();
    let snapshot = Snapshot::succeeding(config, takeover.live_state());
    let capacity = Capacity::of(&snapshot.config().server, descriptors);
    snapshot.limit_pools(capacity.connections, capacity.http2);
    telemetry.metrics.config_in_force(snapshot.generation(), started);
    series::begin(&telemetry.metrics, &snapshot);
    if takeover.is_successor() {
        telemetry.metrics.upgraded();
    }
    handle.set_pools(snapshot.pools().iter().cloned());
    let (commands, commands_rx) = tokio::sync::mpsc::channel(COMMANDS_MAX);
    let workers = snapshot.config().server.threads;
    let shared = Arc::new(ServerState {
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        telemetry,
        lifecycle: Arc::new(Lifecycle::default()),
        listen_sockets,
        loads: WorkerLoads::new(workers),
        descriptors: Arc::new(Descriptors::new(capacity.descriptors)),
        capacity,
        supervisor: handle,
        events,
        drain_stage: Default::default(),
        commands,
        takeover,
        started,
        confirm_deadline: ConfirmDeadline::default(),
        planner: Planner::default(),
        incidents: Incidents::default(),
        file,
    });
    let server = assemble(&shared, supervisor);
    control::start(runtime, signals, admin, shared, commands_rx, (invocation, initial_config))?;
    server.run(RunArgs { shutdown_signal: Box::new(control::NeverShutDown) });
    Ok(())
}

fn assemble(shared: &Arc<ServerState>, supervisor: Supervisor) -> Server {
    let settings = shared.snapshot.load().config().server.clone();
    let conf = ServerConf {
        threads: settings.threads,
        max_retries: exchange::ATTEMPTS_MAX,
        upstream_keepalive_pool_size: PINGORA_IDLE_MAX,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    server.add_service(background_service("health checks", supervisor));
    let most = shared.capacity.connections;
    let worker_threads = WorkerThreads::new(shared.clone(), most, server.configuration.clone());
    server.add_service(worker_threads);
    server
}

fn announce(admin: &[AdminSocket]) {
    for admin in admin {
        log::info!(address:% = admin.address(); "admin address open");
        if let Some(taken) = admin.instead_of() {
            log::warn!(taken:% = taken.display(); "another process has the default admin socket");
        }
        if let Some(squatted) = admin.squatted() {
            log::warn!(
                directory:% = squatted.display();
                "the usual directory of the admin socket is not this user's alone, another one is used"
            );
        }
    }
}

/// Raises the limit of open files to the hard limit, and returns it: each proxied connection takes two descriptors.
fn raise_descriptor_limit() -> Result<usize, StartError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    if hard < DESCRIPTORS_MIN {
        return Err(StartError::Descriptors(hard));
    }
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(io::Error::from)?;
    }
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}
