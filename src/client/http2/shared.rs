//! What the streams of one connection share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::flood_guard::FloodGuard;
use super::sent_frames::SentFrames;
use crate::exchange::{ClientIdentity, RequestScope};
use crate::listener_state::ListenerState;
use crate::tls::Secured;
use crate::worker::Worker;
use crate::worker::deadline::{Phase, Timer};
use crate::worker::http2_permits;

/// So many responses that are not taken, with nothing between them that is, say that nothing will be.
const STALLED: usize = 4;

/// The same, of a client that has no more of them at a time.
const STALLED_OF_RELUCTANT: usize = 2;

pub struct Shared {
    pub worker: Rc<Worker>,
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub secured: Option<Arc<Secured>>,
    /// Of the connection; its streams have their own.
    pub timer: Timer,
    pub received: RefCell<FloodGuard>,
    pub sent: RefCell<SentFrames>,
    /// Streams that are served.
    active: Cell<usize>,
    /// How long the connection may have no stream.
    idle_limit: Cell<Duration>,
    /// Responses in a row that the client has not taken.
    stalled: Cell<usize>,
    gone: Notify,
}

/// Counts one stream for as long as it is served.
pub struct Active(Rc<Shared>);

impl Shared {
    pub fn new(
        worker: Rc<Worker>,
        identity: ClientIdentity,
        listener_state: Arc<ListenerState>,
        secured: Option<Arc<Secured>>,
        timer: Timer,
    ) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            worker,
            identity,
            listener_state,
            secured,
            timer,
            received: RefCell::new(FloodGuard::new(now)),
            sent: RefCell::default(),
            active: Cell::default(),
            idle_limit: Cell::default(),
            stalled: Cell::default(),
            gone: Notify::new(),
        })
    }

    /// The snapshot in force and the listener; `None`: the listener is not there any more.
    pub fn scope_in_force(&self) -> Option<Arc<RequestScope>> {
        self.worker.scopes.of(&self.listener_state)
    }

    /// Counts and logs a connection that is ended for what its client does.
    pub fn turned_away(&self, reason: &'static str, detail: &str) {
        self.listener_state.turned_away(self.identity.peer(), reason, detail);
    }

    /// What the client takes of each response before it has to be asked, in bytes.
    pub fn window(&self) -> u32 {
        self.received.borrow().window()
    }

    /// A stream begins.
    pub fn activate(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        self.timer.clear();
        self.timer.enter(Phase::Request);
        Active(self.clone())
    }

    pub fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    /// From now on the connection may have no stream for so long.
    pub fn may_idle(&self, limit: Duration) {
        self.idle_limit.set(limit);
        if self.is_idle() {
            self.idles();
        }
    }

    /// The time without streams begins. The connection's task has asked to be woken at its end.
    fn idles(&self) {
        let now = Instant::now();
        self.timer.set_from(now, self.idle_limit.get());
        self.timer.idle(now);
    }

    /// A response has been taken, or a piece of one.
    pub fn takes(&self) {
        self.stalled.set(0);
    }

    /// A response has not been taken in its time.
    pub fn stalls(&self) {
        let is_reluctant = http2_permits::is_reluctant(self.window());
        let most = if is_reluctant { STALLED_OF_RELUCTANT } else { STALLED };
        self.stalled.set(self.stalled.get() + 1);
        if self.stalled.get() >= most {
            self.gone.notify_one();
        }
    }

    /// Returns when several responses in a row have not been taken: the client takes nothing any more.
    pub async fn takes_nothing(&self) {
        self.gone.notified().await;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.active.set(shared.active.get() - 1);
        if shared.is_idle() {
            shared.idles();
        }
    }
}
