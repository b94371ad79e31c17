//! Carries one body from one connection to another, framed anew, as far as both sides go along.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::buffer::{BODY, Buffer};
use super::chunked::{self, ChunkError, Decoder};
use super::framing::Framing;
use super::stream::Stream;
use crate::exchange::Failure;

/// A body on its way.
pub struct Pump {
    source: Source,
    sink: Sink,
    /// Bytes of our own making (heads, chunk headers, re-framed data) that go before anything else.
    out: Vec<u8>,
    sent: usize,
    /// What the last poll waited for.
    pub waits_for: WaitsFor,
    /// Something has moved since this was last cleared.
    pub moved: bool,
}

enum Source {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// The bytes as they are: their number is known, or the end of the connection is theirs.
    Raw,
    Chunked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    Source,
    Sink,
}

/// Why a body did not arrive whole.
#[derive(Debug)]
pub enum PumpError {
    /// The source's connection failed or ended too early.
    Source(Option<io::Error>),
    /// The source's framing is wrong.
    Framing(ChunkError),
    Sink(io::Error),
    /// Whoever counts the bytes does not want more.
    Refused(Failure),
}

impl Pump {
    /// `head` goes out before the body.
    pub fn new(framing: Framing, sink: Sink, head: Vec<u8>) -> Self {
        let source = match framing {
            Framing::None | Framing::Length(0) => Source::Done,
            Framing::Length(length) => Source::Length(length),
            Framing::Chunked => Source::Chunked(Decoder::default()),
            Framing::UntilClose => Source::UntilClose,
        };
        Self { source, sink, out: head, sent: 0, waits_for: WaitsFor::Sink, moved: false }
    }

    /// All that is to be read of the source has been read.
    pub fn source_done(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    /// Gives back the memory of its own bytes, for the next one.
    pub fn into_memory(mut self) -> Vec<u8> {
        self.out.clear();
        self.out
    }

    /// Moves bytes until a side has no more to give or to take; ready when the body is through.
    ///
    /// `count` is told of each piece of the body that has been taken from the source.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut Stream,
        buffer: &mut Buffer,
        to: &mut Stream,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Poll<Result<(), PumpError>> {
        loop {
            self.waits_for = WaitsFor::Sink;
            if self.sent < self.out.len() || self.direct(buffer) > 0 {
                ready!(self.poll_send(context, buffer, to, count))?;
                continue;
            }
            self.out.clear();
            self.sent = 0;
            if self.source_done() {
                return Poll::Ready(Ok(()));
            }
            if self.reframe(buffer, count)? {
                continue;
            }
            self.waits_for = WaitsFor::Source;
            ready!(self.poll_fill(context, from, buffer))?;
        }
    }

    /// How many of the buffered bytes go out as they are.
    fn direct(&self, buffer: &Buffer) -> usize {
        match (&self.source, self.sink) {
            (Source::Length(left), _) => buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX)),
            (Source::UntilClose, Sink::Raw) => buffer.len(),
            _ => 0,
        }
    }

    /// Sends our own bytes, and in the same call what of the body goes as it is.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        to: &mut Stream,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Poll<Result<(), PumpError>> {
        let own = self.out.get(self.sent..).unwrap_or(&[]);
        let body = buffer.bytes().get(..self.direct(buffer)).unwrap_or(&[]);
        let written = match (own.is_empty(), body.is_empty()) {
            (true, _) => ready!(Pin::new(to).poll_write(context, body)),
            (_, true) => ready!(Pin::new(to).poll_write(context, own)),
            _ => ready!(Pin::new(to).poll_write_vectored(context, &[IoSlice::new(own), IoSlice::new(body)])),
        };
        let written = written.map_err(PumpError::Sink)?;
        if written == 0 {
            return Poll::Ready(Err(PumpError::Sink(io::ErrorKind::WriteZero.into())));
        }
        self.moved = true;
        let of_own = written.min(own.len());
        let of_body = written - of_own;
        self.sent += of_own;
        if of_body > 0 {
            buffer.consume(of_body);
            if let Source::Length(left) = &mut self.source {
                *left -= of_body as u64;
                if *left == 0 {
                    self.source = Source::Done;
                }
            }
            count(of_body).map_err(PumpError::Refused)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes bytes of our own of what is buffered; `false` if more has to be read first.
    fn reframe(
        &mut self,
        buffer: &mut Buffer,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Result<bool, PumpError> {
        match &mut self.source {
            Source::Chunked(decoder) => {
                let step = decoder.decode(buffer.bytes()).map_err(PumpError::Framing)?;
                if step.consumed == 0 {
                    return Ok(false);
                }
                let data = buffer.bytes().get(step.data.clone()).unwrap_or(&[]);
                let length = data.len();
                match self.sink {
                    Sink::Raw => self.out.extend_from_slice(data),
                    Sink::Chunked => chunked::write_chunk(&mut self.out, data),
                }
                buffer.consume(step.consumed);
                self.moved = true;
                if step.done {
                    if self.sink == Sink::Chunked {
                        chunked::write_last(&mut self.out, decoder.trailers());
                    }
                    self.source = Source::Done;
                }
                count(length).map_err(PumpError::Refused)?;
                Ok(true)
            }
            Source::UntilClose if self.sink == Sink::Chunked && !buffer.is_empty() => {
                let length = buffer.len();
                chunked::write_chunk(&mut self.out, buffer.bytes());
                buffer.consume(length);
                count(length).map_err(PumpError::Refused)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        from: &mut Stream,
        buffer: &mut Buffer,
    ) -> Poll<Result<(), PumpError>> {
        buffer.grow(BODY);
        let read = ready!(buffer.poll_read(context, Pin::new(from))).map_err(|error| PumpError::Source(Some(error)))?;
        if read > 0 {
            self.moved = true;
            return Poll::Ready(Ok(()));
        }
        if !matches!(self.source, Source::UntilClose) {
            return Poll::Ready(Err(PumpError::Source(None)));
        }
        if self.sink == Sink::Chunked {
            chunked::write_last(&mut self.out, &[]);
        }
        self.source = Source::Done;
        Poll::Ready(Ok(()))
    }
}
