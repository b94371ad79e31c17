//! Reads a body over HTTP/1.1.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::ReadError;
use crate::http1::body::Body;
use crate::http1::chunked::Leniency;
use crate::message::Framing;
use crate::net::buffer::{BODY, Buffer};
use crate::net::stream::Stream;
use crate::part::Part;

/// Bodies that are longer, in bytes, cannot be sent again.
const REPLAY_MAX: usize = 64 * 1024;

/// Reads a body through its connection's buffer.
#[derive(Debug)]
pub struct Http1Reader {
    framing: Framing,
    body: Body,
    /// The data of chunks, without their framing.
    gathered: Vec<u8>,
    /// How many bytes of `gathered` have been sent.
    given: usize,
    /// How many of the buffer's first bytes are the sink's own.
    joined: usize,
    /// The connection has ended, and with it the body.
    closed: bool,
    /// A copy of the bytes taken from the buffer, for [`rewind`](Self::rewind); `None`: not kept, or too many.
    replay: Option<Vec<u8>>,
    /// Bytes have been taken from the buffer.
    touched: bool,
}

impl Http1Reader {
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            body: Body::new(framing, Leniency::None),
            gathered: Vec::new(),
            given: 0,
            joined: 0,
            closed: false,
            replay: None,
            touched: false,
        }
    }

    /// For a body of an endpoint.
    pub fn of_endpoint(framing: Framing) -> Self {
        Self { body: Body::new(framing, Leniency::Blanks), ..Self::new(framing) }
    }

    /// From now on, keeps a copy of what is taken, up to a limit, so that it can be read again.
    pub fn keep(&mut self) {
        if !self.touched && self.replay.is_none() {
            self.replay = Some(Vec::new());
        }
    }

    pub fn can_rewind(&self) -> bool {
        !self.touched || self.replay.is_some()
    }

    /// Puts what has been taken back into the buffer, to begin again.
    pub fn rewind(&mut self, buffer: &mut Buffer) {
        if let Some(taken) = self.replay.take() {
            if !taken.is_empty() {
                buffer.prepend(&taken);
            }
            *self = Self { replay: Some(Vec::new()), ..Self::new(self.framing) };
        }
    }

    pub fn data<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        match &self.body {
            Body::Empty => &[],
            Body::Chunked(_) => self.gathered.part(self.given..),
            Body::UntilClose => buffer.bytes(),
            Body::Length { left } => {
                let of_body = buffer.len() - self.joined.min(buffer.len());
                let end = usize::try_from(*left).map_or(of_body, |left| left.min(of_body));
                buffer.bytes().part(..self.joined + end)
            }
        }
    }

    /// See [`BodySource::consume`](super::BodySource::consume).
    pub fn consume(&mut self, count: usize, buffer: &mut Buffer) -> usize {
        let of_joined = count.min(self.joined);
        self.joined -= of_joined;
        let of_body = count - of_joined;
        match &mut self.body {
            Body::Empty => return 0,
            Body::Chunked(_) => {
                self.given += of_body;
                if self.given >= self.gathered.len() {
                    self.gathered.clear();
                    self.given = 0;
                }
                return of_body;
            }
            Body::Length { left } => *left -= of_body as u64,
            Body::UntilClose => {}
        }
        buffer.consume(of_joined);
        self.take_off(of_body, buffer);
        of_body
    }

    pub fn take(&mut self, count: usize, buffer: &mut Buffer) -> Bytes {
        let taken = Bytes::copy_from_slice(self.data(buffer).part(..count));
        self.consume(count, buffer);
        taken
    }

    pub fn put_before(&mut self, own: &[u8], buffer: &mut Buffer) -> bool {
        let fits = !matches!(self.body, Body::Chunked(_)) && buffer.put_before(own);
        if fits {
            self.joined += own.len();
        }
        fits
    }

    pub fn is_last(&self, buffer: &Buffer) -> bool {
        match &self.body {
            Body::Length { left } => (buffer.len() - self.joined.min(buffer.len())) as u64 >= *left,
            Body::UntilClose => self.closed,
            body => body.is_done(),
        }
    }

    /// The whole body has been sent.
    pub fn has_ended(&self, buffer: &Buffer) -> bool {
        self.is_last(buffer) && self.data(buffer).is_empty()
    }

    /// Gives back memory of its own that holds nothing.
    pub fn release(&mut self) {
        if self.gathered.is_empty() {
            self.gathered = Vec::new();
        }
    }

    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        room: usize,
        buffer: &mut Buffer,
        stream: &mut Stream,
    ) -> Poll<Result<(), ReadError>> {
        while !self.gather(buffer)? {
            buffer.grow(room);
            match ready!(buffer.poll_read(context, Pin::new(&mut *stream))) {
                Ok(0) if self.body.may_end() => {
                    self.closed = true;
                    break;
                }
                Ok(0) => return Poll::Ready(Err(ReadError::Cut(None))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(ReadError::Cut(Some(error.to_string())))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Decodes what is buffered; `false`: more has to be read first.
    fn gather(&mut self, buffer: &mut Buffer) -> Result<bool, ReadError> {
        let Body::Chunked(_) = self.body else { return Ok(!buffer.is_empty()) };
        // Many small chunks are sent as a few larger ones.
        while !buffer.is_empty() && self.gathered.len() < BODY && !self.body.is_done() {
            let step = self.body.decode(buffer.bytes());
            let step = step.map_err(|error| ReadError::Malformed(error.to_string()))?;
            self.gathered.extend_from_slice(buffer.bytes().part(step.data));
            self.take_off(step.consumed, buffer);
        }
        Ok(!self.gathered.is_empty() || self.body.is_done())
    }

    fn take_off(&mut self, count: usize, buffer: &mut Buffer) {
        self.touched |= count > 0;
        if let Some(replay) = &mut self.replay {
            replay.extend_from_slice(buffer.bytes().part(..count));
            if replay.len() > REPLAY_MAX {
                self.replay = None;
            }
        }
        buffer.consume(count);
    }

    /// The trailers of a chunked body that may be forwarded.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.body.trailers()
    }
}
