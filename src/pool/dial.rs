//! TLS with an endpoint beneath Pingora, which takes it for a plain connection: so there is one way with certificates, and
//! sessions are resumed.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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

use crate::tls::{ClientTls, HTTP2};

/// What an endpoint must be.
#[derive(Debug, Clone)]
pub struct Expected {
    pub tls: Arc<ClientTls>,
    pub name: ServerName<'static>,
}

/// What is wrong with an endpoint that has TLS and no HTTP/2, where that is what is spoken with it.
pub const NO_HTTP2: &str = "the endpoint did not agree on HTTP/2 (ALPN)";

/// Why there is no TLS with the endpoint.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoTls(String);

pub async fn secured<S>(stream: S, expected: &Expected) -> io::Result<Stream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug + 'static,
{
    let connector = TlsConnector::from(expected.tls.config.clone());
    match connector.connect(expected.name.clone(), stream).await {
        Ok(stream) if expected.tls.settings.http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) => {
            Err(io::Error::other(NoTls(NO_HTTP2.into())))
        }
        Ok(stream) => Ok(VirtualSocketStream::new(Box::new(Secured(stream))).into()),
        Err(error) => Err(io::Error::other(NoTls(error.to_string()))),
    }
}

/// Opens connections for probes.
#[derive(Debug)]
pub(super) struct ProbeDial(pub Option<Expected>);

impl ProbeDial {
    async fn open(&self, address: &SocketAddr) -> io::Result<Stream> {
        match address {
            SocketAddr::Inet(address) => {
                let stream = TcpStream::connect(address).await?;
                match &self.0 {
                    Some(expected) => secured(stream, expected).await,
                    None => Ok(stream.into()),
                }
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
                let stream = UnixStream::connect(path).await?;
                match &self.0 {
                    Some(expected) => secured(stream, expected).await,
                    None => Ok(stream.into()),
                }
            }
        }
    }
}

#[async_trait]
impl Connect for ProbeDial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        self.open(address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::Other => ErrorType::TLSHandshakeFailure,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "health check", error)
        })
    }
}

#[derive(Debug)]
struct Secured<S>(TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug> VirtualSocket for Secured<S> {
    /// Those that matter have been set.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
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
