//! Which requests have a line: all that failed, all that were slow, and a share of the others, as the config says.

use std::time::{Duration, UNIX_EPOCH};

use crate::config::LogSample;
use crate::pool::hash_of_key;
use crate::telemetry::record::{AttemptResult, Outcome, Record};
use crate::telemetry::share::Share;

#[derive(Debug, Clone, Copy)]
pub(super) struct Sampling {
    errors: Share,
    slow: Option<Duration>,
    rest: Share,
}

/// Whether a request has a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sampled {
    Not,
    /// As all of its kind have.
    All,
    /// As this share of its kind has.
    Part(f64),
}

impl Sampling {
    pub fn new(config: &LogSample) -> Self {
        Self { errors: Share::new(config.errors), slow: config.slow, rest: Share::new(config.rest) }
    }

    pub fn of(&self, record: &Record) -> Sampled {
        let share = match has_failed(record) {
            true => self.errors,
            false if self.slow.is_some_and(|slow| record.duration >= slow) => return Sampled::All,
            false => self.rest,
        };
        match share.part() {
            1.0.. => Sampled::All,
            part if share.has_hash(hash(record)) => Sampled::Part(part),
            _ => Sampled::Not,
        }
    }
}

/// What clients do wrong is no failure: else a flood of what is refused would be logged in full.
fn has_failed(record: &Record) -> bool {
    let is_failed = |result| matches!(result, AttemptResult::Failed(_));
    record.status >= 500
        || record.outcome == Outcome::Cut
        || record.attempts.iter().any(|attempt| is_failed(attempt.result))
}

/// Of its id, or where nobody could read one, of its time.
fn hash(record: &Record) -> u64 {
    match record.text.parts().request_id {
        b"" => {
            let since = record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
            hash_of_key(&since.as_nanos().to_le_bytes())
        }
        id => hash_of_key(id),
    }
}
