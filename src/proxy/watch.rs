//! Deadlines for an endpoint, which end by cutting its connection.
//!
//! Pingora's read timeout is for each read: an endpoint that sends one byte a second is never too late for it. So a
//! connection has a guard, which looks when it may be time, and shuts the connection down if it is; Pingora's read ends
//! then. A request only writes down what it waits for, which costs no timer of its own.

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
    /// The guard has to look earlier than it wanted to.
    earlier: Notify,
}

#[derive(Debug)]
struct State {
    /// The request that has the connection now, or had it last.
    number: u64,
    waits: Waits,
    /// When the guard looks next; `None`: at once, or never again.
    looks: Option<Instant>,
}

#[derive(Debug)]
enum Waits {
    /// For a request, and not longer than until then.
    ForRequest { until: Instant },
    Busy {
        /// For all that the request may take.
        whole: Option<Instant>,
        step: Option<Step>,
    },
    /// It has been cut, because it took longer than that.
    Cut(Limit),
}

/// What of a response is waited for.
#[derive(Debug, Clone, Copy)]
struct Step {
    until: Instant,
    limit: Duration,
    /// What has come and nobody has read yet says that the client is slow, not the endpoint.
    is_excused_by_unread: bool,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    KeepAlive,
    Whole,
    Step,
}

/// What a look has found.
enum Look {
    Again(Instant),
    TooLate(Limit),
    /// Unless there is an excuse.
    PerhapsTooLate(Step),
}

impl Default for Deadlines {
    /// The request for which the connection was opened has not come yet.
    fn default() -> Self {
        let state = State { number: 0, waits: Waits::Busy { whole: None, step: None }, looks: None };
        Self { state: Mutex::new(state), earlier: Notify::new() }
    }
}

impl Deadlines {
    /// Cuts the connection as soon as it is time.
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

    /// When to look again, or what has taken too long.
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

    /// Changes what is waited for, unless the guard has cut the connection.
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

/// Longer than any limit: when to look if nothing is waited for.
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

/// A request's hold of its connection; with it go the deadlines.
pub struct Busy {
    connection: Arc<Connection>,
    number: u64,
    /// How long the connection may be without a request afterwards.
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

    /// What is waited for has so long, whatever comes meanwhile.
    pub fn waits(&self, limit: Duration) {
        self.step(limit, false);
    }

    /// Something has to come within each such time.
    pub fn waits_for_each(&self, limit: Duration) {
        self.step(limit, true);
    }

    fn step(&self, limit: Duration, is_excused_by_unread: bool) {
        let step = Step { until: Instant::now() + limit, limit, is_excused_by_unread };
        self.change(|state| state.waits.set_step(Some(step)));
    }

    /// Something has come: its time starts again.
    pub fn moves(&self) {
        self.change(|state| {
            if let Waits::Busy { step: Some(step), .. } = &mut state.waits {
                step.until = Instant::now() + step.limit;
            }
        });
    }

    /// A tunnel may take any time.
    pub fn is_tunnel(&self) {
        self.change(|state| state.waits = Waits::Busy { whole: None, step: None });
    }

    /// What has taken too long, and so the connection was cut.
    pub fn is_cut(&self) -> Option<Limit> {
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
