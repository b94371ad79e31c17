//! What is written for people and their tools: access log records, the event log, metrics. Fed from above.

pub mod access;
pub mod events;
pub mod human;
pub mod metrics;
pub mod record;
pub mod writer;

mod escape;
mod json;
mod time;

/// `NO_COLOR`, set to anything, turns colours off everywhere.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
