//! A limit of requests in flight, beyond which requests wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::WaitQueue;
use crate::log_throttle::LogThrottle;

/// How many requests are in flight, exactly over all threads, and how many may be.
#[derive(Debug)]
pub struct RequestLimit {
    most: AtomicUsize,
    in_flight: InFlight,
    /// Held by who tries.
    trying: Mutex<()>,
    /// How many were refused without waiting.
    refused: AtomicU64,
    report: Mutex<LogThrottle>,
    queue: Arc<WaitQueue>,
}

/// In a pair of cache lines of its own, because every request writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct InFlight(AtomicUsize);

/// The right to be one of those in flight, given back when this is dropped.
#[must_use = "the permit is given back when this is dropped"]
#[derive(Debug)]
pub struct LimitPermit {
    limit: Arc<RequestLimit>,
    /// Whether somebody is called when it is given back.
    used: bool,
}

impl Default for RequestLimit {
    fn default() -> Self {
        let (in_flight, trying, refused, report, queue) = Default::default();
        Self { most: AtomicUsize::new(usize::MAX), in_flight, trying, refused, report, queue }
    }
}

impl RequestLimit {
    /// The queue of those for whom there is no room, and of all who wait for something else beside it.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }

    /// Sets how many may be in flight; `None`: no limit.
    pub fn set(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), SeqCst);
    }

    /// `None`: no limit.
    pub fn most(&self) -> Option<usize> {
        Some(self.most.load(Relaxed)).filter(|most| *most < usize::MAX)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.0.load(Relaxed)
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Counts a request that is refused without having waited.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// How many requests a line in the log stands for, now that one was refused; `None`: none is due.
    pub fn report(&self, now: Instant) -> Option<u64> {
        self.report.lock().due(now)
    }

    /// Keeps others from trying meanwhile.
    pub fn try_alone(&self) -> MutexGuard<'_, ()> {
        self.trying.lock()
    }

    /// Whether one more may be in flight.
    pub fn has_room(&self) -> bool {
        self.in_flight.0.load(SeqCst) < self.most.load(SeqCst)
    }

    /// `None`: as many are in flight as may be.
    pub fn take(self: &Arc<Self>) -> Option<LimitPermit> {
        let most = self.most.load(SeqCst);
        let next = |taken: usize| (taken < most).then_some(taken + 1);
        self.in_flight.0.fetch_update(SeqCst, SeqCst, next).ok()?;
        Some(LimitPermit { limit: self.clone(), used: true })
    }
}

impl LimitPermit {
    pub fn is_of(&self, limit: &Arc<RequestLimit>) -> bool {
        Arc::ptr_eq(&self.limit, limit)
    }

    /// Gives it back because the request lacks something else, for which all others would have to wait as well: nobody
    /// is called.
    pub fn give_back_unused(mut self) {
        self.used = false;
    }
}

impl Drop for LimitPermit {
    fn drop(&mut self) {
        self.limit.in_flight.0.fetch_sub(1, SeqCst);
        if self.used {
            self.limit.queue.call_next();
        }
    }
}
