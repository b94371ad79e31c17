//! The control thread: signals, the admin address, reloads and the stop.
//!
//! The thread has a runtime of its own, which exists before Pingora's runtimes and does not end with them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::adjusted;
use super::drain::{Drain, Drained};
use super::incidents;
use super::overload_guard;
use super::reload::{Due, InitialConfig, Trigger, adopt_successor_config};
use super::reload_queue::{Job, QueueEvent, ReloadQueue};
use super::state::ServerState;
use super::upgrade::launch::Invocation;
use super::upgrade::{Successor, Upgrades};
use crate::admin::{Adjust, AdminSocket, Caller, ConfigChange, OperationOutcome};

/// The reason for refusing commands during a stop.
pub const STOPS: &str = "the process stops";

/// How long writing the last log lines may take.
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

enum ControlEvent {
    Stop(&'static str),
    Reload,
    Due(Due),
    /// The job of the reload queue has ended.
    Done,
    Reopen,
    /// `Some`: a client of the admin address waits for the outcome.
    Upgrade(Option<oneshot::Sender<OperationOutcome>>),
    Upgraded(Successor),
    /// This process serves from now on.
    Serves,
    Change(ConfigChange, oneshot::Sender<OperationOutcome>),
    Adjust(Adjust, Caller, oneshot::Sender<OperationOutcome>),
}

/// A command of the admin address, and the channel for its outcome.
pub enum AdminCommand {
    Adjust(Adjust, Caller, oneshot::Sender<OperationOutcome>),
    Change(ConfigChange, oneshot::Sender<OperationOutcome>),
    Upgrade(oneshot::Sender<OperationOutcome>),
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

    async fn next(&mut self) -> ControlEvent {
        tokio::select! {
            _ = self.term.recv() => ControlEvent::Stop("SIGTERM"),
            _ = self.int.recv() => ControlEvent::Stop("SIGINT"),
            _ = self.quit.recv() => ControlEvent::Stop("SIGQUIT"),
            _ = self.hup.recv() => ControlEvent::Reload,
            _ = self.usr1.recv() => ControlEvent::Reopen,
            _ = self.usr2.recv() => ControlEvent::Upgrade(None),
        }
    }
}

impl From<AdminCommand> for ControlEvent {
    fn from(command: AdminCommand) -> Self {
        match command {
            // An upgrade takes a while, and the loop handles other events meanwhile.
            AdminCommand::Upgrade(reply) => Self::Upgrade(Some(reply)),
            AdminCommand::Change(change, reply) => Self::Change(change, reply),
            AdminCommand::Adjust(adjust, caller, reply) => Self::Adjust(adjust, caller, reply),
        }
    }
}

/// Never tells Pingora to shut down: the control thread drains, and exits the process.
pub struct NeverShutDown;

#[async_trait]
impl ShutdownSignalWatch for NeverShutDown {
    async fn recv(&self) -> ShutdownSignal {
        std::future::pending().await
    }
}

/// The change that SIGHUP asks for.
const RELOAD: ConfigChange = ConfigChange::Reload { confirm: None };

const UPGRADE: &str = "upgrade";

pub struct Control {
    shared: Arc<ServerState>,
    reloads: ReloadQueue,
    /// Signals that arrived during a job of the reload queue.
    waiting: QueuedSignals,
    admin: Vec<JoinHandle<()>>,
    upgrades: Upgrades,
    /// The successor that has taken over the sockets.
    succeeded: Option<Successor>,
    /// `ControlEvent::Serves` has been handled.
    serves: bool,
}

/// Several signals of a kind count as one, as pending signals of the kernel do.
#[derive(Default)]
struct QueuedSignals {
    reload: bool,
    upgrade: bool,
}

/// Starts the control thread.
pub fn start(
    runtime: Runtime,
    signals: Signals,
    admin: Vec<AdminSocket>,
    shared: Arc<ServerState>,
    commands: mpsc::Receiver<AdminCommand>,
    (invocation, initial_config): (Option<Invocation>, InitialConfig),
) -> std::io::Result<()> {
    std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            if let Some(gauge) = overload_guard::gauge(shared.snapshot.load().config().server.max_memory) {
                tokio::spawn(overload_guard::watch(gauge, shared.lifecycle.clone(), shared.loads.clone()));
            }
            tokio::spawn(incidents::watch(shared.clone()));
            let upgrades = Upgrades::new(invocation, admin.iter().map(AdminSocket::share).collect());
            let serve = |socket| tokio::spawn(serve(socket, shared.clone()));
            let admin = admin.into_iter().map(serve).collect();
            let reloads = ReloadQueue::open(shared.clone(), initial_config);
            let waiting = QueuedSignals::default();
            let control =
                Control { shared, reloads, waiting, admin, upgrades, succeeded: None, serves: false };
            control.run(signals, commands).await;
        });
    })?;
    Ok(())
}

async fn serve(socket: AdminSocket, shared: Arc<ServerState>) {
    // Until then the predecessor answers on the admin address.
    shared.takeover.begun().await;
    if let Err(error) = socket.serve(shared).await {
        log::error!(reason:% = error; "admin address closed");
    }
}

impl Control {
    async fn run(mut self, mut signals: Signals, mut commands: mpsc::Receiver<AdminCommand>) {
        let mut first = self.wait_until_serving(&mut signals).await;
        loop {
            let event = match first.take().or_else(|| self.next_deferred()) {
                Some(event) => event,
                None => self.next(&mut signals, &mut commands).await,
            };
            match event {
                ControlEvent::Reload if !self.reloads.is_idle() => self.waiting.reload = true,
                ControlEvent::Upgrade(None) if !self.reloads.is_idle() => self.waiting.upgrade = true,
                ControlEvent::Upgrade(reply) => self.upgrade(reply),
                ControlEvent::Change(change, reply) => self.change(change, reply),
                // The client that asked may have gone.
                ControlEvent::Adjust(adjust, caller, reply) => {
                    drop(reply.send(self.adjust(&adjust, &caller)))
                }
                ControlEvent::Reload => self.reload(),
                ControlEvent::Due(due) => self.reloads.begin(Job::Due(due)),
                ControlEvent::Serves => {
                    self.serves = true;
                    self.reloads.begin(Job::Started);
                }
                ControlEvent::Done => {}
                ControlEvent::Reopen => self.shared.telemetry.access_log.reopen(),
                ControlEvent::Stop(signal) => {
                    self.reloads.close();
                    self.upgrades.abandon(&self.shared).await;
                    let delay = self.shared.snapshot.load().config().server.drain_delay;
                    self.stop(signal, delay, &mut signals, &mut commands).await
                }
                ControlEvent::Upgraded(successor) => {
                    self.succeeded = Some(successor);
                    self.close_admin().await;
                    tokio::spawn(adopt_successor_config(self.shared.clone()));
                    // The successor accepts already.
                    self.stop("upgrade", Duration::ZERO, &mut signals, &mut commands).await
                }
            }
        }
    }

    /// Returns once this process serves; at once where it has no predecessor. Until then the predecessor serves and may
    /// still end this process. A stop signal cancels the takeover; a reload waits until this process serves.
    async fn wait_until_serving(&mut self, signals: &mut Signals) -> Option<ControlEvent> {
        let shared = self.shared.clone();
        let mut waits = None;
        loop {
            let event = tokio::select! {
                biased;
                () = shared.takeover.begun() => return waits,
                event = signals.next() => event,
            };
            match event {
                ControlEvent::Stop(signal) => {
                    if shared.takeover.withdraws(&format!("{signal} told it to stop")) {
                        self.exit(0).await;
                    }
                    waits = Some(ControlEvent::Stop(signal));
                }
                ControlEvent::Reload => waits = waits.or(Some(ControlEvent::Reload)),
                ControlEvent::Reopen => shared.telemetry.access_log.reopen(),
                _ => log::error!("not upgraded: this process does not serve yet"),
            }
        }
    }

    /// A stop signal has priority over a handover that is ready at the same time: after the handover it would come too
    /// late.
    async fn next(
        &mut self,
        signals: &mut Signals,
        commands: &mut mpsc::Receiver<AdminCommand>,
    ) -> ControlEvent {
        let idle = self.reloads.is_idle();
        // Due work waits for the end of an upgrade: the successor does it, or this process if the upgrade fails.
        let attends = !(idle && self.upgrades.is_under_way());
        tokio::select! {
            biased;
            event = signals.next() => event,
            successor = self.upgrades.succeeded(&self.shared) => ControlEvent::Upgraded(successor),
            () = self.shared.takeover.serves(), if idle && !self.serves => ControlEvent::Serves,
            // Commands are carried out one at a time; the others wait in the channel.
            Some(command) = commands.recv(), if idle => command.into(),
            event = self.reloads.next_event(), if attends => match event {
                QueueEvent::Due(due) => ControlEvent::Due(due),
                QueueEvent::Done => ControlEvent::Done,
            },
        }
    }

    /// The event of a signal that had to wait.
    fn next_deferred(&mut self) -> Option<ControlEvent> {
        if !self.reloads.is_idle() {
            return None;
        }
        if std::mem::take(&mut self.waiting.reload) {
            return Some(ControlEvent::Reload);
        }
        std::mem::take(&mut self.waiting.upgrade).then_some(ControlEvent::Upgrade(None))
    }

    fn change(&mut self, change: ConfigChange, reply: oneshot::Sender<OperationOutcome>) {
        match self.refusal(change) {
            // The client that asked may have gone.
            Some(refusal) => drop(reply.send(refusal)),
            None => self.reloads.begin(Job::Change(change, reply)),
        }
    }

    fn adjust(&self, adjust: &Adjust, caller: &Caller) -> OperationOutcome {
        if self.upgrades.is_under_way() {
            return refused(
                adjust.name(),
                "an upgrade is under way: its successor knows the endpoints already",
            );
        }
        adjusted::carry_out(&self.shared.snapshot.load(), adjust, caller)
    }

    /// Another one during an upgrade is refused: that the first one goes on is no failed upgrade.
    fn upgrade(&mut self, reply: Option<oneshot::Sender<OperationOutcome>>) {
        if !self.upgrades.is_under_way() {
            return self.upgrades.begin(&self.shared, reply);
        }
        let refusal = refused(UPGRADE, "an upgrade is under way already");
        if let Some(reply) = reply {
            // The client that asked may have gone.
            drop(reply.send(refusal));
        }
    }

    fn reload(&mut self) {
        if self.refusal(RELOAD).is_none() {
            self.reloads.begin(Job::Reload(Trigger::Signal));
        }
    }

    /// While a successor starts, the config must not change: the successor has read the config file already, and would
    /// silently undo the change.
    fn refusal(&self, change: ConfigChange) -> Option<OperationOutcome> {
        let reason = "an upgrade is under way: its successor has read the config already";
        self.upgrades.is_under_way().then(|| refused(change.name(), reason))
    }

    /// Stops, and ends the process.
    async fn stop(
        &mut self,
        reason: &str,
        delay: Duration,
        signals: &mut Signals,
        commands: &mut mpsc::Receiver<AdminCommand>,
    ) -> ! {
        // A reload in progress is dropped, so nothing is put in force any more.
        self.reloads.close();
        let mut drain = Drain::begin(self.shared.clone(), reason);
        if self.succeeded.is_none() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        }
        let ends = async {
            let drained = drain.run(delay).await;
            // When this process exits, the service manager kills a predecessor that is still draining.
            self.shared.takeover.predecessor_gone().await;
            drained
        };
        let drained = tokio::select! {
            drained = ends => Some(drained),
            () = self.second_stop_signal(signals, commands) => None,
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

    /// Returns at a second stop signal. Everything else that is asked for meanwhile is refused with a reason.
    async fn second_stop_signal(&self, signals: &mut Signals, commands: &mut mpsc::Receiver<AdminCommand>) {
        // After an upgrade the process drains without a stop signal, so the first signal is not the second.
        let mut told = self.succeeded.is_none();
        loop {
            let event = tokio::select! {
                event = signals.next() => event,
                Some(command) = commands.recv() => command.into(),
            };
            match event {
                ControlEvent::Stop(_) if told => return,
                ControlEvent::Stop(signal) => {
                    log::info!(signal; "draining already, one more signal stops at once");
                    told = true;
                }
                ControlEvent::Reopen => self.shared.telemetry.access_log.reopen(),
                ControlEvent::Reload => drop(refused(RELOAD.name(), STOPS)),
                ControlEvent::Upgrade(None) => drop(refused(UPGRADE, STOPS)),
                ControlEvent::Upgrade(Some(reply)) => drop(reply.send(refused(UPGRADE, STOPS))),
                ControlEvent::Change(change, reply) => drop(reply.send(refused(change.name(), STOPS))),
                ControlEvent::Adjust(adjust, _, reply) => {
                    drop(reply.send(refused(adjust.name(), STOPS)));
                }
                ControlEvent::Due(_)
                | ControlEvent::Done
                | ControlEvent::Serves
                | ControlEvent::Upgraded(_) => {}
            }
        }
    }

    async fn close_admin(&mut self) {
        for admin in self.admin.drain(..) {
            // Dropping it removes the socket's file.
            admin.abort();
            let _ = admin.await;
        }
    }

    /// Exits the process. Pingora's own exit would sleep for its whole grace period.
    async fn exit(&mut self, code: i32) -> ! {
        self.close_admin().await;
        self.shared.telemetry.access_log.flush(FLUSH_LIMIT);
        self.shared.events.flush(FLUSH_LIMIT);
        std::process::exit(code)
    }
}

/// Logs that an operation is refused, and returns the outcome for the client that asked.
fn refused(operation: &'static str, reason: &'static str) -> OperationOutcome {
    log::error!(operation, reason; "refused");
    OperationOutcome::refused(format!("{reason}\n"))
}
