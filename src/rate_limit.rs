//! Rate limits by the generic cell rate algorithm (GCRA).
//!
//! Each key has a theoretical arrival time: the moment at which its requests so far would have come, had they come at
//! exactly the rate. A request is let in if that is not further ahead than the burst allows. So there is one number for
//! each key, no window at whose edge twice as many pass, and nothing to refill. Limits are exact over all threads.
//!
//! Knows no clock: time is an argument. What is counted is in this process; a store that several processes share
//! would stand beside [`RateLimiter`], behind the same two calls.

mod table;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;
use table::Table;

/// How many requests a key may have: so many in a period on average, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    count: u32,
    period: Duration,
    burst: u32,
}

/// What is counted for the keys of one limit. It outlives reloads, with whatever quota they bring.
#[derive(Debug)]
pub struct RateLimiter {
    arrivals: Arrivals,
    hash: RandomState,
    /// Times are counted from the first request.
    started: OnceLock<Instant>,
    /// [`Quota::full`] of the last request.
    full: AtomicU64,
    /// Until when there may be debts larger than that, from before a reload.
    forgives_until: AtomicU64,
    refused: AtomicU64,
    would_refuse: AtomicU64,
}

/// The theoretical arrival times, in nanoseconds.
#[derive(Debug)]
enum Arrivals {
    /// All requests have one key.
    One(AtomicU64),
    Keys(Table),
}

/// A key's hash, with a secret of the limiter's own: nobody can choose keys that meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64);

/// A request is refused: it may come again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    pub wait: Duration,
}

// === impl Quota ===

impl Quota {
    /// `None`: one of them is zero.
    pub fn new(count: u32, period: Duration, burst: u32) -> Option<Self> {
        (count > 0 && burst > 0 && !period.is_zero()).then_some(Self { count, period, burst })
    }

    /// How many requests there may be in [`Self::period`], on average.
    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn period(&self) -> Duration {
        self.period
    }

    /// The most requests at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// How long it takes until a whole burst may come again.
    pub fn refill(&self) -> Duration {
        Duration::from_nanos(self.full())
    }

    /// Whether whatever this lets through, `other` does, too.
    pub fn is_within(&self, other: &Self) -> bool {
        let rate = |quota: &Self, period: Duration| u128::from(quota.count) * period.as_nanos();
        rate(self, other.period) <= rate(other, self.period) && self.burst <= other.burst
    }

    /// The time between two requests at exactly the rate.
    fn interval(&self) -> u64 {
        u64::try_from(self.period.as_nanos() / u128::from(self.count)).unwrap_or(u64::MAX).max(1)
    }

    /// How far the theoretical arrival time may be ahead.
    fn full(&self) -> u64 {
        self.interval().saturating_mul(u64::from(self.burst))
    }

    /// How many requests might come at once.
    fn left(&self, arrival: u64, now: u64) -> u32 {
        let room = now.saturating_add(self.full()).saturating_sub(arrival.max(now));
        u32::try_from(room / self.interval()).unwrap_or(u32::MAX)
    }

    /// The theoretical arrival time that follows `arrival` for a request at `now`; the error is the time to wait.
    ///
    /// With `forgive`, a debt that is larger than a whole burst becomes one. Only then: a thread whose `now` is old would
    /// forgive what is owed.
    fn arrive(&self, arrival: u64, now: u64, forgive: bool) -> (u64, Result<(), u64>) {
        let latest = now.saturating_add(self.full());
        let owed = if forgive { arrival.min(latest) } else { arrival };
        let next = owed.max(now).saturating_add(self.interval());
        if next <= latest { (next, Ok(())) } else { (owed, Err(next - latest)) }
    }
}

// === impl RateLimiter ===

impl RateLimiter {
    /// With one key for all requests.
    pub fn of_one() -> Self {
        Self::with(Arrivals::One(AtomicU64::new(0)))
    }

    /// With room for this many keys; beyond it, the one that has not been seen for longest is forgotten.
    pub fn of_keys(most: usize) -> Self {
        Self::with(Arrivals::Keys(Table::new(most)))
    }

    fn with(arrivals: Arrivals) -> Self {
        Self {
            arrivals,
            hash: RandomState::new(),
            started: OnceLock::new(),
            full: AtomicU64::new(0),
            forgives_until: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            would_refuse: AtomicU64::new(0),
        }
    }

    /// `kind` keeps keys of different kinds apart that have the same bytes.
    pub fn key(&self, kind: u8, bytes: &[u8]) -> Key {
        Key(self.hash.hash_one((kind, bytes)))
    }

    /// Counts a request of the key, or refuses it.
    pub fn take(&self, quota: &Quota, key: Key, now: Instant) -> Result<(), TooMany> {
        let now = self.nanos(now);
        let forgive = self.forgives(quota, now);
        let taken = match &self.arrivals {
            Arrivals::Keys(table) => table.with(key.0, now, |arrival| {
                let (next, taken) = quota.arrive(*arrival, now, forgive);
                *arrival = next;
                taken
            }),
            Arrivals::One(arrival) => {
                let next = |arrival| Some(quota.arrive(arrival, now, forgive).0);
                let set = arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
                // Never an error: there is always a next one.
                let (Ok(before) | Err(before)) = set;
                quota.arrive(before, now, forgive).1
            }
        };
        taken.map_err(|wait| TooMany { wait: Duration::from_nanos(wait) })
    }

    /// Gives back what a request has taken that another limit has refused.
    pub fn give_back(&self, quota: &Quota, key: Key, now: Instant) {
        let interval = quota.interval();
        match &self.arrivals {
            Arrivals::One(arrival) => {
                let back = |arrival: u64| Some(arrival.saturating_sub(interval));
                let _ = arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
            }
            Arrivals::Keys(table) => table.with(key.0, self.nanos(now), |arrival| {
                *arrival = arrival.saturating_sub(interval);
            }),
        }
    }

    /// What [`Self::take`] would say, and how many requests of the key might come at once now. Nothing is counted.
    pub fn peek(&self, quota: &Quota, key: Key, now: Instant) -> (Result<(), TooMany>, u32) {
        // Without a first request, nobody owes anything.
        let Some(started) = self.started.get() else { return (Ok(()), quota.burst) };
        let now = u64::try_from(now.saturating_duration_since(*started).as_nanos()).unwrap_or(u64::MAX);
        let arrival = match &self.arrivals {
            Arrivals::One(arrival) => arrival.load(Ordering::Relaxed),
            Arrivals::Keys(table) => table.peek(key.0),
        };
        let before = self.full.load(Ordering::Relaxed);
        let forgive = before > quota.full() || now < self.forgives_until.load(Ordering::Relaxed);
        let taken = quota.arrive(arrival, now, forgive).1;
        let left = quota.left(arrival, now);
        (taken.map_err(|wait| TooMany { wait: Duration::from_nanos(wait) }), left)
    }

    /// Counts a refusal, of a dry run or not, for the metrics.
    pub fn count_refused(&self, dry_run: bool) {
        let counter = if dry_run { &self.would_refuse } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many would have been refused, had it been no dry run.
    pub fn would_refuse(&self) -> u64 {
        self.would_refuse.load(Ordering::Relaxed)
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        match &self.arrivals {
            Arrivals::One(_) => 1,
            Arrivals::Keys(table) => table.len(),
        }
    }

    /// How many keys were forgotten that still counted, to make room for others.
    pub fn forgotten(&self) -> u64 {
        match &self.arrivals {
            Arrivals::One(_) => 0,
            Arrivals::Keys(table) => table.forgotten(),
        }
    }

    /// How many keys there is room for; `None`: all requests have one key.
    pub fn most(&self) -> Option<usize> {
        match &self.arrivals {
            Arrivals::One(_) => None,
            Arrivals::Keys(table) => Some(table.most()),
        }
    }

    /// Whether debts may be larger than this quota's burst, because a reload has brought it.
    fn forgives(&self, quota: &Quota, now: u64) -> bool {
        let full = quota.full();
        if self.full.load(Ordering::Relaxed) != full {
            let before = self.full.swap(full, Ordering::Relaxed);
            if before > full {
                self.forgives_until.fetch_max(now.saturating_add(before), Ordering::Relaxed);
            }
        }
        now < self.forgives_until.load(Ordering::Relaxed)
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(*self.started.get_or_init(|| now));
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}
