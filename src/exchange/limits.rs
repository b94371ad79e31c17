//! How large a request may be, by the limits of its listener and then of its route.

use super::Failure;
use crate::config::{Limits, RouteBodyLimit, RouteLimits};
use crate::snapshot::Route;

/// The size of a request's head.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct HeadSize {
    target: usize,
    count: usize,
    bytes: usize,
}

impl HeadSize {
    /// `target` is the length of the target, `fields` gives the size of each header field, as sent.
    pub(super) fn of(target: usize, fields: impl Iterator<Item = usize>) -> Self {
        let (count, bytes) = fields.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
        Self { target, count, bytes }
    }

    pub(super) fn fits(&self, limits: &Limits) -> Result<(), Failure> {
        self.within(limits.target_bytes, limits.header_count, limits.header_bytes)
    }

    pub(super) fn fits_route(&self, limits: &RouteLimits) -> Result<(), Failure> {
        let or_any = |limit: Option<usize>| limit.unwrap_or(usize::MAX);
        self.within(or_any(limits.target_bytes), or_any(limits.header_count), or_any(limits.header_bytes))
    }

    fn within(&self, target: usize, count: usize, bytes: usize) -> Result<(), Failure> {
        if self.target > target {
            return Err(Failure::TargetTooLong);
        }
        if self.count > count || self.bytes > bytes {
            return Err(Failure::HeadersTooLarge);
        }
        Ok(())
    }
}

/// The largest body in bytes; `None`: no limit. What is buffered must fit the buffer.
pub(super) fn of_body(route: &Route, listener: &Limits) -> Option<u64> {
    let limit = match route.limits.body {
        RouteBodyLimit::Inherit => listener.body_bytes,
        RouteBodyLimit::Off => None,
        RouteBodyLimit::Bytes(limit) => Some(limit),
    };
    limit.into_iter().chain(route.buffer_request).min()
}
