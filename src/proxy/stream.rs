//! A client's connection with the traits that Pingora requires.
//!
//! It buffers only the bytes that were read before: Pingora has read buffers of its own, and with a write buffer a body
//! of known length would be flushed only at its end.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::attached::attach;
use super::client_connection::ClientConnection;
use crate::net::stream::Stream;

#[derive(Debug)]
pub struct PingoraStream {
    /// Shared with whoever closes it once Pingora has dropped it.
    stream: Arc<Mutex<Stream>>,
    /// Bytes that were read before the handover.
    ahead: Vec<u8>,
    client: Arc<ClientConnection>,
    socket: Arc<SocketDigest>,
    digest: Option<Arc<ProxyDigest>>,
    http2: bool,
}

impl PingoraStream {
    pub fn new(
        stream: Arc<Mutex<Stream>>,
        ahead: Vec<u8>,
        client: Arc<ClientConnection>,
        http2: bool,
    ) -> Self {
        let socket = SocketDigest::from_raw_fd(stream.lock().as_raw_fd());
        if let Ok(peer) = client.identity.peer().text().parse() {
            // Cannot fail: nothing has set it before.
            let _ = socket.peer_addr.set(Some(SocketAddr::Inet(peer)));
        }
        let digest = attach(client.clone()).ok().map(Arc::new);
        Self { stream, ahead, client, socket: Arc::new(socket), digest, http2 }
    }
}

impl AsyncRead for PingoraStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut *self.stream.lock()).poll_read(context, buffer))?;
        } else {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(self.ahead.drain(..count).as_slice());
        }
        if buffer.filled().len() > before {
            self.client.set_idle(false);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PingoraStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.lock()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.lock()).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_shutdown(context)
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
        self.stream.lock().as_raw_fd()
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
