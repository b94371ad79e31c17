//! An endpoint that speaks HTTP/1.1: each attempt has a connection to itself, which goes back to those that the worker
//! keeps. Heads and bodies are read and written by the lane's rules.

mod head;

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use super::side::Side;
use super::{Failed, Sent, Way, unconnected};
use crate::endpoint::idle_pool::{Connection, IdlePool};
use crate::exchange::{Exchange, Failure};
use crate::forward::attempt::{self, INTERIM_MAX};
use crate::http1::body::Body;
use crate::http1::chunked;
use crate::http1::framing::Framing;
use crate::http1::head::{Parse, Response};
use crate::net::buffer::{BODY, BODY_BEGINNING, BODY_FIRST};
use crate::proxy::Carrier;
use crate::proxy::context::Carried;

/// Small pieces of a body go on as one of so many bytes: to HTTP/2 clients, many small frames are a flood.
const GATHERED: usize = 8 * 1024;

/// One request on one connection.
pub struct Exclusive {
    connection: Connection,
    kept: Arc<IdlePool>,
    way: Way,
    method: Method,
    upload: Upload,
    /// What has been read of the endpoint's, and not used.
    input: BytesMut,
    response: Response,
    /// The response's head, as it has come.
    head: Bytes,
    interim: usize,
    body: Body,
    /// A piece of the body that has been found behind the one before.
    ahead: Option<Bytes>,
    /// Bytes of the body that have come.
    received: u64,
    /// The connection can serve another request after this one.
    reusable: bool,
}

/// The request on its way.
struct Upload {
    /// Bytes of our own making, which go first: the head, chunks.
    own: Vec<u8>,
    sent: usize,
    /// A piece of a body of known length.
    piece: Bytes,
    framing: Framing,
    /// Bytes of the body that have been given to it.
    given: u64,
    /// There is nothing behind that.
    last: bool,
    /// The endpoint takes no more of it. It may have answered.
    failed: Option<io::Error>,
}

/// Takes a connection to the endpoint of the attempt that is open, and what it is to be asked.
pub async fn ask(
    carrier: &Carrier,
    session: &Session,
    carried: &mut Carried,
    sent: &Sent,
) -> Result<Exclusive, Failed> {
    let way = Way::of(&carried.exchange)?;
    let connection = match carrier.kept.take(&way.endpoint, &way.pool().tls, Instant::now()) {
        Some(connection) => connection,
        // In a box, because it is seldom needed.
        None => Box::pin(connect(&carrier.kept, &carried.exchange, &way)).await?,
    };
    carried.exchange.connected(connection.reused, Instant::now());
    carried.exchange.request_body_again();
    let client = session.req_header();
    let framing = head::framing(client, sent);
    let own = head::request(client, &carried.exchange, framing, way.endpoint.written());
    let upload = Upload {
        own,
        sent: 0,
        piece: Bytes::new(),
        framing,
        given: 0,
        last: sent.has_no_body(),
        failed: None,
    };
    Ok(Exclusive {
        connection,
        kept: carrier.kept.clone(),
        way,
        method: client.method.clone(),
        upload,
        input: BytesMut::new(),
        response: Response::default(),
        head: Bytes::new(),
        interim: 0,
        body: Body::Empty,
        ahead: None,
        received: 0,
        reusable: false,
    })
}

async fn connect(kept: &IdlePool, exchange: &Exchange, way: &Way) -> Result<Connection, Failed> {
    let spec = way.pool();
    let opened = attempt::open(kept, &way.endpoint, spec, attempt::descriptor_deadline(spec));
    match timeout(way.connect_limit(exchange), opened).await {
        Ok(Ok(stream)) => {
            let tls = spec.tls.clone();
            Ok(Connection { stream, tls, opened: Instant::now(), reused: false })
        }
        Ok(Err(failed)) => Err(Failed::new(failed.failure, failed.detail)),
        Err(_) => Err(unconnected(exchange, Failed::new(Failure::ConnectTimeout, None))),
    }
}

impl Side for Exclusive {
    fn is_sending(&self) -> bool {
        self.upload.is_sending()
    }

    fn is_sent(&self) -> bool {
        self.upload.failed.is_some() || (self.upload.last && !self.upload.is_sending())
    }

    fn send(&mut self, piece: Bytes, last: bool) {
        self.upload.add(piece, last);
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let stream = Pin::new(&mut self.connection.stream);
        if let Err(error) = ready!(self.upload.poll_write(context, stream)) {
            self.upload.fails(error);
        }
        Poll::Ready(())
    }

    fn poll_status(&mut self, context: &mut Context<'_>) -> Poll<Result<u16, Failed>> {
        loop {
            match self.response.parse(&self.input) {
                Parse::Complete { length } if self.response.view(&self.input).is_interim() => {
                    // Pingora has no way to send it on.
                    self.input.advance(length);
                    self.interim += 1;
                    if self.interim > INTERIM_MAX {
                        return Poll::Ready(Err(bad_response("too many interim responses")));
                    }
                }
                Parse::Complete { length } => {
                    self.head = self.input.split_to(length).freeze();
                    return Poll::Ready(Ok(self.response.view(&self.head).status()));
                }
                Parse::Refused(refusal) => return Poll::Ready(Err(bad_response(refusal.reason))),
                // With room for a body: what comes in one piece goes on in one frame.
                Parse::Partial => match ready!(self.poll_read(context, BODY_FIRST)) {
                    Ok(1..) => {}
                    Ok(0) => return Poll::Ready(Err(self.gone(None))),
                    Err(error) => return Poll::Ready(Err(self.gone(Some(error)))),
                },
            }
        }
    }

    fn head(&mut self, _: &mut Session, exchange: &mut Exchange) -> Result<Box<ResponseHeader>, Failed> {
        let view = self.response.view(&self.head);
        let framing = view.framing(self.method.as_str());
        self.reusable = view.is_reusable(self.method.as_str());
        self.body = Body::new(framing);
        head::response(&self.response, &self.head, &self.method, exchange)
            .map(Box::new)
            .map_err(|error| Failed::new(Failure::BadResponse, error.to_string()))
    }

    fn has_ended(&self) -> bool {
        self.body.is_done() && self.ahead.is_none() && self.body.trailers().next().is_none()
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failed>>> {
        loop {
            match self.next_piece() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.body.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(failed) => return Poll::Ready(Some(Err(failed))),
            }
            let room = if self.received < BODY_BEGINNING { BODY_FIRST } else { BODY };
            match ready!(self.poll_read(context, room)) {
                Ok(1..) => {}
                Ok(0) if self.body.may_end() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(cut("closed in the middle of its body".to_owned())))),
                Err(error) => return Poll::Ready(Some(Err(cut(error.to_string())))),
            }
        }
    }

    fn poll_trailers(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Failed>> {
        let trailers = self.body.trailers().filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
        });
        let trailers: HeaderMap = trailers.collect();
        Poll::Ready(Ok(Some(trailers).filter(|trailers| !trailers.is_empty())))
    }

    /// It is asked for more when the client has taken what there was, and not before.
    fn delivered(&mut self, _: usize) {}

    /// Its connection is closed.
    fn is_late(&mut self, _: bool) {}

    fn finish(self) {
        let is_over = self.upload.is_through() && self.body.is_done();
        // Bytes that nobody asked for would be the beginning of somebody else's answer.
        if is_over && self.reusable && self.input.is_empty() {
            self.kept.keep(&self.way.endpoint, self.connection, self.way.pool(), Instant::now());
        }
    }
}

fn bad_response(reason: &str) -> Failed {
    Failed::new(Failure::BadResponse, reason.to_owned())
}

fn cut(reason: String) -> Failed {
    Failed::new(Failure::ResponseCut, reason)
}

impl Exclusive {
    /// Reads on, with room for so many bytes, which is taken only once there is something to read.
    fn poll_read(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        // Without the last bit of a buffer, which would make for many small reads.
        if self.input.capacity() - self.input.len() < room / 4 {
            ready!(self.connection.stream.poll_readable(context))?;
            self.input.reserve(room);
        }
        pin!(self.connection.stream.read_buf(&mut self.input)).poll(context)
    }

    /// The next piece of the body, as far as it has been read.
    fn next_piece(&mut self) -> Result<Option<Bytes>, Failed> {
        let piece = match self.ahead.take() {
            Some(piece) => Some(piece),
            None => self.decode()?,
        };
        let Some(piece) = piece else { return Ok(None) };
        // Whether it was the last one.
        self.ahead = self.decode()?;
        self.gather(piece).map(Some)
    }

    /// Puts those that follow behind a small piece.
    fn gather(&mut self, piece: Bytes) -> Result<Bytes, Failed> {
        let fits = |length: usize, next: &mut Bytes| length + next.len() <= GATHERED;
        let Some(next) = self.ahead.take_if(|next| fits(piece.len(), next)) else { return Ok(piece) };
        let mut gathered = BytesMut::with_capacity(GATHERED);
        gathered.extend_from_slice(&piece);
        let mut next = Some(next);
        while let Some(piece) = next {
            gathered.extend_from_slice(&piece);
            self.ahead = self.decode()?;
            next = self.ahead.take_if(|next| fits(gathered.len(), next));
        }
        Ok(gathered.freeze())
    }

    fn decode(&mut self) -> Result<Option<Bytes>, Failed> {
        while !self.input.is_empty() && !self.body.is_done() {
            let step = self.body.decode(&self.input).map_err(|error| cut(error.to_string()))?;
            let mut piece = self.input.split_to(step.consumed);
            piece.truncate(step.data.end);
            piece.advance(step.data.start);
            self.received += piece.len() as u64;
            if !piece.is_empty() {
                return Ok(Some(piece.freeze()));
            }
        }
        Ok(None)
    }

    /// The endpoint has closed the connection before there was a response, or it broke.
    fn gone(&mut self, error: Option<io::Error>) -> Failed {
        let error = error.or(self.upload.failed.take());
        let timed_out = error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        let failure = if timed_out { Failure::RequestWriteTimeout } else { Failure::EndpointReset };
        let detail =
            error.map_or("closed before a whole response head".to_owned(), |error| error.to_string());
        let stale = self.connection.reused && self.input.is_empty() && self.interim == 0;
        Failed { stale, ..Failed::new(failure, detail) }
    }
}

impl Upload {
    fn is_sending(&self) -> bool {
        self.sent < self.own.len() || !self.piece.is_empty()
    }

    /// The endpoint has the whole body, whether the client has said yet that it was the whole one or not.
    fn is_through(&self) -> bool {
        let given = self.last || self.framing == Framing::Length(self.given);
        given && !self.is_sending() && self.failed.is_none()
    }

    fn add(&mut self, piece: Bytes, last: bool) {
        self.last = last;
        self.given += piece.len() as u64;
        if self.failed.is_some() {
            return;
        }
        if self.framing != Framing::Chunked {
            self.piece = piece;
            return;
        }
        if !piece.is_empty() {
            chunked::write_chunk(&mut self.own, &piece);
        }
        if last {
            // Pingora keeps a request's trailers to itself.
            chunked::write_last(&mut self.own, std::iter::empty());
        }
    }

    fn fails(&mut self, error: io::Error) {
        self.own.clear();
        self.piece.clear();
        self.sent = 0;
        self.failed = Some(error);
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        stream: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        let own = self.own.get(self.sent..).unwrap_or_default();
        let written = match (own.is_empty(), self.piece.is_empty()) {
            (true, _) => ready!(stream.poll_write(context, &self.piece)),
            (_, true) => ready!(stream.poll_write(context, own)),
            _ => ready!(stream.poll_write_vectored(context, &[IoSlice::new(own), IoSlice::new(&self.piece)])),
        }?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_own = written.min(own.len());
        self.sent += of_own;
        self.piece.advance(written - of_own);
        if self.sent == self.own.len() {
            self.own.clear();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }
}
