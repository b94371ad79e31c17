//! One request of an HTTP/1.1 client, and the response to it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderName;

use super::connection::{After, Connection};
use crate::body::{BodySink, BodySource, Http1Reader, Http1Writer, ReadError};
use crate::exchange::{ClientIdentity, Edits, RequestScope};
use crate::forward::{ClientStream, Ending, Notice};
use crate::header_field::is_one_of;
use crate::http1::chunked;
use crate::http1::head::RequestView;
use crate::http1::write::{self, ResponseForm};
use crate::message::{Framing, Onward, ResponseHead, Version};
use crate::net::arrivals::Arrivals;
use crate::tls::TlsInfo;
use crate::worker::Worker;
use crate::worker::deadline::Timer;

/// The request whose head its connection has read.
pub struct Http1Client<'a> {
    connection: &'a mut Connection,
    reader: Http1Reader,
    writer: Http1Writer,
    /// The connection serves no other request.
    closes: bool,
    /// The client may still send something, although its request is complete.
    is_suspect: bool,
    /// Only the end of the connection ends the response.
    until_close: bool,
    /// The connection has become a tunnel.
    is_tunnel: bool,
    /// Names that are withheld from trailers.
    withheld: Box<[HeaderName]>,
}

impl<'a> Http1Client<'a> {
    pub fn new(connection: &'a mut Connection) -> Self {
        let reader = Http1Reader::new(connection.view().framing());
        let writer = Http1Writer::new(Framing::None, connection.worker.memory.head_buffer());
        Self {
            connection,
            reader,
            writer,
            closes: false,
            is_suspect: false,
            until_close: false,
            is_tunnel: false,
            withheld: Box::default(),
        }
    }

    /// Ends the request, and returns what happens to the connection.
    pub fn finish(self, ending: Ending) -> After {
        let Self { connection, writer, .. } = self;
        connection.worker.memory.give_back_head_buffer(writer.into_memory());
        if let Ending::Broken(_) = ending
            && !self.is_tunnel
        {
            return if self.until_close { After::Abort } else { After::Close };
        }
        if self.until_close {
            connection.stream.set_reset_on_close(false);
        }
        let view = connection.view();
        // A client that meant to keep the connection may have sent its next request already.
        let is_silent = view.framing() == Framing::None && !view.keep_alive() && connection.input.is_empty();
        match self.closes {
            false => After::KeepAlive,
            true if is_silent && !self.is_suspect => After::Flush,
            true => After::Linger,
        }
    }

    /// Whether the connection can serve another request after a response with that body.
    fn may_go_on(&mut self, body: Framing) -> bool {
        !self.is_suspect
            && self.connection.view().keep_alive()
            && self.reader.has_ended(&self.connection.input)
            && body != Framing::UntilClose
            && self.connection.may_go_on()
            && !self.connection.has_to_go()
    }

    fn write_head(
        &mut self,
        response: &impl ResponseHead,
        edits: &Edits,
        framing: Framing,
        connection: write::Connection,
    ) -> Vec<u8> {
        let none = Http1Writer::new(Framing::None, Vec::new());
        let mut out = std::mem::replace(&mut self.writer, none).into_memory();
        let date = self.connection.worker.date(self.connection.now);
        let form =
            ResponseForm { edits, framing, connection, upgrade: names_upgrade(response), date: Some(&date) };
        write::response(&mut out, response, &form);
        out
    }
}

/// Whether a response is to name protocols in `Upgrade`: the one that is switched to, or those that are required (RFC
/// 9110, section 7.8).
fn names_upgrade(response: &impl ResponseHead) -> bool {
    matches!(response.status(), 101 | 426)
        && response.fields().any(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"))
}

impl ClientStream for Http1Client<'_> {
    type Request<'a>
        = RequestView<'a>
    where
        Self: 'a;

    fn request(&self) -> RequestView<'_> {
        self.connection.view()
    }

    fn set_path(&mut self, path: &str) -> bool {
        self.connection.request_memory().request.set_path(path)
    }

    fn worker(&self) -> &Rc<Worker> {
        &self.connection.worker
    }

    fn timer(&self) -> &Timer {
        &self.connection.timer
    }

    fn identity(&self) -> &ClientIdentity {
        &self.connection.identity
    }

    fn tls_info(&self) -> Option<&Arc<TlsInfo>> {
        self.connection.tls_info.as_ref()
    }

    fn scope_in_force(&self) -> Option<Arc<RequestScope>> {
        self.connection.in_force()
    }

    fn now(&self) -> Instant {
        self.connection.now
    }

    fn tick(&mut self) -> Instant {
        self.connection.now = Instant::now();
        self.connection.now
    }

    fn check_body(&self) -> Result<(), String> {
        match self.connection.view().framing() {
            Framing::Chunked => {
                chunked::check(self.connection.input.bytes()).map_err(|error| error.to_string())
            }
            _ => Ok(()),
        }
    }

    fn keep_body(&mut self) {
        self.reader.keep();
    }

    fn can_rewind(&self) -> bool {
        self.reader.can_rewind()
    }

    fn rewind(&mut self) {
        self.reader.rewind(&mut self.connection.input);
    }

    /// Reads nothing before the body's end: it would be part of the body.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> io::Result<Notice> {
        match self.reader.has_ended(&self.connection.input) {
            true => self.connection.poll_gone(context),
            false => Ok(Notice::Ask),
        }
    }

    fn has_gone(&self) -> bool {
        self.connection.has_gone()
    }

    fn arrivals(&self) -> Option<Arrivals> {
        Arrivals::of(self.connection.stream.socket()).ok()
    }

    fn judge(&self, _response: &impl ResponseHead) -> Result<(), String> {
        Ok(())
    }

    /// HTTP/1.0 has no interim responses (RFC 9110, section 15.2).
    fn send_interim(&mut self, response: &impl ResponseHead, edits: &Edits) {
        if self.connection.view().version() != Version::Http10 {
            let connection = write::Connection::Silent;
            let form = ResponseForm { edits, framing: Framing::None, connection, upgrade: false, date: None };
            self.writer.add_head(|out| write::response(out, response, &form));
        }
    }

    fn send_head(&mut self, response: &impl ResponseHead, edits: &Edits, onward: Onward) {
        self.closes = !self.may_go_on(onward.body);
        let connection = match self.connection.view().version() {
            _ if self.closes => write::Connection::Close,
            Version::Http10 => write::Connection::KeepAlive,
            _ => write::Connection::Silent,
        };
        let head = self.write_head(response, edits, onward.announced, connection);
        self.until_close = onward.body == Framing::UntilClose;
        if self.until_close {
            // Until the body is complete: if it breaks off, a normal close would make it look complete.
            self.connection.stream.set_reset_on_close(true);
        }
        self.writer = Http1Writer::new(onward.body, head).joining().closing(self.closes);
    }

    fn switch_protocols(&mut self, response: &impl ResponseHead, edits: &Edits) -> u16 {
        // The client may still be sending, and must receive the last bytes of the endpoint all the same.
        (self.closes, self.is_suspect, self.is_tunnel) = (true, true, true);
        let head = self.write_head(response, edits, Framing::None, write::Connection::Silent);
        self.reader = Http1Reader::new(Framing::UntilClose);
        self.writer = Http1Writer::new(Framing::UntilClose, head).shutting_down();
        response.status()
    }

    fn withhold_trailers(&mut self, names: Box<[HeaderName]>) {
        self.withheld = names;
    }

    fn close_behind(&mut self) {
        self.is_suspect = true;
    }
}

impl BodySource for Http1Client<'_> {
    fn data(&self) -> &[u8] {
        self.reader.data(&self.connection.input)
    }

    fn consume(&mut self, count: usize) -> usize {
        self.reader.consume(count, &mut self.connection.input)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.reader.take(count, &mut self.connection.input)
    }

    fn is_last(&self) -> bool {
        self.reader.is_last(&self.connection.input)
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        let Connection { input, stream, .. } = &mut *self.connection;
        self.reader.poll_fill(context, room, input, stream)
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.reader.trailers().filter(|(name, _)| !is_one_of(name, &self.withheld))
    }
}

impl BodySink for Http1Client<'_> {
    fn has_pending(&self) -> bool {
        self.writer.has_pending()
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        self.writer.poll_send(context, &mut self.connection.stream, source)
    }

    fn is_done(&self) -> bool {
        self.writer.is_done()
    }
}
