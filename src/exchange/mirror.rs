//! Whether a request is copied to another pool, and what its copy may be.

use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use super::hash_key::hash_of;
use super::split::scrambled;
use super::{Exchange, ResponseScope};
use crate::config::{Balance, HostHeader};
use crate::mirror::NotMirrored;
use crate::permits::Permit;
use crate::pool::hash_of_key;
use crate::routing::RequestHead;
use crate::snapshot::Mirror;
use crate::telemetry::record::MirrorResult;

/// A request's body, as far as it is known when its head goes to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirroredBody {
    /// All of it is there, or there is none.
    Whole { length: u64 },
    /// It is still to come. `announced`: its length, if that is known.
    Coming { announced: Option<u64> },
}

/// A copy that is to be made, and the right to it.
pub struct MirrorOrder {
    pub mirror: Arc<Mirror>,
    /// Of the mirror's pool.
    pub scope: Arc<ResponseScope>,
    pub permit: Permit,
    /// The `Host` of the copy; `None`: its endpoint's own.
    pub host: Option<Box<str>>,
    /// For a pool that balances by hash.
    pub key: Option<u64>,
    pub request_id: Box<str>,
}

impl Exchange {
    /// Decides whether the request, whose head is about to go to an endpoint, is copied. Once for each request: `None` for
    /// its later attempts.
    pub fn begin_mirror<H: RequestHead>(
        &mut self,
        head: &H,
        body: MirroredBody,
        now: Instant,
    ) -> Option<MirrorOrder> {
        let mirror = self.route()?.mirror.as_ref()?.clone();
        if self.record.unusual().mirror.is_some()
            || !self.may_be_copied(&mirror, head)
            || !self.is_drawn(&mirror)
        {
            return None;
        }
        let length = match body {
            MirroredBody::Whole { length } => Some(length),
            MirroredBody::Coming { announced } => announced,
        };
        let permit = match length {
            Some(length) if length > mirror.config.body_bytes => Err(NotMirrored::BodyTooLarge),
            _ => mirror.state.take(mirror.config.requests).ok_or(NotMirrored::TooMany),
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(why) => {
                mirror.state.count_dropped(why, now);
                self.record.unusual_mut().mirror = Some(MirrorResult::Dropped(why));
                return None;
            }
        };
        self.record.unusual_mut().mirror = Some(match body {
            MirroredBody::Whole { .. } => MirrorResult::Sent,
            MirroredBody::Coming { .. } => MirrorResult::Dropped(NotMirrored::BodyIncomplete),
        });
        let key = match &mirror.pool.config().balance {
            Balance::Hash(by) => hash_of(by, head, self.sender.client()),
            _ => None,
        };
        Some(MirrorOrder {
            scope: self.scope.of_pool(&self.route()?.name, &mirror.pool),
            permit,
            host: self.mirrored_host(&mirror),
            key,
            request_id: self.request_id().into(),
            mirror,
        })
    }

    /// Whether copies of such requests are made at all.
    pub(super) fn may_be_copied<H: RequestHead>(&self, mirror: &Mirror, head: &H) -> bool {
        let methods = &mirror.config.methods;
        let is_meant = methods.is_empty() || methods.iter().any(|method| method == head.method());
        is_meant && !self.is_upgrade()
    }

    /// Notes what has become of the copy.
    pub fn mirrored(&mut self, result: MirrorResult) {
        self.record.unusual_mut().mirror = Some(result);
    }

    /// By lot, but the same for each attempt. Not by the id alone, which clients may choose.
    fn is_drawn(&self, mirror: &Mirror) -> bool {
        let time = self.record.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let id = hash_of_key(self.record.text.request_id().as_bytes());
        let place = scrambled(id ^ (time as u64).rotate_left(32));
        mirror.config.share >= 1.0 || (place as f64) < mirror.config.share * 2f64.powi(64)
    }

    /// As the mirror's pool says, where the route does not.
    fn mirrored_host(&self, mirror: &Mirror) -> Option<Box<str>> {
        let of_route = self.route()?.rewrite.as_ref().and_then(|rewrite| rewrite.host.as_ref());
        match of_route.unwrap_or(&mirror.pool.config().host) {
            HostHeader::Preserve => Some(self.host()).filter(|host| !host.is_empty()).map(Into::into),
            HostHeader::Endpoint => None,
            HostHeader::Fixed(host) => host.to_str().ok().map(Into::into),
        }
    }
}
