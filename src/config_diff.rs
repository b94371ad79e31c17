//! What one config changes of another: one comparison for `evenkeel plan`, for what a reload answers, and for its log
//! line.
//!
//! It knows both configs and nothing of the running process; what that adds (requests in flight, probes) is a note
//! beside the item it belongs to.

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
    /// Routes that both have stand in another order.
    pub reordered: bool,
    /// `log` has changed.
    pub log: bool,
    /// Keys that only a new process can change.
    pub upgrade: Vec<String>,
}

/// Of one kind of thing: what came, what went, and what is another one now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDiff {
    pub added: Vec<DiffItem>,
    pub removed: Vec<DiffItem>,
    pub changed: Vec<DiffItem>,
    /// How many are as they were.
    pub kept: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffItem {
    /// A name, or an endpoint's address as the config has it.
    pub name: String,
    /// Of an endpoint: the name of its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Which keys have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What else is to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a config would do to the process that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The generation in force, to which it is compared.
    pub generation: u64,
    #[serde(flatten)]
    pub diff: ConfigDiff,
    /// What `evenkeel check` would say besides; empty if nothing.
    pub warnings: String,
}

impl ConfigDiff {
    pub fn between(old: &Config, new: &Config) -> ConfigDiff {
        compare::between(old, new)
    }

    /// Nobody could tell the two apart.
    pub fn is_empty(&self) -> bool {
        let same = [&self.listeners, &self.routes, &self.pools, &self.endpoints]
            .into_iter()
            .all(|difference| difference.is_empty());
        same && !self.reordered && !self.log && self.upgrade.is_empty()
    }

    /// Counts and, where they are few, names: some lines for people.
    pub fn text(&self) -> String {
        text::of(self)
    }
}

impl Plan {
    /// For people.
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
    /// Adds a note to those that are there.
    pub fn add_note(&mut self, added: &str) {
        let note = self.note.get_or_insert_default();
        let gap = if note.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(note, "{gap}{added}");
    }
}
