//! The endpoints' side of the engine: connections, those that wait for their next request, and one request's stream over
//! them, whichever protocol it speaks.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod connect;
pub mod http1;
pub mod http2;
pub mod idle_pool;

use std::task::{Context, Poll};

use crate::body::{BodySink, BodySource};
use crate::exchange::{Edits, Failed};
use crate::message::ResponseHead;

/// One attempt's stream to an endpoint, to which the request's head has been written.
pub trait EndpointStream: BodySource + BodySink {
    type Response<'a>: ResponseHead
    where
        Self: 'a;

    /// Whether an endpoint is passed `Expect: 100-continue`, and says itself when the client may send its body. Where it is
    /// not, there is an endpoint to take the body, and the client is told so at once.
    const ASKS_FOR_BODY: bool;

    /// Its connection had served another request before.
    fn is_reused(&self) -> bool;

    /// Ready when the head of the next response has come, interim or final.
    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>>;

    /// The head that has come.
    fn response(&self) -> Self::Response<'_>;

    /// The head was an interim one: the next one is waited for.
    fn drop_interim(&mut self);

    /// The head was the final one: its body follows.
    fn begin_body(&mut self);

    /// Both bodies are bytes as they are from now on.
    fn switch_protocols(&mut self);

    /// A deadline has passed in which the endpoint's side was waited for.
    ///
    /// `whole`: it is the one of the whole request, which need not be the endpoint's fault.
    fn is_late(&mut self, whole: bool);

    /// The client has the whole response: keeps what the next request can use.
    fn finish(self);
}

/// What an endpoint is asked.
pub struct Ask<'a, R> {
    pub request: &'a R,
    pub edits: &'a Edits,
    /// The host and port that the request is for, where neither its head nor an edit names one.
    pub host: &'a str,
    /// The client wants to speak another protocol with the endpoint.
    pub upgrade: bool,
}
