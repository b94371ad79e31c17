//! The control thread: signals, the admin address, reloads and the stop.
//!
//! It has a runtime of its own, because Pingora's end with the stop that this thread has to see through.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::drain::{Drain, Drained};
use super::memory;
use super::reload::{By, Due, Reloads};
use super::state::Shared;
use super::upgrade::launch::Invocation;
use super::upgrade::{Successor, Upgrades};
use crate::admin::{AdminSocket, Operation, Outcome};

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
    Due(Due),
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

/// Pingora's own stop is never begun: the control thread drains, and ends the process.
pub struct EndsTheProcess;

#[async_trait]
impl ShutdownSignalWatch for EndsTheProcess {
    async fn recv(&self) -> ShutdownSignal {
        std::future::pending().await
    }
}

pub struct Control {
    shared: Arc<Shared>,
    reloads: Reloads,
    admin: Option<JoinHandle<()>>,
    upgrades: Upgrades,
    /// A successor has our sockets.
    succeeded: Option<Successor>,
}

/// Starts the thread.
pub fn start(
    runtime: Runtime,
    signals: Signals,
    admin: Option<AdminSocket>,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    invocation: Option<Invocation>,
) -> std::io::Result<()> {
    std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            if let Some(gauge) = memory::gauge(shared.snapshot.load().config().server.max_memory) {
                tokio::spawn(memory::watch(gauge, shared.lifecycle.clone(), shared.loads.clone()));
            }
            let upgrades = Upgrades::new(invocation, admin.as_ref().map(AdminSocket::share));
            let admin = admin.map(|socket| tokio::spawn(serve(socket, shared.clone())));
            let reloads = Reloads::start(shared.clone());
            Control { shared, reloads, admin, upgrades, succeeded: None }.run(signals, orders).await;
        });
    })?;
    Ok(())
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
                due = self.reloads.due() => Asked::Due(due),
                successor = self.upgrades.succeeded(&self.shared) => Asked::Upgraded(successor),
            };
            match asked {
                Asked::Upgrade(reply) => self.upgrades.begin(&self.shared, reply),
                Asked::Operation(Order { operation, reply }) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.perform(operation).await);
                }
                Asked::Reload => drop(self.reload(By::Signal, None).await),
                Asked::Due(due) => self.reloads.attend(due).await,
                Asked::Reopen => self.shared.telemetry.access_log.reopen(),
                Asked::Stop(signal) => {
                    self.succeeded = self.upgrades.abandon(&self.shared).await;
                    let delay = self.shared.snapshot.load().config().server.drain_delay;
                    self.stop(signal, delay, &mut signals).await
                }
                Asked::Upgraded(successor) => {
                    self.succeeded = Some(successor);
                    self.close_admin().await;
                    // The successor accepts already.
                    self.stop("upgrade", Duration::ZERO, &mut signals).await
                }
            }
        }
    }

    async fn perform(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Reload { confirm } => self.reload(By::Command, confirm).await,
            Operation::Confirm => self.reloads.confirm().await,
            Operation::Rollback => self.reloads.rollback(By::Rollback).await,
            Operation::Plan { text, name } => self.reloads.plan(&text, &name).await,
            Operation::Upgrade => Outcome::refused("an upgrade is begun elsewhere\n"),
        }
    }

    async fn reload(&mut self, by: By, confirm: Option<Duration>) -> Outcome {
        if self.upgrades.is_under_way() {
            log::error!("not reloaded: an upgrade is under way");
            return Outcome::refused("an upgrade is under way: its successor has read the config already\n");
        }
        self.reloads.reload(by, confirm).await
    }

    /// Stops, and ends the process.
    async fn stop(&mut self, reason: &str, delay: Duration, signals: &mut Signals) -> ! {
        let mut drain = Drain::begin(self.shared.clone(), reason);
        if self.succeeded.is_none() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        }
        let ends = async {
            let drained = drain.run(delay).await;
            // A service manager kills what is left of the process before this one as soon as this one is gone.
            self.shared.succession.predecessor_gone().await;
            drained
        };
        let drained = tokio::select! {
            drained = ends => Some(drained),
            () = second_stop(signals) => None,
        };
        let code = match drained {
            Some(Drained { cut: 0, .. }) => 0,
            Some(_) => 1,
            None => {
                drain.abandon().await;
                1
            }
        };
        self.exit(code).await
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
