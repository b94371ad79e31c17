//! Starts the worker threads, each with a single-threaded runtime and an accept loop.
//!
//! A connection stays on one thread from its assignment to its end.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use super::accept_loop::{AcceptLoop, Accepted};
use super::connection_limit::ConnectionLimit;
use super::drain::DrainStage;
use super::state::ServerState;
use super::worker_load::{Assigned, Dispatcher, dispatchers};
use crate::endpoint_connections::idle_pool::IdlePool;
use crate::proxy::{Hooks, PingoraEngine};
use crate::sharded_counter::use_own_shard;
use crate::worker::Worker;
use crate::worker::request_scopes::RequestScopes;

pub struct WorkerThreads {
    shared: Arc<ServerState>,
    connection_limit: Arc<ConnectionLimit>,
    pingora: Arc<ServerConf>,
}

/// The parts that a worker thread is given.
struct WorkerStart {
    shared: Arc<ServerState>,
    connection_limit: Arc<ConnectionLimit>,
    pingora: Arc<ServerConf>,
    dispatcher: Dispatcher<Accepted>,
    arrived: UnboundedReceiver<Assigned<Accepted>>,
}

impl WorkerThreads {
    /// `most`: the limit on client connections of the process.
    pub fn new(shared: Arc<ServerState>, most: usize, pingora: Arc<ServerConf>) -> Self {
        let connection_limit =
            ConnectionLimit::new(shared.snapshot.clone(), shared.descriptors.clone(), most);
        Self { connection_limit, shared, pingora }
    }

    fn start_workers(&self) -> io::Result<()> {
        for (index, (dispatcher, arrived)) in dispatchers(&self.shared.loads).into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, connection_limit) = (self.shared.clone(), self.connection_limit.clone());
            let pingora = self.pingora.clone();
            let start = WorkerStart { shared, connection_limit, pingora, dispatcher, arrived };
            std::thread::Builder::new().name(format!("worker {index}")).spawn(move || {
                use_own_shard(index);
                LocalSet::new().block_on(&runtime, work(start));
            })?;
        }
        Ok(())
    }
}

#[async_trait]
impl ServiceWithDependents for WorkerThreads {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        // Meanwhile clients wait in the queues of the sockets.
        self.shared.supervisor.clone().first_round().await;
        self.shared.takeover.can_serve_as_well(&self.shared.snapshot).await;
        if let Err(error) = self.start_workers() {
            log::error!(reason:% = error; "no worker can be started");
            std::process::exit(1);
        }
        // Nothing can fail from here on, so the predecessor may stop accepting.
        self.shared.takeover.may_begin().await;
        self.shared.lifecycle.ready();
        log::info!("ready");
        self.shared.takeover.begin(&self.shared.listen_sockets);
        ready.notify_ready();
        std::future::pending().await
    }

    fn name(&self) -> &str {
        "workers"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

async fn work(start: WorkerStart) {
    let WorkerStart { shared, connection_limit, pingora, dispatcher, arrived } = start;
    let lifecycle = shared.lifecycle.clone();
    let scopes = Arc::new(RequestScopes::new(shared.snapshot.clone(), shared.telemetry.worker()));
    let idle_pool = IdlePool::new(shared.descriptors.clone());
    let engine = PingoraEngine::new(pingora, Hooks::new(scopes.clone(), lifecycle.clone()));
    let worker = Worker::new(scopes, lifecycle, idle_pool, Rc::new(engine));
    let accept_loop = AcceptLoop::new(worker.clone(), connection_limit, dispatcher);
    let background = worker.clone();
    spawn_local(async move { background.run().await });
    spawn_local(accept_loop.clone().serve_assigned(arrived));
    let (open, serving) = (shared.listen_sockets.subscribe(), shared.clone());
    spawn_local(async move {
        serving.takeover.begun().await;
        accept_loop.follow_sockets(open).await;
    });
    until_cut(&worker, shared.drain_stage.subscribe()).await;
}

/// Follows the stages of the drain, and returns when the connections that are left have to be dropped.
async fn until_cut(worker: &Worker, mut stage: watch::Receiver<DrainStage>) {
    // The sender lives as long as the process.
    let _ = stage.wait_for(|stage| *stage >= DrainStage::Draining).await;
    tokio::select! {
        () = worker.drain.begin() => {}
        _ = stage.wait_for(|stage| *stage >= DrainStage::Closing) => {}
    }
    let _ = stage.wait_for(|stage| *stage >= DrainStage::Closing).await;
    worker.drain.close_tunnels();
    let _ = stage.wait_for(|stage| *stage >= DrainStage::Cut).await;
}
