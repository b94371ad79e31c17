//! One request between a client's stream and an endpoint's: attempts, bodies both ways, tunnels, local replies. It moves
//! bytes and asks `exchange` for every decision.
//!
//! The protocols are implementations of [`ClientStream`] and [`EndpointStream`](crate::endpoint::EndpointStream); nothing
//! here knows which one is on either side.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

mod attempt;
mod local_reply;
mod min_body_rate;
mod request;
mod tunnel;
mod websocket_frames;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use crate::body::{BodySink, BodySource};
use crate::exchange::{ClientIdentity, Edits, Failure, RequestScope};
use crate::message::{Onward, RequestFields, ResponseHead};
use crate::tls::Secured;
use crate::worker::Worker;
use crate::worker::deadline::Timer;
pub use request::{refuse, serve};

/// A client's request, its body, and the response to it.
pub trait ClientStream: BodySource + BodySink {
    type Request<'a>: RequestFields
    where
        Self: 'a;

    fn request(&self) -> Self::Request<'_>;

    /// Puts the path's normal form in the place of the one that was sent; `false`: its target cannot hold it.
    fn set_path(&mut self, path: &str) -> bool;

    fn worker(&self) -> &Rc<Worker>;

    fn timer(&self) -> &Timer;

    fn identity(&self) -> &ClientIdentity;

    /// What TLS was agreed on; `None`: there is none.
    fn secured(&self) -> Option<&Arc<Secured>>;

    /// The snapshot in force and the listener; `None`: the listener is not there any more.
    fn scope_in_force(&self) -> Option<Arc<RequestScope>>;

    /// When the last thing happened that was waited for: the clock is not looked at more often than that.
    fn now(&self) -> Instant;

    /// Looks at the clock: something has been waited for.
    fn tick(&mut self) -> Instant;

    /// How long the request has waited for its permit to begin.
    fn queued(&self) -> Option<Duration> {
        None
    }

    /// Judges what has come of the body together with the head, before an endpoint hears of it.
    fn check_body(&self) -> Result<(), String>;

    /// From now on keeps what is read of the body, as long as it is little, so that it can be sent again.
    fn keep_body(&mut self);

    fn can_rewind(&self) -> bool;

    /// Puts what has been read of the body back, to be sent again.
    fn rewind(&mut self);

    /// An error if the client has gone. Reads what it sends ahead, as far as there is room.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> io::Result<()>;

    /// Whether a response can go to this client at all, beside what `exchange` says: the reason where not.
    fn judge(&self, response: &impl ResponseHead) -> Result<(), String>;

    /// Sends an interim response, if the client's version has any; it may be pending until it is flushed by
    /// [`poll_send`](BodySink::poll_send).
    fn send_interim(&mut self, response: &impl ResponseHead, edits: &Edits);

    /// Sends the head of the final response, in one piece with its body where it can; `onward` says how that follows.
    fn send_head(&mut self, response: &impl ResponseHead, edits: &Edits, onward: Onward);

    /// Sends the head of a response by which the stream becomes a tunnel: both bodies are bytes as they are from then on.
    /// Returns the status that says so to the client.
    fn switch_protocols(&mut self, response: &impl ResponseHead, edits: &Edits) -> u16;

    /// Its connection serves no request behind this one: the client may be hostile, or what it sends cannot be read.
    fn close_behind(&mut self);
}

/// How a request has ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It has a whole response, whoever made it.
    Whole,
    /// It has none, or not all of one, and must not take it for whole.
    Broken(Failure),
}
