//! `evenkeel plan`: compares a config with the one in force, without changing anything.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::offload::Offload;
use super::{ReloadError, plan_notes, written};
use crate::admin::OperationOutcome;
use crate::config::{self, Loaded};
use crate::config_diff::{ConfigDiff, Plan};
use crate::exchange;
use crate::snapshot::Snapshot;

/// Plans wait for each other, not for reloads, and nothing else waits for them.
#[derive(Default)]
pub struct Planner(Mutex<Offload>);

impl Planner {
    /// `name`: the name of the text in error messages.
    pub async fn plan(&self, in_force: Arc<Snapshot>, text: String, name: String) -> OperationOutcome {
        let mut offload = self.0.lock().await;
        match planned(&mut offload, in_force, text, name).await {
            Ok(plan) => match serde_json::to_string(&plan) {
                Ok(json) => OperationOutcome::done(json),
                Err(error) => OperationOutcome::refused(format!("{error}\n")),
            },
            Err(error) => error.into(),
        }
    }
}

async fn planned(
    offload: &mut Offload,
    in_force: Arc<Snapshot>,
    text: String,
    name: String,
) -> Result<Plan, ReloadError> {
    let was = in_force.clone();
    let compiled = move || -> Result<_, ReloadError> {
        let Loaded { config, warnings } =
            exchange::run_config_tests(config::compile_next(&text, &name, was.config())?)?;
        let diff = ConfigDiff::between(was.config(), &config);
        Ok((diff, Snapshot::build(config, None), written(&warnings)))
    };
    let (mut diff, next, warnings) = offload.run(compiled).await??;
    plan_notes::try_arrivals(&mut diff, &next).await;
    plan_notes::add_departures(&mut diff, &in_force);
    Ok(Plan { generation: in_force.generation(), diff, warnings })
}
