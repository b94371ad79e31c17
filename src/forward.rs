//! Forwards one request between a client's stream and an endpoint's: attempts, bodies both ways, tunnels, local
//! replies. It moves bytes, and asks `exchange` for every decision.
//!
//! HTTP/1.1 and HTTP/2 are implementations of [`ClientStream`] and
//! [`EndpointStream`](crate::endpoint::EndpointStream).

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

mod attempt;
mod buffer;
mod client_watch;
mod expectation;
mod hedge;
mod interim;
mod kept;
mod local_reply;
mod min_body_rate;
mod mirror;
mod new_body;
mod open;
mod pace;
mod request;
mod tunnel;
mod websocket_frames;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use http::HeaderName;

use crate::body::{BodySink, BodySource};
use crate::exchange::{ClientIdentity, Edits, Failure, RequestScope};
use crate::message::{Onward, RequestFields, ResponseHead};
use crate::net::arrivals::Arrivals;
use crate::tls::TlsInfo;
use crate::worker::Worker;
use crate::worker::deadline::Timer;
pub use request::{refuse, serve};

/// A client's request, its body, and the response to it.
pub trait ClientStream: BodySource + BodySink {
    type Request<'a>: RequestFields
    where
        Self: 'a;

    fn request(&self) -> Self::Request<'_>;

    /// Replaces the path by its normal form; `false`: that is not valid in the request's target.
    fn set_path(&mut self, path: &str) -> bool;

    fn worker(&self) -> &Rc<Worker>;

    fn timer(&self) -> &Timer;

    fn identity(&self) -> &ClientIdentity;

    /// The TLS session's properties; `None`: no TLS.
    fn tls_info(&self) -> Option<&Arc<TlsInfo>>;

    /// The snapshot in force and the listener; `None`: the listener is not there any more.
    fn scope_in_force(&self) -> Option<Arc<RequestScope>>;

    /// When the last wait ended, as recorded by [`tick`](Self::tick); the clock is read only then.
    fn now(&self) -> Instant;

    /// Reads the clock after a wait.
    fn tick(&mut self) -> Instant;

    /// How long the request waited for its permit to begin.
    fn queued(&self) -> Option<Duration> {
        None
    }

    /// Checks the part of the body that arrived with the head, before an endpoint is chosen.
    fn check_body(&self) -> Result<(), String>;

    /// From now on keeps what is read of the body, up to a limit, so that it can be sent again.
    fn keep_body(&mut self);

    fn can_rewind(&self) -> bool;

    /// Puts back what has been read of the body, to be sent again.
    fn rewind(&mut self);

    /// An error if the client has gone. Reads what it sends ahead, as far as there is room.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> io::Result<Notice>;

    /// Whether the client has gone, even if bytes that it sent before are unread.
    fn has_gone(&self) -> bool;

    /// Tells when to ask; `None`: it cannot be told.
    fn arrivals(&self) -> Option<Arrivals> {
        None
    }

    /// Checks whether the client's protocol allows this response; the error is the reason.
    fn judge(&self, response: &impl ResponseHead) -> Result<(), String>;

    /// Sends an interim response, if the client's version has any. It may stay pending until
    /// [`poll_send`](BodySink::poll_send) flushes it.
    fn send_interim(&mut self, response: &impl ResponseHead, edits: &Edits);

    /// Sends the head of the final response, in one piece with its body where possible.
    fn send_head(&mut self, response: &impl ResponseHead, edits: &Edits, onward: Onward);

    /// Sends the head of a response by which the stream becomes a tunnel. Returns the status that the client gets.
    fn switch_protocols(&mut self, response: &impl ResponseHead, edits: &Edits) -> u16;

    /// Withholds fields that the route manages from the trailers of the request, too: some endpoints merge them into its
    /// header.
    fn withhold_trailers(&mut self, names: Box<[HeaderName]>);

    /// Closes the connection after this request: the client may be hostile, or its further bytes cannot be parsed.
    fn close_behind(&mut self);
}

/// How it is noticed that a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The task is woken.
    Wake,
    /// By asking again ([`ClientStream::has_gone`]): bytes that cannot be read yet are in front of it.
    Ask,
}

/// How a request has ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client has a whole response, an endpoint's or a local reply.
    Whole,
    /// The client has no response, or a part of one, which it must not take for a whole one.
    Broken(Failure),
}
