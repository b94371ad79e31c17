//! Compiles the limits of routes, and checks that some listener lets as much through.

use super::Compiler;
use super::queues::queue_limits;
use crate::config::decode::OrOff;
use crate::config::model::{Listener, QueuedLimit, ResponseRate, RouteBodyLimit, RouteLimits};
use crate::config::raw::{RouteLimitsSection, RouteSection};
use crate::config::scalar::in_units;
use crate::config::source::Span;

/// The widest limits of all listeners.
pub(super) struct WidestLimits {
    header_bytes: usize,
    header_count: usize,
    target_bytes: usize,
}

impl WidestLimits {
    /// `None`: there are no listeners.
    pub(super) fn of(listeners: &[Listener]) -> Option<Self> {
        let limits = || listeners.iter().map(|listener| &listener.limits);
        Some(Self {
            header_bytes: limits().map(|limits| limits.header_bytes).max()?,
            header_count: limits().map(|limits| limits.header_count).max()?,
            target_bytes: limits().map(|limits| limits.target_bytes).max()?,
        })
    }
}

impl Compiler<'_> {
    pub(super) fn route_limits(
        &mut self,
        section: &RouteLimitsSection,
        widest: Option<&WidestLimits>,
    ) -> RouteLimits {
        let header_size = section.header_size.as_ref().map(|size| (size.span, size.0));
        let header_count = section.header_count.as_ref().map(|count| (count.span, count.0));
        let target_size = section.target_size.as_ref().map(|size| (size.span, size.0));
        RouteLimits {
            header_bytes: self.bounded(
                "header_size",
                header_size,
                widest.map(|limits| limits.header_bytes),
                size,
            ),
            header_count: self.bounded(
                "header_count",
                header_count,
                widest.map(|limits| limits.header_count),
                count,
            ),
            target_bytes: self.bounded(
                "target_size",
                target_size,
                widest.map(|limits| limits.target_bytes),
                size,
            ),
            body: match section.body_size.as_ref().map(|written| &written.value) {
                None => RouteBodyLimit::Inherit,
                Some(OrOff::Off) => RouteBodyLimit::Off,
                Some(OrOff::On(size)) => RouteBodyLimit::Bytes(size.0),
            },
            response_rate: self.response_rate(section),
            requests: section.requests.as_option().map(|most| QueuedLimit {
                most: most.0 as usize,
                queue: queue_limits(&section.queue, &section.wait, &section.shed),
            }),
        }
    }

    fn response_rate(&mut self, section: &RouteLimitsSection) -> Option<ResponseRate> {
        let rate = section.response_rate.as_option();
        if let (None, Some(after), true) = (rate, &section.response_rate_after, section.complete) {
            let message = "there is no `response_rate` that would begin behind these bytes";
            self.diagnostics.error(after.span, message, "add `response_rate`, or remove it");
        }
        let after = section.response_rate_after.as_ref().map_or(0, |after| after.0);
        rate.map(|rate| ResponseRate { rate: rate.0, after })
    }

    /// The largest body that is buffered; `None`: none is.
    pub(super) fn buffer_request(&mut self, section: &RouteSection, body: RouteBodyLimit) -> Option<u64> {
        let most = section.buffer_request.as_option()?.0;
        let is_more = match body {
            RouteBodyLimit::Inherit => false,
            RouteBodyLimit::Off => true,
            RouteBodyLimit::Bytes(limit) => limit > most,
        };
        if let (true, Some(written)) = (is_more, &section.limits.body_size) {
            let most = in_units(most);
            let message =
                format!("`buffer_request` keeps at most {most} of a body, and more is answered 413");
            let remedy = format!("write {most} or less, remove it, or raise `buffer_request`");
            self.diagnostics.error(written.span, message, remedy);
        }
        Some(most)
    }

    /// A listener applies its own limit before the route is known, so a wider one would never take effect.
    fn bounded(
        &mut self,
        key: &str,
        written: Option<(Span, u64)>,
        most: Option<usize>,
        text: fn(usize) -> String,
    ) -> Option<usize> {
        let (span, value) = written?;
        let value = usize::try_from(value).unwrap_or(usize::MAX);
        if let Some(most) = most.filter(|most| value > *most) {
            let most = text(most);
            let message =
                format!("no listener lets more than {most} through, and that is judged before the route");
            let remedy = format!("write {most} or less, or raise `limits.{key}` of a listener");
            self.diagnostics.error(span, message, remedy);
        }
        Some(value)
    }
}

fn count(number: usize) -> String {
    number.to_string()
}

/// A size as the file writes it.
fn size(bytes: usize) -> String {
    in_units(bytes as u64)
}
