//! Scripted endpoints: what they answer is a closure, what they saw is kept.

mod exchange;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::request::Head;
use super::wait::{PATIENCE, within};

pub use exchange::Exchange;

/// One request as an endpoint saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which of the endpoint's connections it came on, counted from 0.
    pub connection: usize,
    pub at: Instant,
    pub head: Head,
    /// What was read of its body, at most the first 64 KiB.
    pub body: Vec<u8>,
    /// How many bytes of its body were read.
    pub body_length: usize,
    /// Whether its body was read to its end.
    pub whole: bool,
}

impl Seen {
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    pub fn target(&self) -> &str {
        self.head.word(1)
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

/// What an endpoint has seen until now.
#[derive(Default)]
pub struct State {
    /// Connections accepted.
    pub connections: usize,
    /// Connections that ended without a byte: what a TCP health check looks like.
    pub silent: usize,
    pub requests: Vec<Seen>,
    open: HashMap<usize, Stop>,
}

/// Ends a connection from another thread.
enum Stop {
    Tcp(TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

type Handler = dyn Fn(&mut Exchange) + Send + Sync;

struct Inner {
    handler: Box<Handler>,
    state: Mutex<State>,
    changed: Condvar,
}

/// An endpoint on a port of its own. The port stays its own while it is stopped: nobody else can take it.
pub struct Endpoint {
    pub name: String,
    /// As the config has it.
    address: String,
    inner: Arc<Inner>,
    /// Bound and not listening, for the port's sake; `None` on a unix socket.
    reserved: Option<Socket>,
    listening: Option<Socket>,
}

impl Endpoint {
    /// Answers every request with its name.
    pub fn named(name: &str) -> Endpoint {
        let answer = name.to_owned();
        Endpoint::scripted(name, move |exchange| exchange.answer(&answer))
    }

    /// Does with every request what the script says.
    pub fn scripted(name: &str, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::bound(name, (Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// Like `scripted`, on an address of the caller's choice.
    pub fn bound(
        name: &str,
        address: SocketAddr,
        script: impl Fn(&mut Exchange) + Send + Sync + 'static,
    ) -> Endpoint {
        let reserved = bind(&address.into());
        let address = reserved.local_addr().unwrap().as_socket().unwrap().to_string();
        let mut endpoint = Endpoint {
            name: name.to_owned(),
            address,
            inner: Inner::new(script),
            reserved: Some(reserved),
            listening: None,
        };
        endpoint.start();
        endpoint
    }

    /// Like `scripted`, on a unix socket.
    pub fn unix(path: PathBuf, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        let listener = UnixListener::bind(&path).unwrap();
        let inner = Inner::new(script);
        let accepting = Arc::clone(&inner);
        let socket = Socket::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let stop = Stop::Unix(stream.try_clone().unwrap());
                accepting.accept(super::Stream::Unix(stream), stop);
            }
        });
        let address = format!("unix:{}", path.display());
        Endpoint { name: "unix".into(), address, inner, reserved: None, listening: Some(socket) }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn port(&self) -> u16 {
        self.address.parse::<SocketAddr>().unwrap().port()
    }

    /// This endpoint with a weight, for a config.
    pub fn weight(&self, weight: u16) -> String {
        format!("{{ address: \"{}\", weight: {weight} }}", self.address)
    }

    /// This endpoint as a backup, for a config.
    pub fn backup(&self) -> String {
        format!("{{ address: \"{}\", backup: true }}", self.address)
    }

    /// Listens (again) on its port.
    pub fn start(&mut self) {
        let reserved = self.reserved.as_ref().expect("a TCP endpoint");
        let listener = bind(&reserved.local_addr().unwrap());
        listener.listen(1024).unwrap();
        let accepting: TcpListener = listener.try_clone().unwrap().into();
        self.listening = Some(listener);
        let inner = Arc::clone(&self.inner);
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                stream.set_nodelay(true).unwrap();
                let stop = Stop::Tcp(stream.try_clone().unwrap());
                inner.accept(super::Stream::Tcp(stream), stop);
            }
        });
    }

    /// Refuses connections from now on, and ends those that it has.
    pub fn stop(&mut self) {
        self.refuse();
        let mut state = self.inner.state.lock().unwrap();
        for (_, stop) in state.open.drain() {
            stop.now();
        }
    }

    /// Refuses connections from now on; those that it has go on.
    pub fn refuse(&mut self) {
        if let Some(listener) = self.listening.take() {
            // Wakes the thread in `accept`, whose copy of the socket would otherwise keep it listening.
            let _ = listener.shutdown(Shutdown::Both);
        }
    }

    /// The requests it has seen.
    pub fn requests(&self) -> Vec<Seen> {
        self.inner.state.lock().unwrap().requests.clone()
    }

    /// How many requests it has seen.
    pub fn count(&self) -> usize {
        self.inner.state.lock().unwrap().requests.len()
    }

    /// How many requests with this target it has seen.
    pub fn count_of(&self, target: &str) -> usize {
        let state = self.inner.state.lock().unwrap();
        state.requests.iter().filter(|seen| seen.target() == target).count()
    }

    /// The only request it has seen with this target; waits for it.
    #[track_caller]
    pub fn seen(&self, target: &str) -> Seen {
        self.wait_for(&format!("a request for {target} at {}", self.name), |state| {
            state.requests.iter().any(|seen| seen.target() == target)
        });
        let mut found: Vec<Seen> =
            self.requests().into_iter().filter(|seen| seen.target() == target).collect();
        assert_eq!(found.len(), 1, "requests for {target} at {}", self.name);
        found.remove(0)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.inner.state.lock().unwrap().connections
    }

    /// How many connections ended without a byte.
    pub fn silent(&self) -> usize {
        self.inner.state.lock().unwrap().silent
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.inner.state.lock().unwrap().open.len()
    }

    /// Waits until what it has seen meets the condition.
    #[track_caller]
    pub fn wait_for(&self, what: &str, met: impl Fn(&State) -> bool) {
        self.wait_within(PATIENCE, what, met);
    }

    #[track_caller]
    pub fn wait_within(&self, limit: Duration, what: &str, met: impl Fn(&State) -> bool) {
        let state = self.inner.state.lock().unwrap();
        let (state, waited) =
            self.inner.changed.wait_timeout_while(state, limit, |state| !met(state)).unwrap();
        drop(state);
        assert!(!waited.timed_out(), "not within {limit:?}: {what}");
    }

    /// Waits until it has seen this many requests.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        self.wait_for(&format!("{count} requests at {}", self.name), |state| state.requests.len() >= count);
    }

    /// Waits until no connection is open, for at most `limit`.
    #[track_caller]
    pub fn wait_until_free(&self, limit: Duration) {
        self.wait_within(limit, &format!("no open connection at {}", self.name), |state| {
            state.open.is_empty()
        });
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

/// As a config has it.
impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.address)
    }
}

impl Inner {
    fn new(script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Arc<Inner> {
        Arc::new(Inner {
            handler: Box::new(script),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        })
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn accept(self: &Arc<Inner>, stream: super::Stream, stop: Stop) {
        let connection = self.update(|state| {
            state.connections += 1;
            state.open.insert(state.connections - 1, stop);
            state.connections - 1
        });
        let inner = Arc::clone(self);
        thread::spawn(move || exchange::serve(&inner, connection, stream));
    }
}

impl Stop {
    fn now(&self) {
        let _ = match self {
            Stop::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stop::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// A port that is taken and refuses connections; keep it as long as it should refuse.
pub fn nobody_listens() -> Endpoint {
    let mut endpoint = Endpoint::named("refusing");
    endpoint.stop();
    endpoint
}

/// An address at which a connection is never made: its queue is full, so the kernel drops every SYN.
pub fn silent_network() -> SilentNetwork {
    let listener = bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into());
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    within(PATIENCE, "a full queue", || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let made = socket.connect_timeout(&address, Duration::from_millis(150));
        let full = made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        if made.is_ok() {
            held.push(socket);
        }
        full.then_some(())
    });
    SilentNetwork { address: address.as_socket().unwrap().to_string(), _listener: listener, _held: held }
}

pub struct SilentNetwork {
    pub address: String,
    _listener: Socket,
    _held: Vec<Socket>,
}

impl fmt::Display for SilentNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.address)
    }
}

fn bind(address: &SockAddr) -> Socket {
    let socket = Socket::new(address.domain(), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
