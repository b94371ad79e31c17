//! The context that Pingora passes to the hooks of a request: the exchange, and the state that the hooks share.

use std::time::Duration;

use pingora_core::{Error, ErrorType, Result};

use super::watch::{Limit, Watch};
use crate::exchange::{Exchange, Failure, LocalReply};

/// Empty at first: Pingora creates the context before it has read a request.
#[derive(Default)]
pub struct Context(Option<Box<RequestState>>);

pub struct RequestState {
    pub exchange: Exchange,
    /// The current attempt's deadlines, until the endpoint has sent its whole response.
    pub watch: Option<Watch>,
    /// Why the request failed, where a hook knows it better than Pingora's error.
    pub failure: Option<Failure>,
    /// What answers the request instead of a failure, where a newer config says so while it waits.
    pub reply: Option<LocalReply>,
    /// The client has been sent the head of a final response.
    pub begun: bool,
}

impl Context {
    pub fn begin(&mut self, exchange: Exchange) {
        self.0 =
            Some(Box::new(RequestState { exchange, watch: None, failure: None, reply: None, begun: false }));
    }

    /// Takes everything out at the end of the request.
    pub fn end(&mut self) -> Option<Box<RequestState>> {
        self.0.take()
    }

    pub fn state(&mut self) -> Result<&mut RequestState> {
        self.0
            .as_deref_mut()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a request without exchange"))
    }
}

impl RequestState {
    /// Remembers a failure, and returns an error for Pingora.
    pub fn fail(&mut self, failure: Failure) -> Box<Error> {
        self.failure = Some(failure);
        Error::new(ErrorType::HTTPStatus(failure.status().as_u16()))
    }

    /// The limit because of which the connection was cut.
    pub fn exceeded(&self) -> Option<Limit> {
        self.watch.as_ref().and_then(Watch::exceeded)
    }

    /// The endpoint has the whole request: sets the limit for the response's head.
    pub fn awaits_response(&self) {
        if let Some((watch, pool)) = self.watch.as_ref().zip(self.exchange.pool_config()) {
            watch.set_limit(
                self.left_of_attempt()
                    .map_or(pool.timeouts.response, |left| left.min(pool.timeouts.response)),
            );
        }
    }

    /// What is left of `retry.attempt_timeout`, which begins with the attempt, or at the end of the request's body.
    fn left_of_attempt(&self) -> Option<Duration> {
        let limit = self.exchange.attempt_timeout()?;
        match self.exchange.has_body() {
            true => Some(limit),
            false => Some(limit.saturating_sub(self.exchange.attempt_began()?.elapsed())),
        }
    }

    /// More of the request's body is to come. An HTTP/2 endpoint that takes nothing of it ends no request in Pingora, so
    /// whoever is waited for has all the time that both may take.
    pub fn awaits_upload(&self) {
        if let Some((watch, pool)) = self.watch.as_ref().zip(self.exchange.pool_config())
            && self.exchange.speaks_http2()
        {
            let client = self.exchange.listener().timeouts.body;
            watch.set_limit(client + pool.timeouts.write + pool.timeouts.response);
        }
    }

    /// The final response's head has arrived: sets the limit for its body, or none for a tunnel.
    pub fn awaits_body(&self, status: u16) {
        match self.watch.as_ref().zip(self.exchange.pool_config()) {
            Some((watch, _)) if status == 101 => watch.clear_limits(),
            Some((watch, pool)) => watch.set_limit_per_read(pool.timeouts.idle),
            None => {}
        }
    }
}
