//! A worker's post at the front door: it accepts from all sockets, takes over what others have accepted, and serves.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};

use super::accept_error::is_of_one_connection;
use super::crew::{Burdened, Member};
use super::entrance::Entrance;
use super::hall::{Hall, Pause, Seat};
use crate::lane::connection;
use crate::lane::door::Door;
use crate::lane::stream::Stream;
use crate::lane::worker::Worker;
use crate::telemetry::metrics::connections::Open;
use crate::telemetry::record::ClientAddress;

/// How long the clients in the queue of a socket that is to be closed may wait for a seat.
const QUEUE_LIMIT: Duration = Duration::from_secs(10);

pub struct Post {
    worker: Rc<Worker>,
    hall: Arc<Hall>,
    member: Member<Accepted>,
}

/// A client's connection that no runtime knows yet.
pub struct Accepted {
    socket: OwnedFd,
    unix: bool,
    peer: ClientAddress,
    door: Arc<Door>,
    seat: Seat,
    open: Open,
}

/// A socket that this worker accepts from.
struct Tended {
    entrance: Arc<Entrance>,
    door: Arc<Door>,
    /// Dropped, it tells the task to close.
    _closing: oneshot::Sender<()>,
}

impl Post {
    pub fn new(worker: Rc<Worker>, hall: Arc<Hall>, member: Member<Accepted>) -> Rc<Self> {
        Rc::new(Self { worker, hall, member })
    }

    /// Serves what other workers have accepted.
    pub async fn take_over(self: Rc<Self>, mut arrived: UnboundedReceiver<Burdened<Accepted>>) {
        while let Some(accepted) = arrived.recv().await {
            self.serve(accepted);
        }
    }

    /// Accepts from the sockets that are open, as they come and go.
    pub async fn tend(self: Rc<Self>, mut open: watch::Receiver<Vec<Arc<Entrance>>>) {
        let mut tended: Vec<Tended> = Vec::new();
        loop {
            let wanted = open.borrow_and_update().clone();
            let (stay, go): (Vec<_>, Vec<_>) = tended
                .into_iter()
                .partition(|tended| wanted.iter().any(|wanted| Arc::ptr_eq(wanted, &tended.entrance)));
            let mut retired: Vec<_> = go.into_iter().map(|gone| gone.door).collect();
            tended = stay;
            for tended in &mut tended {
                let door = tended.entrance.door();
                if !Arc::ptr_eq(&door, &tended.door) {
                    retired.push(std::mem::replace(&mut tended.door, door));
                }
            }
            for entrance in wanted {
                if !tended.iter().any(|tended| Arc::ptr_eq(&entrance, &tended.entrance)) {
                    tended.push(self.start(entrance));
                }
            }
            self.worker.retire(&retired);
            if open.changed().await.is_err() {
                break;
            }
        }
    }

    fn start(self: &Rc<Self>, entrance: Arc<Entrance>) -> Tended {
        let (closing, closed) = oneshot::channel();
        let door = entrance.door();
        tokio::task::spawn_local(self.clone().accept_from(entrance.clone(), closed));
        Tended { entrance, door, _closing: closing }
    }

    async fn accept_from(self: Rc<Self>, entrance: Arc<Entrance>, closed: oneshot::Receiver<()>) {
        match register(&entrance) {
            Ok(socket) => tokio::select! {
                biased;
                _ = closed => {}
                () = self.accept_all(&socket) => {}
            },
            Err(error) => {
                let listener = entrance.door().listener.clone();
                log::error!(listener = &*listener, reason:% = error; "listener lost");
                // The other workers may still have it.
                let _ = closed.await;
            }
        }
        // Whoever is in the queue has been let in, as far as he knows. The last worker closes right after its last look.
        let _ = tokio::time::timeout(QUEUE_LIMIT, self.empty(&entrance)).await;
    }

    async fn accept_all(self: &Rc<Self>, socket: &AsyncFd<Arc<Entrance>>) {
        let mut paused = false;
        loop {
            let door = socket.get_ref().door();
            match self.accept(socket, &door).await {
                Ok(accepted) => {
                    paused = false;
                    self.place(accepted);
                }
                Err(Pause::System(error)) if is_of_one_connection(&error) => {}
                Err(pause) => {
                    self.hall.wait(&door, &pause, paused).await;
                    paused = true;
                }
            }
        }
    }

    /// Takes a seat first: without one, the client stays in the socket's queue.
    async fn accept(&self, socket: &AsyncFd<Arc<Entrance>>, door: &Arc<Door>) -> Result<Accepted, Pause> {
        poll_fn(|context| {
            let seat = self.hall.seat(door)?;
            loop {
                // Waiting, the seat is given back.
                let mut ready = ready!(socket.poll_read_ready(context)).map_err(Pause::System)?;
                let Ok(accepted) = ready.try_io(|socket| socket.get_ref().accept()) else { continue };
                let accepted = accepted.map_err(Pause::System)?;
                return Poll::Ready(Ok(Accepted::new(accepted, socket.get_ref(), seat)));
            }
        })
        .await
    }

    /// Accepts those who are in the queue now.
    async fn empty(self: &Rc<Self>, entrance: &Entrance) {
        let mut paused = false;
        loop {
            let door = entrance.door();
            let seat = match self.hall.seat(&door) {
                Ok(seat) => seat,
                Err(pause) => {
                    self.hall.wait(&door, &pause, paused).await;
                    paused = true;
                    continue;
                }
            };
            match entrance.accept() {
                Ok(accepted) => self.place(Accepted::new(accepted, entrance, seat)),
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn place(self: &Rc<Self>, accepted: Accepted) {
        if let Some(own) = self.member.place(accepted) {
            self.serve(own);
        }
    }

    fn serve(self: &Rc<Self>, accepted: Burdened<Accepted>) {
        let Burdened { what: Accepted { socket, unix, peer, door, seat, open }, burden } = accepted;
        let stream = match Stream::accepted(socket, unix) {
            Ok(stream) => stream,
            Err(error) => {
                door.counters.refused("system");
                log::debug!(listener = &*door.listener, reason:% = error; "connection lost");
                return;
            }
        };
        let worker = self.worker.clone();
        tokio::task::spawn_local(async move {
            connection::serve(worker, stream, peer, door).await;
            drop((seat, open, burden));
        });
    }
}

impl Accepted {
    fn new((socket, peer): (OwnedFd, ClientAddress), entrance: &Entrance, seat: Seat) -> Self {
        let door = entrance.door();
        let open = door.counters.accepted();
        Self { socket, unix: entrance.is_unix(), peer, door, seat, open }
    }
}

#[allow(
    deprecated,
    reason = "what replaces it is unsafe, and an entrance keeps its one socket open while it lives"
)]
fn register(entrance: &Arc<Entrance>) -> io::Result<AsyncFd<Arc<Entrance>>> {
    AsyncFd::with_interest(entrance.clone(), Interest::READABLE)
}
