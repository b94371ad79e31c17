//! The streams to clients and endpoints: a socket, with or without TLS.
//!
//! TLS keeps records that the socket has not taken yet. Whatever is done next with the stream, reading included, writes
//! more of them, so callers need not flush until they close the stream.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::net::socket::Socket;
use crate::tls::{ClientTls, HTTP2};

/// The largest payload of a TLS record, in bytes.
const TLS_RECORD: usize = 16 * 1024;

/// A connection to a client or an endpoint.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Does the TLS handshake with an endpoint.
    pub async fn secured(socket: Socket, tls: &ClientTls, name: ServerName<'static>) -> io::Result<Self> {
        let stream = TlsConnector::from(tls.config.clone()).connect(name, socket).await?;
        Ok(Self::Tls(Box::new(TlsStream::Client(stream))))
    }

    /// Registers a client's accepted connection with this thread's runtime.
    pub fn accepted(socket: OwnedFd, unix: bool) -> io::Result<Self> {
        Ok(Self::Plain(Socket::accepted(socket, unix)?))
    }

    /// Whether the other side may speak HTTP/2: with TLS, ALPN must have agreed on it.
    pub fn may_be_http2(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(HTTP2),
        }
    }

    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Whether unread bytes have arrived: asks the kernel, which knows before the runtime does.
    pub fn has_unread(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.has_unread(),
            Self::Tls(tls) => has_decrypted(tls) || tls.get_ref().0.has_unread(),
        }
    }

    /// About how many unread bytes have arrived; with TLS, before they are decrypted.
    pub fn unread(&self) -> usize {
        match self {
            Self::Plain(socket) => socket.unread(),
            Self::Tls(tls) if has_decrypted(tls) => tls.get_ref().0.unread() + TLS_RECORD,
            Self::Tls(tls) => tls.get_ref().0.unread(),
        }
    }

    /// Ready when reading would probably not block: there are bytes, the end, or an error.
    pub fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_readable(context),
            Self::Tls(tls) => {
                push(tls, context);
                if has_decrypted(tls) {
                    return Poll::Ready(Ok(()));
                }
                tls.get_ref().0.poll_readable(context)
            }
        }
    }

    /// Whether an idle connection has become useless: closed, or with bytes that nobody asked for.
    pub fn is_stale(&mut self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_stale(),
            Self::Tls(tls) => {
                // The bytes may be for TLS alone, such as a session ticket.
                let mut probe = [0];
                let mut context = Context::from_waker(Waker::noop());
                Pin::new(tls).poll_read(&mut context, &mut ReadBuf::new(&mut probe)).is_ready()
            }
        }
    }

    /// Sets whether a close resets the connection, so that the other side does not take what was sent for complete.
    pub fn set_reset_on_close(&self, reset: bool) {
        self.socket().set_reset_on_close(reset);
    }

    /// Writes the last bytes right before a close or a shutdown for writing, see [`Socket::poll_write_last`].
    pub fn poll_write_last(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_last(context, bytes),
            // TLS sends its close_notify after them.
            Self::Tls(_) => Pin::new(self).poll_write(context, bytes),
        }
    }

    /// Shuts the stream down for writing, over TLS behind its last records and a close_notify; ready when the socket has
    /// taken them. A connection that has failed is shut down, too.
    pub fn poll_shut_down_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(socket) => {
                socket.shut_down_write();
                Poll::Ready(())
            }
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context).map(drop),
        }
    }
}

/// Whether there are decrypted bytes that are unread.
fn has_decrypted(tls: &TlsStream<Socket>) -> bool {
    !tls.get_ref().1.wants_read()
}

/// Writes as many of the kept records as the socket takes.
fn push(tls: &mut TlsStream<Socket>, context: &mut Context<'_>) {
    if tls.get_ref().1.wants_write() {
        // An error is returned by the next read or write.
        let _ = Pin::new(tls).poll_flush(context);
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(tls) => {
                push(tls, context);
                match (ready!(Pin::new(&mut **tls).poll_read(context, buffer)), &**tls) {
                    // Many clients close without a close_notify. Their bodies have a length or a last chunk, so
                    // truncation is seen.
                    (Err(error), TlsStream::Server(_)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        Poll::Ready(Ok(()))
                    }
                    (read, _) => Poll::Ready(read),
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(tls) => {
                ready!(Pin::new(&mut *tls).poll_flush(context))?;
                Pin::new(tls).poll_write(context, bytes)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, bytes),
            Self::Tls(tls) => {
                ready!(Pin::new(&mut *tls).poll_flush(context))?;
                Pin::new(tls).poll_write_vectored(context, bytes)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
