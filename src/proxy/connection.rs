//! Opens connections to endpoints for Pingora, each with a second handle by which it can be cut while Pingora reads
//! from it.

use std::io::{self, Error, ErrorKind};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::GetProxyDigest;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::{Tracer, Tracing};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::attached::attach;
use crate::permits::Permit;
use crate::pool::Endpoint;
use crate::pool::connect::{PingoraSocket, TlsTarget, error_type, stream_over};

/// A second handle of an open connection.
///
/// Closed as soon as Pingora closes its own, because otherwise the endpoint would see no FIN.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Mutex<Option<Handle>>>);

#[derive(Debug)]
struct Handle {
    socket: OwnedFd,
    /// Counts the connection at its endpoint.
    _of_endpoint: Option<Permit>,
}

impl Connection {
    fn of(socket: &impl AsFd, endpoint: &Endpoint) -> io::Result<Self> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        let handle = Handle { socket, _of_endpoint: endpoint.connections().take(usize::MAX) };
        Ok(Self(Arc::new(Mutex::new(Some(handle)))))
    }

    pub fn cut(&self) {
        if let Some(handle) = &*self.0.lock() {
            // On an error the other side has closed it already.
            let _ = SockRef::from(&handle.socket).shutdown(Shutdown::Both);
        }
    }

    /// Whether bytes have arrived that Pingora has not read: then the client is slow, not the endpoint.
    pub fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        // Does not block, because Pingora's handle has made the socket non-blocking.
        self.0
            .lock()
            .as_ref()
            .is_some_and(|handle| matches!(SockRef::from(&handle.socket).peek(&mut byte), Ok(1..)))
    }
}

impl Tracing for Connection {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        self.0.lock().take();
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

/// Opens a connection to an endpoint.
#[derive(Debug)]
pub struct Dial {
    pub endpoint: Arc<Endpoint>,
    pub limit: Duration,
    pub tls: Option<TlsTarget>,
}

impl Dial {
    async fn open(&self, address: &SocketAddr) -> io::Result<(Stream, Connection)> {
        match address {
            SocketAddr::Inet(address) => self.finish(TcpStream::connect(address).await?).await,
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().ok_or(ErrorKind::InvalidInput)?;
                self.finish(self.endpoint.backlog().connect(path).await?).await
            }
        }
    }

    async fn finish(&self, socket: impl PingoraSocket + AsFd) -> io::Result<(Stream, Connection)> {
        let connection = Connection::of(&socket, &self.endpoint)?;
        Ok((stream_over(socket, self.tls.as_ref()).await?, connection))
    }
}

#[async_trait]
impl Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> pingora_core::Result<Stream> {
        let late = |_| Err(Error::new(ErrorKind::TimedOut, format!("no connection within {:?}", self.limit)));
        let opened = timeout(self.limit, self.open(address)).await.unwrap_or_else(late);
        let (mut stream, connection) =
            opened.map_err(|error| pingora_core::Error::because(error_type(&error), "to endpoint", error))?;
        stream.tracer = Some(Tracer(Box::new(connection.clone())));
        stream.set_proxy_digest(attach(connection)?);
        Ok(stream)
    }
}
