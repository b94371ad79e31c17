//! Bounds what strangers make the event log say through other crates: a hostile ClientHello is a warning of rustls, with
//! as much text as its sender likes.

use std::time::Instant;

use log::{Level, Record};
use parking_lot::Mutex;

use crate::log_throttle::LogThrottle;

/// The longest message, in bytes; what is beyond is cut off.
const MESSAGE_MAX: usize = 1024;

/// Targets of other crates that are told apart; all others share a throttle.
const TARGETS_MAX: usize = 64;

/// Lets one line of each other crate's module pass in ten seconds, and counts the others.
#[derive(Default)]
pub(super) struct Throttles(Mutex<Vec<(Box<str>, LogThrottle)>>);

impl Throttles {
    /// How many events the line stands for; `None`: it is not written. Lines of evenkeel's own are throttled where they
    /// are written; whoever asks for `debug` wants all of them.
    pub(super) fn due(&self, record: &Record<'_>, now: Instant) -> Option<u64> {
        if is_own(record) || record.level() > Level::Info {
            return Some(1);
        }
        let mut throttles = self.0.lock();
        let known = throttles.iter().position(|(target, _)| **target == *record.target());
        let at = known.unwrap_or_else(|| {
            if throttles.len() < TARGETS_MAX {
                throttles.push((record.target().into(), LogThrottle::default()));
            }
            throttles.len() - 1
        });
        throttles.get_mut(at)?.1.due(now)
    }
}

fn is_own(record: &Record<'_>) -> bool {
    record.target().starts_with("evenkeel")
}

/// The message, with its end cut off where it is too long.
pub(super) fn message(record: &Record<'_>) -> String {
    let mut text = record.args().to_string();
    if text.len() > MESSAGE_MAX && !is_own(record) {
        let cut = text.len() - text.floor_char_boundary(MESSAGE_MAX);
        text.truncate(text.len() - cut);
        text.push_str(&format!("... ({cut} bytes more)"));
    }
    text
}
