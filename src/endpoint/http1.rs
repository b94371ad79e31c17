//! HTTP/1.1 to an endpoint: each request has a connection to itself, which goes back to the idle pool afterwards.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{EndpointStream, OutgoingRequest};
use crate::body::{BodySink, BodySource, Http1Reader, Http1Writer, ReadError};
use crate::config;
use crate::endpoint_connections::connect;
use crate::endpoint_connections::idle_pool::Connection;
use crate::exchange::{Failed, Failure, ResponseScope};
use crate::http1::head::{Parse, Response, ResponseView};
use crate::http1::write::{self, RequestForm};
use crate::message::{Framing, RequestFields, ResponseHead};
use crate::net::buffer::Buffer;
use crate::pool::Endpoint;
use crate::worker::Worker;

/// Room before a response in the buffer, so that the rewritten head, which is longer, fits right before the body, and
/// both are sent in one piece.
const GAP: usize = 512;

/// One request on one connection.
pub struct Http1Endpoint {
    worker: Rc<Worker>,
    scope: Arc<ResponseScope>,
    connection: Connection,
    memory: Memory,
    /// Of the response's head, in bytes.
    length: usize,
    is_head_request: bool,
    /// The endpoint has sent an interim response.
    answered: bool,
    /// The connection can serve another request after this response.
    reusable: bool,
    reader: Http1Reader,
    writer: Http1Writer,
    /// Why the endpoint takes no more of the request. It may have answered.
    write_error: Option<io::Error>,
}

/// The worker's memory for a response, given back when dropped.
struct Memory {
    worker: Rc<Worker>,
    /// Bytes that have been read and not used: first the response's head.
    input: Buffer,
    response: Response,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.worker.memory.give_back_buffer(self.input.release());
        self.worker.memory.give_back_response(std::mem::take(&mut self.response));
    }
}

// === impl Http1Endpoint ===

impl Http1Endpoint {
    /// The method, as far as it decides whether a response has a body; endpoints are never sent CONNECT.
    fn method(&self) -> &'static str {
        if self.is_head_request { "HEAD" } else { "GET" }
    }

    /// The failure of a connection that has ended before a response.
    fn gone(&mut self, error: Option<io::Error>) -> Failed {
        let error = error.or(self.write_error.take());
        let timed_out = error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        let failure = if timed_out { Failure::RequestWriteTimeout } else { Failure::EndpointReset };
        let detail =
            error.map_or("closed before a whole response head".to_owned(), |error| error.to_string());
        let stale = self.connection.reused && !self.answered && self.memory.input.is_empty();
        Failed { stale, ..Failed::new(failure, detail) }
    }
}

impl EndpointStream for Http1Endpoint {
    type Carrier = Connection;
    type Response<'a> = ResponseView<'a>;

    const ASKS_FOR_BODY: bool = true;

    fn take_carrier(
        worker: &Worker,
        endpoint: &Arc<Endpoint>,
        pool: &config::Pool,
        now: Instant,
    ) -> Option<Connection> {
        worker.idle_pool.take(endpoint, &pool.tls, now)
    }

    async fn connect(
        worker: &Worker,
        endpoint: &Arc<Endpoint>,
        pool: &config::Pool,
        _limit: Duration,
    ) -> Result<Connection, Failed> {
        let deadline = connect::descriptor_deadline(pool);
        let stream = connect::open(&worker.idle_pool, endpoint, pool, deadline).await?;
        Ok(Connection { stream, tls: pool.tls.clone(), opened: Instant::now(), reused: false })
    }

    fn is_reused(connection: &Connection) -> bool {
        connection.reused
    }

    /// Writes the request's head to memory; it is sent with the body.
    fn begin<R: RequestFields>(
        worker: &Rc<Worker>,
        scope: &Arc<ResponseScope>,
        connection: Connection,
        outgoing: &OutgoingRequest<'_, R>,
    ) -> Result<Self, Failed> {
        let framing = outgoing.framing;
        let form = RequestForm {
            edits: outgoing.edits,
            framing,
            upgrade: outgoing.upgrade,
            trailers: outgoing.request.takes_trailers(),
            host: outgoing.host,
        };
        let mut head = worker.memory.head_buffer();
        write::request(&mut head, outgoing.request, &form);
        let mut input = Buffer::default();
        input.leave_gap(GAP);
        Ok(Self {
            worker: worker.clone(),
            scope: scope.clone(),
            connection,
            memory: Memory { worker: worker.clone(), input, response: worker.memory.response() },
            length: 0,
            is_head_request: outgoing.request.method() == "HEAD",
            answered: false,
            reusable: false,
            reader: Http1Reader::new(Framing::None),
            writer: Http1Writer::new(framing, head),
            write_error: None,
        })
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        loop {
            let Memory { worker, input, response } = &mut self.memory;
            match response.parse(input.bytes()) {
                Parse::Complete { length } => {
                    self.length = length;
                    return Poll::Ready(Ok(()));
                }
                Parse::Refused(refusal) => {
                    return Poll::Ready(Err(Failed::new(refusal.failure, refusal.reason.to_owned())));
                }
                Parse::Partial => {}
            }
            if input.is_full() {
                input.grow(input.len() * 2);
            }
            match ready!(worker.memory.poll_read(context, &mut self.connection.stream, input)) {
                Ok(1..) => {}
                Ok(0) => return Poll::Ready(Err(self.gone(None))),
                Err(error) => return Poll::Ready(Err(self.gone(Some(error)))),
            }
        }
    }

    fn response(&self) -> ResponseView<'_> {
        self.memory.response.view(self.memory.input.bytes())
    }

    fn drop_interim(&mut self) {
        self.answered = true;
        self.memory.input.consume(self.length);
    }

    fn begin_body(&mut self) {
        let response = self.response();
        let framing = ResponseHead::framing(&response, self.method());
        self.reusable = response.is_reusable(self.method());
        self.reader = Http1Reader::of_endpoint(framing);
        self.memory.input.consume(self.length);
    }

    fn switch_protocols(&mut self) {
        self.memory.input.consume(self.length);
        self.reader = Http1Reader::new(Framing::UntilClose);
        self.writer = Http1Writer::new(Framing::UntilClose, Vec::new()).shutting_down();
    }

    /// Nothing to do: the connection is closed when this is dropped.
    fn timed_out(&mut self) {}

    fn request_timed_out(&mut self) {}

    fn finish(self, endpoint: &Arc<Endpoint>) {
        let Self { worker, scope, connection, memory, reader, writer, .. } = self;
        // Surplus bytes would be taken for the response to the next request.
        let is_over = writer.is_done() && reader.has_ended(&memory.input) && memory.input.is_empty();
        if self.reusable && self.write_error.is_none() && is_over {
            worker.idle_pool.keep(endpoint, connection, scope.pool(), Instant::now());
        }
        worker.memory.give_back_head_buffer(writer.into_memory());
    }
}

impl BodySource for Http1Endpoint {
    fn data(&self) -> &[u8] {
        self.reader.data(&self.memory.input)
    }

    fn consume(&mut self, count: usize) -> usize {
        self.reader.consume(count, &mut self.memory.input)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.reader.take(count, &mut self.memory.input)
    }

    fn put_before(&mut self, own: &[u8]) -> bool {
        self.reader.put_before(own, &mut self.memory.input)
    }

    fn is_last(&self) -> bool {
        self.reader.is_last(&self.memory.input)
    }

    fn release(&mut self) {
        self.reader.release();
        if self.memory.input.is_empty() {
            self.worker.memory.give_back_buffer(self.memory.input.release());
        }
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        if !self.memory.input.has_memory() {
            self.memory.input.adopt(self.worker.memory.buffer());
        }
        self.reader.poll_fill(context, room, &mut self.memory.input, &mut self.connection.stream)
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.reader.trailers()
    }
}

impl BodySink for Http1Endpoint {
    fn has_pending(&self) -> bool {
        self.writer.has_pending()
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(self.writer.poll_send(context, &mut self.connection.stream, source));
        Poll::Ready(sent.inspect_err(|error| self.write_error = Some(copy(error))))
    }

    fn is_done(&self) -> bool {
        self.writer.is_done()
    }
}

/// Copies an error: a system error by its number, another one, as TLS has them, by its text.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
