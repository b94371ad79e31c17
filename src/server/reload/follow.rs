//! After an upgrade: requests that wait in the old process are decided by the config that its successor serves by.

use std::path::Path;
use std::sync::Arc;

use super::offload::Offload;
use super::{ReloadError, new_pools, prepare};
use crate::config::{self, Config, Loaded};
use crate::exchange;
use crate::server::state::Shared;
use crate::snapshot::Snapshot;

/// Puts the routes and pools of the config file in force, if requests wait for an endpoint: no new ones come, but an
/// endpoint that the successor knows may be theirs. Listeners stay as they are, because they are the successor's now.
///
/// A file that only the successor understands changes nothing.
pub async fn follow_successor(shared: Arc<Shared>) {
    let previous = shared.snapshot.load_full();
    if !previous.pools().iter().any(|pool| pool.is_waited_for()) {
        return;
    }
    match adopt(&shared, previous).await {
        Ok(generation) => log::info!(generation; "requests that wait are decided by the successor's config"),
        Err(error) => log::warn!(reason:% = error; "requests that wait stay with the config before"),
    }
}

async fn adopt(shared: &Shared, previous: Arc<Snapshot>) -> Result<u64, ReloadError> {
    let file = shared.file.clone().ok_or(ReloadError::NoFile)?;
    let was = previous.clone();
    let snapshot = Arc::new(Offload::default().run(move || build(&file, &was)).await??);
    prepare::make_ready(&new_pools(&snapshot, &previous)).await;
    shared.supervisor.set_pools(snapshot.pools().iter().cloned());
    shared.snapshot.store(snapshot.clone());
    previous.pools().iter().for_each(|pool| pool.ask_again());
    Ok(snapshot.generation())
}

fn build(file: &Path, previous: &Snapshot) -> Result<Snapshot, ReloadError> {
    let text = config::read(file)?;
    let loaded = config::compile_text(&text, &file.display().to_string())?;
    let Loaded { mut config, .. } = exchange::tested(loaded)?;
    let Config { listeners, server, .. } = previous.config().clone();
    (config.listeners, config.server) = (listeners, server);
    Ok(Snapshot::build(config, Some(previous)))
}
