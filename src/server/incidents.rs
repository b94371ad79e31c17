//! Incidents: measures what happens each second, and has the flight recorder written when something goes wrong, or when
//! somebody asks for it.

mod trigger;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::reload::offload::Offload;
use super::reload::state_dir::{StateDirs, StateFiles};
use super::state::ServerState;
use crate::admin::incident::{IncidentHead, IncidentStatus};
use crate::admin::{OperationOutcome, Process};
use crate::human::unix_seconds;
use crate::lifecycle::Phase;
use crate::snapshot::Snapshot;
use crate::telemetry::flight_recorder::{PoolSecond, SPAN, Second};
use crate::telemetry::metrics::request_balance::RequestBalance;
use trigger::{Counts, Trigger};

const SECOND: Duration = Duration::from_secs(1);

/// The most pools of which something is said each second.
const POOLS_MAX: usize = 16;

#[derive(Default)]
pub struct Incidents {
    last: Mutex<Option<IncidentStatus>>,
    writing: tokio::sync::Mutex<Offload>,
}

/// What has been counted up to one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    balance: RequestBalance,
    failed: u64,
}

/// Why an incident was not written.
const NO_FILE: &str = "this process runs without a config file, and so has no state directory";
const NO_STATE: &str = "the config says `server: { state: off }`";

/// Measures each second, for ever.
pub async fn watch(shared: Arc<ServerState>) {
    let (mut trigger, mut before) = (Trigger::default(), counted(&shared));
    let mut seconds = tokio::time::interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let now = counted(&shared);
        let snapshot = shared.snapshot.load_full();
        let measured = second(before, now, &snapshot);
        before = now;
        shared.telemetry.recorder.second(&measured, SystemTime::now());
        let counts = Counts { ended: measured.ended, failed: measured.failed };
        let pools = snapshot.pools().iter().map(|pool| (&**pool.name(), pool.has_available()));
        let reason = trigger.second(counts, pools, Instant::now());
        if let Some(reason) = reason.filter(|_| shared.lifecycle.phase() == Phase::Ready) {
            let shared = shared.clone();
            tokio::spawn(async move { drop(shared.write_incident(&reason).await) });
        }
    }
}

fn counted(shared: &ServerState) -> Counted {
    let listeners = shared.listen_sockets.list().into_iter();
    let balances = listeners.map(|(state, _)| state.counters.balance());
    Counted {
        balance: balances.fold(RequestBalance::default(), |sum, balance| sum + balance),
        failed: shared.telemetry.recorder.failed(),
    }
}

fn second(before: Counted, now: Counted, snapshot: &Snapshot) -> Second {
    let mut pools: Vec<PoolSecond> = (snapshot.pools().iter())
        .map(|pool| PoolSecond {
            name: pool.name().to_string(),
            available: pool.has_available(),
            in_flight: pool.in_flight_limit().in_flight(),
            waiting: pool.queue().len() as u64,
        })
        .filter(|pool| !pool.available || pool.in_flight + pool.waiting > 0)
        .collect();
    pools.sort_by_key(|pool| (pool.available, std::cmp::Reverse((pool.waiting, pool.in_flight))));
    pools.truncate(POOLS_MAX);
    // A listener that a reload has removed takes its counts along.
    let since = |count: fn(RequestBalance) -> u64| count(now.balance).saturating_sub(count(before.balance));
    Second {
        ended: since(|balance| balance.ended()),
        failed: now.failed.saturating_sub(before.failed),
        client_gone: since(|balance| balance.client_gone),
        in_flight: now.balance.in_flight,
        pools,
    }
}

impl ServerState {
    /// The last minute, as the lines of an incident's file.
    pub fn incident_lines(&self, reason: &str) -> Vec<u8> {
        let now = SystemTime::now();
        let (timeline, lost) = self.telemetry.recorder.timeline(now);
        let head = IncidentHead {
            at: unix_seconds(now),
            reason: reason.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            generation: self.snapshot.load().generation(),
            file: self.file().map(|file| file.display().to_string()),
            span_seconds: SPAN.as_secs(),
            lost,
        };
        // A head has nothing that cannot be written.
        let mut lines = serde_json::to_vec(&head).unwrap_or_default();
        lines.push(b'\n');
        lines.extend(timeline);
        lines
    }

    /// Writes the last minute to the state directory.
    pub async fn write_incident(&self, reason: &str) -> Result<PathBuf, String> {
        let mut writing = self.incidents.writing.lock().await;
        let (lines, at) = (self.incident_lines(reason), SystemTime::now());
        let opening = self.state_files();
        let write = move || opening()?.write_incident(&name(at), &lines).map_err(|error| error.to_string());
        let written = writing.run(write).await.map_err(|hung| hung.to_string()).and_then(|written| written);
        match &written {
            Ok(path) => {
                log::warn!(reason, path:% = path.display(); "incident written");
                let path = path.display().to_string();
                *self.incidents.last.lock() =
                    Some(IncidentStatus { at: unix_seconds(at), reason: reason.to_owned(), path });
            }
            Err(why) => log::warn!(incident = reason, reason = &**why; "incident not written"),
        }
        written
    }

    /// Carries out `evenkeel incident`.
    pub async fn ask_incident(&self, by: &str) -> OperationOutcome {
        match self.write_incident(&format!("asked for by {by}")).await {
            Ok(path) => OperationOutcome::done(format!("{}\n", path.display())),
            Err(why) => OperationOutcome::refused(format!(
                "not written: {why}; `evenkeel incident show now` shows the last minute all the same\n"
            )),
        }
    }

    pub fn last_incident(&self) -> Option<IncidentStatus> {
        self.incidents.last.lock().clone()
    }

    /// The incidents in the state directory, the newest first; waits for the disk.
    pub fn list_incidents(&self) -> Result<Vec<IncidentStatus>, String> {
        let files = self.state_files()()?.incidents();
        Ok(files.iter().rev().map(|path| incident_status(path)).collect())
    }

    /// The lines of an incident; waits for the disk. `name`: that of its file, `now` for the last minute, or "" for the
    /// newest.
    pub fn read_incident(&self, name: &str) -> Result<String, String> {
        if name == "now" {
            return Ok(String::from_utf8_lossy(&self.incident_lines("the last minute")).into_owned());
        }
        let files = self.state_files()()?.incidents();
        let is_named = |path: &&PathBuf| name.is_empty() || path.file_name().is_some_and(|file| file == name);
        let path = files.iter().rev().find(is_named).ok_or_else(|| match name {
            "" => "there is no incident yet".to_owned(),
            name => format!("there is no incident {name}: see `evenkeel incident list`"),
        })?;
        StateFiles::read_incident(path).map_err(|error| error.to_string())
    }

    /// Finds the state directory of the config in force. What is returned waits for the disk.
    fn state_files(&self) -> impl FnOnce() -> Result<StateFiles, String> + Send + use<> {
        let setting = self.snapshot.load().config().server.state.clone();
        let file = self.file.clone();
        move || {
            let file = file.ok_or_else(|| NO_FILE.to_owned())?;
            let files = StateFiles::open(&setting, &file, &StateDirs::of_process());
            files.map_err(|error| error.to_string())?.ok_or_else(|| NO_STATE.to_owned())
        }
    }
}

/// What the head of an incident's file says.
fn incident_status(path: &Path) -> IncidentStatus {
    let text = StateFiles::read_incident(path).unwrap_or_default();
    let head = text.lines().next().and_then(|head| serde_json::from_str::<IncidentHead>(head).ok());
    let (at, reason) = head.map_or((0.0, "it cannot be read".to_owned()), |head| (head.at, head.reason));
    IncidentStatus { at, reason, path: path.display().to_string() }
}

/// `20261201T094000.123Z`: sorted as text, names are in order of time.
fn name(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{}.{:03}Z", at.strftime("%Y%m%dT%H%M%S"), at.subsec_millisecond())
}
