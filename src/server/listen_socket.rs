//! The listening sockets of the process: opened, renamed and closed as reloads change the listeners.
//!
//! There is one socket for each address, from which all workers accept. With SO_REUSEPORT, closing one of several
//! sockets would drop the clients in its queue.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use socket2::{SockFilter, SockRef};
use tokio::sync::watch;

use super::bind::{self, BindError, Bound, BoundAddress};
use super::fd_store;
use super::inherit::InheritedSockets;
use super::upgrade::message::{Handed, Role};
use crate::config::{ListenAddress, Listener};
use crate::listener_state::ListenerState;
use crate::snapshot::Snapshot;
use crate::socket_file::{Claim, SocketFile};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::ClientAddress;

/// How long a bind is retried while a previous socket at the same address is being closed, and how often.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
const CLOSE_RETRY: Duration = Duration::from_millis(5);

/// A classic BPF filter over the TCP header: drops SYN segments, so that no new connection reaches the queue.
const NO_SYN: [SockFilter; 4] = [
    // Loads the flags byte, and drops the segment if SYN is set.
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, 13),
    SockFilter::new((libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16, 0, 1, 0x02),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX),
];

/// A listening socket; closed when the last worker has let go of it.
pub struct ListenSocket {
    pub address: BoundAddress,
    /// The address as the config writes it.
    written: ListenAddress,
    socket: OwnedFd,
    /// Swapped when a reload renames the listener.
    listener_state: ArcSwap<ListenerState>,
    file: Mutex<Option<SocketFile>>,
    /// No service manager and no process left behind by a failed upgrade has a copy of the socket.
    exclusive: AtomicBool,
    /// A successor has a copy: one that starts, or one that serves already.
    handed_over: AtomicBool,
    /// A successor accepts from it.
    succeeded: AtomicBool,
}

/// A listening socket that is being closed.
struct Closing {
    listen_socket: Weak<ListenSocket>,
    address: ListenAddress,
    since: Instant,
}

/// The open listening sockets.
pub struct ListenSockets {
    open: watch::Sender<Vec<Arc<ListenSocket>>>,
    /// Sockets that are no longer in `open`, and that a worker may still hold.
    closing: Mutex<Vec<Closing>>,
    metrics: Metrics,
    /// Whether this process keeps copies in the service manager's descriptor store.
    stored: AtomicBool,
}

/// A prepared change of the sockets: everything that can fail has been done, and nothing has changed yet.
#[must_use = "nothing changes until it is put in force"]
pub struct SocketChange {
    next: Vec<NextSocket>,
    /// The states of listeners that are removed or moved to another address.
    retiring: Vec<Arc<ListenerState>>,
}

enum NextSocket {
    Kept(Arc<ListenSocket>),
    Renamed(Arc<ListenSocket>, Arc<ListenerState>),
    New(Box<ListenSocket>),
}

// === impl ListenSocket ===

impl ListenSocket {
    fn new(bound: Bound, written: ListenAddress, listener_state: Arc<ListenerState>) -> Self {
        Self {
            address: bound.address,
            written,
            socket: bound.socket,
            listener_state: ArcSwap::new(listener_state),
            file: Mutex::new(bound.file),
            exclusive: AtomicBool::new(bound.exclusive),
            handed_over: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
        }
    }

    /// The state of the listener that this socket belongs to.
    pub fn listener_state(&self) -> Arc<ListenerState> {
        self.listener_state.load_full()
    }

    pub fn is_unix(&self) -> bool {
        matches!(self.address, BoundAddress::Unix(_))
    }

    /// Whether a client is in the queue. A poll is cheap; an `accept` on an empty queue is not, because the kernel
    /// allocates the new socket before it looks.
    pub fn has_waiting(&self) -> bool {
        let mut queue = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // If the poll fails, the caller tries to accept.
        !matches!(poll(&mut queue, PollTimeout::ZERO), Ok(0))
    }

    /// Whether a successor accepts from this socket, so the clients in the queue are the successor's.
    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(SeqCst)
    }

    /// Drops the SYN of new clients: the kernel would reset clients that arrive between the last look into the queue
    /// and the close. With their SYN dropped they try again a second later, and are refused.
    ///
    /// Not where another process may keep using the socket: it would get no clients any more.
    fn drop_syn(&self) {
        let is_shared = !self.exclusive.load(SeqCst) || self.handed_over.load(SeqCst) || fd_store::may_keep();
        if !is_shared && !self.is_unix() {
            // Without the filter such a client is reset.
            let _ = SockRef::from(&self.socket).attach_filter(&NO_SYN);
        }
    }

    fn set_access(&self, listener: &Listener) -> Result<(), BindError> {
        match &*self.file.lock() {
            Some(file) => file.set_access(listener.socket).map_err(|error| BindError::new(listener, error)),
            None => Ok(()),
        }
    }

    fn handed(&self) -> Handed {
        let (name, written) = (self.listener_state().listener.to_string(), self.written.to_string());
        Handed { role: Role::Listener, name, written, exclusive: self.exclusive.load(SeqCst) }
    }

    /// Takes one client from the queue, if there is one.
    pub fn accept(&self) -> io::Result<(OwnedFd, ClientAddress)> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let (socket, peer) = SockRef::from(&self.socket).accept4(flags)?;
        let peer = peer.as_socket().map_or_else(ClientAddress::unix, ClientAddress::inet);
        Ok((socket.into(), peer))
    }
}

impl AsRawFd for ListenSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

// === impl Closing ===

impl Closing {
    /// Whether the address may still be taken: the kernel frees it a moment after the last worker has dropped the
    /// socket.
    fn may_be_open(&self) -> bool {
        self.listen_socket.strong_count() > 0 || self.since.elapsed() < CLOSE_LIMIT
    }
}

// === impl ListenSockets ===

impl ListenSockets {
    pub fn new(metrics: Metrics) -> Self {
        Self {
            open: watch::Sender::new(Vec::new()),
            closing: Mutex::default(),
            metrics,
            stored: AtomicBool::new(false),
        }
    }

    /// The open sockets, and every change of them.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Arc<ListenSocket>>> {
        self.open.subscribe()
    }

    /// Whether no worker has started to accept.
    pub fn nobody_accepts(&self) -> bool {
        self.open.receiver_count() == 0
    }

    /// Whether a client is in one of the queues.
    pub fn have_waiting(&self) -> bool {
        self.open.borrow().iter().any(|listen_socket| listen_socket.has_waiting())
    }

    /// The states of the listeners, with their addresses.
    pub fn list(&self) -> Vec<(Arc<ListenerState>, BoundAddress)> {
        self.open.borrow().iter().map(|open| (open.listener_state(), open.address.clone())).collect()
    }

    /// Binds the sockets of new addresses. A listener whose address has not changed keeps its socket.
    pub fn prepare(&self, listeners: &[Listener]) -> Result<SocketChange, BindError> {
        self.prepare_with(listeners, &mut InheritedSockets::default())
    }

    /// As [`Self::prepare`]; sockets that this process has inherited are taken in place of a bind.
    pub fn prepare_with(
        &self,
        listeners: &[Listener],
        inherited: &mut InheritedSockets,
    ) -> Result<SocketChange, BindError> {
        let open = self.open.borrow().clone();
        let kept = keep(&open, listeners);
        let mut next = Vec::new();
        for (listener, kept) in listeners.iter().zip(&kept) {
            next.push(match kept {
                Some(listen_socket) if listen_socket.listener_state().listener == listener.name => {
                    NextSocket::Kept(listen_socket.clone())
                }
                Some(listen_socket) => {
                    NextSocket::Renamed(listen_socket.clone(), self.listener_state(&open, listener))
                }
                None => {
                    let bound = match inherited.take(listener, listeners) {
                        Some(taken) => taken.map_err(|error| BindError::new(listener, error))?,
                        None => self.bind(listener).map_err(|error| explained(error, &open, listener))?,
                    };
                    let listener_state = self.listener_state(&open, listener);
                    NextSocket::New(Box::new(ListenSocket::new(
                        bound,
                        listener.address.clone(),
                        listener_state,
                    )))
                }
            });
        }
        // Last, because it changes the files of sockets that are in use.
        for (listener, kept) in listeners.iter().zip(kept.iter()) {
            if let Some(kept) = kept {
                kept.set_access(listener)?;
            }
        }
        let stays = |listen_socket: &Arc<ListenSocket>| {
            next.iter().any(|next| matches!(next, NextSocket::Kept(kept) if Arc::ptr_eq(kept, listen_socket)))
        };
        let retiring = open
            .iter()
            .filter(|listen_socket| !stays(listen_socket))
            .map(|listen_socket| listen_socket.listener_state())
            .collect();
        Ok(SocketChange { next, retiring })
    }

    /// Binds a socket. Retries while a worker still holds the socket that an earlier reload closed at that address.
    fn bind(&self, listener: &Listener) -> Result<Bound, BindError> {
        let begun = Instant::now();
        loop {
            match bind::bind(listener) {
                Err(error)
                    if error.is_in_use()
                        && self.is_closing(&listener.address)
                        && begun.elapsed() < CLOSE_LIMIT =>
                {
                    std::thread::sleep(CLOSE_RETRY);
                }
                bound => return bound,
            }
        }
    }

    fn is_closing(&self, address: &ListenAddress) -> bool {
        self.closing.lock().iter().any(|closing| closing.address == *address && closing.may_be_open())
    }

    /// A new state for the listener, which shares its permits and counters with the previous one.
    fn listener_state(&self, open: &[Arc<ListenSocket>], listener: &Listener) -> Arc<ListenerState> {
        let had = open
            .iter()
            .map(|listen_socket| listen_socket.listener_state())
            .find(|listener_state| listener_state.listener == listener.name);
        match had {
            Some(listener_state) => listener_state.elsewhere(),
            None => ListenerState::new(listener.name.clone(), self.metrics.listener(&listener.name)),
        }
    }

    /// Puts the change in force. The snapshot in force must have the listeners by now.
    pub fn put(&self, change: SocketChange) {
        let next: Vec<_> = change.next.into_iter().map(NextSocket::open).collect();
        for listen_socket in self.open.borrow().iter() {
            if !next.iter().any(|next| Arc::ptr_eq(next, listen_socket)) {
                self.begin_close(listen_socket);
            }
        }
        self.replace(next);
        if self.stored.load(SeqCst) {
            self.store();
        }
    }

    /// Has the workers serve the clients in the queues and close the sockets.
    pub fn close(&self) {
        for listen_socket in self.open.borrow().iter() {
            listen_socket.listener_state().leave();
            self.begin_close(listen_socket);
        }
        self.replace(Vec::new());
    }

    /// Replaces the sockets in the watch channel before the workers are notified: the last reference must be a
    /// worker's, which drops it right after a look into the queue. A client that came in between would be reset.
    fn replace(&self, next: Vec<Arc<ListenSocket>>) {
        self.open.send_modify(|open| *open = next);
    }

    /// Whether all sockets are closed, which includes that their queues are empty.
    pub fn are_closed(&self) -> bool {
        self.open.borrow().is_empty()
            && self.closing.lock().iter().all(|gone| gone.listen_socket.strong_count() == 0)
    }

    /// Takes the socket out of service. It is closed once its queue is empty.
    fn begin_close(&self, listen_socket: &Arc<ListenSocket>) {
        listen_socket.drop_syn();
        let mut closing = self.closing.lock();
        closing.retain(Closing::may_be_open);
        let (address, since) = (listen_socket.written.clone(), Instant::now());
        closing.push(Closing { listen_socket: Arc::downgrade(listen_socket), address, since });
        listen_socket.file.lock().take();
        if self.stored.load(SeqCst) {
            fd_store::forget(&fd_store::name(&listen_socket.address));
        }
        log::info!(listener = &*listen_socket.listener_state().listener, address:% = listen_socket.address; "listener closed");
    }

    /// Copies all sockets for a successor.
    pub fn hand_over(&self) -> io::Result<Vec<(Handed, OwnedFd)>> {
        let open = self.open.borrow();
        let copy = |listen_socket: &Arc<ListenSocket>| {
            Ok((listen_socket.handed(), listen_socket.socket.try_clone()?))
        };
        let copies = open.iter().map(copy).collect::<io::Result<_>>()?;
        open.iter().for_each(|listen_socket| listen_socket.handed_over.store(true, SeqCst));
        Ok(copies)
    }

    /// The upgrade has failed, and no process has kept the copies.
    pub fn retract(&self) {
        self.open.borrow().iter().for_each(|listen_socket| listen_socket.handed_over.store(false, SeqCst));
    }

    /// The upgrade has failed, and a process may have kept the copies: the successor may have been a script that has
    /// started others. This stays so for good.
    pub fn mark_shared(&self) {
        self.open.borrow().iter().for_each(|listen_socket| listen_socket.exclusive.store(false, SeqCst));
    }

    /// Hands the sockets, their files and their copies in the descriptor store over to the successor. This process
    /// serves the queues of the sockets in `left`, which the successor does not use; `None`: the queues of all, because
    /// the successor does not say.
    pub fn release(&self, left: Option<&[Handed]>) {
        self.stored.store(false, SeqCst);
        for listen_socket in self.open.borrow().iter() {
            let is_left = left.map(|left| left.contains(&listen_socket.handed()));
            listen_socket.succeeded.store(is_left == Some(false), SeqCst);
            listen_socket.handed_over.store(is_left != Some(true), SeqCst);
        }
        self.for_each_file(|claim| claim.release());
    }

    /// Takes over the files of unix sockets from the predecessor.
    pub fn own_files(&self) {
        self.for_each_file(|claim| claim.own());
    }

    fn for_each_file(&self, what: impl Fn(Claim)) {
        for listen_socket in self.open.borrow().iter() {
            if let Some(file) = &*listen_socket.file.lock() {
                what(file.claim());
            }
        }
    }

    /// Keeps a copy of each socket in the service manager's descriptor store, later ones included.
    pub fn store(&self) {
        self.stored.store(true, SeqCst);
        for listen_socket in self.open.borrow().iter() {
            fd_store::keep(&fd_store::name(&listen_socket.address), listen_socket.socket.as_fd());
        }
    }
}

/// For each listener the open socket at its address: preferably its own, else that of a listener with another name.
fn keep(open: &[Arc<ListenSocket>], listeners: &[Listener]) -> Vec<Option<Arc<ListenSocket>>> {
    let own = |listener: &Listener| {
        let is_it = |listen_socket: &&Arc<ListenSocket>| {
            listen_socket.written == listener.address
                && listen_socket.listener_state().listener == listener.name
        };
        open.iter().find(is_it).cloned()
    };
    let mut kept: Vec<_> = listeners.iter().map(own).collect();
    for (index, listener) in listeners.iter().enumerate() {
        let is_free = |listen_socket: &&Arc<ListenSocket>| {
            listen_socket.written == listener.address
                && !kept.iter().flatten().any(|kept| Arc::ptr_eq(kept, listen_socket))
        };
        if kept.get(index).is_some_and(Option::is_none)
            && let Some(free) = open.iter().find(is_free).cloned()
            && let Some(slot) = kept.get_mut(index)
        {
            *slot = Some(free);
        }
    }
    kept
}

/// Names the listener of this process whose socket blocks the address: it is closed only once all others are bound.
fn explained(error: BindError, open: &[Arc<ListenSocket>], listener: &Listener) -> BindError {
    let port = match &listener.address {
        ListenAddress::Inet(address) => address.port(),
        ListenAddress::AnyAddress(port) => *port,
        ListenAddress::Unix(_) => return error,
    };
    let in_the_way = |listen_socket: &&Arc<ListenSocket>| matches!(listen_socket.address, BoundAddress::Inet(address) if address.port() == port);
    match open.iter().find(in_the_way) {
        Some(listen_socket) if error.is_in_use() => error.behind(&listen_socket.listener_state().listener),
        _ => error,
    }
}

// === impl SocketChange ===

impl SocketChange {
    /// Retires the listeners that go, which asks their clients to leave. Call this while the snapshot still has them.
    pub fn retire(&self, in_force: &Snapshot) {
        for listener_state in &self.retiring {
            if let Some(last) = in_force.listener(&listener_state.listener) {
                listener_state.retire(last.clone());
            }
        }
    }
}

impl NextSocket {
    fn open(self) -> Arc<ListenSocket> {
        match self {
            Self::Kept(listen_socket) => listen_socket,
            Self::Renamed(listen_socket, listener_state) => {
                let was = listen_socket.listener_state.swap(listener_state.clone());
                log::info!(
                    listener = &*listener_state.listener,
                    address:% = listen_socket.address,
                    was = &*was.listener;
                    "listening"
                );
                listen_socket
            }
            Self::New(listen_socket) => {
                log::info!(listener = &*listen_socket.listener_state().listener, address:% = listen_socket.address; "listening");
                Arc::from(listen_socket)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn listener(name: &str, address: &str) -> Listener {
        let text = format!(
            "listeners: [{{ name: {name}, address: \"{address}\" }}]\nroutes: [{{ pool: p }}]\npools: {{ p: [127.0.0.1:1] }}"
        );
        let config = crate::config::parse(&text, "a file").expect("a valid config");
        config.listeners.into_iter().next().expect("a listener")
    }

    fn open(listen_sockets: &ListenSockets, listeners: &[Listener]) -> Vec<RawFd> {
        let change = listen_sockets.prepare(listeners).expect("free addresses");
        listen_sockets.put(change);
        listen_sockets.open.borrow().iter().map(|open| open.as_raw_fd()).collect()
    }

    fn names(listen_sockets: &ListenSockets) -> Vec<String> {
        listen_sockets
            .list()
            .into_iter()
            .map(|(listener_state, _)| listener_state.listener.to_string())
            .collect()
    }

    #[test]
    fn an_address_keeps_its_socket_whatever_its_listener_is_called() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        let first = open(&listen_sockets, &[listener("a", "127.0.0.1:0"), listener("b", "127.0.0.2:0")]);
        let swapped = open(&listen_sockets, &[listener("a", "127.0.0.2:0"), listener("b", "127.0.0.1:0")]);
        assert_eq!(swapped, [first[1], first[0]]);
        assert_eq!(names(&listen_sockets), ["a", "b"]);
        let renamed = open(&listen_sockets, &[listener("c", "127.0.0.1:0"), listener("d", "127.0.0.2:0")]);
        assert_eq!(renamed, first);
        assert_eq!(names(&listen_sockets), ["c", "d"]);
    }

    /// Several listeners may have port 0; each keeps its own socket.
    #[test]
    fn a_name_decides_between_listeners_of_one_address() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        let first = open(&listen_sockets, &[listener("a", "127.0.0.1:0"), listener("b", "127.0.0.1:0")]);
        let turned = open(&listen_sockets, &[listener("b", "127.0.0.1:0"), listener("a", "127.0.0.1:0")]);
        assert_eq!(turned, [first[1], first[0]]);
        let one = open(&listen_sockets, &[listener("b", "127.0.0.1:0")]);
        assert_eq!(one, [first[1]]);
    }

    /// A busy worker drops its socket a moment after the reload that removes the listener.
    #[test]
    fn an_address_that_is_being_closed_is_waited_for() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let (stays, moves) = (listener("a", "127.0.0.1:0"), listener("b", &free.to_string()));
        open(&listen_sockets, &[stays.clone(), moves.clone()]);
        let held = listen_sockets.open.borrow()[1].clone();
        open(&listen_sockets, std::slice::from_ref(&stays));
        let worker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        assert_eq!(open(&listen_sockets, &[stays, moves]).len(), 2);
        worker.join().expect("it has closed it");
    }

    #[test]
    fn nobody_comes_into_the_queue_of_a_socket_that_goes() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        open(&listen_sockets, &[listener("a", "127.0.0.1:0")]);
        let listen_socket = listen_sockets.open.borrow()[0].clone();
        let BoundAddress::Inet(address) = listen_socket.address else { panic!("it is inet") };
        let _early = std::net::TcpStream::connect(address).expect("it listens");
        listen_sockets.close();
        let late = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.expect_err("its socket is closed").kind(), io::ErrorKind::TimedOut);
        listen_socket.accept().expect("who came before is served");
        assert!(!listen_socket.has_waiting());
    }

    /// A process that keeps using the socket must still get clients.
    #[test]
    fn a_socket_that_a_successor_may_have_hears_on() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        open(&listen_sockets, &[listener("a", "127.0.0.1:0")]);
        let listen_socket = listen_sockets.open.borrow()[0].clone();
        let BoundAddress::Inet(address) = listen_socket.address else { panic!("it is inet") };
        let (handed, _copy) = listen_sockets.hand_over().expect("a copy").remove(0);
        assert!(handed.exclusive, "no service manager has it");
        listen_sockets.close();
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("it still listens");
    }

    #[test]
    fn a_socket_that_a_successor_leaves_is_ours_alone() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        open(&listen_sockets, &[listener("a", "127.0.0.1:0"), listener("b", "127.0.0.2:0")]);
        let handed: Vec<_> =
            listen_sockets.hand_over().expect("copies").into_iter().map(|(handed, _)| handed).collect();
        let are_handed_over = || {
            let open = listen_sockets.open.borrow();
            open.iter().map(|open| open.handed_over.load(SeqCst)).collect::<Vec<_>>()
        };
        listen_sockets.release(Some(&handed[1..]));
        assert_eq!(are_handed_over(), [true, false]);
        listen_sockets.hand_over().expect("copies");
        listen_sockets.release(None);
        assert_eq!(are_handed_over(), [true, true], "it does not say");
        listen_sockets.retract();
        assert_eq!(are_handed_over(), [false, false]);
    }

    /// A process that a killed script has started may live on, whatever becomes of later successors.
    #[test]
    fn what_a_failed_upgrade_has_left_behind_is_not_forgotten() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        open(&listen_sockets, &[listener("a", "127.0.0.1:0")]);
        let listen_socket = listen_sockets.open.borrow()[0].clone();
        let BoundAddress::Inet(address) = listen_socket.address else { panic!("it is inet") };
        let (_, stray) = listen_sockets.hand_over().expect("a copy").remove(0);
        listen_sockets.mark_shared();
        listen_sockets.hand_over().expect("a copy");
        listen_sockets.retract();
        let (handed, _) = listen_sockets.hand_over().expect("a copy").remove(0);
        assert!(!handed.exclusive, "a successor has to know it, too");
        listen_sockets.release(Some(std::slice::from_ref(&handed)));
        listen_sockets.close();
        drop(listen_socket);
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("it still listens");
        drop(stray);
    }

    #[test]
    fn it_knows_whether_somebody_waits() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        open(&listen_sockets, &[listener("a", "127.0.0.1:0")]);
        let listen_socket = listen_sockets.open.borrow()[0].clone();
        let BoundAddress::Inet(address) = listen_socket.address else { panic!("it is inet") };
        assert!(!listen_socket.has_waiting());
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        assert!(listen_socket.has_waiting());
        listen_socket.accept().expect("a client");
        assert!(!listen_socket.has_waiting());
    }

    #[test]
    fn a_change_that_cannot_be_bound_changes_nothing() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        let first = open(&listen_sockets, &[listener("a", "127.0.0.1:0")]);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = taken.local_addr().expect("an address");
        let refused =
            listen_sockets.prepare(&[listener("b", "127.0.0.2:0"), listener("c", &taken.to_string())]).err();
        assert!(refused.is_some_and(|error| error.to_string().starts_with("listener c cannot listen on")));
        assert_eq!(names(&listen_sockets), ["a"]);
        assert_eq!(open(&listen_sockets, &[listener("a", "127.0.0.1:0")]), first);
    }
}
