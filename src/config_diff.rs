//! The difference between two configs, for `evenkeel plan`, for the answer to a reload, and for its log line.
//!
//! The comparison knows the two configs and nothing of the running process. What the process adds (requests in flight,
//! probes) is a note at the item it belongs to.

mod compare;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The difference between two configs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDiff {
    pub listeners: SetDiff,
    pub routes: SetDiff,
    pub pools: SetDiff,
    pub endpoints: SetDiff,
    /// The routes that are in both are in another order.
    pub reordered: bool,
    /// `log` has changed.
    pub log: bool,
    /// `access_log` has changed.
    #[serde(default)]
    pub access_log: bool,
    /// The changed keys that need a new process.
    pub upgrade: Vec<String>,
}

/// The difference between two sets of listeners, routes, pools or endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDiff {
    pub added: Vec<DiffItem>,
    pub removed: Vec<DiffItem>,
    pub changed: Vec<DiffItem>,
    /// The number of unchanged ones.
    pub kept: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffItem {
    /// A name, or an endpoint's address as the config has it.
    pub name: String,
    /// The name of an endpoint's pool; `None` for anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The changed keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Further facts, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a reload with a config would change in the running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The generation in force, with which the config is compared.
    pub generation: u64,
    #[serde(flatten)]
    pub diff: ConfigDiff,
    /// The warnings that `evenkeel check` prints; empty if there are none.
    pub warnings: String,
}

impl ConfigDiff {
    pub fn between(old: &Config, new: &Config) -> ConfigDiff {
        compare::between(old, new)
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        let same = [&self.listeners, &self.routes, &self.pools, &self.endpoints]
            .into_iter()
            .all(|difference| difference.is_empty());
        same && !self.reordered && !self.log && !self.access_log && self.upgrade.is_empty()
    }

    /// Lines for people: counts, and the first items of each kind.
    pub fn text(&self) -> String {
        text::of(self)
    }
}

impl Plan {
    /// Lines for people.
    pub fn text(&self) -> String {
        let Self { generation, diff, warnings } = self;
        let what = match diff.is_empty() {
            true => format!("nothing would change in generation {generation}"),
            false => format!("what would change in generation {generation}:"),
        };
        format!("{what}\n{}{warnings}", diff.text())
    }
}

impl SetDiff {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl DiffItem {
    /// Adds to the note.
    pub fn add_note(&mut self, added: &str) {
        let note = self.note.get_or_insert_default();
        let gap = if note.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(note, "{gap}{added}");
    }
}
