//! The front door: worker threads that accept connections from the listening sockets and serve them.
//!
//! Each worker has a runtime of its own and shares nothing with the others but the sockets: a connection lives and dies
//! on one thread.

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

use super::crew::{Burdened, Member, crew};
use super::hall::Hall;
use super::post::{Accepted, Post};
use super::state::Shared;
use crate::lane::worker::Worker;
use crate::proxy::{Carrier, Proxy};

pub struct Acceptor {
    shared: Arc<Shared>,
    hall: Arc<Hall>,
    pingora: Arc<ServerConf>,
    /// All connections go to Pingora's carrier, for tests.
    pingora_carries: bool,
}

/// What a worker starts with.
struct Start {
    shared: Arc<Shared>,
    hall: Arc<Hall>,
    other: (Arc<ServerConf>, bool),
    member: Member<Accepted>,
    arrived: UnboundedReceiver<Burdened<Accepted>>,
    stop: watch::Receiver<bool>,
}

impl Acceptor {
    /// `most` is how many connections there may be in all.
    pub fn new(shared: Arc<Shared>, most: usize, pingora: Arc<ServerConf>, pingora_carries: bool) -> Self {
        Self { hall: Hall::new(shared.snapshot.clone(), most), shared, pingora, pingora_carries }
    }

    fn start_workers(&self, stop: &watch::Receiver<bool>) -> io::Result<()> {
        for (index, (member, arrived)) in crew(&self.shared.loads).into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, hall, stop) = (self.shared.clone(), self.hall.clone(), stop.clone());
            let other = (self.pingora.clone(), self.pingora_carries);
            let start = Start { shared, hall, other, member, arrived, stop };
            std::thread::Builder::new()
                .name(format!("worker {index}"))
                .spawn(move || LocalSet::new().block_on(&runtime, work(start)))?;
        }
        Ok(())
    }
}

#[async_trait]
impl ServiceWithDependents for Acceptor {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        // Clients wait in the sockets' queues for the moment that the first probes take.
        self.shared.supervisor.clone().first_round().await;
        let (stop, stop_seen) = watch::channel(false);
        if let Err(error) = self.start_workers(&stop_seen) {
            log::error!(reason:% = error; "no worker can be started");
            std::process::exit(1);
        }
        self.shared.lifecycle.ready();
        log::info!("ready");
        self.shared.succession.announce(&self.shared.entrances);
        ready.notify_ready();
        if shutdown.wait_for(|stopping| *stopping).await.is_ok() {
            self.shared.entrances.close();
            stop.send_replace(true);
        }
        std::future::pending().await
    }

    fn name(&self) -> &str {
        "acceptor"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

async fn work(start: Start) {
    let Start { shared, hall, other: (conf, always), member, arrived, mut stop } = start;
    let parts = || (shared.snapshot.clone(), shared.telemetry.clone(), shared.lifecycle.clone());
    let (snapshot, telemetry, lifecycle) = parts();
    let proxy = Proxy::new(conf, Carrier::new(snapshot, telemetry, lifecycle));
    let (snapshot, telemetry, lifecycle) = parts();
    let worker = Worker::new(snapshot, telemetry, lifecycle, (Rc::new(proxy), always));
    let post = Post::new(worker.clone(), hall, member);
    let chores = worker.clone();
    spawn_local(async move { chores.run().await });
    spawn_local(post.clone().take_over(arrived));
    spawn_local(post.tend(shared.entrances.subscribe()));
    // An error means that nobody is left to ask for a stop.
    let _ = stop.wait_for(|stop| *stop).await;
    worker.stop();
    std::future::pending::<()>().await;
}
