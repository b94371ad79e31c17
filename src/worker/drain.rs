//! A worker's part in a drain: which of its connections end, and when.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::listener_state::ListenerState;
use crate::worker::deadline::{Clock, Phase};

pub struct Drain {
    clock: Rc<Clock>,
    /// `server.drain_idle`: how long idle connections stay open in a drain, so that the response to a last request can
    /// announce the close.
    idle_limit: Duration,
    /// When the listeners were closed.
    begun: Cell<Option<Instant>>,
    /// The drain time is over.
    closes_tunnels: Cell<bool>,
}

impl Drain {
    pub fn new(clock: Rc<Clock>, idle_limit: Duration) -> Self {
        Self { clock, idle_limit, begun: Cell::default(), closes_tunnels: Cell::default() }
    }

    /// The listeners are closed. Ends idle client connections after the idle limit; the others end after their
    /// response, which announces it.
    pub async fn begin(&self) {
        self.begun.set(Some(Instant::now()));
        tokio::time::sleep(self.idle_limit).await;
        self.end_idle();
    }

    pub fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// Ends the connections without a request under way.
    fn end_idle(&self) {
        self.clock.end(Phase::Idle, |_| true);
        self.clock.end(Phase::First, |_| true);
    }

    /// After the idle limit, ends the idle connections of the listeners that were retired at least that long ago. A
    /// client that has not had a request yet may still send one.
    pub async fn end_retired(&self) {
        tokio::time::sleep(self.idle_limit).await;
        let is_over = |at: Instant| at.elapsed() >= self.idle_limit;
        self.clock.end(Phase::Idle, |listener_state| listener_state.retired_at().is_some_and(is_over));
    }

    /// Ends idle connections, and tunnels whose protocol can announce it.
    pub fn close_tunnels(&self) {
        self.closes_tunnels.set(true);
        self.end_idle();
        self.clock.end(Phase::Newcomer, |_| true);
        self.clock.end(Phase::Tunnel, |_| true);
    }

    /// Whether tunnels have to end.
    pub fn closes_tunnels(&self) -> bool {
        self.closes_tunnels.get()
    }

    /// How long idle client connections that have to be closed may stay open.
    pub fn idle_limit(&self) -> Duration {
        self.idle_limit
    }

    /// When idle connections of this listener are closed, if the process or the listener is being drained.
    pub fn idle_end(&self, listener_state: &ListenerState) -> Option<Instant> {
        let begun = self.begun.get().into_iter().chain(listener_state.retired_at()).min()?;
        begun.checked_add(self.idle_limit)
    }

    /// How long a newly accepted client may stay silent, if the listeners are closed: it has waited in a socket's
    /// queue, and gets the time that the others had when the drain began.
    pub fn newcomers_limit(&self) -> Option<Duration> {
        self.begun.get().map(|_| self.idle_limit)
    }
}
