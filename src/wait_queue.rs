//! Where requests wait for what they lack, in order of priority and then of arrival, and who of them is shed.
//!
//! There are no timers and no clock here: who waits combines it with a timer of its own, and time is an argument.
//!
//! Nobody is lost: whoever leaves the queue, served or not, passes on the call that it has, and whoever is served calls
//! the next one. A waiter that was called forgets the call before it tries, so that what is released while it tries
//! calls it again. Nobody overtakes: only the first is called, and while it has not tried, others do not.

mod codel;
mod limit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use codel::Codel;
pub use limit::{LimitPermit, RequestLimit};

/// Who is served first, and shed last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As the config has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// Room in the limit of its route.
    Route,
    /// Room in the limit of its pool.
    Pool,
    /// Room at an endpoint.
    Endpoint,
    /// An endpoint that is healthy and reachable.
    HealthyEndpoint,
}

impl WaitsFor {
    pub const ALL: [Self; 4] = [Self::Route, Self::Pool, Self::Endpoint, Self::HealthyEndpoint];

    pub fn label(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Pool => "pool",
            Self::Endpoint => "endpoint",
            Self::HealthyEndpoint => "healthy_endpoint",
        }
    }

    /// Whether others are served meanwhile, so that a long wait means that too much is asked.
    fn is_room(self) -> bool {
        self != Self::HealthyEndpoint
    }
}

/// A queue of requests.
#[derive(Debug, Default)]
pub struct WaitQueue {
    waiting: WaitingCount,
    waiters: Mutex<Waiters>,
    counts: Counts,
}

/// How many wait, by priority. In a pair of cache lines of its own, because requests that need not wait read it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WaitingCount([AtomicUsize; 3]);

#[derive(Debug, Default)]
struct Counts {
    waits: AtomicU64,
    full: AtomicU64,
    expired: AtomicU64,
    shed: AtomicU64,
}

/// A queue at one moment; the totals are since its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that have waited.
    pub waits: u64,
    /// Requests that were refused because as many waited as may.
    pub full: u64,
    /// Requests that have waited for as long as they may.
    pub expired: u64,
    /// Requests that were shed: they had waited for too long under lasting overload, or made way for others of a
    /// higher priority.
    pub shed: u64,
}

/// The order of service.
type Key = (Priority, u64);

#[derive(Debug, Default)]
struct Waiters {
    waiting: BTreeMap<Key, Waiter>,
    /// Places of requests that are being served and may come back.
    away: usize,
    next: u64,
    /// By priority.
    codel: [Codel; 3],
}

#[derive(Debug)]
struct Waiter {
    since: Instant,
    waits_for: WaitsFor,
    /// There may be what it waits for.
    called: bool,
    /// It may try once without having been called: what it lacks may have been released before it had joined.
    fresh: bool,
    /// It is to look for itself where it belongs, because another config is in force.
    asked_again: bool,
    waker: Option<Waker>,
}

type Wakers = SmallVec<[Waker; 4]>;

/// A request's place in a queue, given up when this is dropped.
#[must_use = "the place is given up when this is dropped"]
#[derive(Debug)]
pub struct Place {
    queue: Arc<WaitQueue>,
    key: Key,
    away: bool,
}

/// By which a request that has a place waits.
#[derive(Debug, Clone)]
pub struct Turn {
    queue: Arc<WaitQueue>,
    key: Key,
}

/// What a waiter may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Try for what it lacks.
    Try,
    /// Wait on.
    Wait,
    /// It has been shed.
    Shed,
}

/// Why a wait has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It may try for what it lacks.
    Try,
    /// It has been shed, or another config is in force.
    Look,
}

// === impl WaitQueue ===

impl WaitQueue {
    /// Whether requests wait that a newcomer of this priority may not overtake.
    pub fn is_waited_in(&self, priority: Priority) -> bool {
        let WaitingCount(counts) = &self.waiting;
        counts.iter().take(priority as usize + 1).any(|count| count.load(SeqCst) > 0)
    }

    /// Whether a request may try for what it lacks: see [`Place::claim`]; without a place, unless others are before it.
    pub fn claim(
        &self,
        place: Option<&Place>,
        priority: Priority,
        target: Option<Duration>,
        now: Instant,
    ) -> Claim {
        match place {
            Some(place) => place.claim(target, now),
            None if self.is_waited_in(priority) => Claim::Wait,
            None => Claim::Try,
        }
    }

    /// Takes a place for a request that lacks something, unless it has one; `false`: there is none.
    pub fn enter(
        self: &Arc<Self>,
        place: &mut Option<Place>,
        priority: Priority,
        waits_for: WaitsFor,
        most: usize,
        now: Instant,
    ) -> bool {
        match place {
            Some(place) => place.wait_for(waits_for, now),
            None => *place = self.join(priority, waits_for, most, now),
        }
        place.is_some()
    }

    /// Takes a place behind all of the same priority. Where as many as `most` have one, the newest of the lowest
    /// priority is shed for one of a higher priority; `None`: there is none.
    pub fn join(
        self: &Arc<Self>,
        priority: Priority,
        waits_for: WaitsFor,
        most: usize,
        now: Instant,
    ) -> Option<Place> {
        let mut wakers = Wakers::new();
        let mut waiters = self.waiters.lock();
        if waiters.waiting.len() + waiters.away >= most && !self.displace(&mut waiters, priority, &mut wakers)
        {
            self.counts.full.fetch_add(1, Relaxed);
            return None;
        }
        self.counts.waits.fetch_add(1, Relaxed);
        let key = (priority, waiters.next);
        waiters.next += 1;
        self.insert(&mut waiters, key, waits_for, now);
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
        Some(Place { queue: self.clone(), key, away: false })
    }

    /// Something that requests wait for may be there: calls the first.
    pub fn call_next(&self) {
        if self.is_waited_in(Priority::Low) {
            let waker = self.waiters.lock().call_first();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Has all of them look where they belong, because another config is in force.
    pub fn ask_again(&self) {
        let mut waiters = self.waiters.lock();
        waiters.waiting.values_mut().for_each(|waiter| waiter.asked_again = true);
        let mut wakers: Vec<_> =
            waiters.waiting.values_mut().filter_map(|waiter| waiter.waker.take()).collect();
        wakers.extend(waiters.call_first());
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many have a place.
    pub fn len(&self) -> usize {
        let waiters = self.waiters.lock();
        waiters.waiting.len() + waiters.away
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn status(&self) -> QueueStatus {
        let Counts { waits, full, expired, shed } = &self.counts;
        QueueStatus {
            waiting: self.len() as u64,
            waits: waits.load(Relaxed),
            full: full.load(Relaxed),
            expired: expired.load(Relaxed),
            shed: shed.load(Relaxed),
        }
    }

    fn insert(&self, waiters: &mut Waiters, key: Key, waits_for: WaitsFor, now: Instant) {
        let fresh = waiters.is_first(key) || !waits_for.is_room();
        let waiter = Waiter { since: now, waits_for, called: false, fresh, asked_again: false, waker: None };
        waiters.waiting.insert(key, waiter);
        self.count(key.0).fetch_add(1, SeqCst);
    }

    fn remove(&self, waiters: &mut Waiters, key: Key) -> Option<Waiter> {
        let waiter = waiters.waiting.remove(&key)?;
        if self.count(key.0).fetch_sub(1, SeqCst) == 1 {
            waiters.codel(key.0).emptied();
        }
        Some(waiter)
    }

    fn shed(&self, waiters: &mut Waiters, key: Key, wakers: &mut Wakers) {
        let Some(waiter) = self.remove(waiters, key) else { return };
        self.counts.shed.fetch_add(1, Relaxed);
        wakers.extend(waiter.waker);
        if waiter.called {
            wakers.extend(waiters.call_first());
        }
    }

    /// Sheds the newest of the lowest priority; `false`: none is lower than `priority`.
    fn displace(&self, waiters: &mut Waiters, priority: Priority, wakers: &mut Wakers) -> bool {
        let last = waiters.waiting.last_key_value().map(|(last, _)| *last);
        let Some(last) = last.filter(|last| last.0 > priority) else { return false };
        self.shed(waiters, last, wakers);
        true
    }

    /// Sheds those of the same priority that have waited for longer than `limit`, but for the last, which would leave
    /// nobody to be served.
    fn shed_stale(
        &self,
        waiters: &mut Waiters,
        priority: Priority,
        limit: Duration,
        now: Instant,
        wakers: &mut Wakers,
    ) {
        let of_priority = waiters.waiting.range((priority, 0)..=(priority, u64::MAX));
        let is_stale = |waiter: &Waiter| now.saturating_duration_since(waiter.since) > limit;
        let stale: Vec<Key> =
            of_priority.rev().skip(1).filter(|(_, waiter)| is_stale(waiter)).map(|(key, _)| *key).collect();
        stale.into_iter().for_each(|key| self.shed(waiters, key, wakers));
    }

    fn count(&self, priority: Priority) -> &AtomicUsize {
        let WaitingCount([high, normal, low]) = &self.waiting;
        match priority {
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        }
    }
}

// === impl Waiters ===

impl Waiters {
    fn is_first(&self, key: Key) -> bool {
        self.waiting.first_key_value().is_none_or(|(first, _)| key <= *first)
    }

    /// Calls the first, unless it has been called, and returns what wakes it.
    fn call_first(&mut self) -> Option<Waker> {
        let mut first = self.waiting.first_entry()?;
        let first = first.get_mut();
        if first.called {
            return None;
        }
        first.called = true;
        first.waker.take()
    }

    /// Whether one that has not tried yet is before this one.
    fn is_behind_a_call(&self, key: Key) -> bool {
        let has_call = |waiter: &Waiter| waiter.called || waiter.fresh && waiter.waits_for.is_room();
        self.waiting.range(..key).any(|(_, waiter)| has_call(waiter))
    }

    /// Calls the first behind one of them that has not been called.
    fn call_behind(&mut self, key: Key) -> Option<Waker> {
        let behind = (key.0, key.1 + 1)..;
        let (_, next) = self.waiting.range_mut(behind).find(|(_, waiter)| !waiter.called)?;
        next.called = true;
        next.waker.take()
    }

    fn codel(&mut self, priority: Priority) -> &mut Codel {
        let [high, normal, low] = &mut self.codel;
        match priority {
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        }
    }
}

// === impl Place ===

impl Place {
    pub fn is_of(&self, queue: &Arc<WaitQueue>) -> bool {
        Arc::ptr_eq(&self.queue, queue)
    }

    pub fn turn(&self) -> Turn {
        Turn { queue: self.queue.clone(), key: self.key }
    }

    /// Whether it may try for what it lacks. `target` is CoDel's: how long a request may wait where overload lasts;
    /// `None`: it sheds nobody.
    pub fn claim(&self, target: Option<Duration>, now: Instant) -> Claim {
        let mut wakers = Wakers::new();
        let mut waiters = self.queue.waiters.lock();
        // Who is before it calls the next one.
        let is_behind = waiters.is_behind_a_call(self.key);
        let Some(waiter) = waiters.waiting.get_mut(&self.key) else {
            return if self.away { Claim::Try } else { Claim::Shed };
        };
        let (called, fresh) = (std::mem::take(&mut waiter.called), std::mem::take(&mut waiter.fresh));
        if is_behind {
            return Claim::Wait;
        }
        let waited = now.saturating_duration_since(waiter.since);
        let target = target.filter(|_| called && waiter.waits_for.is_room());
        if let Some(target) = target
            && waiters.codel(self.key.0).is_too_late(waited, target, now)
        {
            self.queue.shed_stale(&mut waiters, self.key.0, codel::limit(target), now, &mut wakers);
            if !waiters.waiting.contains_key(&self.key) {
                wakers.extend(waiters.call_first());
                drop(waiters);
                wakers.into_iter().for_each(Waker::wake);
                return Claim::Shed;
            }
        }
        if let Some(target) = target {
            Priority::ALL
                .into_iter()
                .filter(|other| *other < self.key.0)
                .for_each(|other| waiters.codel(other).spare(target, now));
        }
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
        if called || fresh { Claim::Try } else { Claim::Wait }
    }

    /// It is served, and keeps its place in case that it has to wait again.
    pub fn step_out(&mut self) {
        if !self.away {
            self.away = true;
            let mut waiters = self.queue.waiters.lock();
            waiters.away += 1;
            self.queue.remove(&mut waiters, self.key);
            let waker = waiters.call_first();
            drop(waiters);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// It is served, and gives up its place.
    pub fn leave(mut self) {
        self.step_out();
    }

    /// It waits on, or again, at the same place.
    pub fn wait_for(&mut self, waits_for: WaitsFor, now: Instant) {
        let mut waiters = self.queue.waiters.lock();
        if std::mem::take(&mut self.away) {
            waiters.away -= 1;
            self.queue.insert(&mut waiters, self.key, waits_for, now);
            return;
        }
        let is_first = waiters.is_first(self.key);
        if let Some(waiter) = waiters.waiting.get_mut(&self.key)
            && waiter.waits_for.is_room() != waits_for.is_room()
        {
            (waiter.since, waiter.waits_for) = (now, waits_for);
            waiter.fresh = is_first || !waits_for.is_room();
        }
    }

    /// It has waited for as long as it may.
    pub fn expired(self) {
        self.queue.counts.expired.fetch_add(1, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters.lock();
        if self.away {
            waiters.away -= 1;
            return;
        }
        let waiter = self.queue.remove(&mut waiters, self.key);
        let has_call = waiter.is_some_and(|waiter| waiter.called || waiter.fresh);
        let waker = if has_call { waiters.call_first() } else { None };
        drop(waiters);
        waker.into_iter().for_each(Waker::wake);
    }
}

// === impl Turn ===

impl Turn {
    /// Ready when the waiter has been called, has been shed, or is to look where it belongs.
    pub fn poll_called(&self, context: &mut Context<'_>) -> Poll<Call> {
        let mut waiters = self.queue.waiters.lock();
        let Some(waiter) = waiters.waiting.get_mut(&self.key) else { return Poll::Ready(Call::Look) };
        if std::mem::take(&mut waiter.asked_again) {
            return Poll::Ready(Call::Look);
        }
        if waiter.called || waiter.fresh {
            return Poll::Ready(Call::Try);
        }
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Forgets the call unless what is waited for is there; the next one, which may wait for something else, gets it
    /// then. `true`: it is there.
    pub fn try_only_if(&self, is_there: impl FnOnce() -> bool) -> bool {
        let called = self.set_call(false);
        // Asked only now: what comes after this calls again.
        if is_there() {
            self.set_call(true);
            return true;
        }
        let waker = if called { self.queue.waiters.lock().call_behind(self.key) } else { None };
        waker.into_iter().for_each(Waker::wake);
        false
    }

    /// Gives or takes the right to try; `true`: it was called before.
    fn set_call(&self, fresh: bool) -> bool {
        let mut waiters = self.queue.waiters.lock();
        let Some(waiter) = waiters.waiting.get_mut(&self.key) else { return false };
        waiter.fresh = fresh;
        std::mem::take(&mut waiter.called)
    }
}
