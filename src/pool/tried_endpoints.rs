//! The endpoints that one request has tried, so that it tries others next.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::endpoint::Endpoint;

/// The most endpoints known to be unreachable that one request tries: a refused connect costs microseconds, but ten
/// thousand of them would not.
const UNREACHABLE_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct TriedEndpoints {
    endpoints: SmallVec<[Entry; 2]>,
    /// None is to be tried before the request has waited.
    exhausted: bool,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    repeat: Repeat,
}

/// Whether an endpoint is tried a second time if no other is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Yes,
    /// As its response asks for.
    NotBefore(Instant),
    Never(ConnectFailure),
}

/// Why there was no connection to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// This machine had no descriptor, port or memory for the connection.
    Shortage,
    /// The connect failed, and this request was the first to find out.
    Unreachable,
    /// The connect failed, as others had before.
    KnownUnreachable,
}

impl Entry {
    fn may_repeat(&self, now: Instant) -> bool {
        match self.repeat {
            Repeat::Yes => true,
            Repeat::NotBefore(until) => until <= now,
            Repeat::Never(_) => false,
        }
    }
}

impl TriedEndpoints {
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Adds an endpoint whose attempt failed; it may be tried again once no other is left.
    pub fn add(&mut self, endpoint: Arc<Endpoint>) {
        self.endpoints.push(Entry { endpoint, repeat: Repeat::Yes });
    }

    /// Adds an endpoint whose response asks not to be tried again before that time.
    pub fn defer(&mut self, endpoint: Arc<Endpoint>, until: Instant) {
        self.endpoints.push(Entry { endpoint, repeat: Repeat::NotBefore(until) });
    }

    /// Adds an endpoint that could not be connected to.
    pub fn rule_out(&mut self, endpoint: &Arc<Endpoint>, why: ConnectFailure) {
        self.endpoints.push(Entry { endpoint: endpoint.clone(), repeat: Repeat::Never(why) });
    }

    /// Makes the next pick find none, so that the request waits.
    pub fn exhaust(&mut self) {
        self.exhausted = true;
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Empties the list after a wait, because all of them may be back.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether this machine lacked the resources to reach one of them that is not known to be unreachable: waiting for
    /// an endpoint would not help.
    pub fn has_shortage(&self) -> bool {
        let is_short = |entry: &Entry| entry.repeat == Repeat::Never(ConnectFailure::Shortage);
        self.endpoints.iter().any(|entry| is_short(entry) && !entry.endpoint.is_unreachable())
    }

    pub(super) fn contains(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.endpoints.iter().any(|entry| Arc::ptr_eq(&entry.endpoint, endpoint))
    }

    /// Whether one of them has asked not to be tried again yet.
    pub fn has_deferred(&self, now: Instant) -> bool {
        self.endpoints.iter().any(|entry| matches!(entry.repeat, Repeat::NotBefore(until) if now < until))
    }

    /// Whether one of them may be tried once more.
    pub(super) fn any_may_repeat(&self, now: Instant) -> bool {
        self.endpoints.iter().any(|entry| entry.may_repeat(now))
    }

    /// Whether it was tried, and may be tried once more.
    pub(super) fn may_repeat(&self, endpoint: &Arc<Endpoint>, now: Instant) -> bool {
        let mut tries =
            self.endpoints.iter().filter(|entry| Arc::ptr_eq(&entry.endpoint, endpoint)).peekable();
        tries.peek().is_some() && tries.all(|entry| entry.may_repeat(now))
    }

    /// Whether another endpoint that is known to be unreachable may be tried.
    pub(super) fn may_try_unreachable(&self) -> bool {
        let known = |entry: &&Entry| entry.repeat == Repeat::Never(ConnectFailure::KnownUnreachable);
        self.endpoints.iter().filter(known).nth(UNREACHABLE_MAX - 1).is_none()
    }
}
