//! Bodies on their way: where they come from, where they go, and the one loop that moves them, whichever protocol is on
//! either side.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

mod http1_reader;
mod http1_writer;
mod http2;
mod transfer;

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

pub use http1_reader::Http1Reader;
pub use http1_writer::Http1Writer;
pub use http2::{Http2Reader, Http2Writer};
pub use transfer::{Transfer, TransferError, WaitsFor};

/// Where a body comes from.
pub trait BodySource {
    /// The bytes that go on next, without their framing; those of [`put_before`](Self::put_before) come first.
    fn data(&self) -> &[u8];

    /// So many bytes of `data` have gone on; returns how many of them were the body's.
    fn consume(&mut self, count: usize) -> usize;

    /// Takes so many bytes of `data`, for a sink that keeps what it is given.
    fn take(&mut self, count: usize) -> Bytes;

    /// Puts the sink's own bytes right before `data`, so that both go in one piece; `false`: there is no room.
    fn put_before(&mut self, _own: &[u8]) -> bool {
        false
    }

    /// Nothing of the body follows behind `data`; its trailers may.
    fn is_last(&self) -> bool;

    /// Reads on, with room for so many bytes; ready when there is something to send, or the body has ended. Not while
    /// there is `data`.
    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>>;

    /// The fields behind the body that may go on; complete once `is_last`.
    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// All of the body has gone on.
    fn has_ended(&self) -> bool {
        self.is_last() && self.data().is_empty()
    }
}

/// Where a body goes.
pub trait BodySink {
    /// Bytes of its own wait to be sent: a head, framing.
    fn has_pending(&self) -> bool;

    /// Sends its own bytes and what `source` has; ready with how many of the body's bytes it has taken. Where the source
    /// has ended, so does what is sent. Not once it `is_done`.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>>;

    /// The whole body has been sent, and its end.
    fn is_done(&self) -> bool;
}

/// Why a body does not go on.
#[derive(Debug)]
pub enum ReadError {
    /// Its stream ended too early, or broke.
    Cut(Option<String>),
    /// Its framing is wrong.
    Malformed(String),
}
