//! The right of one attempt to use an endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::{BYTES_IN, BYTES_OUT, Endpoint, FAILURES, IN_FLIGHT, REQUESTS};
use super::in_flight_limit::Holds;
use super::outliers::Verdict;
use super::skipped::SkippedEndpoints;
use super::sticky::StickyTag;
use super::{PickRequest, Picked, Pool};
use crate::wait_queue::WaitQueue;

/// How often an endpoint is picked anew because others took its room.
const PICKS_MAX: usize = 8;

/// While it lives, the attempt counts as in flight, at the endpoint and in the pool. Dropped, it ends as
/// [`LeaseOutcome::Abandoned`].
#[derive(Debug)]
pub struct Lease {
    /// `None` once it has ended.
    endpoint: Option<Arc<Endpoint>>,
    holds: Holds,
    /// It is in the endpoint's exact count.
    exact: bool,
    /// It finds out how an ejected endpoint is.
    probes: bool,
    /// Where requests wait for room at an endpoint; `None`: endpoints have no limit.
    queue: Option<Arc<WaitQueue>>,
}

/// How an attempt ended, as far as it says something of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The endpoint has answered.
    Answered,
    /// The endpoint failed, or answered with a status that is retried.
    Failed,
    /// The client's doing, or this proxy's.
    Abandoned,
}

/// What a request asks a pool for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    pub pick: PickRequest<'a>,
    pub holds: Holds,
    /// The pool has admitted the request before: its limit does not refuse it any more.
    pub admitted: bool,
}

/// What came of asking a pool for a lease.
#[derive(Debug)]
pub enum Leased {
    Lease {
        lease: Lease,
        failed_open: bool,
        /// What stands for its endpoint in cookies, in a pool that keeps clients at their endpoints.
        tag: Option<StickyTag>,
        skipped: Option<Arc<SkippedEndpoints>>,
    },
    /// No endpoint can be picked now.
    NoneHealthy { skipped: Option<Arc<SkippedEndpoints>> },
    /// The pool has as many requests as it may have.
    Full,
    /// Each endpoint that might be picked has as many as it may have.
    EndpointsFull,
}

impl Pool {
    /// Picks an endpoint and leases it.
    pub fn lease(&self, request: LeaseRequest<'_>) -> Leased {
        // Others may take the room of the endpoint that was picked.
        (0..PICKS_MAX).find_map(|_| self.try_lease(request)).unwrap_or(Leased::EndpointsFull)
    }

    /// `None`: the endpoint that was picked has no room any more.
    fn try_lease(&self, request: LeaseRequest<'_>) -> Option<Leased> {
        let LeaseRequest { pick, holds, admitted } = request;
        let (endpoint, failed_open, probes, tag, skipped) = match self.pick(&pick) {
            Picked::Endpoint { endpoint, failed_open, probes, tag, skipped } => {
                (endpoint, failed_open, probes, tag, skipped)
            }
            Picked::NoneHealthy { skipped } => return Some(Leased::NoneHealthy { skipped }),
            Picked::Full => return Some(Leased::EndpointsFull),
        };
        let give_up_probe = |endpoint: &Endpoint| {
            if probes {
                endpoint.outliers().give_up()
            }
        };
        if admitted {
            endpoint.pool.begin_beyond(holds);
        } else if !endpoint.pool.begin(holds) {
            give_up_probe(&endpoint);
            return Some(Leased::Full);
        }
        let counts = self.reads_load || self.endpoint_most.is_some();
        if counts && !endpoint.load_begins(self.endpoint_most, pick.now) {
            endpoint.pool.end(holds);
            give_up_probe(&endpoint);
            return None;
        }
        let mut lease = Lease::counted(endpoint, holds);
        (lease.exact, lease.probes) = (counts, probes);
        lease.queue = self.endpoint_most.map(|_| self.queue().clone());
        Some(Leased::Lease { lease, failed_open, tag, skipped })
    }
}

impl Lease {
    /// For a request that the pool has not admitted before; `None`: the pool's limit is reached.
    pub fn within_limit(endpoint: Arc<Endpoint>, holds: Holds) -> Option<Self> {
        endpoint.pool.begin(holds).then(|| Self::counted(endpoint, holds))
    }

    /// For a request that the pool has admitted before: it is counted, and not refused.
    pub fn beyond_limit(endpoint: Arc<Endpoint>, holds: Holds) -> Self {
        endpoint.pool.begin_beyond(holds);
        Self::counted(endpoint, holds)
    }

    /// For a request that the pool's limit has counted.
    fn counted(endpoint: Arc<Endpoint>, holds: Holds) -> Self {
        endpoint.count(REQUESTS, 1);
        endpoint.count(IN_FLIGHT, 1);
        Self { endpoint: Some(endpoint), holds, exact: false, probes: false, queue: None }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.as_ref().expect("a lease that has ended is nobody's")
    }

    /// Whether it finds out how an ejected endpoint is, and has not yet.
    pub fn probes(&self) -> bool {
        self.probes
    }

    /// Ends it, and returns the endpoint for the record.
    pub fn end(mut self, outcome: LeaseOutcome) -> Arc<Endpoint> {
        if outcome == LeaseOutcome::Failed {
            self.endpoint().count(FAILURES, 1);
        }
        self.give_back().expect("it has not ended before")
    }

    fn give_back(&mut self) -> Option<Arc<Endpoint>> {
        let endpoint = self.endpoint.take()?;
        endpoint.count(IN_FLIGHT, 1u64.wrapping_neg());
        endpoint.pool.end(self.holds);
        if self.exact {
            endpoint.load_ends();
        }
        if self.probes {
            endpoint.outliers().give_up();
        }
        self.queue.take().into_iter().for_each(|queue| queue.call_next());
        Some(endpoint)
    }

    /// Tells the balance policy and the outlier detection how the attempt went, `took` after its begin. `request` is its id.
    pub fn judged(&mut self, verdict: Verdict, took: Duration, request: &str, now: Instant) {
        let failed = matches!(verdict, Verdict::Failed(_));
        let endpoint = self.endpoint();
        match endpoint.response_time() {
            _ if !self.exact => {}
            time if failed => time.failed(took, now),
            time => time.answered(took, now),
        }
        endpoint.judged(verdict, took, request);
        self.probes &= verdict == Verdict::Throttled;
    }

    /// The answer that had begun has ended well.
    pub fn ended_well(&self) {
        self.endpoint().ended_well();
    }

    /// The attempt is given up `took` after its begin because another was faster, which says how long the endpoint takes
    /// at least.
    pub fn overtaken(&self, took: Duration, now: Instant) {
        let endpoint = self.endpoint();
        if self.exact {
            endpoint.response_time().overtaken(took, now);
        }
    }

    /// Counts body bytes to the endpoint.
    pub fn sent(&self, bytes: u64) {
        self.endpoint().count(BYTES_IN, bytes);
    }

    /// Counts body bytes from the endpoint.
    pub fn received(&self, bytes: u64) {
        self.endpoint().count(BYTES_OUT, bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
