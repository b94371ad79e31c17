//! After an upgrade, the draining process adopts the successor's routes and pools for requests that wait for an
//! endpoint.

use std::path::Path;
use std::sync::Arc;

use super::deferred_drop::DeferredDrop;
use super::offload::Offload;
use super::{InitialConfig, ReloadError, new_pools, put_in_force, warm_up};
use crate::config::{self, Config, Loaded};
use crate::exchange;
use crate::server::state::ServerState;
use crate::snapshot::Snapshot;

/// Puts the routes and pools of the successor's config in force if requests wait for an endpoint: the new config may
/// have an endpoint for them. The listeners stay unchanged, because they are the successor's now.
///
/// If this version cannot read the new config file, nothing changes. May not return: it drops the old snapshot once no
/// request uses it.
pub async fn adopt_successor_config(shared: Arc<ServerState>) {
    let previous = shared.snapshot.load_full();
    if !previous.is_waited_in() {
        return;
    }
    let mut deferred_drop = DeferredDrop::new(shared.telemetry.metrics.clone());
    match adopt(&shared, previous, &mut deferred_drop).await {
        Ok(generation) => log::info!(generation; "requests that wait are decided by the successor's config"),
        Err(error) => log::warn!(reason:% = error; "requests that wait stay with the config before"),
    }
    match deferred_drop.drop_unused().await {}
}

async fn adopt(
    shared: &ServerState,
    previous: Arc<Snapshot>,
    deferred_drop: &mut DeferredDrop,
) -> Result<u64, ReloadError> {
    let file = shared.file.clone().ok_or(ReloadError::NoFile)?;
    let mut offload = Offload::default();
    let read = file.clone();
    let of_the_file = offload.run(move || compiled(&read)).await??;
    // Chosen as the successor has chosen it.
    let (config, _) = InitialConfig::of(of_the_file, Some(&file)).await;
    let was = previous.clone();
    let snapshot = Arc::new(offload.run(move || built(config, &was)).await?);
    warm_up::warm_up(&new_pools(&snapshot, &previous)).await;
    put_in_force(shared, &previous, &snapshot);
    deferred_drop.add(previous);
    Ok(snapshot.generation())
}

/// Compiles the file as a starting process does.
fn compiled(file: &Path) -> Result<Config, ReloadError> {
    let text = config::read(file)?;
    let loaded = config::compile_text(&text, &file.display().to_string())?;
    let Loaded { config, .. } = exchange::run_config_tests(loaded)?;
    Ok(config)
}

fn built(mut config: Config, previous: &Snapshot) -> Snapshot {
    let Config { listeners, server, .. } = previous.config().clone();
    (config.listeners, config.server) = (listeners, server);
    Snapshot::build(config, Some(previous))
}
