//! How often: the rate limits of the request's route.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use super::passage::Passage;
use super::{Exchange, Failure};
use crate::config::RateKey;
use crate::rate_limit::Key;
use crate::routing::{RequestHead, cookie};
use crate::snapshot::RouteRateLimit;
use crate::telemetry::record::ClientAddress;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl Exchange {
    /// Counts the request in each limit of its route, unless one of them refuses it: then it counts in none.
    pub(super) fn limit_rate<H: RequestHead>(
        &mut self,
        passage: &mut impl Passage,
        head: &H,
    ) -> Result<(), Failure> {
        if self.route().is_none_or(|route| route.rate_limits.is_empty()) {
            return Ok(());
        }
        let scope = self.scope.clone();
        let Some(route) = scope.route(self.route) else { return Ok(()) };
        let now = self.started;
        let mut taken: SmallVec<[(&RouteRateLimit, Key); 4]> = SmallVec::new();
        for limit in &route.rate_limits {
            let key = key(limit, head, self.sender.client());
            let Err(too_many) = passage.take(limit, key, now) else {
                taken.push((limit, key));
                continue;
            };
            passage.refused(limit);
            if limit.config.dry_run {
                self.record.unusual_mut().limited_dry_run.get_or_insert_with(|| limit.label.clone());
                continue;
            }
            self.record.unusual_mut().limited = Some(limit.label.clone());
            self.limited = Some(fields(&route.rate_limits, limit, too_many.wait).into());
            taken.iter().for_each(|(limit, key)| passage.give_back(limit, *key, now));
            return Err(Failure::RateLimited);
        }
        Ok(())
    }
}

/// A request without the part that its limit counts by is counted by its client: who leaves it out gains nothing. So is
/// one that has it twice, because nobody knows which of them an endpoint would take.
fn key(limit: &RouteRateLimit, head: &impl RequestHead, client: &ClientAddress) -> Key {
    const CLIENT: u8 = 0;
    const PART: u8 = 1;
    let part = match &limit.config.by {
        RateKey::Client | RateKey::Route => None,
        RateKey::Header(name) => {
            let mut values = head.values(name);
            values.next().filter(|_| values.next().is_none())
        }
        RateKey::Cookie(name) => cookie(head, name),
    };
    if let Some(part) = part.filter(|part| !part.is_empty()) {
        return limit.limiter.key(PART, part);
    }
    match client.ip() {
        _ if limit.config.by == RateKey::Route => limit.limiter.key(PART, b""),
        None => limit.limiter.key(CLIENT, b""),
        Some(IpAddr::V4(ip)) => limit.limiter.key(CLIENT, &ip.octets()),
        // A client of IPv6 has a whole /64 to choose addresses from.
        Some(IpAddr::V6(ip)) => limit.limiter.key(CLIENT, ip.octets().get(..8).unwrap_or_default()),
    }
}

/// `Retry-After`, and what draft-ietf-httpapi-ratelimit-headers says of all limits that are in force, and of the one
/// that has refused the request.
fn fields(limits: &[RouteRateLimit], by: &RouteRateLimit, wait: Duration) -> Vec<(HeaderName, HeaderValue)> {
    let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let wait = seconds(wait).max(1);
    let mut policies = String::new();
    for limit in limits.iter().filter(|limit| !limit.config.dry_run) {
        let quota = &limit.config.quota;
        let gap = if policies.is_empty() { "" } else { ", " };
        let (name, burst, window) = (&limit.policy, quota.burst(), seconds(quota.refill()).max(1));
        // Writing to a `String` cannot fail.
        let _ = write!(policies, "{gap}\"{name}\";q={burst};w={window}");
    }
    let state = format!("\"{}\";r=0;t={wait}", by.policy);
    let mut fields = vec![(header::RETRY_AFTER, HeaderValue::from(wait))];
    let named = [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, state)];
    fields.extend(
        named.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(&text).ok()?))),
    );
    fields
}
