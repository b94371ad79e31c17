//! The diff as text for people: a line of counts for each kind of item, then the items.

use std::fmt::Write;

use super::{ConfigDiff, DiffItem, SetDiff};
use crate::human;

/// How many added, changed or removed items of one kind are shown; the rest is counted.
const ITEMS_MAX: usize = 12;

pub(super) fn of(diff: &ConfigDiff) -> String {
    let mut out = String::new();
    set_diff(&mut out, "listeners", &diff.listeners);
    set_diff(&mut out, "routes", &diff.routes);
    set_diff(&mut out, "pools", &diff.pools);
    set_diff(&mut out, "endpoints", &diff.endpoints);
    if diff.reordered {
        out.push_str("the routes stand in another order\n");
    }
    if diff.log {
        out.push_str("log: changed\n");
    }
    if diff.access_log {
        out.push_str("access_log: changed\n");
    }
    for key in &diff.upgrade {
        let _ = writeln!(out, "{}: needs `evenkeel upgrade` or a restart", human::safe(key));
    }
    out
}

fn set_diff(out: &mut String, what: &str, difference: &SetDiff) {
    let SetDiff { added, removed, changed, kept } = difference;
    let counts =
        [(added.len(), "added"), (changed.len(), "changed"), (removed.len(), "removed"), (*kept, "kept")];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if counts.is_empty() {
        return;
    }
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{what}: {}", counts.join(", "));
    for (mark, items) in [('+', added), ('~', changed), ('-', removed)] {
        for item in items.iter().take(ITEMS_MAX) {
            let _ = writeln!(out, "  {mark} {}", line(item));
        }
        if items.len() > ITEMS_MAX {
            let _ = writeln!(out, "  {mark} and {} more", items.len() - ITEMS_MAX);
        }
    }
}

/// `10.0.0.1:3000 of api, drains: 3 requests`
fn line(item: &DiffItem) -> String {
    let mut line = human::safe(&item.name);
    if let Some(pool) = &item.pool {
        let _ = write!(line, " of {}", human::safe(pool));
    }
    if !item.keys.is_empty() {
        let _ = write!(line, ": {}", item.keys.join(", "));
    }
    if let Some(note) = &item.note {
        let _ = write!(line, ", {}", human::safe(note));
    }
    line
}
