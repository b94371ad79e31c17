//! What Pingora carries along with a request: the exchange, and what this carrier needs to serve it.

use std::sync::Arc;

use pingora_core::{Error, ErrorType, Result};

use super::connection::{Connection, Slot};
use super::upload::Upload;
use super::watch::Watch;
use crate::exchange::{Failure, Tracked};

/// Pingora makes the context before it knows anything of the request.
#[derive(Default)]
pub struct Context(Option<Box<Carried>>);

pub struct Carried {
    pub exchange: Tracked,
    /// It has been admitted before it came here.
    pub admitted: bool,
    /// It asks for a WebSocket over HTTP/2.
    pub websocket: bool,
    /// Where the connection of the attempt under way is found if Pingora has no descriptor of it.
    pub slot: Option<Slot>,
    /// The connection of the attempt under way.
    pub connection: Option<Arc<Connection>>,
    /// Cuts that connection if the endpoint takes too long.
    pub watch: Option<Watch>,
    /// Cuts that connection when the time for the whole request is over.
    pub deadline: Option<Watch>,
    /// Of an HTTP/2 client.
    pub upload: Option<Arc<Upload>>,
    /// Why the request failed, where a hook knows better than Pingora's error.
    pub failure: Option<Failure>,
    /// The client has been sent the beginning of a final response.
    pub begun: bool,
}

impl Context {
    pub fn carry(&mut self, exchange: Tracked, admitted: bool, websocket: bool) {
        self.0 = Some(Box::new(Carried {
            exchange,
            admitted,
            websocket,
            slot: None,
            connection: None,
            watch: None,
            deadline: None,
            upload: Upload::of_task(),
            failure: None,
            begun: false,
        }));
    }

    pub fn carried(&mut self) -> Result<&mut Carried> {
        self.0
            .as_deref_mut()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a request without exchange"))
    }
}

impl Drop for Carried {
    /// A request whose body has stopped coming is dropped where it waits.
    fn drop(&mut self) {
        if self.upload.as_ref().is_some_and(|upload| upload.was_late()) {
            self.exchange.cut(Failure::RequestTimeout, Some("the body did not arrive in time".to_owned()));
        }
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
        self.deadline.as_ref().is_some_and(Watch::has_expired)
    }

    /// Watches the response's body where `idle` is shorter than Pingora's read timeout, which is the longest of those
    /// that may apply (see `peer::build`).
    pub fn body_watch(&self, status: u16) -> Option<Watch> {
        let timeouts = &self.exchange.pool()?.spec().timeouts;
        let shorter = timeouts.idle < timeouts.response || self.exchange.is_upgrade();
        let watched = status != 101 && shorter;
        watched.then(|| self.connection.clone()).flatten().map(|of| Watch::idle(of, timeouts.idle))
    }
}
