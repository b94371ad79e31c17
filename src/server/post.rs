//! A worker's accept loop: it accepts from all sockets, takes over what others have accepted, and serves.

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
use crate::client::connection::{self, Client};
use crate::listener_state::ListenerState;
use crate::net::stream::Stream;
use crate::telemetry::metrics::listeners::Open;
use crate::telemetry::record::ClientAddress;
use crate::worker::Worker;

/// How many clients may come in one after the other before those who are inside have their turn.
const AT_ONCE: u32 = 16;

/// Of so many seats one idle client goes at a time, where others wait.
const DISMISSED_OF: usize = 16;

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
    listener_state: Arc<ListenerState>,
    seat: Seat,
    open: Open,
}

/// A socket that this worker accepts from.
struct Tended {
    entrance: Arc<Entrance>,
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
            tended.retain(|tended| wanted.iter().any(|wanted| Arc::ptr_eq(wanted, &tended.entrance)));
            for entrance in wanted {
                if !tended.iter().any(|tended| Arc::ptr_eq(&entrance, &tended.entrance)) {
                    tended.push(self.start(entrance));
                }
            }
            // A reload has been.
            self.worker.scopes.let_go();
            // Of several changes only the last is seen here, but a listener's state knows that it was retired.
            let worker = self.worker.clone();
            tokio::task::spawn_local(async move { worker.end_retired().await });
            if open.changed().await.is_err() {
                break;
            }
        }
    }

    fn start(self: &Rc<Self>, entrance: Arc<Entrance>) -> Tended {
        let (closing, closed) = oneshot::channel();
        tokio::task::spawn_local(self.clone().accept_from(entrance.clone(), closed));
        Tended { entrance, _closing: closing }
    }

    async fn accept_from(self: Rc<Self>, entrance: Arc<Entrance>, closed: oneshot::Receiver<()>) {
        match register(&entrance) {
            Ok(socket) => tokio::select! {
                biased;
                _ = closed => {}
                () = self.accept_all(&socket) => {}
            },
            Err(error) => {
                let listener = entrance.listener_state().listener.clone();
                log::error!(listener = &*listener, reason:% = error; "listener lost");
                // The other workers may still have it.
                let _ = closed.await;
            }
        }
        if entrance.is_succeeded() {
            return;
        }
        // Whoever is in the queue has been let in, as far as he knows. The last worker closes right after its last look.
        let _ = tokio::time::timeout(QUEUE_LIMIT, self.empty(&entrance)).await;
    }

    async fn accept_all(self: &Rc<Self>, socket: &AsyncFd<Arc<Entrance>>) {
        let mut paused = false;
        let mut accepted_since = 0;
        loop {
            let listener_state = socket.get_ref().listener_state();
            match self.accept(socket, &listener_state).await {
                Ok(accepted) => {
                    paused = false;
                    self.place(accepted);
                    accepted_since += 1;
                    if accepted_since == AT_ONCE {
                        accepted_since = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Err(Pause::System(error)) if is_of_one_connection(&error) => {}
                Err(pause) => {
                    if paused && socket.get_ref().has_waiting() {
                        self.make_room(&listener_state, &pause);
                    }
                    self.hall.wait(&listener_state, &pause, paused).await;
                    paused = true;
                }
            }
        }
    }

    /// Lets clients go that have been idle for the longest: others wait for their seats.
    fn make_room(&self, listener_state: &ListenerState, pause: &Pause) {
        let (most, of_listener) = match pause {
            Pause::OfListener(most) => (*most, true),
            Pause::InAll(most) => (*most, false),
            // What is short may be something else than clients' connections.
            Pause::System(_) => return,
        };
        let is_concerned = |of: &ListenerState| !of_listener || of.listener == listener_state.listener;
        self.worker.dismiss_idle(most.div_ceil(DISMISSED_OF), pause.reason(), is_concerned);
    }

    /// Takes a seat first: without one, the client stays in the socket's queue.
    async fn accept(
        &self,
        socket: &AsyncFd<Arc<Entrance>>,
        listener_state: &Arc<ListenerState>,
    ) -> Result<Accepted, Pause> {
        poll_fn(|context| {
            let seat = self.hall.seat(listener_state)?;
            loop {
                // Waiting, the seat is given back.
                let mut ready = ready!(socket.poll_read_ready(context)).map_err(Pause::System)?;
                if !socket.get_ref().has_waiting() {
                    // Another worker was faster, or it was the last of several.
                    ready.clear_ready();
                    continue;
                }
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
            let listener_state = entrance.listener_state();
            let accepted = self.hall.seat(&listener_state).and_then(|seat| {
                let accepted = entrance.accept().map_err(Pause::System)?;
                Ok(Accepted::new(accepted, entrance, seat))
            });
            match accepted {
                Ok(accepted) => {
                    paused = false;
                    self.place(accepted);
                }
                Err(Pause::System(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(Pause::System(error)) if is_of_one_connection(&error) => {}
                // Without descriptors or memory there may be somebody still.
                Err(pause) => {
                    self.hall.wait(&listener_state, &pause, paused).await;
                    paused = true;
                }
            }
        }
    }

    fn place(self: &Rc<Self>, accepted: Accepted) {
        self.hall.accepted();
        if let Some(own) = self.member.place(accepted) {
            self.serve(own);
        }
    }

    fn serve(self: &Rc<Self>, accepted: Burdened<Accepted>) {
        let Burdened { what: Accepted { socket, unix, peer, listener_state, seat, open }, burden } = accepted;
        let stream = match Stream::accepted(socket, unix) {
            Ok(stream) => stream,
            Err(error) => {
                listener_state.counters.refused("system");
                log::debug!(listener = &*listener_state.listener, reason:% = error; "connection lost");
                return;
            }
        };
        let client = Client::new(self.worker.clone(), stream, peer, listener_state);
        tokio::task::spawn_local(connection::serve(client, (seat, open, burden)));
    }
}

impl Accepted {
    fn new((socket, peer): (OwnedFd, ClientAddress), entrance: &Entrance, seat: Seat) -> Self {
        let listener_state = entrance.listener_state();
        let open = listener_state.counters.accepted();
        Self { socket, unix: entrance.is_unix(), peer, listener_state, seat, open }
    }
}

#[allow(
    deprecated,
    reason = "what replaces it is unsafe, and an entrance keeps its one socket open while it lives"
)]
fn register(entrance: &Arc<Entrance>) -> io::Result<AsyncFd<Arc<Entrance>>> {
    AsyncFd::with_interest(entrance.clone(), Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use arc_swap::ArcSwap;
    use pingora_core::server::configuration::ServerConf;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::super::crew::{Loads, crew};
    use super::super::entrance::Entrances;
    use super::*;
    use crate::config::{AccessFormat, AccessLog, LogOutput};
    use crate::endpoint::idle_pool::IdlePool;
    use crate::proxy::{Carrier, Proxy};
    use crate::snapshot::Snapshot;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::{Telemetry, access};
    use crate::worker::deadline::Phase;
    use crate::worker::request_scopes::RequestScopes;

    fn snapshot(listener: &str) -> Arc<Snapshot> {
        let text = format!(
            "listeners: [{{ name: {listener}, address: \"127.0.0.1:0\" }}]\nroutes: [{{ pool: p }}]\npools: {{ p: [127.0.0.1:1] }}\nserver: {{ drain_idle: 10ms }}"
        );
        Arc::new(Snapshot::build(crate::config::parse(&text, "test").expect("a valid config"), None))
    }

    fn worker(snapshot: Arc<ArcSwap<Snapshot>>) -> Rc<Worker> {
        let off = AccessLog { output: LogOutput::Off, format: AccessFormat::Json, queue: 1 };
        let log = access::AccessLog::start(&off).expect("no log");
        let telemetry = Arc::new(Telemetry::new(log, SystemTime::now()));
        let kept = Arc::<IdlePool>::default();
        let scopes = Arc::new(RequestScopes::new(snapshot, telemetry));
        let carrier = Carrier::new(scopes.clone(), Arc::default(), kept.clone());
        let other = Rc::new(Proxy::new(Arc::new(ServerConf::default()), carrier));
        Worker::new(scopes, Arc::default(), kept, (other, false))
    }

    /// A worker that is busy sees only the second of two changes, and has clients of the listener in between.
    #[tokio::test]
    async fn no_door_is_forgotten_between_two_changes() {
        let current = Arc::new(ArcSwap::new(snapshot("a")));
        let worker = worker(current.clone());
        let entrances = Entrances::new(Metrics::new(SystemTime::now()));
        let to = |name| {
            let next = snapshot(name);
            let change = entrances.prepare(&next.config().listeners).expect("a free port");
            change.retire(&current.load());
            current.store(next);
            entrances.put(change);
            entrances.subscribe().borrow()[0].listener_state()
        };
        to("a");
        let (member, _arrived) = crew(&Loads::new(1)).remove(0);
        let post = Post::new(worker.clone(), Hall::new(current.clone(), Arc::default(), 100), member);
        let work = async {
            spawn_local(post.tend(entrances.subscribe()));
            yield_now().await;
            let timers = ["b", "c"].map(|name| worker.clock.timer(to(name)));
            timers.iter().for_each(|timer| timer.enter(Phase::Idle));
            tokio::time::sleep(Duration::from_millis(50)).await;
            let ended = timers.map(|timer| {
                let context = std::task::Context::from_waker(std::task::Waker::noop());
                timer.poll_passed(&context).is_ready()
            });
            assert_eq!(ended, [true, false]);
        };
        LocalSet::new().run_until(work).await;
    }
}
