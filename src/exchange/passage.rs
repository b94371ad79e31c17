//! The stages at which a request's policies judge it, in their fixed order, and who takes a request through them.

use std::time::Instant;

use crate::rate_limit::{Key, TooMany};
use crate::snapshot::RouteRateLimit;

/// What judges a request, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The form of its path.
    Path,
    /// The limits of its listener.
    Limits,
    /// `allow` and `deny` of its listener.
    ListenerAccess,
    Host,
    /// Whether its host has the certificate that the client was shown.
    Certificate,
    RedirectHttps,
    /// How often it may be forwarded.
    Hops,
    Route,
    /// `allow` and `deny` of its route.
    RouteAccess,
    /// The limits of its route.
    RouteLimits,
    RateLimit,
    Preflight,
    Authentication,
    /// What its route does with it: a redirect, or a fixed answer.
    Action,
    Rewrite,
    RequestHeaders,
    /// The limits of its route and pool, and an endpoint.
    Pool,
}

/// Who takes a request through its policies: an engine, or somebody who only asks what would become of it.
pub(super) trait Passage {
    /// From now on, this stage judges the request.
    fn reached(&mut self, stage: Stage);

    /// Counts the request in a rate limit, or refuses it.
    fn take(&mut self, limit: &RouteRateLimit, key: Key, now: Instant) -> Result<(), TooMany>;

    /// A rate limit has refused the request, or would have, were it no dry run.
    fn refused(&mut self, limit: &RouteRateLimit);

    /// Gives back what it has taken of a rate limit.
    fn give_back(&mut self, limit: &RouteRateLimit, key: Key, now: Instant);
}

/// The passage of a request that is served.
pub(super) struct Served;

impl Passage for Served {
    #[inline(always)]
    fn reached(&mut self, _stage: Stage) {}

    fn take(&mut self, limit: &RouteRateLimit, key: Key, now: Instant) -> Result<(), TooMany> {
        limit.limiter.take(&limit.config.quota, key, now)
    }

    fn refused(&mut self, limit: &RouteRateLimit) {
        limit.limiter.count_refused(limit.config.dry_run);
    }

    fn give_back(&mut self, limit: &RouteRateLimit, key: Key, now: Instant) {
        limit.limiter.give_back(&limit.config.quota, key, now);
    }
}
