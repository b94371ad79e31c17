//! The result of a replay.

use std::collections::BTreeMap;

use serde::Serialize;

pub use super::fate::{Act, Fate};

#[derive(Debug, Serialize)]
pub struct Report {
    /// Lines that are not empty.
    pub lines: u64,
    /// The times of the first and the last request, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Requests of which the config would make the same.
    pub same: u64,
    pub different: u64,
    /// The most frequent first.
    pub groups: Vec<Group>,
    /// Requests that are different in yet other ways.
    #[serde(skip_serializing_if = "is_none")]
    pub other_groups: u64,
    /// Requests that could not be compared.
    pub not_judged: Vec<NotJudged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// Fields on which the decision about so many requests depends, and which the log has not: they were judged without.
    pub headers_absent: BTreeMap<String, u64>,
    /// Lines that do not tell the route that was taken.
    pub tells_no_decision: u64,
    /// Where the config would send the requests.
    pub destinations: Vec<Destination>,
}

/// Requests of which the same became, and of which the same would become.
#[derive(Debug, Serialize)]
pub struct Group {
    pub requests: u64,
    pub was: Fate,
    pub now: Fate,
    /// The endpoint would get another path.
    pub path: bool,
    /// They may be no difference: see [`Report::headers_absent`].
    pub unsure: bool,
    pub example: Example,
}

#[derive(Debug, Serialize)]
pub struct NotJudged {
    pub requests: u64,
    pub reason: &'static str,
    pub example: Example,
}

#[derive(Debug, Serialize)]
pub struct Unreadable {
    pub lines: u64,
    /// The number of the first one, and what is wrong with it.
    pub line: u64,
    pub reason: String,
}

#[derive(Debug, Serialize)]
pub struct Destination {
    pub route: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    pub requests: u64,
}

/// The first request of its kind.
#[derive(Debug, Serialize)]
pub struct Example {
    /// The number of its line, from 1.
    pub line: u64,
    pub request: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}
