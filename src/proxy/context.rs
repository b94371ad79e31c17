//! What Pingora carries along with a request: the exchange, and what this carrier needs to serve it.

use pingora_core::{Error, ErrorType, Result};

use super::connection::Slot;
use super::watch::{Busy, Limit};
use crate::exchange::{Failure, Tracked};

/// Pingora makes the context before it knows anything of the request.
#[derive(Default)]
pub struct Context(Option<Box<Carried>>);

pub struct Carried {
    pub exchange: Tracked,
    /// Where the connection of the attempt under way is found if Pingora has no descriptor of it.
    pub slot: Option<Slot>,
    /// The connection of the attempt under way, until the endpoint has done its part.
    pub busy: Option<Busy>,
    /// Why the request failed, where a hook knows better than Pingora's error.
    pub failure: Option<Failure>,
    /// The client has been sent the beginning of a final response.
    pub begun: bool,
}

impl Context {
    pub fn carry(&mut self, exchange: Tracked) {
        self.0 = Some(Box::new(Carried { exchange, slot: None, busy: None, failure: None, begun: false }));
    }

    /// The request is over, and what it held is given back.
    pub fn end(&mut self) -> Option<Box<Carried>> {
        self.0.take()
    }

    pub fn carried(&mut self) -> Result<&mut Carried> {
        self.0
            .as_deref_mut()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a request without exchange"))
    }
}

impl Carried {
    /// Turns a failure into the error that Pingora wants, and remembers it.
    pub fn fail(&mut self, failure: Failure) -> Box<Error> {
        self.failure = Some(failure);
        Error::new(ErrorType::HTTPStatus(failure.status().as_u16()))
    }

    /// The time for the whole request is over, and so the connection was cut.
    pub fn is_late(&self) -> bool {
        self.is_cut() == Some(Limit::Whole)
    }

    /// What has taken too long, and so the connection was cut.
    pub fn is_cut(&self) -> Option<Limit> {
        self.busy.as_ref().and_then(Busy::is_cut)
    }

    /// The whole request is with the endpoint.
    pub fn awaits_response(&self) {
        if let Some((busy, pool)) = self.busy.as_ref().zip(self.exchange.settings()) {
            busy.waits(pool.timeouts.response);
        }
    }

    /// The head of the final response has come.
    pub fn awaits_body(&self, status: u16) {
        match self.busy.as_ref().zip(self.exchange.settings()) {
            Some((busy, _)) if status == 101 => busy.is_tunnel(),
            Some((busy, pool)) => busy.waits_for_each(pool.timeouts.idle),
            None => {}
        }
    }
}
