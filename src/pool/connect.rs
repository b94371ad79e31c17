//! What engines and probes share of connecting to endpoints: unix sockets whose backlog is full, and TLS beneath
//! Pingora, which takes it for a plain connection, so that sessions are resumed.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, Result};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fair_queue::FairQueue;
use crate::tls::{ClientTls, HTTP2};

/// First and longest pause between two tries to connect to a full backlog: the kernel does not notify of room.
const BACKLOG_PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(16)];

/// The connects that the full backlog of an endpoint's unix socket holds up (EAGAIN), in order of arrival. The first
/// tries again and again until its caller drops it; later connects queue behind, even if there is room again.
#[derive(Debug, Default)]
pub struct Backlog(FairQueue);

impl Backlog {
    pub async fn connect(&self, path: &Path) -> io::Result<UnixStream> {
        if self.0.is_empty() {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
        let _turn = self.0.turn().await;
        connect_when_there_is_room(path).await
    }
}

async fn connect_when_there_is_room(path: &Path) -> io::Result<UnixStream> {
    let [mut pause, longest] = BACKLOG_PAUSES;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

/// The system's error at the root of Pingora's.
pub fn system_error(error: &Error) -> Option<&io::Error> {
    let mut error = error;
    loop {
        let cause = error.cause.as_ref()?;
        match cause.downcast_ref::<Box<Error>>() {
            Some(next) => error = next,
            None => return cause.downcast_ref(),
        }
    }
}

/// TLS settings for an endpoint, and the name that its certificate must have.
#[derive(Debug, Clone)]
pub struct TlsTarget {
    pub tls: Arc<ClientTls>,
    pub name: ServerName<'static>,
}

/// The failure of an endpoint whose TLS handshake does not select HTTP/2 where the pool speaks that.
pub const NO_HTTP2: &str = "the endpoint did not agree on HTTP/2 (ALPN)";

/// Why the TLS handshake with an endpoint failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsFailure(String);

/// A socket that Pingora takes for a stream.
pub trait PingoraSocket:
    Into<Stream> + AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static
{
}

impl<S: Into<Stream> + AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static> PingoraSocket for S {}

/// The stream to an endpoint, for Pingora; over TLS where there is a `target`.
pub async fn stream_over(socket: impl PingoraSocket, target: Option<&TlsTarget>) -> io::Result<Stream> {
    let Some(TlsTarget { tls, name }) = target else { return Ok(socket.into()) };
    match TlsConnector::from(tls.config.clone()).connect(name.clone(), socket).await {
        Ok(stream) if tls.settings.http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) => {
            Err(io::Error::other(TlsFailure(NO_HTTP2.into())))
        }
        Ok(stream) => Ok(VirtualSocketStream::new(Box::new(TlsSocket(stream))).into()),
        Err(error) => Err(io::Error::other(TlsFailure(error.to_string()))),
    }
}

/// Pingora's type for the error of a connect.
pub fn error_type(error: &io::Error) -> ErrorType {
    if error.get_ref().is_some_and(|error| error.is::<TlsFailure>()) {
        return ErrorType::TLSHandshakeFailure;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    }
}

/// Opens connections for probes.
#[derive(Debug)]
pub(super) struct ProbeConnector {
    target: Option<TlsTarget>,
    /// A connect is under way.
    connecting: AtomicBool,
}

impl ProbeConnector {
    pub fn new(target: Option<TlsTarget>) -> Arc<Self> {
        Arc::new(Self { target, connecting: AtomicBool::new(false) })
    }

    pub fn is_connecting(&self) -> bool {
        self.connecting.load(Relaxed)
    }

    async fn open(&self, address: &SocketAddr) -> io::Result<Stream> {
        self.connecting.store(true, Relaxed);
        match address {
            SocketAddr::Inet(address) => self.finish(TcpStream::connect(address).await?).await,
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
                // Does not queue behind requests, because a probe has less time.
                self.finish(connect_when_there_is_room(path).await?).await
            }
        }
    }

    async fn finish(&self, socket: impl PingoraSocket) -> io::Result<Stream> {
        self.connecting.store(false, Relaxed);
        stream_over(socket, self.target.as_ref()).await
    }
}

#[async_trait]
impl Connect for ProbeConnector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let opened = self.open(address).await;
        opened.map_err(|error| Error::because(error_type(&error), "health check", error))
    }
}

#[derive(Debug)]
struct TlsSocket<S>(TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug> VirtualSocket for TlsSocket<S> {
    /// Does nothing: the options that matter are set on the socket beneath.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::Waker;

    use tokio::net::UnixSocket;

    use super::*;

    #[tokio::test]
    async fn who_comes_later_does_not_take_the_room_of_who_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("busy.sock");
        let socket = UnixSocket::new_stream().expect("a socket");
        socket.bind(&path).expect("a free path");
        let listener = socket.listen(0).expect("it is bound");
        let mut held = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            held.push(stream);
            assert!(held.len() < 100, "the backlog has an end");
        }
        let (backlog, order) = (Backlog::default(), Mutex::new(String::new()));
        let connect = async |name| {
            let stream = backlog.connect(&path).await.expect("there will be room");
            order.lock().expect("no panic").push(name);
            stream
        };
        let (mut first, mut second) = (Box::pin(connect('1')), Box::pin(connect('2')));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending(), "there is no room");
        let _accepted = listener.accept().await.expect("one of those that fill it");
        assert!(second.as_mut().poll(&mut context).is_pending(), "the room is not for it");
        let more_room = async {
            while order.lock().expect("no panic").is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            listener.accept().await
        };
        let _open = tokio::join!(first, second, more_room);
        assert_eq!(*order.lock().expect("no panic"), "12");
        assert!(backlog.0.is_empty());
    }
}
