//! The operations on the proxy while it is under load.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admin;
use super::client::Load;
use super::endpoint::Endpoint;
use super::folder::{Binary, Folder};
use super::resolver::Resolver;
use super::settings::{BROKEN, Settings};
use super::subject::{self, Subject, SubjectError};
use super::tally::{Kind, Mismatch};

mod dns_outage;
mod outage;
mod signal;

/// Time for a reload, for an upgrade, and for a process to end after it has finished its requests.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);
const UPGRADE_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(60);

/// Time for a successor to end that could not take over.
const LEFT_OVER_LIMIT: Duration = Duration::from_secs(5);

/// Pauses after each operation, in which the load goes on undisturbed.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_AFTER_A_START: Duration = Duration::from_millis(200);
const PAUSE_AT_THE_END: Duration = Duration::from_millis(300);

/// What makes upgrades fail, one after the other.
const OBSTACLES: [Obstacle; 4] = [
    Obstacle::Config,
    Obstacle::Binary(Binary::Crashes),
    Obstacle::Binary(Binary::NotExecutable),
    Obstacle::Binary(Binary::Hangs),
];

#[derive(Debug, Clone, Copy)]
enum Obstacle {
    Config,
    Binary(Binary),
}

/// An operation that is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Reload,
    Upgrade,
    FailedUpgrade,
    Restart,
    Outage,
    Signal,
    DnsOutage,
    Stop,
}

/// Whether an operation was done, with or without failures, or is impossible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Why the operation is impossible with this binary or on this machine.
    Skipped(Cow<'static, str>),
}

const NO_UPGRADES: Outcome = Outcome::Skipped(Cow::Borrowed("this binary cannot upgrade"));

/// Performs the operations, and counts their failures together with those of the clients.
pub(super) struct Operator<'a> {
    pub(super) load: Arc<Load>,
    pub(super) folder: &'a Folder,
    pub(super) endpoints: &'a [Endpoint],
    pub(super) settings: Settings<'a>,
    pub(super) subject: Subject,
    /// The proxy's resolver, from the first DNS outage on.
    pub(super) resolver: Option<Resolver>,
    /// The number of the present config.
    pub(super) number: usize,
    /// How long the last upgrade took, from the request to its response.
    pub(super) upgrade_took: Duration,
}

// === impl Operation ===

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
            Self::FailedUpgrade => "failed upgrade",
            Self::Restart => "restart",
            Self::Outage => "outage",
            Self::Signal => "signal",
            Self::DnsOutage => "DNS outage",
            Self::Stop => "stop",
        }
    }
}

// === impl Operator ===

impl Operator<'_> {
    /// Performs an operation once. After an error there is no proxy to go on with.
    pub(super) async fn perform(
        &mut self,
        operation: Operation,
        number: u64,
    ) -> Result<Outcome, SubjectError> {
        self.load.stage.begin(operation.name(), number);
        let outcome = match operation {
            _ if let Some(how) = self.subject.ended() => Err(SubjectError::Ended(how)),
            Operation::Reload => self.reload().await,
            Operation::Upgrade => self.upgrade().await,
            Operation::FailedUpgrade => self.failed_upgrade(number).await,
            Operation::Restart => self.restart().await,
            Operation::Outage => self.outage(number).await,
            Operation::Signal => self.signal(number).await,
            Operation::DnsOutage => self.dns_outage(number).await,
            Operation::Stop => self.stop().await.map(|()| Outcome::Done),
        };
        if let Err(error) = outcome {
            return Err(self.cause_of(error).await);
        }
        tokio::time::sleep(PAUSE).await;
        self.load.stage.end();
        outcome
    }

    /// Replaces an error by the end of the proxy, if that caused it. The pause lets the clients notice, too.
    async fn cause_of(&self, error: SubjectError) -> SubjectError {
        let ended = match error {
            SubjectError::Ended(_) => None,
            _ => Subject::wait_for_exit(self.subject.pid(), PAUSE_AT_THE_END).await.ok(),
        };
        tokio::time::sleep(PAUSE_AT_THE_END).await;
        ended.map_or(error, SubjectError::Ended)
    }

    async fn reload(&mut self) -> Result<Outcome, SubjectError> {
        let began = Instant::now();
        self.next_config()?;
        let response = admin::order(self.folder, "/reload", RELOAD_LIMIT).await?;
        if response.status != 200 {
            let got = format!("{} {}", response.status, response.body.trim_end());
            self.complain(began, "a reload that is in force", got);
        }
        Ok(Outcome::Done)
    }

    async fn upgrade(&mut self) -> Result<Outcome, SubjectError> {
        let old = self.subject.pid();
        let outcome = self.hand_over().await?;
        if self.subject.pid() != old {
            self.wait_for_clean_exit(old).await?;
        }
        self.load.stage.going_away_ends();
        tokio::time::sleep(PAUSE_AFTER_A_START).await;
        Ok(outcome)
    }

    /// Upgrades without waiting for the end of the old process: the successor is the subject then.
    async fn hand_over(&mut self) -> Result<Outcome, SubjectError> {
        let began = Instant::now();
        let old = self.subject.pid();
        self.next_config()?;
        self.folder.put(Binary::Good).map_err(SubjectError::Files)?;
        self.load.stage.going_away_begins();
        let response = admin::order(self.folder, "/upgrade", UPGRADE_LIMIT).await?;
        match response.status {
            200 => {}
            status if is_unknown(status) => return Ok(NO_UPGRADES),
            status => {
                self.complain(began, "an upgrade", format!("{status} {}", response.body.trim_end()));
                return Ok(Outcome::Done);
            }
        }
        self.upgrade_took = began.elapsed();
        let new = admin::status(self.folder).await?.pid;
        if new == old {
            self.complain(began, "another process after the upgrade", format!("{old} as before"));
        }
        self.subject.set_pid(new);
        Ok(Outcome::Done)
    }

    /// The old process must refuse the upgrade and go on.
    async fn failed_upgrade(&mut self, number: u64) -> Result<Outcome, SubjectError> {
        let began = Instant::now();
        let old = self.subject.pid();
        let turn = usize::try_from(number.saturating_sub(1)).unwrap_or_default() % OBSTACLES.len();
        let obstacle = OBSTACLES.get(turn).copied().unwrap_or(Obstacle::Config);
        match obstacle {
            Obstacle::Config => self.folder.put_config(BROKEN),
            Obstacle::Binary(binary) => self.folder.put(binary),
        }
        .map_err(SubjectError::Files)?;
        let response = admin::order(self.folder, "/upgrade", UPGRADE_LIMIT).await;
        self.folder.put(Binary::Good).map_err(SubjectError::Files)?;
        self.folder.put_config(&self.settings.yaml(self.number)).map_err(SubjectError::Files)?;
        let response = response?;
        if is_unknown(response.status) {
            return Ok(NO_UPGRADES);
        }
        let now = admin::status(self.folder).await?.pid;
        if response.status == 200 || now != old {
            self.complain(began, "the process as before", format!("{} and process {now}", response.status));
            self.subject.set_pid(now);
        }
        self.expect_no_other_process(began).await;
        Ok(Outcome::Done)
    }

    /// A process that could not take over must have ended.
    async fn expect_no_other_process(&self, began: Instant) {
        let deadline = Instant::now() + LEFT_OVER_LIMIT;
        let mut others = self.subject.others();
        while !others.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
            others = self.subject.others();
        }
        if let Some(other) = others.first() {
            self.complain(began, "nobody beside the process", format!("process {other}"));
        }
    }

    async fn restart(&mut self) -> Result<Outcome, SubjectError> {
        self.stop().await?;
        self.start().await
    }

    /// Starts the proxy after its end.
    async fn start(&mut self) -> Result<Outcome, SubjectError> {
        self.next_config()?;
        self.subject = Subject::start(self.folder, self.resolver.as_ref()).await?;
        self.load.stage.gap_ends();
        self.load.stage.going_away_ends();
        tokio::time::sleep(PAUSE_AFTER_A_START).await;
        Ok(Outcome::Done)
    }

    /// Stops the proxy, and waits for its end.
    async fn stop(&mut self) -> Result<(), SubjectError> {
        self.load.stage.going_away_begins();
        self.load.stage.gap_begins();
        self.subject.terminate();
        self.wait_for_clean_exit(self.subject.pid()).await
    }

    /// Waits for the end of a process, which must exit with 0.
    async fn wait_for_clean_exit(&self, pid: u32) -> Result<(), SubjectError> {
        let began = Instant::now();
        let how = Subject::wait_for_exit(pid, END_LIMIT).await?;
        // The exit code of a process that is not this one's child is not known.
        if how != "exit code 0" && how != subject::GONE {
            self.complain(began, "exit code 0", how);
        }
        Ok(())
    }

    fn next_config(&mut self) -> Result<(), SubjectError> {
        self.number += 1;
        self.folder.put_config(&self.settings.yaml(self.number)).map_err(SubjectError::Files)
    }

    pub(super) fn complain(&self, began: Instant, expected: &str, got: impl Into<String>) {
        self.load.tally.failed(Kind::Operator, began, Mismatch::new(expected, got), &self.load.stage);
    }
}

/// Whether the status means that the binary does not know the operation.
fn is_unknown(status: u16) -> bool {
    matches!(status, 404 | 405)
}
