//! What an HTTP/2 client sent and nobody got to see, because the codec or Pingora refused it: it is counted and logged all
//! the same.

use std::time::{Instant, SystemTime};

use h2::Reason;
use pingora_core::Error;
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_http::ResponseHeader;

use super::Carrier;
use super::visit::Visit;
use crate::exchange::{Arrival, Exchange, Failure, Tracked};
use crate::routing::RequestHead;
use crate::telemetry::record::Protocol;

/// A request that Pingora has answered with 400 or a reset, and does not show.
pub fn request(carrier: &Carrier, visit: &Visit) {
    let Some(mut tracked) = begin(carrier, visit, &Unread, "") else { return };
    let detail = "malformed HTTP/2 request: its target, authority or length can be read in two ways";
    tracked.failed(Failure::BadRequest, Some(detail.to_owned()));
    tracked.finish(Some(Failure::BadRequest.status().as_u16()), 0, Instant::now());
}

/// A request that has more fields than the listener allows. Its answer has no body, which the client might not take.
pub fn too_many_fields(carrier: &Carrier, visit: &Visit, mut session: HttpSession) {
    let failure = Failure::HeadersTooLarge;
    fails(carrier, visit, &session, failure);
    if let Ok(response) = ResponseHeader::build(failure.status(), Some(1)) {
        // Who has gone needs no answer.
        let _ = session.write_response_header(Box::new(response), true);
    }
}

/// A request that was reset before its turn.
pub fn gone(carrier: &Carrier, visit: &Visit, session: &HttpSession) {
    fails(carrier, visit, session, Failure::ClientGone);
}

fn fails(carrier: &Carrier, visit: &Visit, session: &HttpSession, failure: Failure) {
    let head = session.req_header();
    let target = String::from_utf8_lossy(head.raw_path());
    if let Some(mut tracked) = begin(carrier, visit, &**head, &target) {
        tracked.failed(failure, None);
        tracked.finish(Some(failure.status().as_u16()), 0, Instant::now());
    }
}

fn begin(carrier: &Carrier, visit: &Visit, head: &impl RequestHead, target: &str) -> Option<Tracked> {
    let scope = carrier.scopes.of(&visit.listener_state)?;
    let arrival = Arrival {
        head,
        identity: visit.identity.clone(),
        secured: visit.secured.clone(),
        protocol: Protocol::Http2,
        target,
        upgrade: false,
        short_of_memory: false,
        now: Instant::now(),
        time: SystemTime::now(),
    };
    Some(Tracked::new(Exchange::begin(scope, arrival)))
}

/// A connection that is over, perhaps because of what its client sent.
pub fn connection(visit: &Visit, error: &Error) {
    let cause = error.cause.as_ref().and_then(|cause| cause.downcast_ref::<h2::Error>());
    // Clients may go as they like, and what the socket has to say was said by who read from it.
    let Some(error) = cause.filter(|error| error.is_library() && error.is_go_away()) else { return };
    let reason = match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => "http2_flood",
        _ => "http2_malformed",
    };
    visit.listener_state.turned_away(visit.identity.peer(), reason, &error.to_string());
}

/// A connection that is ended for the number of its requests that were refused unread.
pub fn too_many(visit: &Visit, reason: &'static str, detail: &str) {
    visit.listener_state.turned_away(visit.identity.peer(), reason, detail);
}

/// A connection whose client takes nothing of what it has asked for.
pub fn stalled(visit: &Visit) {
    visit.listener_state.turned_away(
        visit.identity.peer(),
        "http2_stalled",
        "several responses in a row were not taken",
    );
}

/// The head of a request that nobody has read.
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

    fn header(&self, _name: &str) -> Option<&str> {
        None
    }
}
