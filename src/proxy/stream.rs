//! A client's connection as Pingora wants to have it.
//!
//! It has no buffers beside the bytes that were read before: Pingora reads into buffers of its own, and what is written
//! must not wait for more, because a body of known length would be flushed only at its end.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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

use super::frames::Frames;
use super::visit::Visit;
use crate::lane::stream::Stream;

/// What an HTTP/2 client may have read of it before its worker's others have their turn: frames may cost far more than
/// they have bytes.
const TURN: usize = 16 * 1024;

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
}

impl ClientStream {
    pub fn new(stream: Stream, ahead: Vec<u8>, visit: Arc<Visit>, http2: bool) -> Self {
        let socket = SocketDigest::from_raw_fd(stream.as_raw_fd());
        if let Ok(peer) = visit.caller.peer().text().parse() {
            // Nobody has asked for it yet.
            let _ = socket.peer_addr.set(Some(SocketAddr::Inet(peer)));
        }
        let response = ResponseHeader::build(200, Some(0)).ok();
        let digest =
            response.map(|none| Arc::new(ProxyDigest::new(Box::new(none), Some(Box::new(visit.clone())))));
        let frames = http2.then(|| Frames::new(Instant::now()));
        Self { stream, ahead, visit, socket: Arc::new(socket), digest, http2, frames, turn: 0 }
    }

    /// Looks at what has been read.
    fn inspect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(frames) = &mut self.frames else { return Ok(()) };
        let taken = frames.take(bytes, Instant::now());
        self.visit.has_window(frames.window());
        taken.map_err(|violation| {
            let detail = violation.detail();
            self.visit.door.turned_away(self.visit.caller.peer(), violation.reason(), &detail);
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
        if self.http2 && self.turn >= TURN {
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = if self.ahead.is_empty() {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        } else {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(self.ahead.drain(..count).as_slice());
            Poll::Ready(Ok(()))
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
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        // Where it fails, the connection is gone already.
        let _ = AsyncWriteExt::shutdown(&mut self.stream).await;
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
