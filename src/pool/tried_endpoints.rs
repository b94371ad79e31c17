//! The endpoints that one request has tried, so that it tries another one next.

use std::sync::Arc;

use smallvec::SmallVec;

use super::endpoint::Endpoint;

/// How many endpoints that are known to be unreachable a request tries all the same: a connect that is refused costs
/// microseconds, but not where there are ten thousand.
const UNREACHABLE_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct TriedEndpoints {
    endpoints: SmallVec<[Entry; 2]>,
    /// No other one is to be tried before the request has waited.
    exhausted: bool,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    /// With it, the endpoint is not tried a second time, even if nobody else is left.
    unconnected: Option<ConnectFailure>,
}

/// Why there was no connection to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// This machine had no descriptor, port or memory for it.
    Shortage,
    /// It has not opened, and this request is the first to find out.
    Unreachable,
    /// It has not opened, as others had found before.
    KnownUnreachable,
}

impl TriedEndpoints {
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The attempt at it failed; it may be tried again once nobody else is left.
    pub fn add(&mut self, endpoint: Arc<Endpoint>) {
        self.endpoints.push(Entry { endpoint, unconnected: None });
    }

    /// There was no connection to it.
    pub fn rule_out(&mut self, endpoint: &Arc<Endpoint>, why: ConnectFailure) {
        self.endpoints.push(Entry { endpoint: endpoint.clone(), unconnected: Some(why) });
    }

    /// Nobody is tried, be it again or for the first time, before the request has waited.
    pub fn exhaust(&mut self) {
        self.exhausted = true;
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Time has passed: all of them may have come back.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether this machine is short of what it takes to reach one of them, as far as that can be reached: to wait for
    /// an endpoint is no help there.
    pub fn has_shortage(&self) -> bool {
        let is_short = |entry: &Entry| entry.unconnected == Some(ConnectFailure::Shortage);
        self.endpoints.iter().any(|entry| is_short(entry) && !entry.endpoint.is_unreachable())
    }

    pub(super) fn contains(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.endpoints.iter().any(|entry| Arc::ptr_eq(&entry.endpoint, endpoint))
    }

    /// Whether one of them may be tried once more.
    pub(super) fn any_may_repeat(&self) -> bool {
        self.endpoints.iter().any(|entry| entry.unconnected.is_none())
    }

    /// Whether it was tried, and may be once more.
    pub(super) fn may_repeat(&self, endpoint: &Arc<Endpoint>) -> bool {
        let mut tries =
            self.endpoints.iter().filter(|entry| Arc::ptr_eq(&entry.endpoint, endpoint)).peekable();
        tries.peek().is_some() && tries.all(|entry| entry.unconnected.is_none())
    }

    /// Whether one that is known to be unreachable may be tried.
    pub(super) fn may_try_unreachable(&self) -> bool {
        let known = |entry: &&Entry| entry.unconnected == Some(ConnectFailure::KnownUnreachable);
        self.endpoints.iter().filter(known).nth(UNREACHABLE_MAX - 1).is_none()
    }
}
