//! Stop signals right after an upgrade and during one, when there is more than one process. Requests in flight must be
//! finished, and no process may be left; then the proxy is started again.

use std::time::Instant;

use nix::sys::signal::Signal;

use super::super::admin;
use super::super::folder::Binary;
use super::super::subject::SubjectError;
use super::{END_LIMIT, Operator, Outcome, PAUSE, UPGRADE_LIMIT};

/// When the signal comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While the successor serves and the old process finishes its requests.
    AfterTheUpgrade,
    /// At some time between the request for the upgrade and the end of the handover.
    DuringTheUpgrade,
}

/// Which processes get the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    All,
    /// The process from before the upgrade.
    Old,
}

/// The variants, one after the other.
const TURNS: [(Moment, Whom, Signal); 4] = [
    (Moment::AfterTheUpgrade, Whom::All, Signal::SIGTERM),
    (Moment::DuringTheUpgrade, Whom::Old, Signal::SIGTERM),
    (Moment::DuringTheUpgrade, Whom::All, Signal::SIGINT),
    (Moment::AfterTheUpgrade, Whom::Old, Signal::SIGINT),
];

/// The time of a signal during an upgrade, in percent of the time that the last upgrade took: so many more each time,
/// up to a little more than all of it.
const STEP_PERCENT: u64 = 19;
const MOST_PERCENT: u64 = 120;

impl Operator<'_> {
    pub(super) async fn signal(&mut self, number: u64) -> Result<Outcome, SubjectError> {
        let began = Instant::now();
        let turn = usize::try_from(number.saturating_sub(1)).unwrap_or_default() % TURNS.len();
        let Some((moment, whom, signal)) = TURNS.get(turn).copied() else { return Ok(Outcome::Done) };
        let old = self.subject.pid();
        match moment {
            Moment::AfterTheUpgrade => {
                let outcome = self.hand_over().await?;
                if outcome != Outcome::Done {
                    self.load.stage.going_away_ends();
                    return Ok(outcome);
                }
            }
            Moment::DuringTheUpgrade => self.begin_to_hand_over(number).await?,
        }
        self.load.stage.gap_begins();
        match whom {
            Whom::All => self.subject.signal_all(signal),
            Whom::Old => self.subject.signal(old, signal),
        }
        self.wait_for_clean_exit(old).await?;
        self.wait_for_all(whom, began).await?;
        self.start().await
    }

    /// Requests an upgrade without waiting for the response. The result shows in the processes that exist.
    async fn begin_to_hand_over(&mut self, number: u64) -> Result<(), SubjectError> {
        self.next_config()?;
        self.folder.put(Binary::Good).map_err(SubjectError::Files)?;
        self.load.stage.going_away_begins();
        admin::order_and_leave(self.folder, "/upgrade", UPGRADE_LIMIT);
        let percent = u32::try_from(number * STEP_PERCENT % MOST_PERCENT).unwrap_or_default();
        tokio::time::sleep(self.upgrade_took * percent / 100).await;
        Ok(())
    }

    /// Waits for the end of all processes; first stops a successor that did not get the signal and serves.
    async fn wait_for_all(&mut self, whom: Whom, began: Instant) -> Result<(), SubjectError> {
        let deadline = Instant::now() + END_LIMIT;
        while let Some(left) = self.subject.all().first().copied() {
            if Instant::now() > deadline {
                self.complain(began, "nobody after the signal", format!("process {left}"));
                break;
            }
            if whom == Whom::Old
                && let Ok(status) = admin::status(self.folder).await
            {
                self.subject.set_pid(status.pid);
                self.stop().await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
