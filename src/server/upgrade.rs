//! Upgrades: a successor, started from the binary that is on the disk now, takes over the listening sockets.
//!
//! A successor that is ready says so, and waits. Until then nothing changes for this process, and a failure or a stop
//! kills the successor, which has served nobody. Then this process sends `Yours`: from there on there is no way back,
//! the successor accepts, and this process drains.

pub mod launch;
pub mod message;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

use super::fd_passing::{self, DESCRIPTORS_MAX, MESSAGE_BYTES_MAX};
use super::state::ServerState;
use crate::admin::{self, OperationOutcome, Verdict};
use crate::lifecycle::Phase;
use crate::pool::live_state::LiveState;
use crate::snapshot::Snapshot;
use launch::{Invocation, Launched};
use message::{Handed, Message, Role};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long a stop waits for a process that is being started.
const LAUNCH_LIMIT: Duration = Duration::from_secs(1);

/// The live state that fits into one message beside the message's own fields.
const LIVE_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 1024;

/// The upgrades of a process: one at a time.
pub struct Upgrades {
    /// `None`: this process cannot be started a second time.
    invocation: Option<Invocation>,
    admin: Vec<admin::Share>,
    under_way: Option<UnderWay>,
    /// Held while a process is being started.
    launching: Arc<Mutex<()>>,
}

struct UnderWay {
    task: JoinHandle<Result<ReadySuccessor, UpgradeError>>,
    /// `Some`: a client of the admin address waits for the outcome.
    reply: Option<oneshot::Sender<OperationOutcome>>,
}

/// A started process and the channel to it. The process is killed when this is dropped.
///
/// The order of the fields is that in which they are dropped. A successor takes the end of the channel for the end of
/// this process, and begins to serve: it must be dead by then.
struct Started<P = Launched> {
    process: P,
    channel: AsyncFd<OwnedFd>,
}

/// A successor that is ready, and waits for `Yours`. It is killed when this is dropped.
struct ReadySuccessor {
    started: Started,
    binary: PathBuf,
    version: String,
    /// The sockets that the successor does not use; `None`: it has not said.
    left: Option<Vec<Handed>>,
}

/// What a successor gets from this process.
struct SocketHandover {
    sockets: Vec<(Handed, OwnedFd)>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Why the successor is not ready yet, as it has said.
    awaited: parking_lot::Mutex<Option<String>>,
}

/// A process that serves in place of this one.
#[derive(Debug)]
pub struct Successor {
    pid: u32,
    version: String,
    /// Its end tells the successor that this process has exited.
    _channel: AsyncFd<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(
        "a config waits for `evenkeel confirm`, and would be in force for good: confirm it or roll it back first"
    )]
    Unconfirmed,
    #[error("this process is still starting: try again once it is ready")]
    Starting,
    #[error(
        "this is the first process of its container, which would end with it: replace the container instead"
    )]
    FirstProcess,
    #[error("this process cannot be started a second time")]
    NoInvocation,
    #[error("no successor can be started: {0}")]
    Launch(io::Error),
    #[error("the successor refuses: {reason}")]
    Refused { reason: String, invalid_config: bool },
    #[error("the successor ended and did not say why: what it wrote is in the log; {} is what was started", .0.display())]
    Ended(PathBuf),
    #[error(
        "the successor was not ready within {} s (server.upgrade_timeout){}", .limit.as_secs_f64(), because(.awaited)
    )]
    Timeout { limit: Duration, awaited: Option<String> },
    #[error("a stop came first")]
    Stopped,
    #[error("the successor cannot be talked to: {0}")]
    Channel(#[from] io::Error),
}

// === impl UpgradeError ===

impl UpgradeError {
    /// Whether another process may still have copies of the sockets.
    fn leaves_copies(&self) -> bool {
        match self {
            // The successor was sent none, or has ended by itself.
            Self::Launch(_) | Self::Refused { .. } => false,
            // The successor was killed, or ended without a word: a process that it has started may live on.
            _ => true,
        }
    }
}

// === impl Upgrades ===

impl Upgrades {
    pub fn new(invocation: Option<Invocation>, admin: Vec<admin::Share>) -> Self {
        Self { invocation, admin, under_way: None, launching: Arc::default() }
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Starts a successor, or reports why not. No other upgrade may be under way.
    pub fn begin(&mut self, shared: &Arc<ServerState>, reply: Option<oneshot::Sender<OperationOutcome>>) {
        match self.start(shared) {
            Ok(task) => self.under_way = Some(UnderWay { task, reply }),
            Err(error) => failed(shared, &error, reply),
        }
    }

    fn start(
        &self,
        shared: &Arc<ServerState>,
    ) -> Result<JoinHandle<Result<ReadySuccessor, UpgradeError>>, UpgradeError> {
        if shared.confirm_deadline.left().is_some() {
            return Err(UpgradeError::Unconfirmed);
        }
        if shared.lifecycle.phase() == Phase::Starting {
            return Err(UpgradeError::Starting);
        }
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstProcess);
        }
        let invocation = self.invocation.clone().ok_or(UpgradeError::NoInvocation)?;
        let mut sockets = shared.listen_sockets.hand_over()?;
        for admin in &self.admin {
            sockets.push(handed_admin(admin)?);
        }
        let limit = shared.snapshot.load().config().server.upgrade_timeout;
        log::info!(binary:% = invocation.binary().display(), limit_seconds = limit.as_secs_f64(); "upgrading");
        let handover =
            SocketHandover { sockets, snapshot: shared.snapshot.clone(), awaited: Default::default() };
        Ok(tokio::spawn(upgrade(invocation, handover, limit, self.launching.clone())))
    }

    /// Waits for the end of the upgrade that is under way (for ever if there is none), and sends the outcome to the
    /// client that asked. Returns a successor that serves. Cancel safe.
    pub async fn succeeded(&mut self, shared: &ServerState) -> Successor {
        loop {
            let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
            let ended = (&mut under_way.task).await;
            // There is no `await` from here on: a stop comes before all of this, or after.
            let reply = self.under_way.take().and_then(|under_way| under_way.reply);
            let ended = ended.unwrap_or(Err(UpgradeError::Stopped));
            match ended.and_then(|candidate| self.hand_over(shared, candidate)) {
                Ok(successor) => {
                    successor.announce(reply);
                    return successor;
                }
                Err(error) => {
                    match error.leaves_copies() {
                        true => shared.listen_sockets.mark_shared(),
                        false => shared.listen_sockets.retract(),
                    }
                    failed(shared, &error, reply);
                }
            }
        }
    }

    /// Hands everything over: from here on the successor serves.
    fn hand_over(&self, shared: &ServerState, candidate: ReadySuccessor) -> Result<Successor, UpgradeError> {
        let ReadySuccessor { started, binary, version, left } = candidate;
        let pid = started.process.pid;
        // The service manager heeds the main process only: this one has to name its successor before that one may
        // speak.
        main_process_is(pid);
        if fd_passing::send(started.channel.get_ref(), &Message::Yours.to_bytes(), &[]).is_err() {
            main_process_is(std::process::id());
            return Err(UpgradeError::Ended(binary));
        }
        let Started { process, channel } = started;
        process.detach();
        shared.listen_sockets.release(left.as_deref());
        self.admin.iter().for_each(admin::Share::release);
        Ok(Successor { pid, version, _channel: channel })
    }

    /// This process stops. A successor that is being started is killed: it serves nobody yet.
    pub async fn abandon(&mut self, shared: &ServerState) {
        let Some(UnderWay { task, reply }) = self.under_way.take() else { return };
        task.abort();
        let ended = task.await;
        // A process that is just being launched can be killed only once it exists, and must be before this process
        // exits.
        drop(tokio::time::timeout(LAUNCH_LIMIT, self.launching.lock()).await);
        let error = match ended {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => UpgradeError::Stopped,
        };
        failed(shared, &error, reply);
    }
}

// === impl Successor ===

impl Successor {
    fn announce(&self, reply: Option<oneshot::Sender<OperationOutcome>>) {
        let Self { pid, version, .. } = self;
        log::info!(successor = *pid, version = version.as_str(); "upgraded, the successor serves");
        if let Some(reply) = reply {
            let old = std::process::id();
            // The client that asked may have gone.
            let _ = reply.send(OperationOutcome::done(format!(
                "process {old} (evenkeel {VERSION}) has handed over to process {pid} (evenkeel {version})\n"
            )));
        }
    }
}

fn handed_admin(admin: &admin::Share) -> io::Result<(Handed, OwnedFd)> {
    let (name, written) = (String::new(), admin.written().to_owned());
    Ok((Handed { role: Role::Admin, name, written, exclusive: false }, admin.socket()?))
}

fn main_process_is(pid: u32) {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::MainPid(pid)]);
}

fn because(awaited: &Option<String>) -> String {
    awaited.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn failed(shared: &ServerState, error: &UpgradeError, reply: Option<oneshot::Sender<OperationOutcome>>) {
    shared.telemetry.metrics.upgrade_failed();
    log::error!(reason:% = error; "upgrade failed, this process goes on");
    if let Some(reply) = reply {
        let verdict = match error {
            UpgradeError::Refused { invalid_config: true, .. } => Verdict::InvalidConfig,
            _ => Verdict::Refused,
        };
        let _ = reply.send(OperationOutcome { verdict, text: format!("not upgraded: {error}\n") });
    }
}

/// Returns once the successor is ready. If this future is dropped before, the successor is killed.
async fn upgrade(
    invocation: Invocation,
    handover: SocketHandover,
    limit: Duration,
    launching: Arc<Mutex<()>>,
) -> Result<ReadySuccessor, UpgradeError> {
    let binary = invocation.binary().to_owned();
    let heard = tokio::time::timeout(limit, start_and_wait(invocation, &handover, launching)).await;
    let timeout = |_| UpgradeError::Timeout { limit, awaited: handover.awaited.lock().take() };
    let (started, said) = heard.map_err(timeout)??;
    match said {
        Some(Message::Ready { version, left }) => Ok(ReadySuccessor { started, binary, version, left }),
        Some(Message::Failed { reason, invalid_config }) => {
            Err(UpgradeError::Refused { reason, invalid_config })
        }
        _ => Err(UpgradeError::Ended(binary)),
    }
}

async fn start_and_wait(
    invocation: Invocation,
    handover: &SocketHandover,
    launching: Arc<Mutex<()>>,
) -> Result<(Started, Option<Message>), UpgradeError> {
    let (ours, theirs) = fd_passing::pair()?;
    SockRef::from(&ours).set_nonblocking(true)?;
    let channel = watch(ours)?;
    let launching = launching.lock_owned().await;
    // If this future is dropped, so is the result, in this order.
    let launch = tokio::task::spawn_blocking(move || {
        let process = invocation.launch(&channel, theirs)?;
        Ok((Started { process, channel }, launching))
    });
    let (started, launching) = launch.await.map_err(io::Error::other)?.map_err(UpgradeError::Launch)?;
    drop(launching);
    let said = wait_for_answer(&started, handover).await?;
    Ok((started, said))
}

/// Sends the sockets and answers questions, until the successor is ready or refuses; `None`: it ended without a word.
async fn wait_for_answer(
    started: &Started,
    handover: &SocketHandover,
) -> Result<Option<Message>, UpgradeError> {
    let Started { process, channel } = started;
    let said = async {
        // A successor that has refused already does not read any more, but has said why.
        let mut sent = send_sockets(channel, &handover.sockets).await;
        loop {
            let message = match receive(channel).await {
                Ok(message) if !message.is_empty() => Message::parse(&message),
                _ => match sent {
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                    _ => return Ok(None),
                },
            };
            match message {
                Some(Message::LiveWanted) => sent = sent.and(send_live(channel, &handover.snapshot).await),
                Some(Message::Waiting { reason }) => {
                    log::warn!(reason = reason.as_str(); "the successor does not serve yet");
                    *handover.awaited.lock() = Some(reason);
                }
                Some(Message::Ready { .. } | Message::Failed { .. }) => return Ok(message),
                // A message of a later version.
                _ => {}
            }
        }
    };
    tokio::select! {
        biased;
        said = said => Ok(said?),
        () = end_of(process) => Ok(None),
    }
}

async fn send_sockets(channel: &AsyncFd<OwnedFd>, sockets: &[(Handed, OwnedFd)]) -> io::Result<()> {
    let mut batches = sockets.chunks(DESCRIPTORS_MAX).peekable();
    if batches.peek().is_none() {
        return send(channel, &Message::Sockets { sockets: Vec::new(), last: true, live: true }, &[]).await;
    }
    while let Some(batch) = batches.next() {
        let sockets = batch.iter().map(|(handed, _)| handed.clone()).collect();
        let message = Message::Sockets { sockets, last: batches.peek().is_none(), live: true };
        let with: Vec<_> = batch.iter().map(|(_, socket)| socket.as_fd()).collect();
        send(channel, &message, &with).await?;
    }
    Ok(())
}

/// Sends the live state as it is now: the successor asks right before it builds its pools.
async fn send_live(channel: &AsyncFd<OwnedFd>, snapshot: &ArcSwap<Snapshot>) -> io::Result<()> {
    let snapshot = snapshot.load_full();
    // With twenty thousand endpoints this takes a moment, in which the control thread must not block.
    let parts =
        tokio::task::spawn_blocking(move || LiveState::of(snapshot.pools()).into_parts(LIVE_BYTES_MAX));
    let mut parts = parts.await.map_err(io::Error::other)?.into_iter().peekable();
    while let Some(state) = parts.next() {
        let last = parts.peek().is_none();
        send(channel, &Message::Live { state, last }, &[]).await?;
    }
    Ok(())
}

async fn send(channel: &AsyncFd<OwnedFd>, message: &Message, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let message = message.to_bytes();
    channel.async_io(Interest::WRITABLE, |socket| fd_passing::send(socket, &message, with)).await
}

async fn receive(channel: &AsyncFd<OwnedFd>) -> io::Result<Vec<u8>> {
    loop {
        match channel.async_io(Interest::READABLE, |socket| fd_passing::receive(socket)).await {
            // The successor ended with unread messages; what it has sent comes after this error.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            received => return Ok(received?.0),
        }
    }
}

/// Returns when the process has ended: a script may leave a process behind that holds the channel open.
async fn end_of(launched: &Launched) {
    match launched.process().map(watch) {
        Some(Ok(process)) => drop(process.readable().await),
        // If the process ended before it could be watched, the channel has ended, or the time limit applies.
        _ => std::future::pending().await,
    }
}

#[allow(
    deprecated,
    reason = "what replaces it is unsafe, and a descriptor that is owned or borrowed stays open meanwhile"
)]
fn watch<T: AsRawFd>(descriptor: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(descriptor)
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn only_a_successor_that_had_no_sockets_or_ended_by_itself_leaves_no_copies() {
        let refused = UpgradeError::Refused { reason: String::new(), invalid_config: false };
        let timeout = UpgradeError::Timeout { limit: Duration::ZERO, awaited: None };
        assert!(!refused.leaves_copies());
        assert!(!UpgradeError::Launch(io::ErrorKind::NotFound.into()).leaves_copies());
        assert!(timeout.leaves_copies() && UpgradeError::Ended(PathBuf::new()).leaves_copies());
    }

    /// In place of a process: as it is dropped, it looks whether the channel has an end.
    struct Looks(OwnedFd, std::sync::mpsc::Sender<PollFlags>);

    impl Drop for Looks {
        fn drop(&mut self) {
            let mut channel = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            poll(&mut channel, PollTimeout::ZERO).expect("it can be asked");
            let _ = self.1.send(channel[0].revents().expect("known flags"));
        }
    }

    #[tokio::test]
    async fn a_successor_is_killed_before_its_channel_ends() {
        let (ours, theirs) = fd_passing::pair().expect("a pair");
        let (seen, sees) = std::sync::mpsc::channel();
        drop(Started { process: Looks(theirs, seen), channel: watch(ours).expect("a runtime") });
        assert_eq!(sees.recv(), Ok(PollFlags::empty()), "it would begin to serve");
    }
}
