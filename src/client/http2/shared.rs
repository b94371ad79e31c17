//! The state that the streams of one connection share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::flood_guard::FloodGuard;
use super::refused::Refused;
use super::sent_frames::SentFrames;
use crate::exchange::{ClientIdentity, RequestScope};
use crate::listener_state::ListenerState;
use crate::tls::TlsInfo;
use crate::worker::Worker;
use crate::worker::deadline::{Phase, Timer};
use crate::worker::http2_permits;

/// A client that lets this many responses in a row time out is taken for stalled.
const STALLED: usize = 4;

/// The same for a client with a small window, which gets fewer permits at a time.
const STALLED_SMALL_WINDOW: usize = 2;

pub struct Shared {
    pub worker: Rc<Worker>,
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub tls_info: Option<Arc<TlsInfo>>,
    /// Of the connection; each stream has its own.
    pub timer: Timer,
    pub received: RefCell<FloodGuard>,
    pub sent: RefCell<SentFrames>,
    pub refused: RefCell<Refused>,
    /// How many streams are being served.
    active: Cell<usize>,
    /// How long the connection may have no stream.
    idle_limit: Cell<Duration>,
    /// How many responses in a row the client has let time out.
    stalled: Cell<usize>,
    stall: Notify,
}

/// Counts one stream for as long as it is served.
pub struct Active(Rc<Shared>);

impl Shared {
    pub fn new(
        worker: Rc<Worker>,
        identity: ClientIdentity,
        listener_state: Arc<ListenerState>,
        tls_info: Option<Arc<TlsInfo>>,
        timer: Timer,
    ) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            worker,
            identity,
            listener_state,
            tls_info,
            timer,
            received: RefCell::new(FloodGuard::new(now)),
            sent: RefCell::default(),
            refused: RefCell::default(),
            active: Cell::default(),
            idle_limit: Cell::default(),
            stalled: Cell::default(),
            stall: Notify::new(),
        })
    }

    /// The snapshot in force and the listener; `None`: the listener is not there any more.
    pub fn scope_in_force(&self) -> Option<Arc<RequestScope>> {
        self.worker.scopes.of(&self.listener_state)
    }

    /// Counts and logs a connection that is ended because of its client's behaviour.
    pub fn turned_away(&self, reason: &'static str, detail: &str) {
        self.listener_state.turned_away(self.identity.peer(), reason, detail);
    }

    /// The initial window of the client's streams, in bytes.
    pub fn window(&self) -> u32 {
        self.received.borrow().window()
    }

    /// Counts a stream as active while the guard lives, and stops the idle time.
    pub fn activate(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        self.timer.clear();
        self.timer.enter(Phase::Request);
        Active(self.clone())
    }

    pub fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    /// Sets how long the connection may have no stream, from now on.
    pub fn set_idle_limit(&self, limit: Duration) {
        self.idle_limit.set(limit);
        if self.is_idle() {
            self.start_idle_time();
        }
    }

    /// Starts the idle time. The connection's task already waits for the timer.
    fn start_idle_time(&self) {
        let now = Instant::now();
        self.timer.set_from(now, self.idle_limit.get());
        self.timer.idle(now);
    }

    /// The client has taken a piece of a response.
    pub fn response_taken(&self) {
        self.stalled.set(0);
    }

    /// The client has let a response time out.
    pub fn response_stalled(&self) {
        let most = match http2_permits::is_small_window(self.window()) {
            true => STALLED_SMALL_WINDOW,
            false => STALLED,
        };
        self.stalled.set(self.stalled.get() + 1);
        if self.stalled.get() >= most {
            self.stall.notify_one();
        }
    }

    /// Returns when the client is stalled: it has let several responses in a row time out.
    pub async fn until_stalled(&self) {
        self.stall.notified().await;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.active.set(shared.active.get() - 1);
        if shared.is_idle() {
            shared.start_idle_time();
        }
    }
}
