//! What an HTTP/2 client sent and nobody got to see, because the codec or Pingora refused it: it is counted and logged all
//! the same.

use std::time::{Instant, SystemTime};

use h2::Reason;
use pingora_core::Error;

use super::Carrier;
use super::visit::Visit;
use crate::exchange::{Arrival, Exchange, Failure, Tracked};
use crate::routing::RequestHead;
use crate::telemetry::record::Protocol;

/// A request that Pingora has answered with 400 or a reset, and does not show.
pub fn request(carrier: &Carrier, visit: &Visit) {
    let snapshot = carrier.snapshot.load_full();
    let Some(listener) = visit.door.in_force(&snapshot).cloned() else { return };
    let arrival = Arrival {
        head: &Unread,
        caller: visit.caller.clone(),
        secured: visit.secured.clone(),
        protocol: Protocol::Http2,
        target: "",
        upgrade: false,
        short_of_memory: false,
        now: Instant::now(),
        time: SystemTime::now(),
    };
    let exchange = Exchange::begin(snapshot, listener, arrival);
    let mut tracked = Tracked::new(exchange, carrier.telemetry.clone(), &visit.door.counters);
    let detail = "malformed HTTP/2 request: its target, authority or length can be read in two ways";
    tracked.failed(Failure::BadRequest, Some(detail.to_owned()));
    tracked.finish(Some(Failure::BadRequest.status().as_u16()), 0, Instant::now());
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
    visit.door.turned_away(visit.caller.peer(), reason, &error.to_string());
}

/// A connection that is ended for the number of its requests that were none.
pub fn too_many(visit: &Visit) {
    visit.door.turned_away(visit.caller.peer(), "http2_malformed", "too many malformed requests");
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
