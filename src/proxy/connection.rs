//! Second handles of the connections to endpoints, by which a connection can be cut while Pingora reads from it.

use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::{Tracer, Tracing};
use pingora_core::{Error, ErrorType, Result};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::watch::Deadlines;
use crate::pool::Endpoint;
use crate::pool::connect::{TlsFailure, TlsTarget, tls_connect};

/// A second handle of an open connection.
#[derive(Debug)]
pub struct Connection {
    /// Closed as soon as Pingora closes its own, because otherwise the endpoint would see no FIN.
    handle: Mutex<Option<OwnedFd>>,
    pub deadlines: Deadlines,
}

impl Connection {
    pub fn cut(&self) {
        if let Some(handle) = &*self.handle.lock() {
            // On an error the other side has closed it already.
            let _ = SockRef::from(handle).shutdown(Shutdown::Both);
        }
    }

    /// Whether bytes have arrived that Pingora has not read: then the client is slow, not the endpoint.
    pub fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        // Does not block, because Pingora's handle has made the socket non-blocking.
        self.handle
            .lock()
            .as_ref()
            .is_some_and(|handle| matches!(SockRef::from(handle).peek(&mut byte), Ok(1..)))
    }
}

/// The open connections, by the number of Pingora's descriptor.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<AHashMap<RawFd, Guarded>>,
    alone: AtomicU64,
}

#[derive(Debug)]
struct Guarded {
    connection: Arc<Connection>,
    guard: AbortHandle,
}

impl Connections {
    /// A new number on each call, as a group key under which Pingora never finds a kept connection again.
    pub fn alone(&self) -> u64 {
        self.alone.fetch_add(1, Relaxed) + 1
    }

    pub fn get(&self, fd: RawFd) -> Option<Arc<Connection>> {
        self.open.lock().get(&fd).map(|guarded| guarded.connection.clone())
    }

    fn opened(&self, stream: &impl AsFd) -> std::io::Result<RawFd> {
        let fd = stream.as_fd();
        let handle = Mutex::new(Some(fd.try_clone_to_owned()?));
        let connection = Arc::new(Connection { handle, deadlines: Deadlines::default() });
        let guard = tokio::spawn(Deadlines::guard(connection.clone())).abort_handle();
        self.open.lock().insert(fd.as_raw_fd(), Guarded { connection, guard });
        Ok(fd.as_raw_fd())
    }

    /// Pingora is about to close `fd`.
    fn closed(&self, fd: RawFd) {
        if let Some(Guarded { connection, guard }) = self.open.lock().remove(&fd) {
            guard.abort();
            connection.handle.lock().take();
        }
    }
}

/// Opens a connection and keeps its second handle.
#[derive(Debug)]
pub struct Dial {
    endpoint: Arc<Endpoint>,
    limit: Duration,
    tls: Option<TlsTarget>,
    slot: Slot,
}

/// Finds the second handle of a dialled connection, and drops it when Pingora closes the connection.
#[derive(Debug, Clone)]
pub struct Slot {
    connections: Arc<Connections>,
    fd: Arc<Mutex<Option<RawFd>>>,
}

impl Dial {
    pub fn new(
        endpoint: Arc<Endpoint>,
        limit: Duration,
        tls: Option<TlsTarget>,
        connections: Arc<Connections>,
    ) -> Self {
        Self { endpoint, limit, tls, slot: Slot { connections, fd: Arc::default() } }
    }

    pub fn slot(&self) -> Slot {
        self.slot.clone()
    }

    /// Reports the end of the connection; to be set in the peer's options.
    pub fn tracer(&self) -> Tracer {
        Tracer(Box::new(self.slot.clone()))
    }

    async fn open(&self, address: &SocketAddr) -> std::io::Result<Stream> {
        match address {
            SocketAddr::Inet(address) => {
                let stream = TcpStream::connect(address).await?;
                self.slot.opened(&stream)?;
                match &self.tls {
                    None => Ok(stream.into()),
                    Some(tls) => tls_connect(stream, tls).await,
                }
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().ok_or(std::io::ErrorKind::InvalidInput)?;
                let stream = self.endpoint.backlog().connect(path).await?;
                self.slot.opened(&stream)?;
                match &self.tls {
                    None => Ok(stream.into()),
                    Some(tls) => tls_connect(stream, tls).await,
                }
            }
        }
    }
}

#[async_trait]
impl Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        match timeout(self.limit, self.open(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                self.slot.on_disconnected();
                Err(Error::because(kind(&error), "to endpoint", error))
            }
            Err(_) => {
                self.slot.on_disconnected();
                Error::e_explain(ErrorType::ConnectTimedout, format!("no connection within {:?}", self.limit))
            }
        }
    }
}

fn kind(error: &std::io::Error) -> ErrorType {
    if error.get_ref().is_some_and(|error| error.is::<TlsFailure>()) {
        return ErrorType::TLSHandshakeFailure;
    }
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        std::io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            ErrorType::ConnectNoRoute
        }
        _ => ErrorType::ConnectError,
    }
}

impl Slot {
    fn opened(&self, stream: &impl AsFd) -> std::io::Result<()> {
        *self.fd.lock() = Some(self.connections.opened(stream)?);
        Ok(())
    }

    /// The second handle of the connection, for TLS, where Pingora knows no descriptor.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        let fd = (*self.fd.lock())?;
        self.connections.get(fd)
    }
}

impl Tracing for Slot {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        if let Some(fd) = self.fd.lock().take() {
            self.connections.closed(fd);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}
