//! A worker's accept loop: accepts from all listening sockets and serves the connections assigned to this worker.

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
use super::connection_limit::{AcceptPause, ConnectionLimit, ConnectionPermit};
use super::listen_socket::ListenSocket;
use super::worker_load::{Assigned, Dispatcher};
use crate::client::connection::{self, Connection};
use crate::listener_state::ListenerState;
use crate::net::stream::Stream;
use crate::telemetry::metrics::listeners::OpenConnection;
use crate::telemetry::record::ClientAddress;
use crate::worker::Worker;

/// Connections accepted in a row before the loop yields to the connections that are being served.
const ACCEPT_BURST: u32 = 16;

/// At a limit, idle connections are closed to make room: at a time, at most the limit divided by this.
const DISMISSED_SHARE: usize = 16;

/// How long a socket that is to be closed stays open for the clients in its queue when no permit is free.
const QUEUE_LIMIT: Duration = Duration::from_secs(10);

pub struct AcceptLoop {
    worker: Rc<Worker>,
    connection_limit: Arc<ConnectionLimit>,
    dispatcher: Dispatcher<Accepted>,
}

/// An accepted connection that is not registered with a runtime yet.
pub struct Accepted {
    socket: OwnedFd,
    unix: bool,
    peer: ClientAddress,
    listener_state: Arc<ListenerState>,
    permit: ConnectionPermit,
    open: OpenConnection,
}

/// A socket that this worker accepts from.
struct Accepting {
    listen_socket: Arc<ListenSocket>,
    /// Dropping it tells the accepting task to stop.
    _closing: oneshot::Sender<()>,
}

impl AcceptLoop {
    pub fn new(
        worker: Rc<Worker>,
        connection_limit: Arc<ConnectionLimit>,
        dispatcher: Dispatcher<Accepted>,
    ) -> Rc<Self> {
        Rc::new(Self { worker, connection_limit, dispatcher })
    }

    /// Serves the connections that other workers assign to this one.
    pub async fn serve_assigned(self: Rc<Self>, mut arrived: UnboundedReceiver<Assigned<Accepted>>) {
        while let Some(accepted) = arrived.recv().await {
            self.serve(accepted);
        }
    }

    /// Accepts from the open sockets; starts and stops accepting as reloads open and close sockets.
    pub async fn follow_sockets(self: Rc<Self>, mut open: watch::Receiver<Vec<Arc<ListenSocket>>>) {
        let mut accepting: Vec<Accepting> = Vec::new();
        loop {
            let wanted = open.borrow_and_update().clone();
            accepting.retain(|accepting| {
                wanted.iter().any(|wanted| Arc::ptr_eq(wanted, &accepting.listen_socket))
            });
            for listen_socket in wanted {
                if !accepting.iter().any(|accepting| Arc::ptr_eq(&listen_socket, &accepting.listen_socket)) {
                    accepting.push(self.start(listen_socket));
                }
            }
            // The set of sockets changes with a reload, so the scopes may be those of an old snapshot.
            self.worker.scopes.drop_replaced();
            // Two changes in quick succession are seen as one; a listener's state remembers that it was retired.
            let worker = self.worker.clone();
            tokio::task::spawn_local(async move { worker.drain.end_retired().await });
            if open.changed().await.is_err() {
                break;
            }
        }
    }

    fn start(self: &Rc<Self>, listen_socket: Arc<ListenSocket>) -> Accepting {
        let (closing, closed) = oneshot::channel();
        tokio::task::spawn_local(self.clone().accept_from(listen_socket.clone(), closed));
        Accepting { listen_socket, _closing: closing }
    }

    async fn accept_from(self: Rc<Self>, listen_socket: Arc<ListenSocket>, closed: oneshot::Receiver<()>) {
        match register(&listen_socket) {
            Ok(socket) => tokio::select! {
                biased;
                _ = closed => {}
                () = self.accept_all(&socket) => {}
            },
            Err(error) => {
                let listener = listen_socket.listener_state().listener.clone();
                log::error!(listener = &*listener, reason:% = error; "listener lost");
                // The other workers may still have it.
                let _ = closed.await;
            }
        }
        if listen_socket.is_succeeded() {
            return;
        }
        // The kernel has completed the handshakes of the clients in the queue, so they are served before the close.
        let _ = tokio::time::timeout(QUEUE_LIMIT, self.empty_queue(&listen_socket)).await;
    }

    async fn accept_all(self: &Rc<Self>, socket: &AsyncFd<Arc<ListenSocket>>) {
        let mut paused = false;
        let mut accepted_since = 0;
        loop {
            let listener_state = socket.get_ref().listener_state();
            match self.accept(socket, &listener_state).await {
                Ok(accepted) => {
                    paused = false;
                    self.dispatch(accepted);
                    accepted_since += 1;
                    if accepted_since == ACCEPT_BURST {
                        accepted_since = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Err(AcceptPause::System(error)) if is_of_one_connection(&error) => {}
                Err(pause) => {
                    if paused && socket.get_ref().has_waiting() {
                        self.make_room(&listener_state, &pause);
                    }
                    self.connection_limit.wait(&listener_state, &pause, paused).await;
                    paused = true;
                }
            }
        }
    }

    /// Closes the connections that have been idle for the longest, in favour of clients that wait in the queue.
    fn make_room(&self, listener_state: &ListenerState, pause: &AcceptPause) {
        let (most, of_listener) = match pause {
            AcceptPause::OfListener(most) => (*most, true),
            AcceptPause::InAll(most) => (*most, false),
            // The shortage may have nothing to do with client connections.
            AcceptPause::System(_) => return,
        };
        let is_concerned = |of: &ListenerState| !of_listener || of.listener == listener_state.listener;
        self.worker.dismiss_idle(most.div_ceil(DISMISSED_SHARE), pause.reason(), is_concerned);
    }

    /// Takes a permit before it accepts: without a permit the client stays in the socket's queue.
    async fn accept(
        &self,
        socket: &AsyncFd<Arc<ListenSocket>>,
        listener_state: &Arc<ListenerState>,
    ) -> Result<Accepted, AcceptPause> {
        poll_fn(|context| {
            let permit = self.connection_limit.acquire(listener_state)?;
            loop {
                // Returning `Pending` drops the permit.
                let mut ready = ready!(socket.poll_read_ready(context)).map_err(AcceptPause::System)?;
                if !socket.get_ref().has_waiting() {
                    // Another worker has accepted it.
                    ready.clear_ready();
                    continue;
                }
                let Ok(accepted) = ready.try_io(|socket| socket.get_ref().accept()) else { continue };
                let accepted = accepted.map_err(AcceptPause::System)?;
                return Poll::Ready(Ok(Accepted::new(accepted, socket.get_ref(), permit)));
            }
        })
        .await
    }

    /// Accepts all clients that are in the socket's queue.
    async fn empty_queue(self: &Rc<Self>, listen_socket: &ListenSocket) {
        let mut paused = false;
        loop {
            let listener_state = listen_socket.listener_state();
            let accepted = self.connection_limit.acquire(&listener_state).and_then(|permit| {
                let accepted = listen_socket.accept().map_err(AcceptPause::System)?;
                Ok(Accepted::new(accepted, listen_socket, permit))
            });
            match accepted {
                Ok(accepted) => {
                    paused = false;
                    self.dispatch(accepted);
                }
                Err(AcceptPause::System(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(AcceptPause::System(error)) if is_of_one_connection(&error) => {}
                // A failure for want of descriptors or memory does not mean that the queue is empty.
                Err(pause) => {
                    self.connection_limit.wait(&listener_state, &pause, paused).await;
                    paused = true;
                }
            }
        }
    }

    fn dispatch(self: &Rc<Self>, accepted: Accepted) {
        self.connection_limit.accepted();
        if let Some(own) = self.dispatcher.assign(accepted) {
            self.serve(own);
        }
    }

    fn serve(self: &Rc<Self>, accepted: Assigned<Accepted>) {
        let Assigned { value: Accepted { socket, unix, peer, listener_state, permit, open }, load_guard } =
            accepted;
        let stream = match Stream::accepted(socket, unix) {
            Ok(stream) => stream,
            Err(error) => {
                listener_state.counters.refused("system");
                log::debug!(listener = &*listener_state.listener, reason:% = error; "connection lost");
                return;
            }
        };
        let client = Connection::new(self.worker.clone(), stream, peer, listener_state);
        tokio::task::spawn_local(connection::serve(client, (permit, open, load_guard)));
    }
}

impl Accepted {
    fn new(
        (socket, peer): (OwnedFd, ClientAddress),
        listen_socket: &ListenSocket,
        permit: ConnectionPermit,
    ) -> Self {
        let listener_state = listen_socket.listener_state();
        let open = listener_state.counters.connection_accepted();
        Self { socket, unix: listen_socket.is_unix(), peer, listener_state, permit, open }
    }
}

#[allow(
    deprecated,
    reason = "what replaces it is unsafe, and a `ListenSocket` keeps its one socket open while it lives"
)]
fn register(listen_socket: &Arc<ListenSocket>) -> io::Result<AsyncFd<Arc<ListenSocket>>> {
    AsyncFd::with_interest(listen_socket.clone(), Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use arc_swap::ArcSwap;
    use pingora_core::server::configuration::ServerConf;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::super::listen_socket::ListenSockets;
    use super::super::worker_load::{WorkerLoads, dispatchers};
    use super::*;
    use crate::config::AccessLog;
    use crate::endpoint_connections::idle_pool::IdlePool;
    use crate::proxy::{Hooks, PingoraEngine};
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
        let off = AccessLog::off();
        let log = access::AccessLog::start(&off, 1).expect("no log");
        let telemetry = Telemetry::new(log, SystemTime::now());
        let idle_pool = Arc::<IdlePool>::default();
        let scopes = Arc::new(RequestScopes::new(snapshot, telemetry.worker()));
        let hooks = Hooks::new(scopes.clone(), Arc::default());
        let engine = Rc::new(PingoraEngine::new(Arc::new(ServerConf::default()), hooks));
        Worker::new(scopes, Arc::default(), idle_pool, engine)
    }

    /// A busy worker sees only the second of two changes, and has clients of the listener that was there in between.
    #[tokio::test]
    async fn no_listener_is_forgotten_between_two_changes() {
        let current = Arc::new(ArcSwap::new(snapshot("a")));
        let worker = worker(current.clone());
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        let to = |name| {
            let next = snapshot(name);
            let change = listen_sockets.prepare(&next.config().listeners).expect("a free port");
            change.retire(&current.load());
            current.store(next);
            listen_sockets.put(change);
            listen_sockets.subscribe().borrow()[0].listener_state()
        };
        to("a");
        let (dispatcher, _arrived) = dispatchers(&WorkerLoads::new(1)).remove(0);
        let accept_loop = AcceptLoop::new(
            worker.clone(),
            ConnectionLimit::new(current.clone(), Arc::default(), 100),
            dispatcher,
        );
        let work = async {
            spawn_local(accept_loop.follow_sockets(listen_sockets.subscribe()));
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
