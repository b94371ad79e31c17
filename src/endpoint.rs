//! The endpoints' side of the engine `native`: the stream of one attempt, over HTTP/1.1 or HTTP/2.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod http1;
pub mod http2;

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::body::{BodySink, BodySource};
use crate::config;
use crate::exchange::{Edits, Failed, ResponseScope};
use crate::message::{Framing, RequestFields, ResponseHead};
use crate::pool::Endpoint;
use crate::worker::Worker;

/// One attempt's stream to an endpoint. Its implementations begin with the request's head.
pub trait EndpointStream: BodySource + BodySink + Sized + 'static {
    /// What a stream is opened on: a connection of its own, or the permit for a stream of a shared one.
    type Carrier;

    type Response<'a>: ResponseHead
    where
        Self: 'a;

    /// Whether `Expect: 100-continue` is forwarded, so that the endpoint asks for the body. If not, we send the client
    /// `100 Continue` as soon as there is an endpoint.
    const ASKS_FOR_BODY: bool;

    /// A carrier that is open and free.
    fn take_carrier(
        worker: &Worker,
        endpoint: &Arc<Endpoint>,
        pool: &config::Pool,
        now: Instant,
    ) -> Option<Self::Carrier>;

    /// Opens a carrier, where [`take_carrier`](Self::take_carrier) had none. The caller enforces `limit`, by which a wait
    /// for others is bounded, too.
    fn connect(
        worker: &Worker,
        endpoint: &Arc<Endpoint>,
        pool: &config::Pool,
        limit: Duration,
    ) -> impl Future<Output = Result<Self::Carrier, Failed>>;

    /// Whether the carrier's connection has served another request before.
    fn is_reused(carrier: &Self::Carrier) -> bool;

    /// Begins with the request's head, which may be sent only with its body.
    fn begin<R: RequestFields>(
        worker: &Rc<Worker>,
        scope: &Arc<ResponseScope>,
        carrier: Self::Carrier,
        outgoing: &OutgoingRequest<'_, R>,
    ) -> Result<Self, Failed>;

    /// Ready when the head of the next response, interim or final, has arrived.
    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>>;

    /// The head that has arrived.
    fn response(&self) -> Self::Response<'_>;

    /// Discards the head, which is interim, to wait for the next one.
    fn drop_interim(&mut self);

    /// Discards the head, which is final, to read its body.
    fn begin_body(&mut self);

    /// From now on, both bodies are the bytes of a tunnel.
    fn switch_protocols(&mut self);

    /// The endpoint has been waited for as long as its pool's timeouts allow.
    fn timed_out(&mut self);

    /// The deadline of the whole request has passed while the endpoint was waited for, which need not be its fault.
    fn request_timed_out(&mut self);

    /// The client has the whole response: keeps the connection for the next request to `endpoint`, where it can be used
    /// again.
    ///
    /// `endpoint` is passed in, not held: all workers write its reference count.
    fn finish(self, endpoint: &Arc<Endpoint>);
}

/// The request as an endpoint gets it.
pub struct OutgoingRequest<'a, R> {
    pub request: &'a R,
    pub edits: &'a Edits,
    /// How its body is delimited, which may differ from what the client has sent.
    pub framing: Framing,
    /// The host and port to send where neither the head nor an edit names one.
    pub host: &'a str,
    /// Ask the endpoint for another protocol, as the client does.
    pub upgrade: bool,
}
