//! Traffic of one route on a virtual clock: what its pool's balance policy, health checks, ejections, limits and retries
//! make of endpoints that are slow, fail or die.
//!
//! Requests are real [`Exchange`](crate::exchange::Exchange)s over a real snapshot, whose pools are probed and reviewed
//! as a process does it. Only the clients, the endpoints and the clock are made here. No socket is opened, and the same
//! scenario with the same seed gives the same report.

mod agenda;
mod checks;
mod endpoint;
mod faults;
mod random;
mod recorder;
pub mod report;
mod requests;
pub mod scenario;
mod simulation;
#[cfg(test)]
mod tests;
mod traffic;

use std::sync::Arc;

use crate::config::Config;
use crate::snapshot::Snapshot;
pub use report::Report;
pub use scenario::{Scenario, ScenarioError};
use simulation::Simulation;

/// As if the limit of client connections were out of reach.
const CONNECTIONS: usize = 1 << 20;

/// Runs a scenario with the endpoints that the config names by their addresses.
pub fn run(config: Config, scenario: &Scenario) -> Result<Report, ScenarioError> {
    let snapshot = Arc::new(Snapshot::build(config, None));
    snapshot.limit_pools(CONNECTIONS, CONNECTIONS);
    Ok(Simulation::new(snapshot, scenario)?.run())
}
