//! Reloads: a whole new snapshot, or nothing; and the way back to the config before.
//!
//! In this order: read, compile, run the config's tests, bind the new listeners, resolve the new names, probe the new
//! endpoints, and then one swap. Whatever fails before it leaves the config in force, and what was opened is closed.
//! What may hang is done apart from the control thread, and given up after a time.

mod beginning;
mod certificates;
pub mod confirm;
mod follow;
mod memory;
mod offload;
pub mod plan;
mod prepare;
mod remarks;
mod report;
mod retired;
mod state_dir;
mod watch;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::beginning::Beginning;
use self::certificates::{Certificates, News};
pub use self::follow::follow_successor;
use self::memory::Memory;
use self::offload::{FILE_LIMIT, Hung, Offload};
use self::report::Applied;
pub use self::report::By;
use self::retired::Retired;
use self::watch::{Seen, Watch};
use super::bind::BindError;
use super::entrance::{Change, Entrances};
use super::state::Shared;
use crate::admin::{ConfigChange, Outcome, Verdict};
use crate::changes::Changes;
use crate::config::{self, LoadError, Loaded, Report};
use crate::exchange;
use crate::pool::Pool;
use crate::snapshot::Snapshot;
use crate::telemetry::human;
use crate::telemetry::metrics::Reload;

/// What errors call the text of the config in force.
const IN_FORCE: &str = "the config in force";

/// What errors call the text of a config that was in force before.
const EARLIER: &str = "the earlier config";

/// How long a way back that hangs is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("there is no config file to reload: it was given on the command line")]
    NoFile,
    #[error("{0}")]
    Config(#[from] LoadError),
    #[error("a change of {} needs `evenkeel upgrade` or a restart", keys(.0))]
    NeedsUpgrade(Vec<String>),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(
        "the config in force waits for its confirmation: first `evenkeel confirm` it, or `evenkeel rollback`"
    )]
    Unconfirmed,
    #[error("there is no earlier config to go back to")]
    NothingEarlier,
    #[error(transparent)]
    Hung(#[from] Hung),
}

/// What is due by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    FileChanged,
    ConfirmationExpired,
    CertificatesChanged,
    CertificatesReminder,
}

/// Puts configs in force, one at a time.
pub struct Reloads {
    shared: Arc<Shared>,
    watch: Watch,
    certificates: Certificates,
    memory: Memory,
    retired: Retired,
    offload: Offload,
    /// While a confirmation is awaited: the text of the config to which it goes back without one.
    unconfirmed: Option<Arc<str>>,
    /// The config in force has been so since the start, for good, and is to be kept once the process serves.
    is_settled: bool,
}

/// A config that can be put in force: everything that can fail or take long has been done, and nothing has changed yet.
struct Prepared {
    snapshot: Arc<Snapshot>,
    sockets: Change,
    changes: Changes,
    warnings: String,
}

impl ReloadError {
    /// Whether the same may succeed later, although nobody has mended anything.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Hung(hung) if *hung != Hung::Panicked)
    }
}

impl From<ReloadError> for Outcome {
    fn from(error: ReloadError) -> Self {
        let verdict = match &error {
            ReloadError::Config(LoadError::Invalid(_)) => Verdict::InvalidConfig,
            _ => Verdict::Refused,
        };
        Self { verdict, text: format!("{error}\n") }
    }
}

impl Reloads {
    /// Must run within the runtime that will wait.
    pub fn start(shared: Arc<Shared>, beginning: Beginning) -> Self {
        let snapshot = shared.snapshot.load_full();
        let text = snapshot.config().text.clone();
        let watched = shared.file.clone().filter(|_| snapshot.config().server.watch);
        let certificates = Certificates::new(shared.snapshot.clone());
        let Beginning { memory, waits, instead_of, is_settled } = beginning;
        let watch = Watch::new(watched, instead_of.unwrap_or(text));
        let retired = Retired::new(shared.telemetry.metrics.clone());
        let offload = Offload::default();
        let unconfirmed = None;
        let mut reloads =
            Self { watch, certificates, memory, retired, offload, unconfirmed, is_settled, shared };
        if let Some((left, was)) = waits {
            reloads.awaits(was, left);
        }
        reloads
    }

    /// Keeps what the process has started with. Call this once it serves: whoever starts after one that never did goes by
    /// what was in force before.
    pub async fn started(&mut self) {
        if std::mem::take(&mut self.is_settled) {
            let is = self.shared.snapshot.load().config().text.clone();
            self.memory.started(is).await;
        }
    }

    /// Carries out what was asked for.
    pub async fn perform(&mut self, change: ConfigChange) -> Outcome {
        match change {
            ConfigChange::Reload { confirm } => self.reload(By::Command, confirm).await,
            ConfigChange::Confirm => self.confirm().await,
            ConfigChange::Rollback => self.rollback().await,
        }
    }

    /// Returns when there is something to do. May be dropped and called again.
    pub async fn due(&mut self) -> Due {
        let Self { shared, watch, certificates, retired, unconfirmed, .. } = self;
        let due = async {
            if unconfirmed.is_some() {
                shared.confirmation.expired().await;
                return Due::ConfirmationExpired;
            }
            tokio::select! {
                () = watch.changed() => Due::FileChanged,
                news = certificates.news() => match news {
                    News::Changed => Due::CertificatesChanged,
                    News::Reminder => Due::CertificatesReminder,
                }
            }
        };
        tokio::select! {
            due = due => due,
            never = retired.drop_unused() => match never {},
        }
    }

    pub async fn attend(&mut self, due: Due) {
        match due {
            Due::FileChanged => drop(self.reload(By::Watch, None).await),
            Due::CertificatesChanged => self.replace_certificates().await,
            Due::CertificatesReminder => self.remind_of_certificates(),
            Due::ConfirmationExpired => self.expire().await,
        }
    }

    /// Nobody has confirmed the config in time, and nobody may have done so by that, whatever becomes of the way back.
    async fn expire(&mut self) {
        let generation = self.shared.snapshot.load().generation();
        log::warn!(generation; "config not confirmed in time");
        let Err(error) = self.go_back(By::Expiry).await else { return };
        let may_pass = error.may_pass();
        self.refused(By::Expiry, error);
        if may_pass {
            self.shared.confirmation.await_for(RETRY);
        } else if let Some(was) = self.unconfirmed.clone() {
            // It is for a person to look at, and not tried again and again.
            self.settle();
            self.memory.rejects(was.clone()).await;
            self.memory.wants_back(was);
        }
    }

    /// Puts the config in force once more, with what its files say now; the config file is not looked at.
    async fn replace_certificates(&mut self) {
        let text = self.shared.snapshot.load().config().text.clone();
        match self.apply(&text, IN_FORCE).await {
            Ok(applied) => {
                applied.log(By::Certificates);
                self.shared.telemetry.metrics.count_reload(Reload::Done);
                self.remind_of_certificates();
            }
            Err(error) => {
                self.shared.telemetry.metrics.count_reload(Reload::Refused);
                let generation = self.shared.snapshot.load().generation();
                log::error!(generation, reason:% = error; "certificates not replaced, those in force stay");
            }
        }
    }

    /// Says which certificates are near their end, or beyond it, and which are not looked at.
    fn remind_of_certificates(&self) {
        let (snapshot, now) = (self.shared.snapshot.load(), SystemTime::now());
        for listener in snapshot.listeners() {
            for certificate in listener.tls.iter().flat_map(|tls| &tls.certificates) {
                if certificate.not_after <= now {
                    log::error!(listener = &*listener.name, certificate = certificate.name(); "certificate has expired");
                } else if let Some(days) = certificate.near_its_end(now) {
                    log::warn!(listener = &*listener.name, certificate = certificate.name(), days; "certificate expires soon");
                }
            }
        }
        for pool in snapshot.pools() {
            if pool.spec().tls.as_ref().is_some_and(|tls| !tls.settings.verify) {
                log::warn!(pool = &**pool.name(); "certificates of endpoints are not verified");
            }
        }
    }

    /// Reads the config file again and puts it in force: for good, or until the time to confirm it is over.
    pub async fn reload(&mut self, by: By, confirm: Option<Duration>) -> Outcome {
        let was = self.shared.snapshot.load().config().text.clone();
        let (text, name) = match self.read().await {
            Ok(read) => read,
            Err(error) => return self.refused(by, error),
        };
        // Before it is in force: nobody would know afterwards, if the process ended in between.
        let tried = match confirm {
            Some(limit) => Some((limit, self.memory.tries(was.clone(), Watch::text(&text), limit).await)),
            None => None,
        };
        let applied = match self.apply(&text, &name).await {
            Ok(applied) => applied,
            Err(error) => {
                if let Some((_, (_, earlier))) = tried {
                    self.memory.gives_up(was, earlier).await;
                }
                return self.refused(by, error);
            }
        };
        applied.log(by);
        self.remind_of_certificates();
        self.shared.telemetry.metrics.count_reload(Reload::Done);
        match tried {
            Some((limit, (is_kept, _))) => self.wait_for_confirmation(&applied, was, limit, is_kept),
            None => {
                let _in_the_log = self.remember(&was).await;
                Outcome::done(applied.text(""))
            }
        }
    }

    fn wait_for_confirmation(
        &mut self,
        applied: &Applied,
        was: Arc<str>,
        limit: Duration,
        is_kept: bool,
    ) -> Outcome {
        self.awaits(was, limit);
        let limit = human::long(limit);
        let text = applied.text(&format!(
            ", and waits for `evenkeel confirm`: without it, the config before comes back in {limit}"
        ));
        let only_here = "nothing is kept on the disk (`server.state`): a process that starts meanwhile would take the config for confirmed\n";
        Outcome::done(if is_kept { text } else { text + only_here })
    }

    /// The config in force waits for its confirmation.
    fn awaits(&mut self, was: Arc<str>, limit: Duration) {
        self.unconfirmed = Some(was);
        self.shared.confirmation.await_for(limit);
        let generation = self.shared.snapshot.load().generation();
        log::info!(generation, seconds = limit.as_secs_f64(); "config waits for its confirmation");
    }

    /// The config in force stays.
    pub async fn confirm(&mut self) -> Outcome {
        let Some(was) = self.unconfirmed.clone() else {
            return Outcome::refused("no config waits for its confirmation\n");
        };
        self.settle();
        let is_kept = self.remember(&was).await;
        let generation = self.shared.snapshot.load().generation();
        log::info!(generation; "config confirmed");
        let text = format!("generation {generation} is confirmed\n");
        let only_here = "that cannot be written to the disk (the log says why): a process that starts may go back all the same; mend it, and then `evenkeel reload`\n";
        Outcome::done(if is_kept || !self.memory.has_place() { text } else { text + only_here })
    }

    /// Puts the config in force again that was so before the last reload.
    pub async fn rollback(&mut self) -> Outcome {
        match self.go_back(By::Rollback).await {
            Ok(applied) => Outcome::done(applied.text("") + &self.file_differs().await),
            Err(error) => self.refused(By::Rollback, error),
        }
    }

    async fn go_back(&mut self, by: By) -> Result<Applied, ReloadError> {
        let waited = self.unconfirmed.clone();
        let earlier = waited.clone().or_else(|| self.memory.before()).ok_or(ReloadError::NothingEarlier)?;
        let applied = self.apply(&earlier, EARLIER).await?;
        applied.log(by);
        self.shared.telemetry.metrics.count_reload(Reload::RolledBack);
        // Before the disk is waited for: whoever sees the config in force must not be told that it waits.
        self.settle();
        match waited {
            Some(was) => self.memory.rejects(was).await,
            None => self.memory.went_back().await,
        }
        Ok(applied)
    }

    /// What the config file says, and what errors call it.
    async fn read(&mut self) -> Result<(String, String), ReloadError> {
        if self.unconfirmed.is_some() {
            return Err(ReloadError::Unconfirmed);
        }
        let file = self.shared.file.clone().ok_or(ReloadError::NoFile)?;
        let name = file.display().to_string();
        let read = self.offload.run(move || config::read(&file)).await?;
        self.watch.tried(Seen::of(&read));
        Ok((read?, name))
    }

    /// All of it, or nothing.
    async fn apply(&mut self, text: &str, name: &str) -> Result<Applied, ReloadError> {
        let shared = &self.shared;
        let previous = shared.snapshot.load_full();
        let (text, name) = (text.to_owned(), name.to_owned());
        let (entrances, was) = (shared.entrances.clone(), previous.clone());
        let prepared = self.offload.run(move || Prepared::new(&text, &name, &was, &entrances)).await??;
        let Prepared { snapshot, sockets, mut changes, warnings } = prepared;
        prepare::make_ready(&new_pools(&snapshot, &previous)).await;
        // Nothing fails from here on, and nothing waits.
        let generation = snapshot.generation();
        shared.events.set(&snapshot.config().log);
        sockets.retire(&previous);
        put_in_force(shared, &previous, &snapshot);
        shared.entrances.put(sockets);
        remarks::add(&mut changes, &previous, &snapshot);
        self.retired.add(previous);
        Ok(Applied { generation, changes, warnings })
    }

    fn refused(&self, by: By, error: ReloadError) -> Outcome {
        self.shared.telemetry.metrics.count_reload(Reload::Refused);
        let generation = self.shared.snapshot.load().generation();
        log::error!(generation, by = by.name(), reason:% = error; "reload refused, the config in force stays");
        error.into()
    }

    /// Nobody is waited for any more.
    fn settle(&mut self) {
        self.unconfirmed = None;
        self.shared.confirmation.end();
    }

    /// The config in force is so for good. Returns whether that is on the disk.
    async fn remember(&mut self, was: &Arc<str>) -> bool {
        let is = self.shared.snapshot.load().config().text.clone();
        self.memory.remember(was, &is).await
    }

    /// For whoever has gone back, and may expect that the file has, too.
    async fn file_differs(&mut self) -> String {
        let Some(file) = self.shared.file.clone() else { return String::new() };
        let is = Seen::Text(self.shared.snapshot.load().config().text.clone());
        let name = shown(&file);
        let read = move || Seen::of(&config::read(&file));
        match self.offload.run_within(FILE_LIMIT, FILE_LIMIT, read).await {
            Ok(seen) if seen == is => String::new(),
            Ok(_) => {
                format!("{name} says something else and is not touched: the next reload reads it again\n")
            }
            Err(hung) => format!("{name} may say something else: {hung}\n"),
        }
    }
}

impl Prepared {
    fn new(text: &str, name: &str, previous: &Snapshot, entrances: &Entrances) -> Result<Self, ReloadError> {
        let Loaded { config, warnings } =
            exchange::tested(config::compile_next(text, name, previous.config())?)?;
        let changes = Changes::between(previous.config(), &config);
        if !changes.upgrade.is_empty() {
            return Err(ReloadError::NeedsUpgrade(changes.upgrade));
        }
        let sockets = entrances.prepare(&config.listeners)?;
        let snapshot = Arc::new(Snapshot::build(config, Some(previous)));
        Ok(Self { snapshot, sockets, changes, warnings: written(&warnings) })
    }
}

/// The one swap: requests are decided by `snapshot` from here on, those that wait for an endpoint included. Nothing fails,
/// and nothing waits.
fn put_in_force(shared: &Shared, previous: &Snapshot, snapshot: &Arc<Snapshot>) {
    shared.supervisor.set_pools(snapshot.pools().iter().cloned());
    snapshot.limit_pools(shared.capacity.connections, shared.capacity.http2);
    shared.snapshot.store(snapshot.clone());
    previous.pools().iter().for_each(|pool| pool.ask_again());
    shared.telemetry.metrics.config_in_force(snapshot.generation(), SystemTime::now());
}

fn shown(file: &Path) -> String {
    human::safe(&file.display().to_string())
}

/// Those that are not the very same as before.
fn new_pools(snapshot: &Snapshot, previous: &Snapshot) -> Vec<Arc<Pool>> {
    let known: HashSet<_> = previous.pools().iter().map(Arc::as_ptr).collect();
    snapshot.pools().iter().filter(|pool| !known.contains(&Arc::as_ptr(pool))).cloned().collect()
}

/// `` `server.threads` and `admin.listen` ``
fn keys(keys: &[String]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
}

fn written(warnings: &Report) -> String {
    if warnings.is_empty() { String::new() } else { format!("{warnings}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody has to mend anything where a file system answers again: the way back is tried again until then.
    #[test]
    fn only_what_hangs_may_pass() {
        let hung = |hung| ReloadError::Hung(hung).may_pass();
        assert!(hung(Hung::Working(RETRY)));
        assert!(hung(Hung::Earlier(Box::new(Hung::Working(RETRY)))));
        assert!(!hung(Hung::Panicked));
        assert!(!ReloadError::NothingEarlier.may_pass());
    }
}
