//! The hooks that Pingora calls at each stage of a request. Each translates, and leaves decisions to `exchange`.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::attached::attached;
use super::client_connection::ClientConnection;
use super::connection::Connection;
use super::context::{Context, RequestState};
use super::watch::{Limit, Watch};
use super::{Hooks, authenticate, classify, edits, heads, peer};
use crate::client::http2::validate;
use crate::exchange::{Admitted, Circumstances, Edits, Failed, Failure, ResponseAction};
use crate::http1::chunked::may_follow;
use crate::http1::framing::nominated;
use crate::http1::head::RESPONSE_FIELDS_MAX;

#[async_trait]
impl ProxyHttp for Hooks {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// Adds no modules: the default is compression, which nobody has configured.
    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let Some(exchange) = self.begin(session) else {
            return Error::e_explain(ErrorType::InternalError, "a connection of no listener");
        };
        let timeouts = &exchange.listener().timeouts;
        // Set for each request: from the second one on, Pingora would keep idle connections for ever.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(timeouts.keep_alive.as_secs().max(1)));
        }
        // Not earlier: with the first timeout, Pingora starts a thread that wakes a hundred times a second.
        session.set_read_timeout(Some(timeouts.body));
        session.set_write_timeout(Some(timeouts.write));
        session.set_abort_on_close(!exchange.listener().half_close);
        session.set_pipelining_enabled(true);
        ctx.begin(exchange);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let state = ctx.state()?;
        let mut admitted = admit(session, state);
        if let Ok(Admitted::Authenticate(check)) = admitted {
            admitted = authenticate(session, state, check).await.map_err(Failed::from);
        }
        match admitted {
            Ok(Admitted::Forward) => return Ok(false),
            Ok(Admitted::Reply(reply)) => self.reply(session, state, reply).await,
            Ok(Admitted::Authenticate(_)) => self.answer(session, state, Failure::Internal.into()).await,
            Err(failed) => self.answer(session, state, failed).await,
        }
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let state = ctx.state()?;
        if let Err(failure) = self.next_attempt(session, state).await {
            return Err(state.fail(failure));
        }
        state.exchange.request_body_again();
        // Forget the previous attempt.
        state.failure = None;
        state.watch = None;
        let number = self.attempts.fetch_add(1, Relaxed);
        peer::build(&state.exchange, number, Instant::now())
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "no peer for this endpoint"))
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        let state = ctx.state()?;
        state.exchange.connected(reused, Instant::now());
        let connection = digest.and_then(attached::<Connection>);
        state.watch = connection.map(|connection| Watch::new(connection.clone(), state.exchange.deadline()));
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let state = ctx.state()?;
        let client = session.req_header();
        let (http2, version) = (state.exchange.speaks_http2(), client.version);
        let connection =
            client.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let mut edits = Edits::default();
        state.exchange.request_edits(&**client, connection, &mut edits);
        edits::apply_to_request(request, &edits)?;
        let secured = state.exchange.pool().is_some_and(|pool| pool.config().tls.is_some());
        if version != Version::HTTP_2 {
            heads::origin_form(request)?;
        }
        if http2 {
            heads::for_http2(client, request, secured)?;
            return awaits_http2(session, state, request).await;
        }
        if version == Version::HTTP_2 {
            heads::join_cookies(request)?;
        }
        if secured && !state.exchange.is_upgrade() {
            // Pingora does not keep it either: see `peer::build`.
            request.insert_header(header::CONNECTION, "close")?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        let state = ctx.state()?;
        if let Some(body) = body
            && let Err(failure) = state.exchange.request_body(body.len())
        {
            // As the client's failure: of another one, Pingora would wait for the response of an HTTP/2 endpoint.
            return Err(state.fail(failure).into_down());
        }
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            // Pingora would write an empty piece as a last chunk, and then another one.
            *body = None;
        }
        match end_of_stream {
            _ if state.begun => {}
            true => state.awaits_response(),
            false => state.awaits_upload(),
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let state = ctx.state()?;
        let status = response.status.as_u16();
        if response.headers.len() > RESPONSE_FIELDS_MAX {
            return Err(state.fail(Failure::BadResponse).into_up());
        }
        if response.status.is_informational() && status != 101 {
            if let Some(watch) = &state.watch {
                watch.restart_limit();
            }
            return Ok(());
        }
        if status == 101 {
            let key = session.req_header().headers.get(header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes());
            let fields: Vec<_> = heads::fields(&response.headers).collect();
            let switched = state.exchange.check_switch(key, fields.iter().copied());
            switched.map_err(|_| state.fail(Failure::BadResponse).into_up())?;
        }
        let circumstances = circumstances(session, state, false);
        state.awaits_body(status);
        let after = response.headers.get(header::RETRY_AFTER).map(HeaderValue::as_bytes);
        match state.exchange.response_head(status, after, circumstances, Instant::now()) {
            ResponseAction::Forward => Ok(()),
            ResponseAction::Refuse(failure) => Err(state.fail(failure).into_up()),
            ResponseAction::Retry => {
                let mut error = Error::explain(ErrorType::HTTPStatus(status), "this status is retried");
                error.set_retry(true);
                Err(error.into_up())
            }
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let state = ctx.state()?;
        let status = response.status.as_u16();
        // A final response to an unfinished request ends the connection; an interim one, `100 Continue`, must not.
        let interim = response.status.is_informational() && status != 101;
        session.set_close_on_response_before_downstream_finish(!interim);
        if !interim {
            state.exchange.capture_response(|| heads::fields(&response.headers));
        }
        let mut edits = Edits::default();
        state.exchange.response_edits(status, || heads::fields(&response.headers), &mut edits);
        edits::apply_to_response(response, &edits)?;
        heads::own_framing(response)?;
        if interim {
            return Ok(());
        }
        state.begun = true;
        state.exchange.grpc_status(heads::fields(&response.headers));
        state.exchange.release_snapshot();
        if status == 101 {
            // Pingora's limit for a silent tunnel, too.
            session.set_read_timeout(state.exchange.pool_config().map(|pool| pool.timeouts.tunnel));
        }
        if session.req_header().version < Version::HTTP_11
            && response.headers.contains_key(header::TRANSFER_ENCODING)
        {
            // An HTTP/1.0 client knows no chunks: the end of the connection ends the body.
            response.remove_header(&header::TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        if self.has_to_close(session) {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let state = ctx.state()?;
        if let Some(body) = body {
            state.exchange.response_body(body.len());
        }
        if end_of_stream {
            if state.exceeded() == Some(Limit::Whole) {
                // A response without a length, cut by our deadline, would look complete.
                return Err(state.fail(Failure::RequestDeadline).into_up());
            }
            // The endpoint has sent everything; from now on only the client is waited for.
            state.watch = None;
        } else if let Some(watch) = &state.watch {
            watch.restart_limit();
        }
        Ok(None)
    }

    /// Called for endpoints and clients of HTTP/2; others have no trailers here.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        ctx.state()?.exchange.grpc_status(heads::fields(trailers));
        let dropped: Vec<_> =
            trailers.keys().filter(|name| !may_follow(name.as_str().as_bytes())).cloned().collect();
        dropped.iter().for_each(|name| drop(trailers.remove(name)));
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let Ok(state) = ctx.state() else { return error };
        let failure = match state.exchange.is_late(Instant::now()) {
            true => Failure::RequestDeadline,
            false => classify::connect_error(&error),
        };
        attempt_failed(session, state, &mut error, failure, false);
        state.failure = Some(failure);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let Ok(state) = ctx.state() else { return error };
        // A status that is retried has been counted in `upstream_response_filter`.
        if state.failure.is_none() && matches!(error.etype, ErrorType::HTTPStatus(_)) && error.retry() {
            return error;
        }
        let exceeded = state.exceeded();
        let late = (exceeded == Some(Limit::Whole)).then_some(Failure::RequestDeadline);
        let classified = || classify::error(&error, state.begun, exceeded == Some(Limit::Step));
        let failure = state.failure.or(late).unwrap_or_else(classified);
        let stale = reused && classify::says_nothing(&error);
        attempt_failed(session, state, &mut error, failure, stale);
        state.watch = None;
        state.failure = (!error.retry()).then_some(failure);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let none = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let Ok(state) = ctx.state() else { return none };
        let failure = state.failure.take().unwrap_or_else(|| classify::error(error, state.begun, false));
        let detail = classify::detail(error);
        if state.begun
            || session.response_written().is_some_and(|response| !response.status.is_informational())
        {
            state.exchange.failed(failure, detail);
            return none;
        }
        // Pingora closes the connection after it, which the response must announce.
        session.set_keepalive(None);
        self.answer(session, state, Failed::new(failure, detail)).await;
        FailToProxy { error_code: failure.status().as_u16(), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map(|response| response.status.as_u16());
        // A client that left after `100 Continue` has had no response.
        let status = status.filter(|status| *status == 101 || *status >= 200);
        let bytes_out = session.body_bytes_sent() as u64;
        if let Some(mut state) = ctx.end() {
            state.exchange.finish(status, bytes_out, Instant::now());
        }
        if let Some(client) = ClientConnection::of(session) {
            client.set_idle(true);
        }
    }
}

/// Does for a request to an HTTP/2 endpoint what such an endpoint, or Pingora, does not.
async fn awaits_http2(
    session: &mut Session,
    state: &mut RequestState,
    request: &mut RequestHeader,
) -> Result<()> {
    // No filter is called for a body that has ended with its head, or of which nothing comes.
    match session.is_body_done() {
        true => state.awaits_response(),
        false => state.awaits_upload(),
    }
    let expects = request.remove_header(&header::EXPECT).is_some();
    if expects && session.req_header().version == Version::HTTP_11 && state.exchange.is_first_attempt() {
        session.as_downstream_mut().write_continue_response().await.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// Checks a request before an endpoint is chosen.
fn admit(session: &mut Session, state: &mut RequestState) -> std::result::Result<Admitted, Failed> {
    let request = session.req_header();
    if request.method == Method::CONNECT {
        return Err(Failure::MethodNotAllowed.into());
    }
    let refused = |reason: &str| Failed::new(Failure::BadRequest, reason.to_owned());
    let mut connection = request.headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    connection.try_fold(0, nominated).and_then(|_| validate::check(request)).map_err(refused)?;
    if let Some(path) = state.exchange.normalize_path(&**request)? {
        heads::set_path(session.req_header_mut(), &path)
            .map_err(|_| refused("its path has no normal form"))?;
    }
    let request = session.req_header();
    let fields = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let admitted = state.exchange.admit(&**request, fields)?;
    put_new_path(session, state)?;
    Ok(admitted)
}

/// Puts the path there that the endpoint gets, if the route rewrites it.
pub(super) fn put_new_path(
    session: &mut Session,
    state: &mut RequestState,
) -> std::result::Result<(), Failure> {
    match state.exchange.take_new_path() {
        Some(path) => heads::set_path(session.req_header_mut(), &path).map_err(|_| Failure::BadRequest),
        None => Ok(()),
    }
}

/// Tells the exchange of a failed attempt, and Pingora whether another one may follow.
fn attempt_failed(
    session: &Session,
    state: &mut RequestState,
    error: &mut Error,
    failure: Failure,
    stale: bool,
) {
    let circumstances = circumstances(session, state, stale);
    let detail = classify::detail(error);
    let again = state.exchange.attempt_failed(failure, detail.as_deref(), circumstances, Instant::now());
    error.set_retry(again);
}

fn circumstances(session: &Session, state: &RequestState, reused: bool) -> Circumstances {
    Circumstances {
        replayable: !session.as_ref().retry_buffer_truncated(),
        reused,
        response_begun: state.begun,
    }
}
