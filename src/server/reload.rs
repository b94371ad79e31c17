//! Reloads: a whole new snapshot, or nothing; and the way back to the config before.
//!
//! In this order: read, compile, run the config's tests, bind the new listeners, resolve the new names, probe the new
//! endpoints, and then one swap. Whatever fails before it leaves the config in force, and what was opened is closed.
//! What may hang is done apart from the control thread, and given up after a time.

mod applied;
mod certificate_watch;
mod config_history;
mod config_watch;
pub mod confirm_deadline;
mod deferred_drop;
mod initial_config;
mod offload;
mod pending_revert;
pub mod plan;
mod plan_notes;
mod state_dir;
mod successor_config;
mod warm_up;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use self::applied::Applied;
pub use self::applied::Trigger;
use self::certificate_watch::{CertificateEvent, CertificateWatch};
use self::config_history::{ConfigHistory, SaveResult};
use self::config_watch::{ConfigWatch, Seen};
use self::deferred_drop::DeferredDrop;
pub use self::initial_config::{InitialConfig, fallback_for_invalid};
use self::offload::{FILE_LIMIT, Hung, Offload};
use self::pending_revert::PendingRevert;
pub use self::successor_config::adopt_successor_config;
use super::bind::BindError;
use super::listen_socket::{ListenSockets, SocketChange};
use super::state::ServerState;
use crate::admin::{ConfigChange, OperationOutcome, Verdict};
use crate::config::{self, LoadError, Loaded, Report};
use crate::config_diff::ConfigDiff;
use crate::exchange;
use crate::pool::Pool;
use crate::snapshot::Snapshot;
use crate::telemetry::human;
use crate::telemetry::metrics::ReloadResult;

/// What errors call the text of the config in force.
const IN_FORCE: &str = "the config in force";

/// What errors call the text of a config that was in force before.
const EARLIER: &str = "the earlier config";

const UNCONFIRMED_NOT_SAVED: &str = "nothing is kept on the disk (`server.state`): a process that starts meanwhile would take the config for confirmed\n";

const NOT_SAVED: &str = "that cannot be written to the disk (the log says why): a process that starts may go back all the same; mend it, and then `evenkeel reload`\n";

const ROLLBACK_NOT_SAVED: &str = "that cannot be written to the disk (the log says why): a process that starts may have the config in force that was rolled back; mend it, or the config file\n";

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
    /// Nobody has confirmed the config in force: the one before is to come back.
    Revert,
    CertificatesChanged,
    CertificatesReminder,
}

/// Puts configs in force, one at a time.
pub struct Reloads {
    shared: Arc<ServerState>,
    config_watch: ConfigWatch,
    certificate_watch: CertificateWatch,
    history: ConfigHistory,
    deferred_drop: DeferredDrop,
    offload: Offload,
    /// The config in force has not been confirmed.
    pending_revert: Option<PendingRevert>,
}

/// A config that can be put in force: everything that can fail or take long has been done, and nothing has changed yet.
struct Prepared {
    snapshot: Arc<Snapshot>,
    sockets: SocketChange,
    diff: ConfigDiff,
    warnings: String,
}

impl From<ReloadError> for OperationOutcome {
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
    pub fn start(shared: Arc<ServerState>, initial_config: InitialConfig) -> Self {
        let snapshot = shared.snapshot.load_full();
        let text = snapshot.config().text.clone();
        let watched = shared.file.clone().filter(|_| snapshot.config().server.watch);
        let certificate_watch = CertificateWatch::new(shared.snapshot.clone());
        let InitialConfig { history, pending_revert, file_config, .. } = initial_config;
        let config_watch = ConfigWatch::new(watched, file_config.map_or(text, |file| file.text));
        let deferred_drop = DeferredDrop::new(shared.telemetry.metrics.clone());
        let offload = Offload::default();
        let reloads =
            Self { config_watch, certificate_watch, history, deferred_drop, offload, pending_revert, shared };
        if let Some(until) = reloads.pending_revert.as_ref().and_then(PendingRevert::waits_until) {
            reloads.await_confirmation(until.saturating_duration_since(Instant::now()));
        }
        reloads
    }

    /// Keeps what the process has started with. Call this once it serves: whoever starts after one that never did goes
    /// by what was in force before.
    pub async fn started(&mut self) {
        self.history.started().await;
    }

    /// Carries out what was asked for.
    pub async fn perform(&mut self, change: ConfigChange) -> OperationOutcome {
        match change {
            ConfigChange::Reload { confirm } => self.reload(Trigger::Command, confirm).await,
            ConfigChange::Confirm => self.confirm().await,
            ConfigChange::Rollback => self.rollback().await,
        }
    }

    /// Returns when there is something to do. May be dropped and called again.
    pub async fn due(&mut self) -> Due {
        let Self { config_watch, certificate_watch, deferred_drop, pending_revert, .. } = self;
        let may_reload = pending_revert.as_ref().is_none_or(|pending| pending.waits_until().is_none());
        let revert_due = async {
            match pending_revert {
                Some(pending_revert) => pending_revert.revert_due().await,
                None => std::future::pending().await,
            }
        };
        let due = async {
            tokio::select! {
                () = revert_due => Due::Revert,
                () = config_watch.changed(), if may_reload => Due::FileChanged,
                event = certificate_watch.next_event() => match event {
                    CertificateEvent::Changed => Due::CertificatesChanged,
                    CertificateEvent::Reminder => Due::CertificatesReminder,
                }
            }
        };
        tokio::select! {
            due = due => due,
            never = deferred_drop.drop_unused() => match never {},
        }
    }

    pub async fn attend(&mut self, due: Due) {
        match due {
            Due::FileChanged => drop(self.reload(Trigger::Watch, None).await),
            Due::CertificatesChanged => self.replace_certificates().await,
            Due::CertificatesReminder => self.remind_of_certificates(),
            Due::Revert => self.expire().await,
        }
    }

    /// Nobody has confirmed the config in time, and nobody may have done so by that, whatever becomes of the way back.
    async fn expire(&mut self) {
        let Some(pending_revert) = &mut self.pending_revert else { return };
        let revert_to = pending_revert.revert_to.clone();
        let refusal = pending_revert.attempt();
        if refusal.is_none() {
            let generation = self.shared.snapshot.load().generation();
            log::warn!(generation; "config not confirmed in time");
        }
        self.shared.confirm_deadline.end();
        let Err(error) = self.revert(Trigger::Expiry).await else { return };
        let reason = error.to_string();
        // It is tried again and again, and said once.
        if refusal.as_ref() != Some(&reason) {
            self.refused(Trigger::Expiry, error);
        }
        if let Some(pending_revert) = &mut self.pending_revert {
            pending_revert.refuse(reason);
        }
        if refusal.is_none() {
            self.history.record_expiry(revert_to).await;
        }
    }

    /// Puts the config in force once more, with what its files say now; the config file is not looked at.
    async fn replace_certificates(&mut self) {
        let text = self.shared.snapshot.load().config().text.clone();
        match self.prepare(&text, IN_FORCE).await {
            Ok(prepared) => {
                let applied = self.put_in_force(prepared);
                applied.log(Trigger::Certificates);
                self.shared.telemetry.metrics.count_reload(ReloadResult::Done);
                self.remind_of_certificates();
            }
            Err(error) => {
                self.shared.telemetry.metrics.count_reload(ReloadResult::Refused);
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
    pub async fn reload(&mut self, by: Trigger, confirm: Option<Duration>) -> OperationOutcome {
        match self.prepare_file().await {
            Ok((prepared, text)) => match confirm {
                Some(limit) => self.apply_unconfirmed(prepared, text, by, limit).await,
                None => self.apply_permanently(prepared, by).await,
            },
            Err(error) => self.refused(by, error),
        }
    }

    async fn apply_permanently(&mut self, prepared: Prepared, by: Trigger) -> OperationOutcome {
        let was = self.last_permanent();
        let applied = self.put_in_force(prepared);
        self.reloaded(&applied, by);
        self.cancel_revert();
        let kept = self.keep_permanent(&was).await;
        OperationOutcome::done(applied.text("") + unwritten(kept, NOT_SAVED))
    }

    async fn apply_unconfirmed(
        &mut self,
        prepared: Prepared,
        text: Arc<str>,
        by: Trigger,
        limit: Duration,
    ) -> OperationOutcome {
        let revert_to = self.last_permanent();
        let refusal = self.pending_revert.as_ref().and_then(|pending| pending.refusal().map(str::to_owned));
        // Before it is in force: nobody would know afterwards, if the process ended in between.
        let kept = self.history.record_unconfirmed(revert_to.clone(), text, limit).await;
        self.pending_revert = Some(PendingRevert::waiting(revert_to, limit));
        let applied = self.put_in_force(prepared);
        self.reloaded(&applied, by);
        self.await_confirmation(limit);
        let limit = human::long(limit);
        let mut text = applied.text(&format!(
            ", and waits for `evenkeel confirm`: without it, the config before comes back in {limit}"
        ));
        if let Some(refusal) = refusal {
            text += &format!("the config before could not come back until now: {refusal}\n");
        }
        if kept != SaveResult::Written {
            text += UNCONFIRMED_NOT_SAVED;
        }
        OperationOutcome::done(text)
    }

    fn reloaded(&self, applied: &Applied, by: Trigger) {
        applied.log(by);
        self.remind_of_certificates();
        self.shared.telemetry.metrics.count_reload(ReloadResult::Done);
    }

    /// Says that the config in force waits for its confirmation for so long.
    fn await_confirmation(&self, limit: Duration) {
        self.shared.confirm_deadline.await_for(limit);
        let generation = self.shared.snapshot.load().generation();
        log::info!(generation, seconds = limit.as_secs_f64(); "config waits for its confirmation");
    }

    /// The config in force stays.
    async fn confirm(&mut self) -> OperationOutcome {
        let Some(was) = self.pending_revert.take_if(|pending| pending.waits_until().is_some()) else {
            return OperationOutcome::refused("no config waits for its confirmation\n");
        };
        self.cancel_revert();
        let kept = self.keep_permanent(&was.revert_to).await;
        let generation = self.shared.snapshot.load().generation();
        log::info!(generation; "config confirmed");
        OperationOutcome::done(format!("generation {generation} is confirmed\n") + unwritten(kept, NOT_SAVED))
    }

    /// Puts the config in force again that was so before the last reload.
    async fn rollback(&mut self) -> OperationOutcome {
        match self.revert(Trigger::Rollback).await {
            Ok((applied, kept)) => {
                let text = applied.text("") + &self.file_differs().await;
                OperationOutcome::done(text + unwritten(kept, ROLLBACK_NOT_SAVED))
            }
            Err(error) => self.refused(Trigger::Rollback, error),
        }
    }

    async fn revert(&mut self, by: Trigger) -> Result<(Applied, SaveResult), ReloadError> {
        let revert_to = self.pending_revert.as_ref().map(|pending| pending.revert_to.clone());
        let earlier =
            revert_to.clone().or_else(|| self.history.before()).ok_or(ReloadError::NothingEarlier)?;
        let prepared = self.prepare(&earlier, EARLIER).await?;
        let applied = self.put_in_force(prepared);
        applied.log(by);
        self.shared.telemetry.metrics.count_reload(ReloadResult::RolledBack);
        // Before the disk is waited for: whoever sees the config in force must not be told that it waits.
        self.cancel_revert();
        let kept = match revert_to {
            Some(was) => self.history.record_expiry(was).await,
            None => self.history.record_rollback().await,
        };
        Ok((applied, kept))
    }

    /// What the config file says, ready to be put in force, and the text.
    async fn prepare_file(&mut self) -> Result<(Prepared, Arc<str>), ReloadError> {
        let (text, name) = self.read().await?;
        let prepared = self.prepare(&text, &name).await?;
        Ok((prepared, ConfigWatch::text(&text)))
    }

    /// What the config file says, and what errors call it.
    async fn read(&mut self) -> Result<(String, String), ReloadError> {
        if self.pending_revert.as_ref().is_some_and(|pending| pending.waits_until().is_some()) {
            return Err(ReloadError::Unconfirmed);
        }
        let file = self.shared.file.clone().ok_or(ReloadError::NoFile)?;
        let name = file.display().to_string();
        let read = self.offload.run(move || config::read(&file)).await?;
        self.config_watch.tried(Seen::of(&read));
        Ok((read?, name))
    }

    /// Everything that can fail or take long. Nothing has changed by that.
    async fn prepare(&mut self, text: &str, name: &str) -> Result<Prepared, ReloadError> {
        let previous = self.shared.snapshot.load_full();
        let (text, name) = (text.to_owned(), name.to_owned());
        let (listen_sockets, was) = (self.shared.listen_sockets.clone(), previous.clone());
        let prepared = self.offload.run(move || Prepared::new(&text, &name, &was, &listen_sockets)).await??;
        warm_up::warm_up(&new_pools(&prepared.snapshot, &previous)).await;
        Ok(prepared)
    }

    /// All of it. Nothing fails, and nothing waits.
    fn put_in_force(&mut self, prepared: Prepared) -> Applied {
        let Prepared { snapshot, sockets, mut diff, warnings } = prepared;
        let shared = &self.shared;
        let previous = shared.snapshot.load_full();
        let generation = snapshot.generation();
        shared.events.set(&snapshot.config().log);
        sockets.retire(&previous);
        put_in_force(shared, &previous, &snapshot);
        shared.listen_sockets.put(sockets);
        plan_notes::add(&mut diff, &previous, &snapshot);
        self.deferred_drop.add(previous);
        Applied { generation, diff, warnings }
    }

    fn refused(&self, by: Trigger, error: ReloadError) -> OperationOutcome {
        self.shared.telemetry.metrics.count_reload(ReloadResult::Refused);
        let generation = self.shared.snapshot.load().generation();
        log::error!(generation, by = by.name(), reason:% = error; "reload refused, the config in force stays");
        error.into()
    }

    /// Nobody is waited for any more, and nothing comes back.
    fn cancel_revert(&mut self) {
        self.pending_revert = None;
        self.shared.confirm_deadline.end();
    }

    /// The text of the config that was put in force for good last.
    fn last_permanent(&self) -> Arc<str> {
        match &self.pending_revert {
            Some(pending_revert) => pending_revert.revert_to.clone(),
            None => self.shared.snapshot.load().config().text.clone(),
        }
    }

    /// The config in force is so for good, in place of `was`.
    async fn keep_permanent(&mut self, was: &Arc<str>) -> SaveResult {
        let is = self.shared.snapshot.load().config().text.clone();
        self.history.keep_permanent(was, &is).await
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
    fn new(
        text: &str,
        name: &str,
        previous: &Snapshot,
        listen_sockets: &ListenSockets,
    ) -> Result<Self, ReloadError> {
        let Loaded { config, warnings } =
            exchange::run_config_tests(config::compile_next(text, name, previous.config())?)?;
        let diff = ConfigDiff::between(previous.config(), &config);
        if !diff.upgrade.is_empty() {
            return Err(ReloadError::NeedsUpgrade(diff.upgrade));
        }
        let sockets = listen_sockets.prepare(&config.listeners)?;
        let snapshot = Arc::new(Snapshot::build(config, Some(previous)));
        Ok(Self { snapshot, sockets, diff, warnings: written(&warnings) })
    }
}

/// The one swap: requests are decided by `snapshot` from here on, those that wait for an endpoint included. Nothing
/// fails, and nothing waits.
fn put_in_force(shared: &ServerState, previous: &Snapshot, snapshot: &Arc<Snapshot>) {
    shared.supervisor.set_pools(snapshot.pools().iter().cloned());
    snapshot.limit_pools(shared.capacity.connections, shared.capacity.http2);
    shared.snapshot.store(snapshot.clone());
    previous.pools().iter().for_each(|pool| pool.ask_again());
    shared.telemetry.metrics.config_in_force(snapshot.generation(), SystemTime::now());
}

/// What an answer says where something is to be kept, and is not.
fn unwritten(kept: SaveResult, text: &'static str) -> &'static str {
    if kept == SaveResult::Failed { text } else { "" }
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
