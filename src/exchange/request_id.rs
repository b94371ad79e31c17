//! The request's id: the client's own if it is well formed, else a new one.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::HeaderName;

use crate::routing::RequestHead;

pub const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ones are replaced: they go into every log line.
const LENGTH_MAX: usize = 128;

pub fn of(head: &impl RequestHead) -> Box<str> {
    match head.header(NAME.as_str()) {
        Some(id) if is_well_formed(id) => id.into(),
        _ => new().into(),
    }
}

/// Only what needs no escaping anywhere: log lines, JSON, HTML.
fn is_well_formed(id: &str) -> bool {
    (1..=LENGTH_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(&byte))
}

/// Unique in this process by its counter, and among processes by a random number.
fn new() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    format!("{:016x}{:016x}", *PROCESS, COUNTER.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_break_a_log_line_or_a_page_are_replaced() {
        for bad in ["", "a b", "a\"b", "<b>", "a\\", &"x".repeat(129)] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert!(is_well_formed("4bf92f35-77b3_4da6.a3:ce=+/@"));
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(new(), new());
        assert!(is_well_formed(&new()));
    }
}
