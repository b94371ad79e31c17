//! Logs and counts HTTP/2 requests and connections that end without being served.

use std::rc::Rc;
use std::time::Instant;

use h2::Reason;

use super::sent_frames::SentFrame;
use super::shared::Shared;
use crate::exchange::{Arrival, Exchange, Failure};
use crate::routing::RequestHead;
use crate::telemetry::record::Protocol;

/// A request that h2 has refused by itself, so that its head is not known.
pub fn by_codec(shared: &Shared, frame: SentFrame) {
    let (failure, detail) = match frame {
        SentFrame::Response { .. } => (Failure::HeadersTooLarge, "its fields are too large"),
        SentFrame::Reset { .. } => {
            (Failure::BadRequest, "malformed HTTP/2 request, or one too many: it was reset")
        }
    };
    log(shared, &Unread, b"", failure, Some(detail));
}

/// A request that its client has reset before it got a permit.
pub fn gone(shared: &Rc<Shared>, head: &impl RequestHead, target: &[u8]) {
    log(shared, head, target, Failure::ClientGone, None);
}

fn log(
    shared: &Shared,
    head: &impl RequestHead,
    target: &[u8],
    failure: Failure,
    detail: Option<&'static str>,
) {
    let Some(scope) = shared.scope_in_force() else { return };
    let now = Instant::now();
    let arrival = Arrival {
        head,
        identity: shared.identity.clone(),
        tls_info: shared.tls_info.clone(),
        protocol: Protocol::Http2,
        target,
        upgrade: false,
        short_of_memory: false,
        now,
        time: shared.worker.clock.time_of_day(now),
    };
    let mut exchange = Exchange::begin(scope, arrival);
    exchange.failed(failure, detail.map(str::to_owned));
    exchange.finish(Some(failure.status().as_u16()), 0, now);
}

/// A connection that h2 has ended with an error.
pub fn connection(shared: &Shared, error: &h2::Error) {
    // A client may leave at any time, and violations found by `Io` have been logged there.
    if !error.is_library() || !error.is_go_away() {
        return;
    }
    let reason = match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => "http2_flood",
        _ => "http2_malformed",
    };
    shared.turned_away(reason, &error.to_string());
}

/// The head of a request that h2 has not shown.
struct Unread;

impl RequestHead for Unread {
    fn method(&self) -> &str {
        ""
    }

    fn authority(&self) -> &str {
        ""
    }

    fn path(&self) -> &str {
        ""
    }

    fn query(&self) -> Option<&str> {
        None
    }

    fn values<'a>(&'a self, _name: &http::HeaderName) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }
}
