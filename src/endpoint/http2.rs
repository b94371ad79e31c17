//! HTTP/2 to an endpoint: each request is a stream of its own on a connection that others share.

pub mod request;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::response;

use super::{EndpointStream, OutgoingRequest};
use crate::body::{Backlog, BodySink, BodySource, Http2Reader, Http2Writer, ReadError};
use crate::config;
use crate::endpoint_connections::http2::StreamPermit;
use crate::exchange::{Failed, Failure, ResponseScope};
use crate::http1::head::RESPONSE_FIELDS_MAX;
use crate::message::{Framing, Http2Response, RequestFields};
use crate::pool::Endpoint;
use crate::worker::Worker;

/// One request's stream.
pub struct Http2Endpoint {
    permit: StreamPermit,
    future: ResponseFuture,
    /// The response's head that has arrived, until it is discarded.
    head: Option<(response::Parts, Ended)>,
    reader: Option<Http2Reader>,
    writer: Http2Writer,
    begun: Instant,
}

/// Whether the stream ended with its head.
type Ended = bool;

// === impl Http2Endpoint ===

impl Http2Endpoint {
    fn take_head(&mut self, parts: response::Parts, ended: bool) -> Result<(), Failed> {
        self.permit.answered();
        if parts.headers.len() > RESPONSE_FIELDS_MAX {
            return Err(Failed::new(Failure::BadResponse, "too many fields".to_owned()));
        }
        self.head = Some((parts, ended));
        Ok(())
    }

    /// The failure that a stream's error means, before there is a response.
    fn broken(&self, error: &h2::Error) -> Failed {
        let failure = Failure::of_http2(error);
        if failure == Failure::StreamRefused {
            // A connection sends GOAWAY once; REFUSED_STREAM may come for every attempt.
            let leaves = error.is_go_away();
            if leaves {
                self.permit.retire();
            }
            return Failed { stale: self.permit.proven && leaves, ..Failed::new(failure, error.to_string()) };
        }
        self.permit.retire();
        if failure == Failure::EndpointReset {
            let stale = self.permit.proven && error.is_io();
            // An HTTP/1.1 server closes the connection when it cannot parse the preface.
            let doubt = if self.permit.proven { "" } else { "; perhaps the endpoint does not speak HTTP/2" };
            return Failed { stale, ..Failed::new(failure, format!("{error}{doubt}")) };
        }
        Failed::new(failure, format!("what the endpoint sends is not HTTP/2 as it should be: {error}"))
    }
}

impl EndpointStream for Http2Endpoint {
    type Carrier = StreamPermit;
    type Response<'a> = Http2Response<'a>;

    /// Few HTTP/2 endpoints send `100 Continue`; see [`EndpointStream::ASKS_FOR_BODY`].
    const ASKS_FOR_BODY: bool = false;

    fn take_carrier(
        worker: &Worker,
        endpoint: &Arc<Endpoint>,
        pool: &config::Pool,
        _now: Instant,
    ) -> Option<StreamPermit> {
        worker.http2_connections.take(endpoint, pool)
    }

    async fn connect(
        worker: &Worker,
        endpoint: &Arc<Endpoint>,
        pool: &config::Pool,
        limit: Duration,
    ) -> Result<StreamPermit, Failed> {
        worker.http2_connections.permit(endpoint, pool, limit).await
    }

    fn is_reused(permit: &StreamPermit) -> bool {
        permit.reused
    }

    /// Sends the request's head on a stream of its own.
    fn begin<R: RequestFields>(
        _worker: &Rc<Worker>,
        scope: &Arc<ResponseScope>,
        permit: StreamPermit,
        outgoing: &OutgoingRequest<'_, R>,
    ) -> Result<Self, Failed> {
        let has_no_body = outgoing.framing == Framing::None;
        let head = request::head(outgoing, scope.pool().tls.is_some())
            .map_err(|error| Failed::new(Failure::Internal, error.to_string()))?;
        let (future, sink) = permit.sender().send_request(head, has_no_body).map_err(|error| {
            permit.retire();
            // The connection has ended, or is about to: nothing has been sent.
            Failed { stale: permit.proven, ..Failed::new(Failure::StreamRefused, error.to_string()) }
        })?;
        let writer = Http2Writer::new(sink, has_no_body);
        Ok(Self { permit, future, head: None, reader: None, writer, begun: Instant::now() })
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if let Poll::Ready(Some(interim)) = self.future.poll_informational(context) {
            let (parts, ()) = interim.map_err(|error| self.broken(&error))?.into_parts();
            return Poll::Ready(self.take_head(parts, false));
        }
        let response = ready!(Pin::new(&mut self.future).poll(context));
        let (parts, body) = response.map_err(|error| self.broken(&error))?.into_parts();
        let taken = self.take_head(parts, RecvStream::is_end_stream(&body));
        self.reader = Some(Http2Reader::new(body));
        Poll::Ready(taken)
    }

    fn response(&self) -> Http2Response<'_> {
        Http2Response::of(self.head.as_ref().map(|(parts, ended)| (parts, *ended)))
    }

    fn drop_interim(&mut self) {
        self.head = None;
    }

    fn begin_body(&mut self) {
        self.head = None;
    }

    /// Endpoints are never asked for another protocol over HTTP/2.
    fn switch_protocols(&mut self) {}

    fn timed_out(&mut self) {
        // The connection may be dead: other requests must not wait for it, too.
        self.permit.retire();
    }

    fn request_timed_out(&mut self) {
        // A short deadline of the client is no sign of a dead connection if the endpoint has answered meanwhile.
        if !self.permit.has_answered_since(self.begun) {
            self.timed_out();
        }
    }

    fn finish(self, _endpoint: &Arc<Endpoint>) {}
}

impl BodySource for Http2Endpoint {
    const BACKLOG: Backlog = Backlog::InMemory;

    fn data(&self) -> &[u8] {
        self.reader.as_ref().map_or(&[], Http2Reader::data)
    }

    fn consume(&mut self, count: usize) -> usize {
        self.reader.as_mut().map_or(0, |reader| reader.consume(count))
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.reader.as_mut().map(|reader| reader.take(count)).unwrap_or_default()
    }

    fn is_last(&self) -> bool {
        self.reader.as_ref().is_none_or(Http2Reader::is_last)
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, _room: usize) -> Poll<Result<(), ReadError>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(Ok(())) };
        reader.poll_fill(context).map_err(|error| ReadError::Cut(Some(error.to_string())))
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.reader.iter().flat_map(Http2Reader::trailers)
    }
}

impl BodySink for Http2Endpoint {
    fn has_pending(&self) -> bool {
        false
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        self.writer.poll_send(context, source, std::convert::identity)
    }

    fn is_done(&self) -> bool {
        self.writer.is_done()
    }
}
