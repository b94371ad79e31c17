//! The stream that h2 reads and writes: it begins with the bytes that were read before, watches the frames that pass,
//! and yields to the worker's other connections.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head_filter::{BlockTooLarge, HeadFilter};
use super::head_judge::Limits;
use super::sent_frames::SentFrame;
use super::shared::Shared;
use super::unserved;
use crate::net::stream::Stream;
use crate::part::Part;

/// Bytes read from a client before its task yields. Few, because frames may cost far more than their bytes suggest.
const TURN: usize = 4 * 1024;

/// The same within a body, whose cost is proportional to its bytes.
const TURN_OF_BODY: usize = 64 * 1024;

pub struct Io {
    /// Shared with the one who closes it: h2 drops it in the end, in TLS without a word.
    stream: Rc<RefCell<Stream>>,
    /// Bytes that have been read before.
    ahead: Bytes,
    shared: Rc<Shared>,
    filter: HeadFilter,
    /// Bytes read since the task last yielded.
    turn: usize,
}

impl Io {
    pub fn new(stream: Rc<RefCell<Stream>>, ahead: Vec<u8>, shared: Rc<Shared>, limits: Limits) -> Self {
        Self { stream, ahead: ahead.into(), shared, filter: HeadFilter::new(limits), turn: 0 }
    }

    fn has_had_its_turn(&self) -> bool {
        self.turn >= if self.shared.received.borrow().is_within_body() { TURN_OF_BODY } else { TURN }
    }

    fn poll_ahead_or_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.part(..count));
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }

    fn inspect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = self.shared.received.borrow_mut().take(bytes, Instant::now());
        taken.map_err(|violation| {
            let detail = violation.detail();
            self.shared.turned_away(violation.reason(), &detail);
            io::Error::new(io::ErrorKind::InvalidData, detail)
        })
    }

    /// Has the filter take the bytes that have arrived; returns how many of them, from the front, h2 is to read.
    fn filter(&mut self, new: &[u8]) -> io::Result<usize> {
        let Self { shared, filter, .. } = self;
        let mut memory = shared.worker.memory.head_buffer();
        let mut refused = shared.refused.borrow_mut();
        let passed = filter.pass(new, &mut memory, |stream, fault| refused.add(stream, fault));
        shared.worker.memory.give_back_head_buffer(memory);
        passed.map_err(|BlockTooLarge| {
            let detail = "a header block that is far too large";
            shared.turned_away("http2_flood", detail);
            io::Error::new(io::ErrorKind::InvalidData, detail)
        })
    }

    /// Gives h2 what goes on in the place of what it must not see.
    fn read_ready(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let ready = self.filter.ready();
        let count = ready.len().min(buffer.remaining());
        buffer.put_slice(ready.part(..count));
        if count > 0 {
            self.filter.consume_ready(count);
        }
        count > 0
    }

    /// Logs requests that h2 has refused by itself.
    fn note(&self, written: &[u8]) {
        let shared = &self.shared;
        shared.sent.borrow_mut().pass(written, |frame| {
            let (SentFrame::Response { stream } | SentFrame::Reset { stream }) = frame;
            shared.refused.borrow_mut().take(stream);
            if shared.received.borrow_mut().settled(stream) {
                unserved::by_codec(shared, frame);
            }
        });
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            if self.read_ready(buffer) {
                return Poll::Ready(Ok(()));
            }
            if self.has_had_its_turn() {
                self.turn = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = self.poll_ahead_or_stream(context, buffer);
            if read.is_pending() {
                self.turn = 0;
            }
            ready!(read)?;
            let new = buffer.filled().part(before..);
            if new.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.turn += new.len();
            self.inspect(new)?;
            let passed = self.filter(new)?;
            buffer.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes))?;
        self.note(bytes.part(..written));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(context, bytes))?;
        let mut left = written;
        for piece in bytes {
            self.note(piece.get(..left.min(piece.len())).unwrap_or_default());
            left = left.saturating_sub(piece.len());
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }
}
