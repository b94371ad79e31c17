//! Reloads, confirmed or rolled back: a whole new snapshot is put in force, or nothing.
//!
//! The steps: read, compile, run the config's tests, bind the new listeners, resolve the new names, probe the new
//! endpoints, and then one swap. A failure before the swap leaves the config in force and closes what was opened. Steps
//! that may hang run off the control thread, with a time limit.
//!
//! A config is permanent, or unconfirmed (`evenkeel reload --confirm`): then the last permanent config comes back
//! unless the new one is confirmed in time.

mod applied;
mod certificate_watch;
mod config_history;
mod config_watch;
pub mod confirm_deadline;
mod deferred_drop;
mod initial_config;
pub mod offload;
mod pending_revert;
pub mod plan;
mod plan_notes;
pub mod state_dir;
mod successor_config;
mod warm_up;

use std::collections::HashSet;
use std::io;
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
use super::series;
use super::state::ServerState;
use crate::admin::{ConfigChange, OperationOutcome, Verdict};
use crate::config::{self, LoadError, Loaded, Report};
use crate::config_diff::ConfigDiff;
use crate::exchange;
use crate::human;
use crate::pool::Pool;
use crate::snapshot::Snapshot;
use crate::telemetry::access::{self, AccessLog};
use crate::telemetry::metrics::ReloadResult;

/// The name in error messages of the text of the config in force.
const IN_FORCE: &str = "the config in force";

/// The name in error messages of the text of an earlier config.
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
    #[error("the access log cannot be written: {0}")]
    AccessLog(io::Error),
    #[error(
        "the config in force waits for its confirmation: first `evenkeel confirm` it, or `evenkeel rollback`"
    )]
    Unconfirmed,
    #[error("there is no earlier config to go back to")]
    NothingEarlier,
    #[error(transparent)]
    Hung(#[from] Hung),
}

/// Work that becomes due without a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    FileChanged,
    /// The config in force was not confirmed in time: revert to the last permanent one.
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
    /// `Some`: the config in force is unconfirmed.
    pending_revert: Option<PendingRevert>,
}

/// A config ready to be put in force: everything that can fail or take long has been done, and nothing has changed yet.
struct Prepared {
    snapshot: Arc<Snapshot>,
    sockets: SocketChange,
    /// `None`: it stays as it is.
    access_log: Option<access::NextLog>,
    diff: ConfigDiff,
    warnings: String,
}

impl From<ReloadError> for OperationOutcome {
    fn from(error: ReloadError) -> Self {
        let verdict = match &error {
            ReloadError::Config(error) if error.is_invalid() => Verdict::InvalidConfig,
            _ => Verdict::Refused,
        };
        Self { verdict, text: format!("{error}\n") }
    }
}

impl Reloads {
    /// Call this within the runtime that will wait for timers.
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

    /// Saves the config that the process has started with. Call this once it serves: the start after one that never
    /// served must find what was in force before.
    pub async fn started(&mut self) {
        self.history.started().await;
    }

    /// Carries out a change that was asked for on the admin address.
    pub async fn perform(&mut self, change: ConfigChange) -> OperationOutcome {
        match change {
            ConfigChange::Reload { confirm } => self.reload(Trigger::Command, confirm).await,
            ConfigChange::Confirm => self.confirm().await,
            ConfigChange::Rollback => self.rollback().await,
        }
    }

    /// Returns when work is due. Cancel safe.
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

    /// The time to confirm is over: reverts to the last permanent config. Even if the revert fails, the config in force
    /// can not be confirmed any more.
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
        // The revert is retried again and again; the same reason is logged once.
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

    /// Puts the config in force once more, with the certificates as they are now. The config file is not read.
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

    /// Logs which certificates have expired or expire soon, and which pools do not verify certificates.
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
            if pool.config().tls.as_ref().is_some_and(|tls| !tls.settings.verify) {
                log::warn!(pool = &**pool.name(); "certificates of endpoints are not verified");
            }
        }
    }

    /// Reads the config file and puts it in force: permanently, or unconfirmed if `confirm` has a limit.
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
        // Saved before the swap: if the process ended in between, the next one would take the config for confirmed.
        let kept = self.history.record_unconfirmed(revert_to.clone(), text, limit).await;
        self.pending_revert = Some(PendingRevert::waiting(revert_to, limit));
        let applied = self.put_in_force(prepared);
        self.reloaded(&applied, by);
        self.await_confirmation(limit);
        let limit = human::coarse_duration(limit);
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

    /// Publishes the deadline of the confirmation, and logs it.
    fn await_confirmation(&self, limit: Duration) {
        self.shared.confirm_deadline.await_for(limit);
        let generation = self.shared.snapshot.load().generation();
        log::info!(generation, seconds = limit.as_secs_f64(); "config waits for its confirmation");
    }

    /// Makes the unconfirmed config permanent.
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

    /// Puts the previous config in force again.
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
        // Before the wait for the disk: the status must not show a deadline for the config that is in force now.
        self.cancel_revert();
        let kept = match revert_to {
            Some(was) => self.history.record_expiry(was).await,
            None => self.history.record_rollback().await,
        };
        Ok((applied, kept))
    }

    /// Prepares the config file; returns its text, too.
    async fn prepare_file(&mut self) -> Result<(Prepared, Arc<str>), ReloadError> {
        let (text, name) = self.read().await?;
        let prepared = self.prepare(&text, &name).await?;
        Ok((prepared, ConfigWatch::text(&text)))
    }

    /// Reads the config file; returns its text, and its name for error messages.
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

    /// Does everything that can fail or take long, without changing anything.
    async fn prepare(&mut self, text: &str, name: &str) -> Result<Prepared, ReloadError> {
        let previous = self.shared.snapshot.load_full();
        let (text, name) = (text.to_owned(), name.to_owned());
        let (listen_sockets, was) = (self.shared.listen_sockets.clone(), previous.clone());
        let prepared = self.offload.run(move || Prepared::new(&text, &name, &was, &listen_sockets)).await??;
        warm_up::warm_up(&new_pools(&prepared.snapshot, &previous)).await;
        Ok(prepared)
    }

    /// Puts the prepared config in force: snapshot, sockets, log levels. Nothing here fails or waits.
    fn put_in_force(&mut self, prepared: Prepared) -> Applied {
        let Prepared { snapshot, sockets, access_log, mut diff, warnings } = prepared;
        let shared = &self.shared;
        let previous = shared.snapshot.load_full();
        let generation = snapshot.generation();
        shared.events.set(&snapshot.config().log);
        if let Some(next) = access_log {
            shared.telemetry.access_log.replace(next);
        }
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

    /// Drops the pending revert and its deadline.
    fn cancel_revert(&mut self) {
        self.pending_revert = None;
        self.shared.confirm_deadline.end();
    }

    /// The text of the last permanent config.
    fn last_permanent(&self) -> Arc<str> {
        match &self.pending_revert {
            Some(pending_revert) => pending_revert.revert_to.clone(),
            None => self.shared.snapshot.load().config().text.clone(),
        }
    }

    /// Saves the config in force as the permanent one, in place of `was`.
    async fn keep_permanent(&mut self, was: &Arc<str>) -> SaveResult {
        let is = self.shared.snapshot.load().config().text.clone();
        self.history.keep_permanent(was, &is).await
    }

    /// A note for a rollback if the config file differs from the config in force: the file is not rolled back.
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
        let access_log = diff.access_log.then(|| AccessLog::open(&config.access_log, config.server.threads));
        let access_log = access_log.transpose().map_err(ReloadError::AccessLog)?;
        let snapshot = Arc::new(Snapshot::build(config, Some(previous)));
        Ok(Self { snapshot, sockets, access_log, diff, warnings: written(&warnings) })
    }
}

/// The swap: from here on requests are decided by `snapshot`, including those that wait for an endpoint. Nothing here
/// fails or waits.
fn put_in_force(shared: &ServerState, previous: &Snapshot, snapshot: &Arc<Snapshot>) {
    shared.supervisor.set_pools(snapshot.pools().iter().cloned());
    snapshot.limit_pools(shared.capacity.connections, shared.capacity.http2);
    shared.snapshot.store(snapshot.clone());
    previous.ask_again();
    shared.telemetry.metrics.config_in_force(snapshot.generation(), SystemTime::now());
    series::begin(&shared.telemetry.metrics, snapshot);
}

/// `text` if the save has failed, else nothing.
fn unwritten(kept: SaveResult, text: &'static str) -> &'static str {
    if kept == SaveResult::Failed { text } else { "" }
}

fn shown(file: &Path) -> String {
    human::safe(&file.display().to_string())
}

/// The pools of `snapshot` that are not taken over unchanged from `previous`.
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
