//! Counts that several threads add to, each in memory of its own: what two processors write goes to and fro between
//! them, and each waits for it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many shards there are at most. Where there are more threads, some have one together.
pub const SHARDS: usize = 16;

/// `N` counts that belong together. A shard has memory once its thread has something to count.
#[derive(Debug, Default)]
pub struct ShardedCounter<const N: usize>([OnceLock<Box<Shard<N>>>; SHARDS]);

/// In cache lines of its own, which come in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> ShardedCounter<N> {
    /// Adds to a count; below zero it wraps, so that one thread may take away what another has added.
    pub fn add(&self, count: usize, value: u64, ordering: Ordering) {
        let shard = self.0.get(own_shard()).map(|shard| shard.get_or_init(Box::default));
        if let Some(count) = shard.and_then(|shard| shard.0.get(count)) {
            count.fetch_add(value, ordering);
        }
    }

    /// What this thread has added to a count, with others that have the same shard.
    pub fn own(&self, count: usize, ordering: Ordering) -> u64 {
        let shard = self.0.get(own_shard()).and_then(OnceLock::get);
        shard.and_then(|shard| shard.0.get(count)).map_or(0, |count| count.load(ordering))
    }

    /// What all have added to a count.
    pub fn sum(&self, count: usize, ordering: Ordering) -> u64 {
        let shards = self.0.iter().filter_map(OnceLock::get);
        shards
            .filter_map(|shard| shard.0.get(count))
            .map(|count| count.load(ordering))
            .fold(0, u64::wrapping_add)
    }
}

impl<const N: usize> Default for Shard<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

/// Which shard this thread adds to.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        OWN.set(Some(own));
        own
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn all_shards_are_summed() {
        let counts = ShardedCounter::<2>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counts.add(1, 3, Relaxed)));
            }
        });
        assert_eq!((counts.sum(0, Relaxed), counts.sum(1, Relaxed)), (0, 2 * SHARDS as u64 * 3000));
    }

    #[test]
    fn what_one_thread_adds_another_may_take_away() {
        let counts = ShardedCounter::<1>::default();
        counts.add(0, 1, Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| counts.add(0, 1u64.wrapping_neg(), Relaxed));
        });
        assert_eq!(counts.sum(0, Relaxed), 0);
    }
}
