//! The front door: worker threads that accept connections from the listening sockets and serve them on the lane.
//!
//! Each worker has a runtime of its own and shares nothing with the others but the sockets: a connection lives and dies
//! on the thread that accepted it.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::accept_error::is_of_one_connection;
use super::bind::Bound;
use super::front::announce_ready;
use super::hall::{Hall, Pause, Seat};
use super::state::Shared;
use crate::lane::connection;
use crate::lane::door::Door;
use crate::lane::stream::Stream;
use crate::lane::worker::Worker;
use crate::proxy::BoundAddress;
use crate::telemetry::record::ClientAddress;

pub struct Acceptor {
    shared: Arc<Shared>,
    sockets: Vec<Bound>,
    /// One for each socket.
    doors: Vec<Arc<Door>>,
    threads: usize,
    hall: Arc<Hall>,
}

impl Acceptor {
    /// `most` is how many connections there may be in all.
    pub fn new(shared: Arc<Shared>, sockets: Vec<Bound>, threads: usize, most: usize) -> Self {
        let metrics = &shared.telemetry.metrics;
        let door = |bound: &Bound| Door::new(bound.listener.clone(), metrics.connections(&bound.listener));
        let doors = sockets.iter().map(door).collect();
        Self { hall: Hall::new(shared.snapshot.clone(), most), shared, sockets, doors, threads }
    }

    fn start_workers(&self, stop: &watch::Receiver<bool>) -> io::Result<()> {
        for index in 0..self.threads {
            let listeners =
                self.sockets.iter().zip(&self.doors).map(Listening::of).collect::<io::Result<Vec<_>>>()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, hall, stop) = (self.shared.clone(), self.hall.clone(), stop.clone());
            std::thread::Builder::new().name(format!("worker {index}")).spawn(move || {
                LocalSet::new().block_on(&runtime, work(shared, hall, listeners, stop));
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
    door: Arc<Door>,
    socket: OwnedFd,
    unix: bool,
}

impl Listening {
    fn of((bound, door): (&Bound, &Arc<Door>)) -> io::Result<Self> {
        let unix = matches!(bound.address, BoundAddress::Unix(_));
        Ok(Self { door: door.clone(), socket: bound.socket.try_clone()?, unix })
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

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, ClientAddress)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(context))?;
                SockRef::from(&stream).set_tcp_nodelay(true)?;
                Ok((Stream::Tcp(stream), ClientAddress::inet(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                Ok((Stream::Unix(stream), ClientAddress::unix()))
            }
        })
    }

    /// Takes a seat first: without one, the client stays in the socket's queue.
    async fn accept(&self, hall: &Hall, door: &Arc<Door>) -> Result<(Stream, ClientAddress, Seat), Pause> {
        poll_fn(|context| {
            let seat = hall.seat(door)?;
            // Given back if nobody is there.
            let (stream, peer) = ready!(self.poll_accept(context)).map_err(Pause::System)?;
            Poll::Ready(Ok((stream, peer, seat)))
        })
        .await
    }
}

async fn work(
    shared: Arc<Shared>,
    hall: Arc<Hall>,
    listeners: Vec<Listening>,
    mut stop: watch::Receiver<bool>,
) {
    let worker = Worker::new(shared.snapshot.clone(), shared.telemetry.clone(), shared.lifecycle.clone());
    let chores = worker.clone();
    tokio::task::spawn_local(async move { chores.run().await });
    for Listening { door, socket, unix } in listeners {
        match Socket::new(socket, unix) {
            Ok(socket) => {
                let accepting = accept(worker.clone(), hall.clone(), door, socket, stop.clone());
                tokio::task::spawn_local(accepting);
            }
            Err(error) => log::error!(listener = &*door.listener, reason:% = error; "listener lost"),
        }
    }
    // An error means that nobody is left to ask for a stop.
    let _ = stop.wait_for(|stop| *stop).await;
    worker.stop();
    std::future::pending::<()>().await;
}

async fn accept(
    worker: Rc<Worker>,
    hall: Arc<Hall>,
    door: Arc<Door>,
    socket: Socket,
    mut stop: watch::Receiver<bool>,
) {
    let accepting = async {
        let mut paused = false;
        loop {
            match socket.accept(&hall, &door).await {
                Ok((stream, peer, seat)) => {
                    paused = false;
                    let open = door.counters.accepted();
                    let (worker, door) = (worker.clone(), door.clone());
                    tokio::task::spawn_local(async move {
                        connection::serve(worker, stream, peer, door).await;
                        drop((seat, open));
                    });
                }
                Err(Pause::System(error)) if is_of_one_connection(&error) => {}
                Err(pause) => {
                    hall.wait(&door, &pause, paused).await;
                    paused = true;
                }
            }
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = accepting => {}
    }
}
