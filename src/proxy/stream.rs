//! A client's connection with the traits that Pingora requires.
//!
//! It buffers only the bytes that were read before: Pingora has read buffers of its own, and with a write buffer a body
//! of known length would be flushed only at its end.

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
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::client_connection::ClientConnection;
use crate::client::connection::{LINGER, lingers};
use crate::client::preface::Preface;
use crate::net::stream::Stream;

#[derive(Debug)]
pub struct PingoraStream {
    stream: Stream,
    /// Bytes that were read before the handover.
    ahead: Vec<u8>,
    client: Arc<ClientConnection>,
    socket: Arc<SocketDigest>,
    /// Meant for outgoing proxies; used here because its user data is the only way to pass the connection's state to the hooks.
    digest: Option<Arc<ProxyDigest>>,
    http2: bool,
    closing: Option<LingeringClose>,
}

/// The lingering close of a connection.
#[derive(Debug)]
struct LingeringClose {
    begun: Instant,
    /// The write side has been shut down.
    is_shut_down: bool,
    /// The client may still be sending.
    may_send: bool,
    /// Bytes that the client has sent since.
    bytes: u64,
    /// When the client has been silent for long enough.
    end: Pin<Box<Sleep>>,
}

impl LingeringClose {
    fn new(may_send: bool) -> Self {
        Self { begun: Instant::now(), is_shut_down: false, may_send, bytes: 0, end: Box::pin(sleep(LINGER)) }
    }
}

impl PingoraStream {
    pub fn new(stream: Stream, ahead: Vec<u8>, client: Arc<ClientConnection>) -> Self {
        let socket = SocketDigest::from_raw_fd(stream.as_raw_fd());
        if let Ok(peer) = client.identity.peer().text().parse() {
            // Cannot fail: nothing has set it before.
            let _ = socket.peer_addr.set(Some(SocketAddr::Inet(peer)));
        }
        let response = ResponseHeader::build(200, Some(0)).ok();
        let digest =
            response.map(|none| Arc::new(ProxyDigest::new(Box::new(none), Some(Box::new(client.clone())))));
        let socket = Arc::new(socket);
        let http2 = client.tls_info.as_ref().is_some_and(|info| info.http2);
        Self { stream, ahead, client, socket, digest, http2, closing: None }
    }

    /// Reads until the first bytes show whether the client speaks HTTP/2 without TLS; an error if it leaves before.
    pub async fn find_http2(&mut self) -> io::Result<()> {
        while Preface::of(&self.ahead) == Preface::Part {
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.http2 = Preface::of(&self.ahead) == Preface::Whole;
        Ok(())
    }

    pub fn is_http2(&self) -> bool {
        self.http2
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

    /// Reads and drops what the client still sends, so that its last response arrives; see `client::connection`.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(closing) = &mut self.closing else { return Poll::Ready(Ok(())) };
        let mut memory = [0; 1024];
        while closing.may_send && lingers(closing.begun.elapsed(), closing.bytes) {
            let mut waste = ReadBuf::new(&mut memory);
            match Pin::new(&mut self.stream).poll_read(context, &mut waste)? {
                Poll::Ready(()) => {}
                Poll::Pending => return closing.end.as_mut().poll(context).map(Ok),
            }
            closing.bytes += waste.filled().len() as u64;
            closing.may_send = !waste.filled().is_empty();
            closing.end.as_mut().reset(tokio::time::Instant::now() + LINGER);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for PingoraStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.poll_ahead_or_stream(context, buffer);
        match &read {
            Poll::Pending => self.client.waits(),
            Poll::Ready(_) if buffer.filled().len() > before => self.client.begins(),
            Poll::Ready(_) => {}
        }
        read
    }
}

impl AsyncWrite for PingoraStream {
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
        let this = &mut *self;
        let may_send = || this.client.is_unread() || this.stream.has_unread();
        let closing = this.closing.get_or_insert_with(|| LingeringClose::new(may_send()));
        if closing.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !closing.is_shut_down {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            closing.is_shut_down = true;
        }
        this.poll_linger(context)
    }
}

#[async_trait]
impl Shutdown for PingoraStream {
    async fn shutdown(&mut self) {
        // On an error the connection is gone already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for PingoraStream {
    fn id(&self) -> UniqueIDType {
        self.stream.as_raw_fd()
    }
}

impl Ssl for PingoraStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.http2.then_some(ALPN::H2)
    }
}

impl Peek for PingoraStream {}

impl GetTimingDigest for PingoraStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for PingoraStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.digest.clone()
    }
}

impl GetSocketDigest for PingoraStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}
