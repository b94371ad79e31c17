//! One request of an HTTP/2 client, and the response to it, on one stream.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};

use super::piece::Piece;
use super::shared::Shared;
use super::{drain_body, validate};
use crate::body::{Backlog, BodySink, BodySource, Http2Reader, Http2Writer, ReadError};
use crate::exchange::{ClientIdentity, Edits, Failed, Failure, RequestScope};
use crate::forward::{ClientStream, Ending, Notice};
use crate::header_field::is_one_of;
use crate::http1::write;
use crate::message::{Framing, Http2Request, Onward, RequestFields, ResponseHead, put_edits};
use crate::tls::TlsInfo;
use crate::worker::Worker;
use crate::worker::deadline::Timer;
use crate::worker::http2_permits::{RequestPermit, is_small_window};

/// Room for a response's fields: enough for most, and half of what the map would allocate for some more.
const FIELDS: usize = 12;

pub struct Http2Client {
    shared: Rc<Shared>,
    timer: Timer,
    now: Instant,
    /// How long the request waited for its permit.
    queued: Option<Duration>,
    request: Http2Request,
    reader: Http2Reader,
    response: SendResponse<Piece>,
    /// `None` until the response's head has been sent.
    writer: Option<Http2Writer<Piece>>,
    /// `None`: it is refused, or has not begun.
    permit: Option<RequestPermit>,
    /// The response's head could not be sent.
    broken: bool,
    /// The stream has become a tunnel.
    is_tunnel: bool,
    /// Responses are sent without their body, which the client's window might not allow.
    has_status_only: bool,
    /// Names that are withheld from trailers.
    withheld: Box<[HeaderName]>,
}

impl Http2Client {
    pub fn new(shared: &Rc<Shared>, request: Request<RecvStream>, response: SendResponse<Piece>) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            shared: shared.clone(),
            timer: shared.timer.of_stream(),
            now: Instant::now(),
            queued: None,
            request: Http2Request::new(parts, body.is_end_stream()),
            reader: Http2Reader::new(body),
            response,
            writer: None,
            permit: None,
            broken: false,
            is_tunnel: false,
            has_status_only: false,
            withheld: Box::default(),
        }
    }

    /// Checks the request's head; see [`validate`].
    pub fn judge_request(&self) -> Result<(), Failed> {
        if self.request.is_plain_connect() {
            return Err(Failure::MethodNotAllowed.into());
        }
        let malformed = validate::check(self.request.parts());
        malformed.map_err(|reason| Failed::new(Failure::BadRequest, reason.to_owned()))
    }

    pub fn request_head(&self) -> &Http2Request {
        &self.request
    }

    /// The snapshot in force and the listener; `None`: the listener is not there any more.
    pub fn scope(&self) -> Option<Arc<RequestScope>> {
        self.shared.scope_in_force()
    }

    /// The initial window of the client's streams, in bytes.
    pub fn window(&self) -> u32 {
        self.shared.window()
    }

    /// The request begins, with this permit.
    pub fn begin(&mut self, permit: RequestPermit) {
        self.permit = Some(permit);
    }

    /// Records how long the request has waited for its permit.
    pub fn record_queue_time(&mut self) {
        self.queued = Some(self.now.elapsed());
    }

    /// Sends responses without their body, which a client with an empty window can receive, too.
    pub fn with_status_only(self) -> Self {
        Self { has_status_only: true, ..self }
    }

    /// Resets the stream with REFUSED_STREAM, so that the client may send the request again.
    pub fn refuse_stream(&mut self) {
        self.response.send_reset(Reason::REFUSED_STREAM);
    }

    /// Ends the stream.
    pub async fn finish(&mut self, ending: Ending) {
        match ending {
            Ending::Whole => {
                self.shared.response_taken();
                self.writer.iter_mut().for_each(Http2Writer::finish);
                drain_body::small_rest(&mut self.reader).await;
            }
            Ending::Broken(failure) => {
                if failure == Failure::ClientStalled {
                    self.shared.response_stalled();
                }
                if let Some(writer) = self.writer.as_mut().filter(|writer| !writer.is_done()) {
                    // As a reset of a TCP connection (RFC 8441, section 5).
                    let reason = if self.is_tunnel { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
                    writer.stream().send_reset(reason);
                }
            }
        }
    }

    /// Returns when the client has gone.
    pub async fn gone(&mut self) {
        std::future::poll_fn(|context| match self.poll_gone(context) {
            Ok(_) => Poll::Pending,
            Err(_) => Poll::Ready(()),
        })
        .await;
    }

    fn send(&mut self, status: u16, fields: HeaderMap, ended: bool) {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = fields;
        match self.response.send_response(head, ended) {
            Ok(stream) => self.writer = Some(Http2Writer::new(stream, ended)),
            Err(_) => self.broken = true,
        }
    }

    /// The fields of a final response. `Trailer` stays, because over HTTP/2 a body of known length may have trailers.
    fn fields_of(&self, response: &impl ResponseHead, edits: &Edits, announced: Framing) -> HeaderMap {
        let framing = if announced == Framing::None { Framing::None } else { Framing::Chunked };
        let mut fields = HeaderMap::with_capacity(FIELDS);
        response.copy_fields(&mut fields, |name, _| !write::is_dropped(name, edits, framing));
        if let Framing::Length(length) = announced {
            fields.insert(header::CONTENT_LENGTH, length.into());
        }
        put_edits(&mut fields, edits);
        // HTTP/2 has no such field (RFC 9113, section 8.2.2).
        fields.remove(header::UPGRADE);
        if !fields.contains_key(header::DATE)
            && let Ok(date) = HeaderValue::from_str(&self.shared.worker.date(self.now))
        {
            fields.insert(header::DATE, date);
        }
        fields
    }
}

fn reset(stream: Poll<Result<Reason, h2::Error>>) -> io::Result<()> {
    match stream {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(reason)) => Err(io::Error::new(io::ErrorKind::ConnectionReset, reason.description())),
        Poll::Ready(Err(error)) => Err(io::Error::new(io::ErrorKind::ConnectionReset, error.to_string())),
    }
}

impl ClientStream for Http2Client {
    type Request<'a> = &'a Http2Request;

    fn request(&self) -> &Http2Request {
        &self.request
    }

    fn set_path(&mut self, path: &str) -> bool {
        self.request.set_path(path).is_some()
    }

    fn worker(&self) -> &Rc<Worker> {
        &self.shared.worker
    }

    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn identity(&self) -> &ClientIdentity {
        &self.shared.identity
    }

    fn tls_info(&self) -> Option<&Arc<TlsInfo>> {
        self.shared.tls_info.as_ref()
    }

    fn scope_in_force(&self) -> Option<Arc<RequestScope>> {
        self.shared.scope_in_force()
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn tick(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    fn queued(&self) -> Option<Duration> {
        self.queued
    }

    /// h2 checks the framing.
    fn check_body(&self) -> Result<(), String> {
        Ok(())
    }

    fn keep_body(&mut self) {
        self.reader.keep();
    }

    fn can_rewind(&self) -> bool {
        self.reader.can_rewind()
    }

    fn rewind(&mut self) {
        self.reader.rewind();
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> io::Result<Notice> {
        match &mut self.writer {
            _ if self.broken => Err(io::ErrorKind::ConnectionReset.into()),
            Some(writer) => reset(writer.stream().poll_reset(context)),
            None => reset(self.response.poll_reset(context)),
        }
        .map(|()| Notice::Wake)
    }

    fn has_gone(&self) -> bool {
        self.broken
    }

    /// A 2xx status would accept the WebSocket over HTTP/2 (RFC 8441, section 5), so it must stand for a 101.
    fn judge(&self, response: &impl ResponseHead) -> Result<(), String> {
        match response.status() {
            status @ 200..=299 if RequestFields::is_upgrade(&&self.request) => {
                Err(format!("the endpoint has answered {status} to a handshake"))
            }
            _ => Ok(()),
        }
    }

    fn send_interim(&mut self, response: &impl ResponseHead, edits: &Edits) {
        let mut fields = HeaderMap::new();
        response.copy_fields(&mut fields, |name, _| !write::is_dropped(name, edits, Framing::None));
        put_edits(&mut fields, edits);
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(response.status()).unwrap_or(StatusCode::CONTINUE);
        *head.headers_mut() = fields;
        // An error means that the stream is over, which the final response will notice.
        let _ = self.response.send_informational(head);
    }

    fn send_head(&mut self, response: &impl ResponseHead, edits: &Edits, onward: Onward) {
        let onward = match self.has_status_only {
            true => Onward { announced: Framing::None, body: Framing::None },
            false => onward,
        };
        let fields = self.fields_of(response, edits, onward.announced);
        self.send(response.status(), fields, matches!(onward.body, Framing::None | Framing::Length(0)));
    }

    fn switch_protocols(&mut self, response: &impl ResponseHead, edits: &Edits) -> u16 {
        self.is_tunnel = true;
        let mut fields = self.fields_of(response, edits, Framing::None);
        fields.remove(header::SEC_WEBSOCKET_ACCEPT);
        self.send(200, fields, false);
        200
    }

    /// The connection's other requests are not affected.
    fn withhold_trailers(&mut self, names: Box<[HeaderName]>) {
        self.withheld = names;
    }

    fn close_behind(&mut self) {}
}

impl BodySource for Http2Client {
    fn data(&self) -> &[u8] {
        self.reader.data()
    }

    fn consume(&mut self, count: usize) -> usize {
        self.reader.consume(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.reader.take(count)
    }

    fn is_last(&self) -> bool {
        self.reader.is_last()
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, _room: usize) -> Poll<Result<(), ReadError>> {
        self.reader.poll_fill(context).map_err(|error| ReadError::Cut(Some(error.to_string())))
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.reader.trailers().filter(|(name, _)| !is_one_of(name, &self.withheld))
    }
}

impl BodySink for Http2Client {
    fn has_pending(&self) -> bool {
        self.broken
    }

    fn poll_read_permit(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { permit, shared, .. } = self;
        permit.as_mut().map_or(Poll::Ready(()), |permit| permit.poll_read(context, || shared.window()))
    }

    fn source_idle(&mut self, backlog: Backlog) -> bool {
        // A client that takes next to nothing has few requests at a time whose responses have not begun.
        if let Some(permit) = &self.permit
            && (self.writer.is_some() || !is_small_window(self.window()))
        {
            permit.source_idle(backlog);
        }
        true
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        let Some(writer) = &mut self.writer else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let permit = &self.permit;
        let piece = |bytes| Piece::new(bytes, permit.as_ref().and_then(RequestPermit::piece));
        let sent = writer.poll_send(context, source, piece);
        if let Poll::Ready(Ok(1..)) = sent {
            self.shared.response_taken();
        }
        sent
    }

    fn is_done(&self) -> bool {
        self.writer.as_ref().is_some_and(Http2Writer::is_done)
    }
}
