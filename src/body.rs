//! Bodies in transit: sources, sinks, and the one loop that moves bytes between them, whichever protocol is on either
//! side.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

mod encoder;
mod http1_reader;
mod http1_writer;
mod http2;
mod transfer;
mod whole;

#[cfg(test)]
mod tests;

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

pub use encoder::{BodyEncoder, EncodedBody};
pub use http1_reader::Http1Reader;
pub use http1_writer::Http1Writer;
pub use http2::{Http2Reader, Http2Writer};
pub use transfer::{Transfer, TransferError, WaitsFor};
pub use whole::{BodyCollector, WholeBody};

/// Where bytes are that have arrived, and have not been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    InKernel,
    /// In this process, up to a window for each stream.
    InMemory,
}

/// Where a body comes from.
pub trait BodySource {
    /// Where bytes are that have not been read.
    const BACKLOG: Backlog = Backlog::InKernel;

    /// The bytes to send next, without their framing; those of [`put_before`](Self::put_before) come first.
    fn data(&self) -> &[u8];

    /// Marks `count` bytes of `data` as sent; returns how many of them were the body's.
    fn consume(&mut self, count: usize) -> usize;

    /// Takes `count` bytes of `data`, for a sink that needs them owned.
    fn take(&mut self, count: usize) -> Bytes;

    /// Puts the sink's own bytes right before `data`, to send both in one piece; `false`: there is no room.
    fn put_before(&mut self, _own: &[u8]) -> bool {
        false
    }

    /// `data` is the rest of the body; trailers may follow it.
    fn is_last(&self) -> bool;

    /// There are bytes that may not be sent yet, and are not in `data`.
    fn is_paused(&self) -> bool {
        false
    }

    /// Nothing may come for a while: gives back memory that holds nothing.
    fn release(&mut self) {}

    /// Reads up to `room` bytes; ready when there is `data`, or the body has ended. Must not be called while there is
    /// `data`.
    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>>;

    /// The trailers that may be forwarded; complete once `is_last`.
    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The whole body has been sent.
    fn has_ended(&self) -> bool {
        self.is_last() && self.data().is_empty()
    }
}

/// Where a body goes.
pub trait BodySink {
    /// Bytes of its own, a head or framing, wait to be sent.
    fn has_pending(&self) -> bool;

    /// Ready when more may be read from the source. Has to be asked before each read.
    fn poll_read_permit(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// The source has nothing more for now, and the sink all that was read; `backlog`: where that is which comes next.
    /// `true`: the source should hold no memory meanwhile.
    fn source_idle(&mut self, _backlog: Backlog) -> bool {
        false
    }

    /// Sends its own bytes and the data of `source`; ready with how many of the body's bytes it has taken. Ends the
    /// message where the source has ended. Must not be called once it `is_done`.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>>;

    /// The whole body and its end have been sent.
    fn is_done(&self) -> bool;
}

/// Why no more of a body can be read.
#[derive(Debug)]
pub enum ReadError {
    /// Its stream ended too early, or broke.
    Cut(Option<String>),
    /// Its framing is wrong.
    Malformed(String),
}
