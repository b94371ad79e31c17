//! Counters that several threads add to, each worker in a shard of its own: a cache line that two processors write
//! moves back and forth between them, and each waits for it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shards in one segment. With more workers, another segment follows.
const SHARDS: usize = 16;

/// `N` counts that belong together. A shard is allocated when its thread first counts something.
#[derive(Debug, Default)]
pub struct ShardedCounter<const N: usize> {
    shards: [OnceLock<Box<Shard<N>>>; SHARDS],
    more: OnceLock<Box<ShardedCounter<N>>>,
}

/// Aligned to two cache lines, because processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

thread_local! {
    /// The index of the shard that this thread adds to. All threads that are not workers share the first one.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// From now on this thread, a worker, counts in a shard of its own. No two workers may have the same index.
pub fn use_own_shard(worker: usize) {
    OWN.set(worker + 1);
}

impl<const N: usize> ShardedCounter<N> {
    /// Adds to a count; below zero it wraps, so that one thread may take away what another has added.
    pub fn add(&self, count: usize, value: u64, ordering: Ordering) {
        self.add_all([(count, value)], ordering);
    }

    /// Adds to several counts, which costs less than one by one.
    pub fn add_all<const K: usize>(&self, values: [(usize, u64); K], ordering: Ordering) {
        let shard = self.shard(OWN.get()).get_or_init(Box::default);
        for (count, value) in values {
            if let Some(count) = shard.0.get(count) {
                count.fetch_add(value, ordering);
            }
        }
    }

    /// What this thread has added to a count; if it is not a worker, what all such threads have added.
    pub fn own(&self, count: usize, ordering: Ordering) -> u64 {
        let shard = self.shard(OWN.get()).get();
        shard.and_then(|shard| shard.0.get(count)).map_or(0, |count| count.load(ordering))
    }

    /// What all threads have added to a count.
    pub fn sum(&self, count: usize, ordering: Ordering) -> u64 {
        let segments = std::iter::successors(Some(self), |segment| segment.more.get().map(|more| &**more));
        let shards = segments.flat_map(|segment| &segment.shards).filter_map(OnceLock::get);
        shards
            .filter_map(|shard| shard.0.get(count))
            .map(|count| count.load(ordering))
            .fold(0, u64::wrapping_add)
    }

    fn shard(&self, index: usize) -> &OnceLock<Box<Shard<N>>> {
        self.shards.get(index).unwrap_or_else(|| self.shard_beyond(index))
    }

    #[cold]
    fn shard_beyond(&self, index: usize) -> &OnceLock<Box<Shard<N>>> {
        self.more.get_or_init(Box::default).shard(index - SHARDS)
    }
}

impl<const N: usize> Default for Shard<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn all_shards_are_summed() {
        let counts = ShardedCounter::<2>::default();
        std::thread::scope(|scope| {
            for worker in 0..3 * SHARDS {
                let counts = &counts;
                scope.spawn(move || {
                    use_own_shard(worker);
                    (0..1000).for_each(|_| counts.add(1, 3, Relaxed));
                    assert_eq!((counts.own(0, Relaxed), counts.own(1, Relaxed)), (0, 3000));
                });
            }
            // Threads that are not workers share one.
            for _ in 0..2 {
                scope.spawn(|| (0..1000).for_each(|_| counts.add(1, 3, Relaxed)));
            }
        });
        assert_eq!((counts.sum(0, Relaxed), counts.sum(1, Relaxed)), (0, (3 * SHARDS as u64 + 2) * 3000));
        assert_eq!(counts.own(1, Relaxed), 2 * 3000);
    }

    #[test]
    fn what_one_thread_adds_another_may_take_away() {
        let counts = ShardedCounter::<1>::default();
        counts.add(0, 1, Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use_own_shard(0);
                counts.add(0, 1u64.wrapping_neg(), Relaxed);
            });
        });
        assert_eq!(counts.sum(0, Relaxed), 0);
    }
}
