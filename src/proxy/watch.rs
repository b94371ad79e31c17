//! Deadlines for an attempt, which are enforced by cutting its connection.
//!
//! Pingora's read timeout is for each read: an endpoint that sends one byte a second never exceeds it. So each attempt
//! has a task, which shuts the connection down when a deadline has passed; Pingora's read then fails.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;

/// The deadlines of an attempt, in force until this is dropped.
pub struct Watch {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    connection: Connection,
    deadlines: Mutex<Deadlines>,
    /// A deadline was set, which may be earlier than the one that the task waits for.
    set: Notify,
}

#[derive(Default)]
struct Deadlines {
    /// That of the whole request.
    whole: Option<Instant>,
    step: Option<Step>,
    /// The connection has been cut because of this limit.
    exceeded: Option<Limit>,
}

/// The current deadline within a request.
struct Step {
    until: Instant,
    limit: Duration,
    /// Unread bytes of the endpoint extend it: they show that the client is slow, not the endpoint.
    is_excused_by_unread: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Whole,
    Step,
}

impl Watch {
    /// `whole`: when the request must be over.
    pub fn new(connection: Connection, whole: Option<std::time::Instant>) -> Self {
        let deadlines = Deadlines { whole: whole.map(Instant::from_std), ..Deadlines::default() };
        let shared =
            Arc::new(Shared { connection, deadlines: Mutex::new(deadlines), set: Notify::default() });
        let task = tokio::spawn(enforce(shared.clone())).abort_handle();
        Self { shared, task }
    }

    /// Sets a limit that arriving bytes do not extend.
    pub fn set_limit(&self, limit: Duration) {
        self.set_step(limit, false);
    }

    /// Sets a limit that starts anew whenever bytes arrive.
    pub fn set_limit_per_read(&self, limit: Duration) {
        self.set_step(limit, true);
    }

    fn set_step(&self, limit: Duration, is_excused_by_unread: bool) {
        let step = Step { until: Instant::now() + limit, limit, is_excused_by_unread };
        self.shared.deadlines.lock().step = Some(step);
        self.shared.set.notify_one();
    }

    /// Bytes have arrived: the step's limit starts anew.
    pub fn restart_limit(&self) {
        if let Some(step) = &mut self.shared.deadlines.lock().step {
            step.until = Instant::now() + step.limit;
        }
    }

    /// Removes all limits, for a tunnel.
    pub fn clear_limits(&self) {
        let deadlines = &mut *self.shared.deadlines.lock();
        (deadlines.whole, deadlines.step) = (None, None);
    }

    /// The limit because of which the connection was cut.
    pub fn exceeded(&self) -> Option<Limit> {
        self.shared.deadlines.lock().exceeded
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When to look again if there is no deadline: later than any limit.
const LATER: Duration = Duration::from_secs(24 * 3600);

/// Cuts the connection when a deadline has passed.
async fn enforce(shared: Arc<Shared>) {
    while let Some(next) = shared.look(Instant::now()) {
        tokio::select! {
            () = sleep_until(next) => {}
            () = shared.set.notified() => {}
        }
    }
    shared.connection.cut();
}

impl Shared {
    /// When to look again; `None`: a deadline has passed.
    fn look(&self, now: Instant) -> Option<Instant> {
        let deadlines = &mut *self.deadlines.lock();
        deadlines.exceeded = deadlines.passed(now, || self.connection.has_unread());
        match deadlines.exceeded {
            Some(_) => None,
            None => Some(deadlines.earliest().unwrap_or(now + LATER)),
        }
    }
}

impl Deadlines {
    fn passed(&mut self, now: Instant, has_unread: impl FnOnce() -> bool) -> Option<Limit> {
        if self.whole.is_some_and(|whole| whole <= now) {
            return Some(Limit::Whole);
        }
        let step = self.step.as_mut().filter(|step| step.until <= now)?;
        if step.is_excused_by_unread && has_unread() {
            step.until = now + step.limit;
            return None;
        }
        Some(Limit::Step)
    }

    fn earliest(&self) -> Option<Instant> {
        let step = self.step.as_ref().map(|step| step.until);
        self.whole.into_iter().chain(step).min()
    }
}
