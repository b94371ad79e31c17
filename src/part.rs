//! Parts of bytes and text whose range is known to lie within them.
//!
//! A range beyond the end is a bug. It must neither end a worker nor pass unseen: it panics in a debug build; a release
//! counts it in `evenkeel_missing_parts_total` and goes on with an empty part.

use std::slice::SliceIndex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static MISSING: AtomicU64 = AtomicU64::new(0);

pub trait Part {
    /// The part in `range`, which must lie within.
    fn part<R: SliceIndex<Self, Output = Self>>(&self, range: R) -> &Self;
}

/// How many parts were not there.
pub fn missing_parts() -> u64 {
    MISSING.load(Relaxed)
}

impl Part for [u8] {
    #[inline]
    #[track_caller]
    fn part<R: SliceIndex<Self, Output = Self>>(&self, range: R) -> &Self {
        match self.get(range) {
            Some(part) => part,
            None => missing(&[]),
        }
    }
}

impl Part for str {
    #[inline]
    #[track_caller]
    fn part<R: SliceIndex<Self, Output = Self>>(&self, range: R) -> &Self {
        match self.get(range) {
            Some(part) => part,
            None => missing(""),
        }
    }
}

#[cold]
#[track_caller]
#[expect(clippy::panic, reason = "a debug build shows the bug where it is")]
fn missing<T: ?Sized>(nothing: &'static T) -> &'static T {
    if cfg!(debug_assertions) {
        panic!("a range beyond the end");
    }
    MISSING.fetch_add(1, Relaxed);
    nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_is_given() {
        assert_eq!((b"abc".part(1..), "abc".part(..0)), (&b"bc"[..], ""));
        assert_eq!(b"abc".part(3..), b"");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a range beyond the end")]
    fn a_debug_build_panics_beyond_the_end() {
        b"abc".part(4..);
    }

    #[test]
    #[cfg(not(debug_assertions))]
    fn a_release_counts_what_is_missing() {
        assert_eq!(("ä".part(1..), missing_parts()), ("", 1));
    }
}
