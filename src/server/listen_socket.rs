//! The listening sockets of the process, which come and go with the listeners of the config.
//!
//! There is one socket for each address, and all workers accept from it: of several that share an address, one that is
//! closed would take the clients in its queue along.

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

/// How long a listener waits for a socket that is being closed at its address, and how often it looks.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
const CLOSE_LOOK: Duration = Duration::from_millis(5);

/// A filter of a listening socket (classic BPF, over the TCP header): drops SYN, with which clients begin.
const NO_SYN: [SockFilter; 4] = [
    // WorkerLoads the byte of the flags, and drops the segment if SYN is among them.
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, 13),
    SockFilter::new((libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16, 0, 1, 0x02),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX),
];

/// A listening socket; closed when the last worker has let go of it.
pub struct ListenSocket {
    pub address: BoundAddress,
    /// As the config has it.
    written: ListenAddress,
    socket: OwnedFd,
    /// Another one once the listener has been renamed.
    listener_state: ArcSwap<ListenerState>,
    file: Mutex<Option<SocketFile>>,
    /// Neither a service manager has a copy of it, nor what a failed upgrade may have left behind.
    exclusive: AtomicBool,
    /// The successor of an upgrade that is under way has a copy, or the one that serves now.
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

/// All that are open.
pub struct ListenSockets {
    open: watch::Sender<Vec<Arc<ListenSocket>>>,
    /// Taken out, but somebody may still have it.
    closing: Mutex<Vec<Closing>>,
    metrics: Metrics,
    /// Whether copies lie in the service manager's store, and this process looks after them.
    stored: AtomicBool,
}

/// What the sockets will be: everything that can fail has been done, and nothing has changed yet.
#[must_use = "nothing changes until it is put in force"]
pub struct SocketChange {
    next: Vec<NextSocket>,
    /// Doors of listeners that go.
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

    /// Whose clients come in here.
    pub fn listener_state(&self) -> Arc<ListenerState> {
        self.listener_state.load_full()
    }

    pub fn is_unix(&self) -> bool {
        matches!(self.address, BoundAddress::Unix(_))
    }

    /// Whether a client is in the queue. Asking is cheap; to accept where there is none is not, as the kernel makes the
    /// socket before it looks.
    pub fn has_waiting(&self) -> bool {
        let mut queue = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // What cannot be asked is tried.
        !matches!(poll(&mut queue, PollTimeout::ZERO), Ok(0))
    }

    /// Whether a successor accepts from it: whoever is in the queue is that one's.
    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(SeqCst)
    }

    /// Drops the SYN of clients that come from now on: the kernel resets those who come between the last look into the
    /// queue and the close. They try again a second later, and are refused.
    ///
    /// Not where another process may go on with the socket, which would be deaf.
    fn drop_syn(&self) {
        let is_shared = !self.exclusive.load(SeqCst) || self.handed_over.load(SeqCst) || fd_store::may_keep();
        if !is_shared && !self.is_unix() {
            // Without the filter, such a client is reset: nothing worse.
            let _ = SockRef::from(&self.socket).attach_filter(&NO_SYN);
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
    /// The kernel closes it a moment after the last worker has let go of it.
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

    /// What is open, and what becomes of it.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Arc<ListenSocket>>> {
        self.open.subscribe()
    }

    /// Whether no worker is there yet.
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

    /// Binds what is new. A listener whose address has not changed keeps its socket.
    pub fn prepare(&self, listeners: &[Listener]) -> Result<SocketChange, BindError> {
        self.prepare_with(listeners, &mut InheritedSockets::default())
    }

    /// The same; what was open before this process was is not bound but taken.
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

    /// Binds a socket. A worker may still have the one that an earlier reload has closed at that address.
    fn bind(&self, listener: &Listener) -> Result<Bound, BindError> {
        let begun = Instant::now();
        loop {
            match bind::bind(listener) {
                Err(error)
                    if error.is_in_use()
                        && self.is_closing(&listener.address)
                        && begun.elapsed() < CLOSE_LIMIT =>
                {
                    std::thread::sleep(CLOSE_LOOK);
                }
                bound => return bound,
            }
        }
    }

    fn is_closing(&self, address: &ListenAddress) -> bool {
        self.closing.lock().iter().any(|closing| closing.address == *address && closing.may_be_open())
    }

    /// A new state for the listener; the connections of the state that it had count for the new one, too.
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

    /// Puts the change in force; its listeners are in the snapshot by now.
    pub fn put(&self, change: SocketChange) {
        let next: Vec<_> = change.next.into_iter().map(NextSocket::open).collect();
        for listen_socket in self.open.borrow().iter() {
            if !next.iter().any(|next| Arc::ptr_eq(next, listen_socket)) {
                self.closes(listen_socket);
            }
        }
        self.replace(next);
        if self.stored.load(SeqCst) {
            self.store();
        }
    }

    /// The workers serve those who wait in the queues, and close the sockets.
    pub fn close(&self) {
        for listen_socket in self.open.borrow().iter() {
            listen_socket.listener_state().leave();
            self.closes(listen_socket);
        }
        self.replace(Vec::new());
    }

    /// Lets go of those that are open before anybody is told: a socket must be closed by a worker that has just looked
    /// into its queue. Whoever came later would be cut off with it.
    fn replace(&self, next: Vec<Arc<ListenSocket>>) {
        self.open.send_modify(|open| *open = next);
    }

    /// Whether the queues of those that [`ListenSockets::close`] has closed are empty, too.
    pub fn are_closed(&self) -> bool {
        self.open.borrow().is_empty()
            && self.closing.lock().iter().all(|gone| gone.listen_socket.strong_count() == 0)
    }

    /// Nobody finds it any more. It is closed once its queue is empty.
    fn closes(&self, listen_socket: &Arc<ListenSocket>) {
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

    /// A copy of each socket, for a successor.
    pub fn hand_over(&self) -> io::Result<Vec<(Handed, OwnedFd)>> {
        let open = self.open.borrow();
        let copy = |listen_socket: &Arc<ListenSocket>| {
            Ok((listen_socket.handed(), listen_socket.socket.try_clone()?))
        };
        let copies = open.iter().map(copy).collect::<io::Result<_>>()?;
        open.iter().for_each(|listen_socket| listen_socket.handed_over.store(true, SeqCst));
        Ok(copies)
    }

    /// The upgrade has failed, and no process has the copies.
    pub fn retract(&self) {
        self.open.borrow().iter().for_each(|listen_socket| listen_socket.handed_over.store(false, SeqCst));
    }

    /// The upgrade has failed, and some process may have the copies for as long as it lives: the successor may have
    /// been a script, with something behind it. Later upgrades do not change that.
    pub fn mark_shared(&self) {
        self.open.borrow().iter().for_each(|listen_socket| listen_socket.exclusive.store(false, SeqCst));
    }

    /// The sockets are the successor's now, with their files and their copies in the store. Of those that it has
    /// `left`, this process serves the queues; `None`: of all, because it does not say.
    pub fn release(&self, left: Option<&[Handed]>) {
        self.stored.store(false, SeqCst);
        for listen_socket in self.open.borrow().iter() {
            let is_left = left.map(|left| left.contains(&listen_socket.handed()));
            listen_socket.succeeded.store(is_left == Some(false), SeqCst);
            listen_socket.handed_over.store(is_left != Some(true), SeqCst);
        }
        self.for_each_file(|claim| claim.release());
    }

    /// The files of sockets that were handed over are ours now.
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

    /// Has the service manager keep a copy of each socket, of those to come as well.
    pub fn store(&self) {
        self.stored.store(true, SeqCst);
        for listen_socket in self.open.borrow().iter() {
            fd_store::keep(&fd_store::name(&listen_socket.address), listen_socket.socket.as_fd());
        }
    }
}

/// The open socket of each listener that has its address: its own, or that of a listener with another name.
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

/// Names the socket of ours that stands in the way: it is only closed once all others are bound.
fn explained(error: BindError, open: &[Arc<ListenSocket>], listener: &Listener) -> BindError {
    let port = match &listener.address {
        ListenAddress::Inet(address) => address.port(),
        ListenAddress::AnyPort(port) => *port,
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
    /// Tells the clients of listeners that go to go as well. Call this before these are gone from the snapshot.
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

    /// Several listeners may ask for any free port: each has its own.
    #[test]
    fn a_name_decides_between_listeners_of_one_address() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        let first = open(&listen_sockets, &[listener("a", "127.0.0.1:0"), listener("b", "127.0.0.1:0")]);
        let turned = open(&listen_sockets, &[listener("b", "127.0.0.1:0"), listener("a", "127.0.0.1:0")]);
        assert_eq!(turned, [first[1], first[0]]);
        let one = open(&listen_sockets, &[listener("b", "127.0.0.1:0")]);
        assert_eq!(one, [first[1]]);
    }

    /// A worker that is busy closes its socket a moment later than the reload that takes the listener away.
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

    /// Another process that goes on with the socket would be deaf.
    #[test]
    fn a_socket_that_a_successor_may_have_hears_on() {
        let listen_sockets = ListenSockets::new(Metrics::new(SystemTime::now()));
        open(&listen_sockets, &[listener("a", "127.0.0.1:0")]);
        let listen_socket = listen_sockets.open.borrow()[0].clone();
        let BoundAddress::Inet(address) = listen_socket.address else { panic!("it is inet") };
        let (handed, _copy) = listen_sockets.hand_over().expect("a copy").remove(0);
        assert!(handed.exclusive, "no service manager has it");
        listen_sockets.close();
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("it is not deaf");
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

    /// What was behind a script that was killed may live on, whatever becomes of later successors.
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
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("it is not deaf");
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
