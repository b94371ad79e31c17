//! Carries one body from one connection to another, framed anew, as far as both sides go along.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::exchange::Failure;
use crate::http1::body::Body;
use crate::http1::chunked::{self, ChunkError};
use crate::http1::framing::Framing;
use crate::net::buffer::{BODY, BODY_BEGINNING, BODY_FIRST, Buffer, TURN};
use crate::net::stream::Stream;

/// Longer bodies are not sent again.
const KEPT_MAX: usize = 64 * 1024;

/// A body on its way.
pub struct Pump {
    body: Body,
    /// Whether it goes on in chunks; if not, its bytes go as they are.
    chunked: bool,
    /// Bytes of our own making (heads, chunk headers, re-framed data) that go before anything else.
    out: Vec<u8>,
    sent: usize,
    /// Our own bytes may be put into the source's buffer, before the body's, to go out in one piece.
    joins: bool,
    /// So many of the buffered bytes are our own.
    joined: usize,
    /// Nothing is sent to the sink behind the body.
    closes: bool,
    /// What has been taken from the source, for another attempt; `None` if it is not wanted, or too much.
    kept: Option<Vec<u8>>,
    /// Memory for pieces of a body that go on together.
    gathered: Vec<u8>,
    ended: bool,
    touched: bool,
    /// What the last poll waited for.
    pub waits_for: WaitsFor,
    /// Something has moved since this was last cleared.
    pub moved: bool,
    /// Bytes of the body that the sink has taken, as far as that is known.
    pub delivered: u64,
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

/// What a pump moves between.
pub struct Ends<'a> {
    pub from: &'a mut Stream,
    /// What has been read of the source and not used.
    pub buffer: &'a mut Buffer,
    pub to: &'a mut Stream,
}

impl Pump {
    /// `head` goes out before the body; `onward` is how the body is delimited at the other end.
    pub fn new(body: Framing, onward: Framing, head: Vec<u8>) -> Self {
        let body = Body::new(body);
        Self {
            ended: body.is_done(),
            body,
            chunked: onward == Framing::Chunked,
            out: head,
            kept: None,
            gathered: Vec::new(),
            sent: 0,
            joins: false,
            joined: 0,
            closes: false,
            waits_for: WaitsFor::Sink,
            moved: false,
            delivered: 0,
            touched: false,
        }
    }

    /// Keeps what is taken from the source, as long as it is little, so that another pump can begin again.
    pub fn keeping(mut self) -> Self {
        self.kept = Some(Vec::new());
        self
    }

    /// What is buffered of the source will be nobody else's, even if this fails.
    pub fn joining(mut self) -> Self {
        self.joins = true;
        self
    }

    /// Whether the sink is closed, or shut down for writing, at once behind the body.
    pub fn closing(mut self, closes: bool) -> Self {
        self.closes = closes;
        self
    }

    /// What to put back in front of the source to begin again; `None` if that is not possible any more.
    pub fn begin_again(&mut self) -> Option<Vec<u8>> {
        if self.touched { self.kept.take() } else { Some(Vec::new()) }
    }

    /// Whether another pump could begin again.
    pub fn can_begin_again(&self) -> bool {
        !self.touched || self.kept.is_some()
    }

    fn take(&mut self, buffer: &mut Buffer, bytes: usize) {
        self.touched |= bytes > 0;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(buffer.bytes().get(..bytes).unwrap_or_default());
            if kept.len() > KEPT_MAX {
                self.kept = None;
            }
        }
        buffer.consume(bytes);
    }

    /// None of our own bytes wait for the sink.
    fn is_empty(&self) -> bool {
        self.sent >= self.out.len() && self.joined == 0
    }

    /// Memory for other bytes, if all of its own have gone.
    pub fn spare_memory(&mut self) -> Vec<u8> {
        if !self.is_empty() {
            return Vec::new();
        }
        self.sent = 0;
        let mut memory = std::mem::take(&mut self.out);
        memory.clear();
        memory
    }

    /// Gives back the memory of its own bytes, for the next one.
    pub fn into_memory(mut self) -> Vec<u8> {
        self.out.clear();
        self.out
    }

    /// Moves bytes until a side has no more to give or to take, or it is somebody else's turn; ready when the body is
    /// through.
    ///
    /// `count` is told of each piece of the body that has been taken from the source.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        ends: &mut Ends<'_>,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Poll<Result<(), PumpError>> {
        let begun = self.delivered;
        loop {
            self.waits_for = WaitsFor::Sink;
            if self.delivered - begun > TURN {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.is_empty() || self.direct(ends.buffer) > 0 {
                ready!(self.poll_send(context, ends, count))?;
                continue;
            }
            self.out.clear();
            self.sent = 0;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.reframe(ends.buffer, count)? {
                continue;
            }
            self.waits_for = WaitsFor::Source;
            ready!(self.poll_fill(context, ends))?;
        }
    }

    /// How many of the buffered bytes go out as they are.
    fn direct(&self, buffer: &Buffer) -> usize {
        let buffered = buffer.len() - self.joined.min(buffer.len());
        match &self.body {
            Body::Length { left } => usize::try_from(*left).map_or(buffered, |left| left.min(buffered)),
            Body::UntilClose if !self.chunked && !self.ended => buffered,
            _ => 0,
        }
    }

    /// Whether nothing comes behind so many of the buffered bytes, and our own.
    fn is_all(&self, direct: usize) -> bool {
        self.ended || matches!(&self.body, Body::Length { left } if *left == direct as u64)
    }

    /// Sends our own bytes, and in the same call what of the body goes as it is.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        ends: &mut Ends<'_>,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Poll<Result<(), PumpError>> {
        let direct = self.direct(ends.buffer);
        if self.joins && self.sent == 0 && direct > 0 && ends.buffer.put_before(&self.out) {
            self.joined += self.out.len();
            self.out.clear();
        }
        let last = self.closes && self.is_all(direct);
        let own = self.out.get(self.sent..).unwrap_or_default();
        let buffered = ends.buffer.bytes().get(..self.joined + direct).unwrap_or_default();
        let to = Pin::new(&mut *ends.to);
        let written = match (own.is_empty(), buffered.is_empty()) {
            (true, _) if last => ready!(ends.to.poll_write_last(context, buffered)),
            (_, true) if last => ready!(ends.to.poll_write_last(context, own)),
            (true, _) => ready!(to.poll_write(context, buffered)),
            (_, true) => ready!(to.poll_write(context, own)),
            _ => ready!(to.poll_write_vectored(context, &[IoSlice::new(own), IoSlice::new(buffered)])),
        };
        let written = written.map_err(PumpError::Sink)?;
        if written == 0 {
            return Poll::Ready(Err(PumpError::Sink(io::ErrorKind::WriteZero.into())));
        }
        self.moved = true;
        let of_own = written.min(own.len());
        self.sent += of_own;
        let of_joined = self.joined.min(written - of_own);
        self.joined -= of_joined;
        ends.buffer.consume(of_joined);
        self.used(ends.buffer, written - of_own - of_joined, count)
    }

    /// So many of the buffered bytes were body, and have gone out.
    fn used(
        &mut self,
        buffer: &mut Buffer,
        bytes: usize,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Poll<Result<(), PumpError>> {
        if bytes > 0 {
            let step = self.body.decode(buffer.bytes().get(..bytes).unwrap_or_default());
            self.ended = step.map_err(PumpError::Framing)?.done;
            self.take(buffer, bytes);
            self.delivered += bytes as u64;
            count(bytes).map_err(PumpError::Refused)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes bytes of our own of what is buffered; `false` if more has to be read first.
    fn reframe(
        &mut self,
        buffer: &mut Buffer,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Result<bool, PumpError> {
        if buffer.is_empty() {
            return Ok(false);
        }
        let mut data = std::mem::take(&mut self.gathered);
        let mut consumed = 0;
        // Many small pieces go on as few larger ones.
        while !buffer.is_empty() && data.len() < BODY && !self.ended {
            let step = self.body.decode(buffer.bytes()).map_err(PumpError::Framing)?;
            data.extend_from_slice(buffer.bytes().get(step.data).unwrap_or_default());
            self.take(buffer, step.consumed);
            consumed += step.consumed;
            self.ended = step.done;
        }
        if self.chunked && !data.is_empty() {
            chunked::write_chunk(&mut self.out, &data);
        } else {
            self.out.extend_from_slice(&data);
        }
        let length = data.len();
        data.clear();
        self.gathered = data;
        self.moved |= consumed > 0;
        if self.ended {
            self.end();
        }
        self.delivered += length as u64;
        count(length).map_err(PumpError::Refused)?;
        Ok(consumed > 0)
    }

    fn end(&mut self) {
        self.ended = true;
        if self.chunked {
            chunked::write_last(&mut self.out, self.body.trailers());
        }
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, ends: &mut Ends<'_>) -> Poll<Result<(), PumpError>> {
        ends.buffer.grow(if self.delivered < BODY_BEGINNING { BODY_FIRST } else { BODY });
        let read = ready!(ends.buffer.poll_read(context, Pin::new(&mut *ends.from)));
        match read {
            Ok(0) if self.body.may_end() => self.end(),
            Ok(0) => return Poll::Ready(Err(PumpError::Source(None))),
            Ok(_) => self.moved = true,
            Err(error) => return Poll::Ready(Err(PumpError::Source(Some(error)))),
        }
        Poll::Ready(Ok(()))
    }
}
