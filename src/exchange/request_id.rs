//! The request's id: the client's own if it is well formed, else a new one.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::HeaderName;

use crate::routing::RequestHead;

pub const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids are replaced, because every log line has them.
const LENGTH_MAX: usize = 128;

/// The id of one request.
pub enum RequestId<'a> {
    Sent(&'a [u8]),
    New([u8; 32]),
}

impl<'a> RequestId<'a> {
    pub fn of(head: &'a impl RequestHead) -> Self {
        match head.header(&NAME) {
            Some(id) if is_well_formed(id) => Self::Sent(id),
            _ => Self::New(new()),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sent(id) => id,
            Self::New(digits) => digits,
        }
    }
}

/// Whether the id needs no escaping in a log line, JSON or HTML.
fn is_well_formed(id: &[u8]) -> bool {
    (1..=LENGTH_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(byte))
}

/// Unique in this process by its counter, and among processes by a random number.
fn new() -> [u8; 32] {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    let count = next_number().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut rest = u128::from(*PROCESS) << 64 | u128::from(count);
    let mut digits = [b'0'; 32];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    digits
}

/// Each thread takes a block of numbers at once, so that threads rarely write the shared counter.
fn next_number() -> u64 {
    const AT_ONCE: u64 = 1 << 16;
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static LAST: Cell<u64> = const { Cell::new(0) };
    }
    let last = LAST.get();
    let before = if last.is_multiple_of(AT_ONCE) { TAKEN.fetch_add(AT_ONCE, Relaxed) } else { last };
    // Counted from 1: an id that ends in zeros would look unset.
    let number = before + 1;
    LAST.set(number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_break_a_log_line_or_a_page_are_replaced() {
        for bad in ["", "a b", "a\"b", "<b>", "a\\", &"x".repeat(129)] {
            assert!(!is_well_formed(bad.as_bytes()), "{bad}");
        }
        assert!(is_well_formed(b"4bf92f35-77b3_4da6.a3:ce=+/@"));
    }

    #[test]
    fn threads_share_no_number() {
        let some = || (0..100_000).map(|_| next_number()).collect::<Vec<_>>();
        let all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        assert!(!all.contains(&0));
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(new(), new());
        assert!(is_well_formed(RequestId::New(new()).as_bytes()));
    }
}
