//! A reload: a whole new snapshot, or nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use super::bind::BindError;
use super::state::Shared;
use crate::admin::{Outcome, Verdict};
use crate::config::{self, Config};
use crate::exchange;
use crate::pool::Pool;
use crate::snapshot::Snapshot;

/// How long a reload waits for names that are new: it must not hang, nor keep a stop waiting, because a resolver does.
const NAMES_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("there is no config file to reload: it was given on the command line")]
    NoFile,
    #[error("{0}")]
    Config(#[from] config::LoadError),
    #[error("a change of `{0}` needs a restart")]
    NeedsRestart(&'static str),
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Reads the config file again and puts it in force; says in the log what came of it.
pub async fn reload(shared: &Shared) -> Result<u64, ReloadError> {
    let reloaded = try_reload(shared).await;
    match &reloaded {
        Ok(generation) => log::info!(generation:%; "config reloaded"),
        Err(error) => {
            shared.telemetry.metrics.reload_failed();
            let generation = shared.snapshot.load().generation();
            log::error!(generation, reason:% = error; "reload refused, the config in force stays");
        }
    }
    reloaded
}

impl From<ReloadError> for Outcome {
    fn from(error: ReloadError) -> Self {
        let verdict = match &error {
            ReloadError::Config(config::LoadError::Invalid(_)) => Verdict::InvalidConfig,
            _ => Verdict::Refused,
        };
        Self { verdict, text: format!("{error}\n") }
    }
}

async fn try_reload(shared: &Shared) -> Result<u64, ReloadError> {
    let file = shared.file.as_deref().ok_or(ReloadError::NoFile)?;
    let config = read(file)?;
    let previous = shared.snapshot.load_full();
    if let Some(key) = restart_only(previous.config(), &config) {
        return Err(ReloadError::NeedsRestart(key));
    }
    let sockets = shared.entrances.prepare(&config.listeners)?;
    shared.events.set(&config.log);
    let snapshot = Arc::new(Snapshot::build(config, Some(&previous)));
    resolve_names(&snapshot, &previous).await;
    let generation = snapshot.generation();
    shared.supervisor.set_pools(snapshot.pools().iter().cloned());
    sockets.retire(&previous);
    shared.snapshot.store(snapshot);
    shared.entrances.put(sockets);
    shared.telemetry.metrics.reload_succeeded(generation, SystemTime::now());
    Ok(generation)
}

/// A new pool whose endpoints are names has none until they are resolved.
async fn resolve_names(snapshot: &Snapshot, previous: &Snapshot) {
    let is_new = |pool: &&Arc<Pool>| !previous.pools().iter().any(|known| Arc::ptr_eq(known, pool));
    let mut lookups = JoinSet::new();
    for pool in snapshot.pools().iter().filter(is_new) {
        let pool = pool.clone();
        lookups.spawn(async move { pool.discover().await });
    }
    // What is left over is resolved by the supervisor, as at every start.
    let _ = tokio::time::timeout(NAMES_LIMIT, lookups.join_all()).await;
}

fn read(file: &Path) -> Result<Config, config::LoadError> {
    Ok(exchange::tested(config::load(file)?)?.config)
}

/// The first key whose change cannot be put in force by this process.
fn restart_only(old: &Config, new: &Config) -> Option<&'static str> {
    if old.server != new.server {
        Some("server")
    } else if old.admin != new.admin {
        Some("admin")
    } else if old.access_log != new.access_log {
        Some("access_log")
    } else {
        None
    }
}
