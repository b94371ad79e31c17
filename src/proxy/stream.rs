//! A client's connection as Pingora wants to have it.
//!
//! It has no buffers beside the bytes that were read before: Pingora reads into buffers of its own, and what is written
//! must not wait for more, because a body of known length would be flushed only at its end.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::frames::Frames;
use super::visit::Visit;
use crate::client::connection::{LINGER, lingers};
use crate::client::handover::Returned;
use crate::net::stream::Stream;

/// What an HTTP/2 client may have read of it, in bytes, before its worker's others have their turn: frames may cost far
/// more than they have bytes.
const TURN: usize = 4 * 1024;

/// The same within a body, whose bytes cost what they cost.
const TURN_OF_BODY: usize = 64 * 1024;

#[derive(Debug)]
pub struct ClientStream {
    stream: Stream,
    /// Read by somebody else, and not used.
    ahead: Vec<u8>,
    visit: Arc<Visit>,
    socket: Arc<SocketDigest>,
    /// Made for those who connect through a proxy; here it is the one place where something of ours comes along.
    digest: Option<Arc<ProxyDigest>>,
    http2: bool,
    /// What an HTTP/2 client has sent.
    frames: Option<Frames>,
    /// Bytes of that since others had their turn.
    turn: usize,
    /// Bytes that Pingora may still read, because they are the request's; `None`: all that there are.
    left: Option<u64>,
    farewell: Option<Farewell>,
}

/// The end of a connection.
#[derive(Debug)]
struct Farewell {
    begun: Instant,
    /// Nothing more will be written.
    is_said: bool,
    /// The client may still be sending.
    may_send: bool,
    /// What it has sent since, in bytes.
    bytes: u64,
    /// When it has been waited for long enough.
    end: Pin<Box<Sleep>>,
}

impl Farewell {
    fn new(may_send: bool) -> Self {
        Self { begun: Instant::now(), is_said: false, may_send, bytes: 0, end: Box::pin(sleep(LINGER)) }
    }
}

/// What is read on for somebody else, so that a client is heard that resets its connection.
const AHEAD_MAX: usize = 16 * 1024;

impl ClientStream {
    pub fn new(stream: Stream, ahead: Vec<u8>, visit: Arc<Visit>) -> Self {
        let socket = SocketDigest::from_raw_fd(stream.as_raw_fd());
        if let Ok(peer) = visit.identity.peer().text().parse() {
            // Nobody has asked for it yet.
            let _ = socket.peer_addr.set(Some(SocketAddr::Inet(peer)));
        }
        let response = ResponseHeader::build(200, Some(0)).ok();
        let digest =
            response.map(|none| Arc::new(ProxyDigest::new(Box::new(none), Some(Box::new(visit.clone())))));
        let socket = Arc::new(socket);
        Self {
            stream,
            ahead,
            visit,
            socket,
            digest,
            http2: false,
            frames: None,
            turn: 0,
            left: None,
            farewell: None,
        }
    }

    /// The same for a client that speaks HTTP/2.
    pub fn of_http2(self) -> Self {
        Self { http2: true, frames: Some(Frames::new(Instant::now())), ..self }
    }

    /// The same for one request of so many bytes.
    pub fn within(self, bytes: u64) -> Self {
        self.visit.has_behind(self.ahead.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX)));
        Self { left: Some(bytes), ..self }
    }

    /// What of it the next one needs to serve it.
    pub fn give_back(self) -> Returned {
        Returned { stream: self.stream, ahead: self.ahead, owed: self.visit.owed() }
    }

    /// The request is whole: keeps what comes for whoever reads the next one. Ready at the end of a connection on which
    /// nothing has come.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut memory = [0; 1024];
        while self.ahead.len() < AHEAD_MAX {
            let mut rest = ReadBuf::new(&mut memory);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut rest))?;
            if rest.filled().is_empty() {
                // Pingora takes the end for one that nothing precedes.
                return if self.ahead.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            self.ahead.extend_from_slice(rest.filled());
            self.visit.has_behind(self.ahead.len());
        }
        Poll::Pending
    }

    fn poll_ahead_or_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.drain(..count).as_slice());
        Poll::Ready(Ok(()))
    }

    /// Reads no more than what is left of the request.
    fn poll_within(
        &mut self,
        left: u64,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if left == 0 {
            return self.poll_rest(context);
        }
        let room = buffer.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(self.poll_ahead_or_stream(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.left = Some(left - read as u64);
        Poll::Ready(Ok(()))
    }

    fn has_had_its_turn(&self) -> bool {
        let Some(frames) = &self.frames else { return false };
        self.turn >= if frames.is_within_body() { TURN_OF_BODY } else { TURN }
    }

    /// Reads what a client still sends that has had its last answer, so that it arrives; see `client::connection`.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else { return Poll::Ready(Ok(())) };
        let mut memory = [0; 1024];
        while farewell.may_send && lingers(farewell.begun.elapsed(), farewell.bytes) {
            let mut waste = ReadBuf::new(&mut memory);
            match Pin::new(&mut self.stream).poll_read(context, &mut waste)? {
                Poll::Ready(()) => {}
                Poll::Pending => return farewell.end.as_mut().poll(context).map(Ok),
            }
            farewell.bytes += waste.filled().len() as u64;
            farewell.may_send = !waste.filled().is_empty();
            farewell.end.as_mut().reset(tokio::time::Instant::now() + LINGER);
        }
        Poll::Ready(Ok(()))
    }

    /// Looks at what has been read.
    fn inspect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(frames) = &mut self.frames else { return Ok(()) };
        let taken = frames.take(bytes, Instant::now());
        self.visit.has_window(frames.window());
        taken.map_err(|violation| {
            let detail = violation.detail();
            self.visit.listener_state.turned_away(self.visit.identity.peer(), violation.reason(), &detail);
            io::Error::new(io::ErrorKind::InvalidData, detail)
        })
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_had_its_turn() {
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = match self.left {
            Some(left) => self.poll_within(left, context, buffer),
            None => self.poll_ahead_or_stream(context, buffer),
        };
        match &read {
            Poll::Pending => {
                self.turn = 0;
                self.visit.waits();
            }
            Poll::Ready(_) if buffer.filled().len() > before => {
                self.turn += buffer.filled().len() - before;
                self.visit.begins();
                self.inspect(buffer.filled().get(before..).unwrap_or_default())?;
            }
            Poll::Ready(_) => {}
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.http2 {
            return Pin::new(&mut self.stream).poll_shutdown(context);
        }
        if self.visit.is_cut() {
            // It is closed at once.
            self.stream.ends_with_reset(true);
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let may_send = || this.visit.is_unread() || this.stream.has_unread();
        let farewell = this.farewell.get_or_insert_with(|| Farewell::new(may_send()));
        if farewell.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !farewell.is_said {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            farewell.is_said = true;
        }
        this.poll_linger(context)
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        // Where it fails, the connection is gone already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.stream.as_raw_fd()
    }
}

impl Ssl for ClientStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.http2.then_some(ALPN::H2)
    }
}

impl Peek for ClientStream {}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.digest.clone()
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}
