//! Bodies on HTTP/2 streams, of clients and of endpoints.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::BodySource;
use super::whole::fields;
use crate::http1::chunked::may_follow;

/// Bodies that are longer, in bytes, cannot be sent again.
const REPLAY_MAX: usize = 64 * 1024;

/// Reads a body.
#[derive(Debug)]
pub struct Http2Reader {
    stream: RecvStream,
    /// Received, and not sent yet.
    piece: Bytes,
    /// Rewound pieces, which come after `piece` and before anything new.
    again: VecDeque<Bytes>,
    /// For how many of the next bytes flow-control capacity has been released already.
    released: usize,
    ended: bool,
    trailers: HeaderMap,
    /// The pieces sent, and their bytes, for [`rewind`](Self::rewind); `None`: not kept, or too many.
    replay: Option<(VecDeque<Bytes>, usize)>,
    /// Some of the body has been sent.
    touched: bool,
}

impl Http2Reader {
    pub fn new(stream: RecvStream) -> Self {
        let ended = stream.is_end_stream();
        Self {
            stream,
            piece: Bytes::new(),
            again: VecDeque::new(),
            released: 0,
            ended,
            trailers: HeaderMap::new(),
            replay: None,
            touched: false,
        }
    }

    /// From now on, keeps what is sent, up to a limit, so that it can be read again.
    pub fn keep(&mut self) {
        if !self.touched && self.replay.is_none() {
            self.replay = Some(Default::default());
        }
    }

    pub fn can_rewind(&self) -> bool {
        !self.touched || self.replay.is_some()
    }

    /// Puts back what has been sent, to begin again.
    pub fn rewind(&mut self) {
        let Some((mut gone, length)) = self.replay.take() else { return };
        self.released += length;
        if !self.piece.is_empty() {
            gone.push_back(std::mem::take(&mut self.piece));
        }
        gone.append(&mut self.again);
        self.again = gone;
        (self.touched, self.replay) = (false, Some(Default::default()));
        self.next_again();
    }

    fn next_again(&mut self) {
        if self.piece.is_empty()
            && let Some(piece) = self.again.pop_front()
        {
            self.piece = piece;
        }
    }

    pub fn data(&self) -> &[u8] {
        &self.piece
    }

    pub fn consume(&mut self, count: usize) -> usize {
        self.take(count).len()
    }

    pub fn take(&mut self, count: usize) -> Bytes {
        let taken = self.piece.split_to(count.min(self.piece.len()));
        self.touched |= !taken.is_empty();
        if let Some((gone, length)) = &mut self.replay {
            *length += taken.len();
            gone.push_back(taken.clone());
            if *length > REPLAY_MAX {
                self.replay = None;
            }
        }
        let before = taken.len().min(self.released);
        self.released -= before;
        // An error means that the stream is over.
        let _ = self.stream.flow_control().release_capacity(taken.len() - before);
        self.next_again();
        taken
    }

    pub fn is_last(&self) -> bool {
        self.again.is_empty() && (self.ended || self.stream.is_end_stream())
    }

    /// The whole body has been sent.
    pub fn has_ended(&self) -> bool {
        self.is_last() && self.piece.is_empty()
    }

    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.piece.is_empty() && !self.is_last() {
            match ready!(self.stream.poll_data(context)) {
                Some(piece) => self.piece = piece?,
                None => {
                    self.trailers = ready!(self.stream.poll_trailers(context))?.unwrap_or_default();
                    self.ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The trailers that may be forwarded.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.trailers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        all.filter(|(name, _)| may_follow(name))
    }
}

/// Writes a body, in pieces of type `B`.
pub struct Http2Writer<B: Buf = Bytes> {
    stream: SendStream<B>,
    ended: bool,
}

impl<B: Buf + From<Bytes>> Http2Writer<B> {
    /// `ended`: the stream has ended with its head.
    pub fn new(stream: SendStream<B>, ended: bool) -> Self {
        Self { stream, ended }
    }

    pub fn is_done(&self) -> bool {
        self.ended
    }

    pub fn stream(&mut self) -> &mut SendStream<B> {
        &mut self.stream
    }

    /// Ends the stream, if it has not ended.
    pub fn finish(&mut self) {
        if !self.ended {
            self.ended = true;
            // An error means that the stream is over.
            let _ = self.stream.send_data(Bytes::new().into(), true);
        }
    }

    /// Sends what the peer's window has room for; see [`BodySink::poll_send`](super::BodySink::poll_send). `piece` makes
    /// a piece of the bytes.
    pub fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
        piece: impl FnOnce(Bytes) -> B,
    ) -> Poll<io::Result<usize>> {
        if source.data().is_empty() {
            self.end(source)?;
            return Poll::Ready(Ok(0));
        }
        let count = ready!(self.poll_room(context, source.data().len()))?;
        let piece = piece(source.take(count));
        let last = source.has_ended() && source.trailers().next().is_none();
        self.stream.send_data(piece, last).map_err(broken)?;
        self.ended = last;
        Poll::Ready(Ok(count))
    }

    /// How many of `wanted` bytes the peer's window has room for; at least one.
    fn poll_room(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.stream.reserve_capacity(wanted);
        loop {
            match self.stream.capacity() {
                0 => {}
                // `poll_capacity` would not report capacity that is already there.
                room => return Poll::Ready(Ok(room.min(wanted))),
            }
            match ready!(self.stream.poll_capacity(context)) {
                Some(room) => drop(room.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn end(&mut self, source: &impl BodySource) -> io::Result<()> {
        self.ended = true;
        let trailers = fields(source.trailers());
        match trailers.is_empty() {
            true => self.stream.send_data(Bytes::new().into(), true),
            false => self.stream.send_trailers(trailers),
        }
        .map_err(broken)
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error.to_string())
}
