//! The count of a pool's requests in flight over all threads, and its limit.
//!
//! Each thread counts for itself. Once one thread has a large part of the limit, all threads sum up the counts of all
//! for each request, until the pool is far from its limit again. So a request to a pool that is far from its limit
//! writes nothing that other threads write, and the limit is exact all the same.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Instant;

use parking_lot::Mutex;

use crate::log_throttle::LogThrottle;
use crate::sharded_counter::ShardedCounter;

/// What a request occupies on the client's side while it is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// HTTP/1.1: the whole connection.
    Connection = 0,
    /// HTTP/2: one stream of a connection.
    Stream = 1,
}

/// The most requests in flight; `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxRequests {
    pub all: Option<u64>,
    /// The most that hold a connection.
    pub of_connections: Option<u64>,
}

#[derive(Debug, Default)]
pub struct InFlightLimit {
    /// By [`Holds`].
    in_flight: ShardedCounter<2>,
    all: Limit,
    of_connections: Limit,
    /// Number of worker threads; 0: not known.
    threads: AtomicU64,
    refused: AtomicU64,
    /// The requests in flight of all threads, where a balance policy reads them.
    pub(super) exact_in_flight: ExactCount,
    report: Mutex<LogThrottle>,
}

/// In a pair of cache lines of its own, because all threads write it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct ExactCount(pub AtomicU64);

#[derive(Debug)]
struct Limit {
    most: AtomicU64,
    /// While each thread has fewer than this, all together have at most half of `most`.
    high: AtomicU64,
    /// Whether some thread has reached `high` ([`NEAR`]), and how often that has happened.
    marks: AtomicU64,
}

/// The bit of [`Limit::marks`] by which every request sums up the counts of all threads.
const NEAR: u64 = 1;
/// What one mark adds to [`Limit::marks`].
const MARK: u64 = 2;

impl InFlightLimit {
    /// Sets the limits. `threads` is the number of workers.
    pub fn set(&self, most: MaxRequests, threads: usize) {
        self.threads.store(threads as u64, Relaxed);
        self.all.set(most.all, threads);
        self.of_connections.set(most.of_connections, threads);
    }

    /// Counts a request until [`Self::end`]; `false`, and nothing is counted, if that exceeds a limit.
    #[must_use = "a request that was refused has not begun"]
    pub fn begin(&self, holds: Holds) -> bool {
        let admitted = self.count_in(holds);
        if !admitted {
            self.end(holds);
        }
        admitted
    }

    /// Counts a request until [`Self::end`], whether that exceeds a limit or not.
    pub fn begin_beyond(&self, holds: Holds) {
        // It may leave a mark: it is in the sum that others make.
        let _ = self.count_in(holds);
    }

    /// `false`: it is one too many.
    fn count_in(&self, holds: Holds) -> bool {
        self.in_flight.add(holds as usize, 1, SeqCst);
        let own = |holds: Holds| self.in_flight.own(holds as usize, SeqCst);
        let own_connections = own(Holds::Connection);
        let own_all = own_connections.wrapping_add(own(Holds::Stream));
        let too_many = self.all.is_exceeded(own_all, || self.in_flight())
            || (holds == Holds::Connection
                && self.of_connections.is_exceeded(own_connections, || self.count(Holds::Connection)));
        !too_many
    }

    pub fn end(&self, holds: Holds) {
        self.in_flight.add(holds as usize, 1u64.wrapping_neg(), SeqCst);
    }

    /// Whether another request may wait beside `waiting` others.
    pub fn has_room(&self, holds: Holds, waiting: u64) -> bool {
        let most = |limit: &Limit| limit.most.load(Relaxed);
        self.in_flight() + waiting < most(&self.all)
            && (holds == Holds::Stream
                || self.count(Holds::Connection) + waiting < most(&self.of_connections))
    }

    pub fn in_flight(&self) -> u64 {
        self.count(Holds::Connection) + self.count(Holds::Stream)
    }

    /// The lower of the two limits.
    pub fn most(&self) -> Option<u64> {
        let most = self.all.most.load(Relaxed).min(self.of_connections.most.load(Relaxed));
        (most < u64::MAX).then_some(most)
    }

    /// One thread's share of half of `all`: with such a share for each thread, half is left over.
    pub fn half_of_thread(&self, all: u64) -> u64 {
        all.checked_div(2 * self.threads.load(Relaxed)).unwrap_or(0)
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Counts a refused request, and logs it, throttled.
    pub fn refuse(&self, pool: &str, now: Instant) {
        self.refused.fetch_add(1, Relaxed);
        if let Some(count) = self.report.lock().due(now) {
            let (in_flight, most) = (self.in_flight(), self.most().unwrap_or(u64::MAX));
            log::warn!(pool, in_flight, most, count; "pool is full, requests are refused");
        }
    }

    fn count(&self, holds: Holds) -> u64 {
        // A sum over shards may see the end of a request without its beginning, and be negative for a moment.
        u64::try_from(self.in_flight.sum(holds as usize, SeqCst).cast_signed()).unwrap_or(0)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self { most: AtomicU64::new(u64::MAX), high: AtomicU64::new(u64::MAX), marks: AtomicU64::new(0) }
    }
}

impl Limit {
    fn set(&self, most: Option<u64>, threads: usize) {
        // One more, for all threads that are not workers.
        let high = most.map_or(u64::MAX, |most| most / (2 * (threads as u64 + 1)));
        self.most.store(most.unwrap_or(u64::MAX), Relaxed);
        self.high.store(high, Relaxed);
    }

    /// `own` is this thread's count, including the request in question.
    ///
    /// While [`NEAR`] is not set, no thread has more than `high`, because one that reaches it leaves a mark. `NEAR` is
    /// cleared only if all threads together have fewer, and no thread has left a mark since before they were summed up:
    /// such a thread may have filled the pool meanwhile.
    fn is_exceeded(&self, own: u64, sum: impl FnOnce() -> u64) -> bool {
        let high = self.high.load(Relaxed);
        let has_much = own.cast_signed() >= high.min(i64::MAX as u64).cast_signed();
        let marks = if has_much { self.mark() } else { self.marks.load(SeqCst) };
        if marks & NEAR == 0 {
            return false;
        }
        let sum = sum();
        if sum < high {
            let _ = self.marks.compare_exchange(marks, marks & !NEAR, SeqCst, SeqCst);
        }
        sum > self.most.load(Relaxed)
    }

    fn mark(&self) -> u64 {
        let marked = |marks: u64| marks.wrapping_add(MARK) | NEAR;
        let before = self.marks.fetch_update(SeqCst, SeqCst, |marks| Some(marked(marks)));
        before.map_or(NEAR, marked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::sharded_counter::use_own_shard;

    fn load(all: Option<u64>, of_connections: Option<u64>, threads: usize) -> InFlightLimit {
        let load = InFlightLimit::default();
        load.set(MaxRequests { all, of_connections }, threads);
        load
    }

    /// Begins requests up to the limit, and returns how many.
    fn fill(load: &InFlightLimit, holds: Holds) -> u64 {
        let mut begun = 0;
        while load.begin(holds) {
            begun += 1;
            assert!(begun < 10_000, "there is no end");
        }
        begun
    }

    #[test]
    fn connections_have_a_limit_of_their_own() {
        let load = load(Some(20), Some(12), 2);
        assert_eq!(fill(&load, Holds::Connection), 12);
        assert_eq!(fill(&load, Holds::Stream), 8);
        assert_eq!((load.in_flight(), load.most()), (20, Some(12)));
        assert!(!load.has_room(Holds::Stream, 0));
        load.end(Holds::Connection);
        assert!(load.has_room(Holds::Connection, 0) && !load.has_room(Holds::Connection, 1));
        assert_eq!(fill(&load, Holds::Connection), 1);
    }

    #[test]
    fn who_is_refused_is_not_counted_and_who_is_beyond_the_limit_is() {
        let load = load(Some(1), None, 1);
        assert!(load.begin(Holds::Stream));
        assert!(!load.begin(Holds::Stream));
        assert_eq!(load.in_flight(), 1);
        load.begin_beyond(Holds::Stream);
        assert_eq!(load.in_flight(), 2);
        load.end(Holds::Stream);
        assert!(!load.begin(Holds::Stream));
        load.end(Holds::Stream);
        assert!(load.begin(Holds::Stream));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let load = load(None, None, 2);
        assert!((0..1000).all(|_| load.begin(Holds::Connection)));
        assert_eq!((load.most(), load.has_room(Holds::Connection, 1 << 40)), (None, true));
    }

    #[test]
    fn a_limit_of_one_is_one() {
        let load = load(Some(1), None, 16);
        assert_eq!(fill(&load, Holds::Stream), 1);
        load.end(Holds::Stream);
        assert_eq!(fill(&load, Holds::Stream), 1);
    }

    /// One thread sums up while the pool is nearly empty, and is held up until another has filled it.
    #[test]
    fn who_was_slow_to_count_does_not_let_others_pass_the_limit() {
        let limit = Limit::default();
        limit.set(Some(100), 4);
        assert!(!limit.is_exceeded(12, || 12), "it is near now");
        let slow = limit.is_exceeded(1, || {
            let filled = (2..=100).any(|own| limit.is_exceeded(own, || own));
            assert!(!filled, "as many as there may be");
            2
        });
        assert!(!slow);
        assert!(limit.is_exceeded(1, || 101), "it is counted");
        assert!(!limit.is_exceeded(1, || 2) && !limit.is_exceeded(1, || unreachable!("it is far from it")));
    }

    /// Holds with uneven threads, and with a pool that is nearly empty again and again.
    #[test]
    fn the_limit_is_exact_over_all_threads() {
        const MOST: u64 = 90;
        let load = load(Some(MOST), None, 4);
        let (admitted, highest) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |uneven: usize| {
            for round in 0..300 {
                let mut held = 0;
                for _ in 0..(round * uneven) % 80 {
                    if load.begin(Holds::Connection) {
                        held += 1;
                        highest.fetch_max(admitted.fetch_add(1, SeqCst) + 1, SeqCst);
                    }
                }
                for _ in 0..held {
                    admitted.fetch_sub(1, SeqCst);
                    load.end(Holds::Connection);
                }
            }
        };
        let work = &work;
        std::thread::scope(|scope| {
            for (worker, uneven) in [1, 7, 13, 29].into_iter().enumerate() {
                scope.spawn(move || {
                    use_own_shard(worker);
                    work(uneven);
                });
            }
        });
        assert!(highest.load(SeqCst) <= MOST, "{highest:?}");
        assert_eq!((load.in_flight(), fill(&load, Holds::Connection)), (0, MOST));
    }
}
