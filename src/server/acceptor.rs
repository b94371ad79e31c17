//! The front door: worker threads that accept connections from the listening sockets and serve them on the lane.
//!
//! Each worker has a runtime of its own and shares nothing with the others but the sockets: a connection lives and dies
//! on the thread that accepted it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::bind::Bound;
use super::front::announce_ready;
use super::state::Shared;
use crate::lane::connection;
use crate::lane::stream::Stream;
use crate::lane::worker::Worker;
use crate::proxy::BoundAddress;
use crate::telemetry::record::ClientAddress;

/// After an accept that failed for want of descriptors or memory: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often the log says that accepting fails.
const ACCEPT_REPORT_EVERY: Duration = Duration::from_secs(10);

/// Descriptors that are not for clients and their endpoints: sockets, logs, the admin address, health checks.
const DESCRIPTORS_KEPT: usize = 128;

pub struct Acceptor {
    shared: Arc<Shared>,
    sockets: Vec<Bound>,
    threads: usize,
    open: Arc<OpenConnections>,
}

/// Clients' connections over all workers, and how many there may be.
struct OpenConnections {
    count: AtomicUsize,
    most: usize,
}

/// One open connection.
struct Permit(Arc<OpenConnections>);

impl Acceptor {
    /// `descriptors` is the process's limit: a client may need one more for its endpoint.
    pub fn new(shared: Arc<Shared>, sockets: Vec<Bound>, threads: usize, descriptors: usize) -> Self {
        let most = (descriptors.saturating_sub(DESCRIPTORS_KEPT) / 2).max(16);
        Self {
            shared,
            sockets,
            threads,
            open: Arc::new(OpenConnections { count: AtomicUsize::new(0), most }),
        }
    }

    fn start_workers(&self, stop: &watch::Receiver<bool>) -> io::Result<()> {
        for index in 0..self.threads {
            let listeners = self.sockets.iter().map(Listening::of).collect::<io::Result<Vec<_>>>()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, open, stop) = (self.shared.clone(), self.open.clone(), stop.clone());
            std::thread::Builder::new().name(format!("worker {index}")).spawn(move || {
                LocalSet::new().block_on(&runtime, work(shared, open, listeners, stop));
            })?;
        }
        Ok(())
    }
}

#[async_trait]
impl ServiceWithDependents for Acceptor {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        // Clients wait in the sockets' queues for the moment that the first probes take.
        self.shared.supervisor.clone().first_round().await;
        let (stop, stop_seen) = watch::channel(false);
        if let Err(error) = self.start_workers(&stop_seen) {
            log::error!(reason:% = error; "no worker can be started");
            std::process::exit(1);
        }
        announce_ready(&self.shared.lifecycle);
        ready.notify_ready();
        if shutdown.wait_for(|stopping| *stopping).await.is_ok() {
            // The workers have descriptors of their own for these.
            self.sockets.clear();
            stop.send_replace(true);
        }
        std::future::pending().await
    }

    fn name(&self) -> &str {
        "acceptor"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// A listening socket, as one worker holds it.
struct Listening {
    listener: Arc<str>,
    socket: OwnedFd,
    unix: bool,
}

impl Listening {
    fn of(bound: &Bound) -> io::Result<Self> {
        let unix = matches!(bound.address, BoundAddress::Unix(_));
        Ok(Self { listener: bound.listener.clone(), socket: bound.socket.try_clone()?, unix })
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn new(socket: OwnedFd, unix: bool) -> io::Result<Self> {
        Ok(if unix {
            Self::Unix(UnixListener::from_std(socket.into())?)
        } else {
            Self::Tcp(TcpListener::from_std(socket.into())?)
        })
    }

    async fn accept(&self) -> io::Result<(Stream, ClientAddress)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                SockRef::from(&stream).set_tcp_nodelay(true)?;
                Ok((Stream::Tcp(stream), ClientAddress::Inet(canonical(peer))))
            }
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), ClientAddress::Unix)),
        }
    }
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

async fn work(
    shared: Arc<Shared>,
    open: Arc<OpenConnections>,
    listeners: Vec<Listening>,
    mut stop: watch::Receiver<bool>,
) {
    let worker = Worker::new(shared.snapshot.clone(), shared.telemetry.clone(), shared.lifecycle.clone());
    let chores = worker.clone();
    tokio::task::spawn_local(async move { chores.run().await });
    for Listening { listener, socket, unix } in listeners {
        match Socket::new(socket, unix) {
            Ok(socket) => {
                let accepting = accept(worker.clone(), open.clone(), listener, socket, stop.clone());
                tokio::task::spawn_local(accepting);
            }
            Err(error) => log::error!(listener = &*listener, reason:% = error; "listener lost"),
        }
    }
    // An error means that nobody is left to ask for a stop.
    let _ = stop.wait_for(|stop| *stop).await;
    worker.stop();
    std::future::pending::<()>().await;
}

async fn accept(
    worker: Rc<Worker>,
    open: Arc<OpenConnections>,
    listener: Arc<str>,
    socket: Socket,
    mut stop: watch::Receiver<bool>,
) {
    let mut reported: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = async { open.room().await; socket.accept().await } => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let permit = Permit::new(&open);
                let (worker, listener) = (worker.clone(), listener.clone());
                tokio::task::spawn_local(async move {
                    connection::serve(worker, stream, peer, listener).await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if reported.is_none_or(|at| at.elapsed() >= ACCEPT_REPORT_EVERY) {
                    log::error!(listener = &*listener, reason:% = error; "connections cannot be accepted");
                    reported = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client had gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

impl OpenConnections {
    /// Returns when another connection may be accepted; until then clients wait in the socket's queue.
    async fn room(&self) {
        while self.count.load(Relaxed) >= self.most {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

impl Permit {
    fn new(open: &Arc<OpenConnections>) -> Self {
        open.count.fetch_add(1, Relaxed);
        Self(open.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}
