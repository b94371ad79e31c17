//! The control thread: signals, the admin address, reloads and the stop.
//!
//! It has a runtime of its own, because Pingora's end with the stop that this thread has to see through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::state::Shared;
use super::upgrade::launch::Invocation;
use super::upgrade::{Successor, Upgrades};
use super::{memory, reload};
use crate::admin::{AdminSocket, Operation, Outcome};

/// How often a stop looks whether everything is finished.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// For requests that had arrived but not begun when the last one seen was finished.
const DRAIN_SETTLE: Duration = Duration::from_millis(50);

/// How long the last log lines may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The signals, caught from the moment this exists.
pub struct Signals {
    hup: Signal,
    int: Signal,
    quit: Signal,
    term: Signal,
    usr1: Signal,
    usr2: Signal,
}

enum Asked {
    Stop(&'static str),
    Reload,
    Reopen,
    /// With somebody who waits for the outcome, or nobody.
    Upgrade(Option<oneshot::Sender<Outcome>>),
    Upgraded(Successor),
    Operation(Order),
}

/// An operation, and where somebody waits to hear what came of it.
pub struct Order {
    pub operation: Operation,
    pub reply: oneshot::Sender<Outcome>,
}

impl Signals {
    /// Must run within the runtime that will wait for them.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            term: signal(SignalKind::terminate())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop("SIGTERM"),
            _ = self.int.recv() => Asked::Stop("SIGINT"),
            _ = self.quit.recv() => Asked::Stop("SIGQUIT"),
            _ = self.hup.recv() => Asked::Reload,
            _ = self.usr1.recv() => Asked::Reopen,
            _ = self.usr2.recv() => Asked::Upgrade(None),
        }
    }
}

impl From<Order> for Asked {
    fn from(order: Order) -> Self {
        match order.operation {
            // It takes its time, and others may ask for something meanwhile.
            Operation::Upgrade => Self::Upgrade(Some(order.reply)),
            _ => Self::Operation(order),
        }
    }
}

/// Begins Pingora's stop when the control thread says so. What it stops is the acceptor, whose listeners these are.
pub struct CloseListeners(watch::Receiver<bool>);

#[async_trait]
impl ShutdownSignalWatch for CloseListeners {
    async fn recv(&self) -> ShutdownSignal {
        let mut close = self.0.clone();
        if close.wait_for(|close| *close).await.is_err() {
            // The control thread is gone, and with it everybody who could ask.
            std::future::pending::<()>().await;
        }
        ShutdownSignal::GracefulTerminate
    }
}

pub struct Control {
    shared: Arc<Shared>,
    admin: Option<JoinHandle<()>>,
    close: watch::Sender<bool>,
    upgrades: Upgrades,
    /// A successor has our sockets.
    succeeded: Option<Successor>,
}

/// Starts the thread; what comes back makes Pingora stop when it should.
pub fn start(
    runtime: Runtime,
    signals: Signals,
    admin: Option<AdminSocket>,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    invocation: Option<Invocation>,
) -> std::io::Result<CloseListeners> {
    let (close, close_seen) = watch::channel(false);
    std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            if let Some(gauge) = memory::gauge(shared.snapshot.load().config().server.max_memory) {
                tokio::spawn(memory::watch(gauge, shared.lifecycle.clone()));
            }
            let upgrades = Upgrades::new(invocation, admin.as_ref().map(AdminSocket::share));
            let admin = admin.map(|socket| tokio::spawn(serve(socket, shared.clone())));
            Control { shared, admin, close, upgrades, succeeded: None }.run(signals, orders).await;
        });
    })?;
    Ok(CloseListeners(close_seen))
}

async fn serve(socket: AdminSocket, shared: Arc<Shared>) {
    // Until then the process before this one answers.
    shared.succession.begun().await;
    if let Err(error) = socket.serve(shared).await {
        log::error!(reason:% = error; "admin address closed");
    }
}

impl Control {
    async fn run(mut self, mut signals: Signals, mut orders: mpsc::Receiver<Order>) {
        loop {
            let asked = tokio::select! {
                asked = signals.next() => asked,
                Some(order) = orders.recv() => order.into(),
                successor = self.upgrades.succeeded(&self.shared) => Asked::Upgraded(successor),
            };
            match asked {
                Asked::Upgrade(reply) => self.upgrades.begin(&self.shared, reply),
                Asked::Operation(Order { operation, reply }) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.perform(operation).await);
                }
                Asked::Reload => drop(self.perform(Operation::Reload).await),
                Asked::Reopen => self.shared.telemetry.access_log.reopen(),
                Asked::Stop(signal) => {
                    self.succeeded = self.upgrades.abandon(&self.shared).await;
                    self.stop(signal, &mut signals).await
                }
                Asked::Upgraded(successor) => {
                    self.succeeded = Some(successor);
                    self.close_admin().await;
                    self.stop("upgrade", &mut signals).await
                }
            }
        }
    }

    async fn stop(&mut self, signal: &str, signals: &mut Signals) -> ! {
        let drained = async {
            let cut = self.drain(signal).await;
            // A service manager kills what is left of the process before this one as soon as this one is gone.
            self.shared.succession.predecessor_gone().await;
            cut
        };
        let cut = tokio::select! {
            cut = drained => cut,
            () = second_stop(signals) => {
                let cut = self.in_flight();
                log::warn!(cut; "stopped at once: a second signal came");
                self.exit(1).await
            }
        };
        self.exit(if cut == 0 { 0 } else { 1 }).await
    }

    async fn perform(&self, operation: Operation) -> Outcome {
        match operation {
            Operation::Reload if self.upgrades.is_under_way() => {
                log::error!("not reloaded: an upgrade is under way");
                Outcome::refused("an upgrade is under way: its successor has read the config already\n")
            }
            Operation::Reload => match reload::reload(&self.shared).await {
                Ok(generation) => Outcome::done(format!("generation {generation} is in force\n")),
                Err(error) => error.into(),
            },
            Operation::Upgrade => Outcome::refused("an upgrade is begun elsewhere\n"),
        }
    }

    fn in_flight(&self) -> u64 {
        self.shared.telemetry.metrics.active_requests()
    }

    /// Lets what is in flight finish; returns how many requests were not finished in time.
    async fn drain(&self, signal: &str) -> u64 {
        let server = self.shared.snapshot.load().config().server.clone();
        self.shared.lifecycle.stop();
        let in_flight = self.in_flight();
        log::info!(signal, in_flight, drain_seconds = server.drain.as_secs_f64(); "stopping");
        if self.succeeded.is_none() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            tokio::time::sleep(server.drain_delay).await;
        }
        self.close.send_replace(true);
        let begun = Instant::now();
        let mut idle_since = None;
        loop {
            tokio::time::sleep(DRAIN_LOOK).await;
            let left = self.in_flight();
            if left > 0 {
                idle_since = None;
            } else if idle_since.get_or_insert_with(Instant::now).elapsed() >= DRAIN_SETTLE {
                let seconds = begun.elapsed().as_secs_f64();
                log::info!(cut = 0, seconds; "stopped");
                return 0;
            }
            if begun.elapsed() >= server.drain && left > 0 {
                log::warn!(cut = left, seconds = begun.elapsed().as_secs_f64(); "stopped: the drain time is over");
                return left;
            }
        }
    }

    async fn close_admin(&mut self) {
        if let Some(admin) = self.admin.take() {
            // Dropping it removes the socket's file.
            admin.abort();
            let _ = admin.await;
        }
    }

    /// Ends the process: Pingora would sleep out its grace period, however little is left to do.
    async fn exit(&mut self, code: i32) -> ! {
        self.close_admin().await;
        self.shared.telemetry.access_log.flush(FLUSH_LIMIT);
        self.shared.events.flush(FLUSH_LIMIT);
        std::process::exit(code)
    }
}

async fn second_stop(signals: &mut Signals) {
    while !matches!(signals.next().await, Asked::Stop(_)) {}
}
