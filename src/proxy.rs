//! The carrier on Pingora's `ProxyHttp`; policy is not here, but in `exchange`.

mod classify;
mod connection;
mod context;
mod edits;
mod forward;
mod frames;
mod heads;
mod hooks;
mod http2;
mod peer;
mod rest;
mod stream;
mod strict;
mod turns;
mod unread;
mod visit;
mod watch;
mod websocket;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Version;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::timeout;

use crate::endpoint::idle_pool::IdlePool;
use crate::exchange::{Arrival, Exchange, Failure, Next, Tracked};
use crate::lifecycle::Lifecycle;
use crate::listener_state::ListenerState;
use crate::pool::Wait;
use crate::telemetry::record::Protocol;
use crate::worker::request_scopes::RequestScopes;
use connection::Connections;
use context::Carried;
use http2::Terms;
use turns::Turns;
pub use turns::http2_requests;
pub use visit::Proxy;
use visit::Visit;

/// For a client to take an answer of ours, which says little.
const OWN_ANSWER: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Carrier {
    scopes: Arc<RequestScopes>,
    lifecycle: Arc<Lifecycle>,
    connections: Arc<Connections>,
    /// Those to HTTP/2 endpoints.
    multiplexed: Arc<forward::Connections>,
    /// Those to other endpoints that wait for their next request.
    kept: Arc<IdlePool>,
    turns: Arc<Turns>,
}

impl Carrier {
    /// Of one worker: a connection's bytes are moved by the one that has opened it. `kept` are those of its lane.
    pub fn new(scopes: Arc<RequestScopes>, lifecycle: Arc<Lifecycle>, kept: Arc<IdlePool>) -> Self {
        let most = kept.descriptors.for_http2();
        let turns = Arc::new(Turns::new(&scopes.snapshot().config().server, most));
        let (connections, multiplexed) = (Arc::default(), forward::Connections::new(kept.clone()));
        Self { scopes, lifecycle, connections, multiplexed, kept, turns }
    }

    /// How long idle connections of clients that have to go may stay.
    fn drain_idle(&self) -> Duration {
        self.scopes.snapshot().config().server.drain_idle
    }

    /// What HTTP/2 connections of this listener are held to, as the config is now.
    fn terms(&self, listener_state: &ListenerState) -> Option<Terms> {
        let snapshot = self.scopes.snapshot();
        let listener = listener_state.in_force(&snapshot)?;
        Terms::of(listener, snapshot.config().server.drain_idle)
    }

    fn begin(&self, session: &Session, websocket: bool) -> Option<Tracked> {
        let visit = Visit::of(session)?;
        let scope = self.scopes.of(&visit.listener_state)?;
        let request = session.req_header();
        let arrival = Arrival {
            head: &**request,
            identity: visit.identity.clone(),
            secured: visit.secured.clone(),
            protocol: protocol(request.version),
            target: &String::from_utf8_lossy(request.raw_path()),
            upgrade: session.is_upgrade_req() || websocket,
            short_of_memory: self.lifecycle.is_short_of_memory(),
            now: Instant::now(),
            time: SystemTime::now(),
        };
        Some(Tracked::new(Exchange::begin(scope, arrival)))
    }

    /// Decides a request that waits by the config in force, where that is another one than its own; `true`: it is.
    fn decides_anew(
        &self,
        session: &Session,
        carried: &mut Carried,
        protocols: EndpointProtocols,
    ) -> std::result::Result<bool, Failure> {
        let Some(in_force) = Visit::of(session).and_then(|visit| self.scopes.of(&visit.listener_state))
        else {
            return Ok(false);
        };
        let head = &**session.req_header();
        if protocols == EndpointProtocols::Http1Only && in_force.speaks_http2(head) {
            return Ok(false);
        }
        carried.exchange.decide_anew(in_force, head, Instant::now())
    }

    /// Carries an admitted request to where Pingora does not carry it.
    async fn pass_on(&self, session: &mut Session, carried: &mut Carried) -> Result<()> {
        if !carried.websocket {
            return forward::serve(self, session, carried).await;
        }
        if carried.exchange.is_upgrade() {
            return websocket::serve(self, session, carried).await;
        }
        let why = "a WebSocket over HTTP/2 needs endpoints that speak HTTP/1.1";
        self.answer(session, carried, Failure::MethodNotAllowed, Some(why.to_owned())).await;
        Ok(())
    }

    /// The client's connection serves no more requests than those that have arrived.
    fn lets_go(&self, session: &Session) -> bool {
        let Some(visit) = Visit::of(session) else { return self.lifecycle.is_stopping() };
        (self.lifecycle.is_stopping() || visit.listener_state.is_retired()) && !visit.goes_on()
    }

    /// Sends our own answer, and notes why.
    async fn answer(
        &self,
        session: &mut Session,
        carried: &mut Carried,
        failure: Failure,
        detail: Option<String>,
    ) {
        carried.exchange.failed(failure, detail);
        if failure.status().as_u16() == 499 {
            return;
        }
        let answer = carried.exchange.local_reply(failure);
        if !session.is_body_done() {
            close_behind(session);
        } else if !failure.leaves_connection() || self.lets_go(session) {
            // A client that was refused may be hostile.
            session.set_keepalive(None);
        }
        let Ok(mut response) = ResponseHeader::build(answer.status, Some(answer.headers.len())) else {
            return;
        };
        for (name, value) in answer.headers {
            let _ = response.insert_header(name, value);
        }
        let bodiless = session.req_header().method == http::Method::HEAD || answer.body.is_empty();
        let limit = carried.exchange.listener().timeouts.write.min(OWN_ANSWER);
        let whole = async {
            heads::send(session, Box::new(response), bodiless).await?;
            match bodiless {
                true => Ok(()),
                false => session.write_response_body(Some(answer.body.into()), true).await,
            }
        };
        let sent = timeout(limit, whole);
        // A client that does not take the answer has gone; there is nobody to tell.
        if sent.await.is_err()
            && let Some(visit) = Visit::of(session)
        {
            visit.stalls();
        }
    }
}

/// Ends the connection with the answer to a request whose body has not come to its end: what is left of it would be
/// taken for the next request.
fn close_behind(session: &mut Session) {
    session.set_keepalive(None);
    if let Some(visit) = Visit::of(session) {
        visit.leaves_unread();
    }
}

/// What the endpoints may speak that a request goes to, once another config is in force than the one that it was
/// decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndpointProtocols {
    Any,
    /// What carries it cannot change to another one.
    Http1Only,
}

/// Opens the next attempt, once there is an endpoint for it.
async fn next_attempt(
    carrier: &Carrier,
    session: &mut Session,
    carried: &mut Carried,
    protocols: EndpointProtocols,
) -> std::result::Result<(), Failure> {
    loop {
        match carried.exchange.next(Instant::now()) {
            Next::Attempt => return Ok(()),
            Next::Wait(_, _) if carrier.decides_anew(session, carried, protocols)? => {}
            // In a box, so that those who need not wait do not carry the room for it along.
            Next::Wait(wait, limit) => Box::pin(wait_for_endpoint(session, wait, limit)).await?,
            Next::Fail(failure) => return Err(failure),
        }
    }
}

/// Waits until there may be an endpoint, or the time is over.
async fn wait_for_endpoint(
    session: &mut Session,
    wait: Wait,
    limit: Duration,
) -> std::result::Result<(), Failure> {
    tokio::select! {
        _ = wait.until_available(limit) => Ok(()),
        () = client_gone(session) => Err(Failure::ClientGone),
    }
}

/// Returns when the client has reset its connection; never while the rest of a request's body may still come, because
/// that must not be read here.
async fn client_gone(session: &mut Session) {
    if session.is_body_done() && session.read_body_or_idle(true).await.is_err() {
        return;
    }
    std::future::pending().await
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::HTTP_2 => Protocol::Http2,
        Version::HTTP_11 => Protocol::Http11,
        _ => Protocol::Http10,
    }
}
