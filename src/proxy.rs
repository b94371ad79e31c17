//! The engine `pingora`: Cloudflare's Pingora, unmodified, with hooks that translate and leave decisions to `exchange`.

mod attached;
mod classify;
mod client_connection;
mod connection;
mod context;
mod edits;
mod heads;
mod hooks;
mod peer;
mod stream;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

use http::Version;
use http::header::CONNECTION;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::{sleep, timeout};

use crate::auth::Check;
use crate::exchange::{Admitted, Arrival, Exchange, Failed, Failure, LocalReply, Next};
use crate::lifecycle::Lifecycle;
use crate::telemetry::record::Protocol;
use crate::worker::request_scopes::RequestScopes;
use client_connection::ClientConnection;
pub use client_connection::PingoraEngine;
use context::RequestState;

#[derive(Clone)]
pub struct Hooks {
    scopes: Arc<RequestScopes>,
    lifecycle: Arc<Lifecycle>,
    /// Attempts so far.
    attempts: Arc<AtomicU64>,
}

/// Pingora looks for `Upgrade` alone, which says nothing unless `Connection` names it (RFC 9110, section 7.8).
fn asks_for_upgrade(session: &Session) -> bool {
    let fields = session.req_header().headers.get_all(CONNECTION).iter();
    let mut names = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    session.is_upgrade_req() && names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

impl Hooks {
    /// For one worker.
    pub fn new(scopes: Arc<RequestScopes>, lifecycle: Arc<Lifecycle>) -> Self {
        Self { scopes, lifecycle, attempts: Arc::default() }
    }

    fn begin(&self, session: &Session) -> Option<Exchange> {
        let client = ClientConnection::of(session)?;
        let scope = self.scopes.of(&client.listener_state)?;
        let request = session.req_header();
        let arrival = Arrival {
            head: &**request,
            identity: client.identity.clone(),
            tls_info: client.tls_info.clone(),
            protocol: match request.version {
                Version::HTTP_2 => Protocol::Http2,
                Version::HTTP_11 => Protocol::Http11,
                _ => Protocol::Http10,
            },
            target: request.raw_path(),
            upgrade: asks_for_upgrade(session),
            short_of_memory: self.lifecycle.is_short_of_memory(),
            now: Instant::now(),
            time: SystemTime::now(),
        };
        Some(Exchange::begin(scope, arrival))
    }

    /// Decides a waiting request anew, if the config in force is newer than its own; `true`: it has done so. A reply of
    /// that config is kept for [`Hooks::answer`].
    async fn decides_anew(&self, session: &mut Session, state: &mut RequestState) -> Result<bool, Failure> {
        let in_force =
            ClientConnection::of(session).and_then(|client| self.scopes.of(&client.listener_state));
        let Some(in_force) = in_force else { return Ok(false) };
        let rerouted = state.exchange.reroute(in_force, &**session.req_header(), Instant::now())?;
        let Some(mut admitted) = rerouted else { return Ok(false) };
        if let Admitted::Authenticate(check) = admitted {
            admitted = authenticate(session, state, check).await?;
        }
        match admitted {
            Admitted::Forward => hooks::put_new_path(session, state).map(|()| true),
            Admitted::Reply(reply) => {
                state.reply = Some(reply);
                Err(Failure::Internal)
            }
            Admitted::Authenticate(_) => Err(Failure::Internal),
        }
    }

    /// Whether the client's connection has to be closed after the current response.
    fn has_to_close(&self, session: &Session) -> bool {
        let Some(client) = ClientConnection::of(session) else { return self.lifecycle.is_stopping() };
        self.lifecycle.is_stopping() || client.listener_state.is_retired()
    }

    /// Opens the next attempt, once there is an endpoint for it.
    async fn next_attempt(&self, session: &mut Session, state: &mut RequestState) -> Result<(), Failure> {
        loop {
            match state.exchange.next(Instant::now()) {
                Next::Attempt => return Ok(()),
                Next::Wait(_, _) if self.decides_anew(session, state).await? => {}
                Next::Wait(wait, limit) => tokio::select! {
                    () = wait.over() => {}
                    () = sleep(limit) => {}
                    () = client_gone(session) => return Err(Failure::ClientGone),
                },
                Next::Pause(pause) => tokio::select! {
                    () = sleep(pause) => {}
                    () = client_gone(session) => return Err(Failure::ClientGone),
                },
                Next::Fail(failure) => return Err(failure),
            }
        }
    }

    /// Records the failure, and sends a local reply.
    async fn answer(&self, session: &mut Session, state: &mut RequestState, failed: Failed) {
        if let Some(reply) = state.reply.take() {
            return self.reply(session, state, reply).await;
        }
        let failure = failed.failure;
        state.exchange.failed(failure, failed.detail);
        if failure.has_no_reply() {
            return;
        }
        if !failure.leaves_connection() {
            // A client that was refused may be hostile.
            session.set_keepalive(None);
        }
        let reply = state.exchange.local_reply(failure);
        self.reply(session, state, reply).await;
    }

    /// Sends a local reply, within `timeouts.write`.
    async fn reply(&self, session: &mut Session, state: &mut RequestState, reply: LocalReply) {
        let reply = state.exchange.prepare_reply(reply);
        if !session.is_body_done() {
            close_behind(session);
        } else if self.has_to_close(session) {
            session.set_keepalive(None);
        }
        let Ok(mut response) = ResponseHeader::build(reply.status, Some(reply.headers.len())) else {
            return;
        };
        for (name, value) in reply.headers {
            let _ = response.append_header(name, value);
        }
        let bodiless = session.req_header().method == http::Method::HEAD || reply.body.is_empty();
        let limit = state.exchange.listener().timeouts.write;
        let whole = async {
            heads::send(session, Box::new(response), bodiless).await?;
            match bodiless {
                true => Ok(()),
                false => session.write_response_body(Some(reply.body), true).await,
            }
        };
        // On an error the client has gone.
        let _ = timeout(limit, whole).await;
    }
}

/// Asks who the client is, unless it goes or the request's time is over. Nothing of its body is read meanwhile.
async fn authenticate(
    session: &mut Session,
    state: &mut RequestState,
    check: Box<Check>,
) -> Result<Admitted, Failure> {
    let deadline = state.exchange.deadline();
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let answer = tokio::select! {
        answer = check.answer() => answer,
        () = late => return Err(Failure::RequestDeadline),
        () = client_gone(session) => return Err(Failure::ClientGone),
    };
    let admitted = state.exchange.authenticated(answer)?;
    hooks::put_new_path(session, state)?;
    Ok(admitted)
}

/// Closes the connection after the response to a request whose body is incomplete: the rest would be taken for the next
/// request.
fn close_behind(session: &mut Session) {
    session.set_keepalive(None);
    if let Some(client) = ClientConnection::of(session) {
        client.leaves_unread();
    }
}

/// Returns when the client has reset its connection; never while the request's body is incomplete, because it must not
/// be read here.
async fn client_gone(session: &mut Session) {
    if session.is_body_done() && session.read_body_or_idle(true).await.is_err() {
        return;
    }
    std::future::pending().await
}
