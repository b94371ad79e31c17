//! Reports a config that has come into force: as a log line, and as text for the command that asked for it.

use crate::config_diff::ConfigDiff;

/// What triggered a change of the config in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    Signal,
    Command,
    Watch,
    /// Certificate files have changed.
    Certificates,
    Rollback,
    /// The unconfirmed config was not confirmed in time.
    Expiry,
}

/// A config that has come into force.
pub struct Applied {
    pub generation: u64,
    pub diff: ConfigDiff,
    /// The warnings of the config itself.
    pub warnings: String,
}

impl Trigger {
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Command => "command",
            Self::Watch => "watch",
            Self::Certificates => "certificates",
            Self::Rollback => "rollback",
            Self::Expiry => "expiry",
        }
    }
}

impl Applied {
    pub fn log(&self, by: Trigger) {
        let ConfigDiff { listeners, routes, pools, endpoints, .. } = &self.diff;
        log::info!(
            generation = self.generation,
            by = by.name(),
            endpoints_kept = endpoints.kept,
            endpoints_added = endpoints.added.len(),
            endpoints_changed = endpoints.changed.len(),
            endpoints_removed = endpoints.removed.len(),
            pools_kept = pools.kept,
            pools_added = pools.added.len(),
            pools_changed = pools.changed.len(),
            pools_removed = pools.removed.len(),
            routes_kept = routes.kept,
            routes_added = routes.added.len(),
            routes_changed = routes.changed.len(),
            routes_removed = routes.removed.len(),
            listeners_kept = listeners.kept,
            listeners_added = listeners.added.len(),
            listeners_changed = listeners.changed.len(),
            listeners_removed = listeners.removed.len();
            "config reloaded"
        );
    }

    /// The text for people. `condition` is appended to "generation N is in force".
    pub fn text(&self, condition: &str) -> String {
        let Self { generation, diff, warnings } = self;
        let same = if diff.is_empty() { "nothing has changed\n" } else { "" };
        format!("generation {generation} is in force{condition}\n{same}{}{warnings}", diff.text())
    }
}
