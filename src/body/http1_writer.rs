//! Writes a body over HTTP/1.1, and the head before it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::BodySource;
use crate::http1::chunked;
use crate::message::Framing;
use crate::net::stream::Stream;
use crate::part::Part;

/// Chunks that arrive before anything has been sent are written together, up to this many bytes.
const GATHERED: usize = 8 * 1024;

/// What follows the body. TLS may keep its last records, and drops them in a close that comes before the socket has taken
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Flush,
    ShutDown,
}

/// Writes a head, then a body in its new framing.
#[derive(Debug)]
pub struct Http1Writer {
    /// `Length` counts down to what is left.
    framing: Framing,
    /// Its own bytes, sent before the source's: heads, and whole chunks.
    out: Vec<u8>,
    sent: usize,
    /// Its own bytes may be put into the source's buffer before the body, to be sent in one piece. The source must then
    /// not be used for anything else, even if sending fails.
    joins: bool,
    /// How many of the source's next bytes are its own.
    joined: usize,
    /// The connection is closed right after the body.
    closes: bool,
    /// What is done with the stream after the body.
    then: Then,
    /// The end of the body has been sent, or is in `out`.
    ended: bool,
}

impl Http1Writer {
    /// `head` is sent before the body.
    pub fn new(framing: Framing, head: Vec<u8>) -> Self {
        let ended = matches!(framing, Framing::None | Framing::Length(0));
        Self {
            framing,
            out: head,
            sent: 0,
            joins: false,
            joined: 0,
            closes: false,
            then: Then::Nothing,
            ended,
        }
    }

    pub fn joining(self) -> Self {
        Self { joins: true, ..self }
    }

    pub fn closing(self, closes: bool) -> Self {
        Self { closes, then: if closes { Then::Flush } else { Then::Nothing }, ..self }
    }

    /// Shuts the connection down for writing after the body.
    pub fn shutting_down(self) -> Self {
        Self { then: Then::ShutDown, ..self }
    }

    /// Appends another head to its own bytes.
    pub fn add_head(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.out);
    }

    /// Bytes of its own wait to be sent, or what follows the body to be done.
    pub fn has_pending(&self) -> bool {
        self.has_own() || (self.ended && self.then != Then::Nothing)
    }

    pub fn is_done(&self) -> bool {
        self.is_written() && self.then == Then::Nothing
    }

    /// Bytes of its own wait to be sent.
    fn has_own(&self) -> bool {
        self.sent < self.out.len() || self.joined > 0
    }

    /// The stream has all of the body.
    fn is_written(&self) -> bool {
        self.ended && !self.has_own()
    }

    /// Its memory, for another head.
    pub fn into_memory(mut self) -> Vec<u8> {
        self.out.clear();
        self.out
    }

    /// Sends its own bytes and some of the body; see [`BodySink::poll_send`](super::BodySink::poll_send).
    pub fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        let taken = match self.framing {
            _ if self.is_written() => 0,
            Framing::None => ready!(self.poll_write(context, stream, &[], true))?,
            Framing::Chunked => ready!(self.poll_send_chunks(context, stream, source))?,
            Framing::Length(_) | Framing::UntilClose => {
                ready!(self.poll_send_plain(context, stream, source))?
            }
        };
        if self.then != Then::Nothing && self.is_written() {
            match self.poll_end(context, stream)? {
                Poll::Ready(()) => self.then = Then::Nothing,
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Does what follows the body.
    fn poll_end(&mut self, context: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        match self.then {
            Then::Nothing => Poll::Ready(Ok(())),
            Then::Flush => Pin::new(stream).poll_flush(context),
            Then::ShutDown => stream.poll_shut_down_write(context).map(Ok),
        }
    }

    /// Sends the body as it is, in one system call with its own bytes before it.
    fn poll_send_plain(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        if self.joins && self.sent == 0 && !source.data().is_empty() && source.put_before(&self.out) {
            self.joined += self.out.len();
            self.out.clear();
        }
        let written = match (self.has_own(), source.data()) {
            (false, []) => 0,
            (_, data) => ready!(self.poll_write(context, stream, data, source.is_last()))?,
        };
        self.joined -= self.joined.min(written);
        let taken = source.consume(written);
        self.ended |= source.has_ended();
        if let Framing::Length(left) = &mut self.framing {
            // An HTTP/2 source may mark its end only later, in a frame of its own.
            *left = left.saturating_sub(taken as u64);
            self.ended |= *left == 0;
        }
        Poll::Ready(Ok(taken))
    }

    /// Sends the body in chunks, small ones together with each other and the head.
    fn poll_send_chunks(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        let has_room = !self.has_own() || (self.sent == 0 && self.out.len() < GATHERED);
        if has_room && !self.ended {
            let data = source.data();
            let length = data.len();
            if length > 0 {
                chunked::write_chunk(&mut self.out, data);
            }
            let taken = source.consume(length);
            if source.has_ended() {
                chunked::write_last(&mut self.out, source.trailers());
                self.ended = true;
            }
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
        self.poll_write(context, stream, &[], self.ended)
    }

    /// Writes its own bytes, then `data`; `last`: nothing follows. Ready with how many bytes of `data` were written.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        data: &[u8],
        last: bool,
    ) -> Poll<io::Result<usize>> {
        let own = self.out.part(self.sent..);
        let last = last && self.closes;
        let written = match (own, data) {
            ([], data) if last => ready!(stream.poll_write_last(context, data)),
            (own, []) if last => ready!(stream.poll_write_last(context, own)),
            ([], data) => ready!(Pin::new(stream).poll_write(context, data)),
            (own, []) => ready!(Pin::new(stream).poll_write(context, own)),
            (own, data) => {
                let both = [IoSlice::new(own), IoSlice::new(data)];
                ready!(Pin::new(stream).poll_write_vectored(context, &both))
            }
        }?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_own = written.min(own.len());
        self.sent += of_own;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Poll::Ready(Ok(written - of_own))
    }
}
