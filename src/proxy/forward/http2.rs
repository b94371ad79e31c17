//! An endpoint that speaks HTTP/2: each attempt is a stream of its own on a connection that others may share.

mod connections;
mod head;

use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, response};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::side::Side;
use super::{Failed, Sent, Way, unconnected};
use crate::exchange::{Exchange, Failure};
use crate::http1::head::RESPONSE_FIELDS_MAX;
use crate::proxy::context::Carried;
use crate::proxy::{Carrier, classify};
pub use connections::Connections;
use connections::StreamPermit;

/// One stream.
pub struct Stream {
    permit: StreamPermit,
    upload: Upload,
    response: ResponseFuture,
    /// The head of the response, until the client has it.
    head: Option<response::Parts>,
    body: Option<RecvStream>,
    begun: Instant,
}

/// The client's body on its way.
struct Upload {
    sink: SendStream<Bytes>,
    /// Not sent yet.
    pending: Bytes,
    /// There is nothing behind that.
    last: bool,
    /// The endpoint has been sent all of it, or takes no more.
    over: bool,
}

/// Sends the head of the request to the endpoint of the attempt that is open.
pub async fn ask(
    carrier: &Carrier,
    session: &Session,
    carried: &mut Carried,
    sent: &Sent,
) -> Result<Stream, Failed> {
    let way = Way::of(&carried.exchange)?;
    let limit = way.connect_limit(&carried.exchange);
    let permit = carrier.multiplexed.permit(&way.endpoint, way.pool(), limit).await;
    let permit = permit.map_err(|failed| unconnected(&carried.exchange, failed))?;
    carried.exchange.connected(permit.reused, Instant::now());
    carried.exchange.request_body_again();
    let head = head::request(session, &carried.exchange)
        .map_err(|error| Failed::new(Failure::Internal, classify::detail(&error)))?;
    let over = sent.has_no_body();
    let (response, sink) = permit.sender().send_request(head, over).map_err(|error| {
        permit.retire();
        // The connection has ended, or is about to; nothing has been sent.
        Failed { stale: permit.proven, ..Failed::new(Failure::StreamRefused, error.to_string()) }
    })?;
    let upload = Upload { sink, pending: Bytes::new(), last: over, over };
    Ok(Stream { permit, upload, response, head: None, body: None, begun: Instant::now() })
}

impl Side for Stream {
    fn is_sending(&self) -> bool {
        !self.upload.pending.is_empty()
    }

    fn is_sent(&self) -> bool {
        self.upload.over
    }

    fn send(&mut self, piece: Bytes, last: bool) {
        if !self.upload.over {
            (self.upload.pending, self.upload.last) = (piece, last);
            self.upload.ask_for_room();
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let upload = &mut self.upload;
        let room = match upload.sink.capacity() {
            0 => ready!(upload.sink.poll_capacity(context)).and_then(Result::ok),
            // It is there already, and nobody will be told of it.
            room => Some(room),
        };
        upload.send(room);
        Poll::Ready(())
    }

    fn poll_status(&mut self, context: &mut Context<'_>) -> Poll<Result<u16, Failed>> {
        let response = ready!(std::pin::Pin::new(&mut self.response).poll(context));
        let (parts, body) = response.map_err(|error| self.broken(&error))?.into_parts();
        self.permit.answered();
        if parts.headers.len() > RESPONSE_FIELDS_MAX {
            return Poll::Ready(Err(Failed::new(Failure::BadResponse, "too many fields".to_owned())));
        }
        let status = parts.status.as_u16();
        (self.head, self.body) = (Some(parts), Some(body));
        Poll::Ready(Ok(status))
    }

    fn head(
        &mut self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<ResponseHeader>, Failed> {
        let parts = self.head.take().ok_or_else(|| Failed::new(Failure::Internal, None))?;
        exchange.grpc_status(&parts.headers);
        head::response(parts, session, exchange, self.has_ended())
            .map_err(|error| Failed::new(Failure::BadResponse, classify::detail(&error)))
    }

    fn has_ended(&self) -> bool {
        self.body.as_ref().is_some_and(RecvStream::is_end_stream)
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failed>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let piece = ready!(body.poll_data(context));
        Poll::Ready(piece.map(|piece| piece.map_err(|error| self.broken(&error))))
    }

    fn poll_trailers(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Failed>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
        body.poll_trailers(context).map_err(|error| Failed::new(Failure::ResponseCut, error.to_string()))
    }

    fn delivered(&mut self, bytes: usize) {
        if let Some(body) = &mut self.body {
            // An error means that the stream is over.
            let _ = body.flow_control().release_capacity(bytes);
        }
    }

    fn is_late(&mut self, in_hurry: bool) {
        // Clients may be in more of a hurry than the endpoint can be.
        let lives = in_hurry && self.permit.has_answered_since(self.begun);
        if !lives {
            // Perhaps nobody is there any more: the next ones need not find out by waiting.
            self.permit.retire();
        }
    }

    fn finish(self) {}
}

impl Stream {
    /// What the error of a stream says of its request.
    fn broken(&self, error: &h2::Error) -> Failed {
        let detail = Some(error.to_string());
        if self.body.is_some() {
            return Failed::new(Failure::ResponseCut, detail);
        }
        let reason = error.reason();
        // The endpoint has not looked at it (RFC 9113, sections 6.8 and 8.7).
        let refused = error.is_remote()
            && (reason == Some(Reason::REFUSED_STREAM)
                || (error.is_go_away() && reason == Some(Reason::NO_ERROR)));
        if refused {
            // A connection leaves once; who refuses streams may do so for ever.
            let leaves = error.is_go_away();
            if leaves {
                self.permit.retire();
            }
            let stale = self.permit.proven && leaves;
            return Failed { stale, ..Failed::new(Failure::StreamRefused, detail) };
        }
        self.permit.retire();
        if error.is_io() || error.is_remote() {
            let stale = self.permit.proven && error.is_io();
            // A server of HTTP/1.1 closes on what it cannot read.
            let doubt = if self.permit.proven { "" } else { "; perhaps the endpoint does not speak HTTP/2" };
            let detail = format!("{error}{doubt}");
            return Failed { stale, ..Failed::new(Failure::EndpointReset, detail) };
        }
        Failed::new(
            Failure::BadResponse,
            format!("what the endpoint sends is not HTTP/2 as it should be: {error}"),
        )
    }
}

impl Upload {
    /// Asks for as much as there is, or says that there is no more.
    fn ask_for_room(&mut self) {
        if !self.pending.is_empty() {
            self.sink.reserve_capacity(self.pending.len());
        } else if self.last && !self.over {
            // Where it fails, the endpoint takes no more: its response says why.
            let _ = self.sink.send_data(Bytes::new(), true);
            self.over = true;
        }
    }

    fn send(&mut self, room: Option<usize>) {
        let Some(room) = room else {
            self.pending.clear();
            self.over = true;
            return;
        };
        let piece = self.pending.split_to(room.min(self.pending.len()));
        let last = self.last && self.pending.is_empty();
        self.over = self.sink.send_data(piece, last).is_err() || last;
        if self.over {
            self.pending.clear();
        } else {
            self.ask_for_room();
        }
    }
}
