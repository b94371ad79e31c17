//! Deadlines for an endpoint, which are enforced by cutting its connection.
//!
//! Pingora's read timeout is for each read: an endpoint that sends one byte a second never exceeds it. So each
//! connection has a guard task, which shuts the connection down when a deadline has passed; Pingora's read then fails.
//! A request only records what it waits for, which costs no timer of its own.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;

/// When a connection is to be cut.
#[derive(Debug)]
pub struct Deadlines {
    state: Mutex<State>,
    /// Wakes the guard for a deadline that is earlier than the one it sleeps for.
    earlier: Notify,
}

#[derive(Debug)]
struct State {
    /// The request that has the connection now, or had it last.
    number: u64,
    waits: Waits,
    /// When the guard wakes next; `None`: it is about to start, or has ended.
    looks: Option<Instant>,
}

#[derive(Debug)]
enum Waits {
    /// Idle: a request must come before `until`.
    ForRequest { until: Instant },
    Busy {
        /// The deadline of the whole request.
        whole: Option<Instant>,
        step: Option<Step>,
    },
    /// The connection has been cut because of this limit.
    Cut(Limit),
}

/// The current deadline within a request.
#[derive(Debug, Clone, Copy)]
struct Step {
    until: Instant,
    limit: Duration,
    /// Unread bytes of the endpoint extend it: they show that the client is slow, not the endpoint.
    is_excused_by_unread: bool,
}

/// The limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    KeepAlive,
    Whole,
    Step,
}

/// The result of checking the deadlines.
enum Look {
    Again(Instant),
    TooLate(Limit),
    /// Too late, unless unread bytes extend the step.
    PerhapsTooLate(Step),
}

impl Default for Deadlines {
    /// Busy without limits, until the request for which the connection was opened sets its own.
    fn default() -> Self {
        let state = State { number: 0, waits: Waits::Busy { whole: None, step: None }, looks: None };
        Self { state: Mutex::new(state), earlier: Notify::new() }
    }
}

impl Deadlines {
    /// Cuts the connection when a deadline has passed.
    pub async fn guard(connection: Arc<Connection>) {
        let deadlines = &connection.deadlines;
        loop {
            match deadlines.look(&connection) {
                Ok(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = deadlines.earlier.notified() => {}
                },
                Err(limit) => {
                    let mut state = deadlines.state.lock();
                    (state.waits, state.looks) = (Waits::Cut(limit), None);
                    drop(state);
                    return connection.cut();
                }
            }
        }
    }

    /// When to check again, or the limit that was exceeded.
    fn look(&self, connection: &Connection) -> Result<Instant, Limit> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let until = match state.waits.look(now) {
            Look::Again(until) => until,
            Look::TooLate(limit) => return Err(limit),
            Look::PerhapsTooLate(step) if step.is_excused_by_unread && connection.has_unread() => {
                let until = now + step.limit;
                state.waits.set_step(Some(Step { until, ..step }));
                until
            }
            Look::PerhapsTooLate(_) => return Err(Limit::Step),
        };
        state.looks = Some(until);
        Ok(until)
    }

    /// Changes the state, unless the connection has been cut or is in use by a request other than `of`.
    fn change(&self, of: Option<u64>, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let is_other = of.is_some_and(|number| number != state.number);
        if is_other || matches!(state.waits, Waits::Cut(_)) {
            return;
        }
        change(&mut state);
        if state.looks.is_some_and(|looks| state.waits.end().is_some_and(|end| end < looks)) {
            self.earlier.notify_one();
        }
    }
}

/// When to check again if there is no deadline: later than any limit.
const LATER: Duration = Duration::from_secs(24 * 3600);

impl Waits {
    fn end(&self) -> Option<Instant> {
        match self {
            Self::ForRequest { until } => Some(*until),
            Self::Busy { whole, step } => whole.iter().copied().chain(step.map(|step| step.until)).min(),
            Self::Cut(_) => None,
        }
    }

    fn look(&self, now: Instant) -> Look {
        match self {
            Self::ForRequest { until } if *until <= now => Look::TooLate(Limit::KeepAlive),
            Self::Busy { whole: Some(whole), .. } if *whole <= now => Look::TooLate(Limit::Whole),
            Self::Busy { step: Some(step), .. } if step.until <= now => Look::PerhapsTooLate(*step),
            _ => Look::Again(self.end().unwrap_or(now + LATER)),
        }
    }

    fn set_step(&mut self, to: Option<Step>) {
        if let Self::Busy { step, .. } = self {
            *step = to;
        }
    }
}

/// A request's use of a connection. Dropping it replaces the request's deadlines by that of keep-alive.
pub struct Busy {
    connection: Arc<Connection>,
    number: u64,
    /// How long the connection may be idle afterwards.
    keep_alive: Duration,
}

impl Busy {
    /// `whole`: when the request must be over.
    pub fn new(connection: Arc<Connection>, whole: Option<std::time::Instant>, keep_alive: Duration) -> Self {
        let mut number = 0;
        connection.deadlines.change(None, |state| {
            state.number += 1;
            number = state.number;
            state.waits = Waits::Busy { whole: whole.map(Instant::from_std), step: None };
        });
        Self { connection, number, keep_alive }
    }

    /// Sets a limit that arriving bytes do not extend.
    pub fn set_limit(&self, limit: Duration) {
        self.step(limit, false);
    }

    /// Sets a limit that starts anew whenever bytes arrive.
    pub fn set_limit_per_read(&self, limit: Duration) {
        self.step(limit, true);
    }

    fn step(&self, limit: Duration, is_excused_by_unread: bool) {
        let step = Step { until: Instant::now() + limit, limit, is_excused_by_unread };
        self.change(|state| state.waits.set_step(Some(step)));
    }

    /// Bytes have arrived: the step's limit starts anew.
    pub fn restart_limit(&self) {
        self.change(|state| {
            if let Waits::Busy { step: Some(step), .. } = &mut state.waits {
                step.until = Instant::now() + step.limit;
            }
        });
    }

    /// Removes all limits, for a tunnel.
    pub fn clear_limits(&self) {
        self.change(|state| state.waits = Waits::Busy { whole: None, step: None });
    }

    /// The limit because of which the connection was cut during this request.
    pub fn cut_by(&self) -> Option<Limit> {
        match &*self.connection.deadlines.state.lock() {
            State { number, waits: Waits::Cut(limit), .. } if *number == self.number => Some(*limit),
            _ => None,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.connection.deadlines.change(Some(self.number), change);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let until = Instant::now() + self.keep_alive;
        self.change(|state| state.waits = Waits::ForRequest { until });
    }
}
