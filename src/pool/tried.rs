//! The endpoints that one request has tried, so that it tries another one next.

use std::sync::Arc;

use smallvec::SmallVec;

use super::endpoint::Endpoint;

/// How many endpoints that are known to be unreachable a request tries all the same: a connect that is refused costs
/// microseconds, but not where there are ten thousand.
const UNREACHABLE_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct Tried {
    endpoints: SmallVec<[Entry; 2]>,
    /// Of them, those that others had found unreachable before.
    unreachable: usize,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    /// It is not tried a second time, even if nobody else is left.
    ruled_out: bool,
}

impl Tried {
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The attempt at it failed; it may be tried again once nobody else is left.
    pub fn add(&mut self, endpoint: Arc<Endpoint>) {
        self.endpoints.push(Entry { endpoint, ruled_out: false });
    }

    /// There was no connection to it; `known` if that was no news.
    pub fn rule_out(&mut self, endpoint: &Arc<Endpoint>, known: bool) {
        self.unreachable += usize::from(known);
        self.endpoints.push(Entry { endpoint: endpoint.clone(), ruled_out: true });
    }

    /// None of them is tried again before somebody has waited.
    pub fn rule_out_all(&mut self) {
        self.endpoints.iter_mut().for_each(|entry| entry.ruled_out = true);
    }

    /// Time has passed: all of them may have come back.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn contains(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.endpoints.iter().any(|entry| Arc::ptr_eq(&entry.endpoint, endpoint))
    }

    /// Whether one of them may be tried once more.
    pub(super) fn any_may_repeat(&self) -> bool {
        self.endpoints.iter().any(|entry| !entry.ruled_out)
    }

    /// Whether it was tried, and may be once more.
    pub(super) fn may_repeat(&self, endpoint: &Arc<Endpoint>) -> bool {
        let mut tries =
            self.endpoints.iter().filter(|entry| Arc::ptr_eq(&entry.endpoint, endpoint)).peekable();
        tries.peek().is_some() && tries.all(|entry| !entry.ruled_out)
    }

    /// Whether one that is known to be unreachable may be tried.
    pub(super) fn may_try_unreachable(&self) -> bool {
        self.unreachable < UNREACHABLE_MAX
    }
}
