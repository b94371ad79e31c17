//! One client's connection: admission, TLS, and the requests of HTTP/1.1, one after the other.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::http1::Http1Client;

use crate::client::handshake::{self, HandshakeError};
use crate::client::http2::{self, Shared};
use crate::client::linger::{close_tls, linger};
use crate::client::pipelined::Pipelined;
use crate::client::preface::Preface;
use crate::client::proxy_header::{self, Unidentified};
use crate::config::{Engine, Listener, ProxyProtocol};
use crate::exchange::{ClientIdentity, Failed, Failure, OwnListener, RequestScope};
use crate::forward::{self, Notice};
use crate::http1::head::{Parse, Refusal, RequestMemory, RequestView};
use crate::listener_state::client_permits::ClientPermit;
use crate::listener_state::{ListenerState, TooMany};
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::part::Part;
use crate::telemetry::metrics::listeners::Handshake;
use crate::telemetry::record::ClientAddress;
use crate::tls::{ServerTls, TlsInfo};
use crate::worker::Worker;
use crate::worker::deadline::{Elapsed, Phase, Timer};
use crate::worker::handover::Handover;

/// Room for the rest of a head beside target and fields: method, version and line ends.
const LINE_BYTES: usize = 512;

/// A client's connection and its state.
pub struct Connection {
    pub worker: Rc<Worker>,
    pub stream: Stream,
    pub identity: ClientIdentity,
    /// Of the listener that accepted it.
    listener_state: Arc<ListenerState>,
    /// Bytes that have been read and not used.
    pub input: Buffer,
    /// Memory for a request's head; `None` between requests.
    request_memory: Option<Box<RequestMemory>>,
    pub timer: Timer,
    /// The client has sent FIN.
    pub half_closed: bool,
    requests: u64,
    pipelined: Pipelined,
    /// The TLS session's properties; `None`: no TLS.
    pub tls_info: Option<Arc<TlsInfo>>,
    /// When the connection's last wait ended; the clock is read only then.
    pub now: Instant,
}

/// What happens to the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    KeepAlive,
    /// Close: the client has gone, or has nothing more to be told.
    Close,
    /// Send what is held back of the response, and close.
    Flush,
    /// Close, but let the client read the response first: it may still be sending.
    Linger,
    /// Close with a reset, so that the client does not take the response for complete.
    Abort,
}

/// The result of waiting for the next request.
enum Arrived {
    /// Its head is in `Connection::request_memory`.
    Request,
    Nothing,
    Refused(Refusal),
    /// The client speaks HTTP/2.
    Http2,
}

/// How a connection goes on after its first bytes, or has ended.
enum Disposition {
    Over(After),
    /// The client speaks HTTP/2.
    Http2,
    /// The engine `pingora` serves it.
    Pingora,
}

/// Serves a connection to its end, then drops `occupied`, which counts it.
///
/// All futures but that of an idle HTTP/1.1 connection are boxed, to keep this one small.
#[expect(clippy::manual_async_fn, reason = "an `async fn` has room for each argument twice")]
pub fn serve(mut client: Connection, occupied: impl Sized) -> impl Future<Output = ()> {
    async move {
        let mut client_permit = None;
        let after = 'served: {
            match client.admit().await {
                Ok(permit) => client_permit = permit,
                Err(after) => break 'served after,
            }
            if let Some(tls) = client.tls() {
                match Box::pin(client.secure(tls)).await {
                    Some(secured) => client = secured,
                    None => return,
                }
            }
            match client.dispatch().await {
                Disposition::Over(after) => after,
                Disposition::Http2 => return Box::pin(client.serve_http2()).await,
                Disposition::Pingora => return Box::pin(client.hand_over()).await,
            }
        };
        client.end(after).await;
        drop(client);
        drop((client_permit, occupied));
    }
}

impl Connection {
    pub fn new(
        worker: Rc<Worker>,
        stream: Stream,
        peer: ClientAddress,
        listener_state: Arc<ListenerState>,
    ) -> Self {
        let timer = worker.clock.timer(listener_state.clone());
        Self {
            worker,
            stream,
            identity: ClientIdentity::Peer(peer),
            listener_state,
            input: Buffer::default(),
            request_memory: None,
            timer,
            half_closed: false,
            requests: 0,
            pipelined: Pipelined::default(),
            now: Instant::now(),
            tls_info: None,
        }
    }

    /// The listener's TLS settings.
    fn tls(&self) -> Option<Arc<ServerTls>> {
        self.listener()?.tls.clone()
    }

    /// Identifies the client, and admits it unless it has too many connections already.
    async fn admit(&mut self) -> Result<Option<ClientPermit>, After> {
        let Some(listener) = self.listener() else { return Err(After::Close) };
        if listener.proxy_protocol != ProxyProtocol::Off && !Box::pin(self.identify(&listener)).await {
            return Err(After::Close);
        }
        let Some(scope) = self.in_force() else { return Err(After::Close) };
        match self.listener_state.admit(self.identity.address(), scope.listener()) {
            Ok(permit) => Ok(permit),
            // Boxed to keep the common future small.
            Err(TooMany) => Err(Box::pin(self.refuse_too_many(scope)).await),
        }
    }

    /// Does the TLS handshake; `None`: it has failed, and the connection is over.
    async fn secure(mut self, tls: Arc<ServerTls>) -> Option<Self> {
        let listener = self.listener()?;
        let Self { worker, stream, mut input, timer, .. } = self;
        let limit = listener.timeouts.handshake;
        match handshake::accept(&worker, stream, &mut input, &timer, &tls, limit).await {
            Ok((stream, tls_info)) => {
                let now = Instant::now();
                let done = Handshake::Done { version: tls_info.version, resumed: tls_info.resumed };
                self.listener_state.counters.handshake(done);
                Some(Self { worker, stream, input, timer, now, tls_info: Some(tls_info), ..self })
            }
            Err(HandshakeError::Gone) => None,
            Err(HandshakeError::PlainHttp(stream)) => {
                self = Self { worker, stream, input, timer, ..self };
                self.refuse_plain_http().await;
                None
            }
            Err(HandshakeError::Failed(detail)) => {
                self.listener_state.counters.handshake(Handshake::Failed);
                self.listener_state.turned_away(self.identity.peer(), "tls_handshake", &detail);
                None
            }
            Err(HandshakeError::TimedOut) => {
                let detail = "the handshake was not over within timeouts.handshake";
                self.listener_state.counters.handshake(Handshake::TimedOut);
                self.listener_state.turned_away(self.identity.peer(), "tls_handshake_timeout", detail);
                None
            }
        }
    }

    /// Answers a client that speaks HTTP without TLS on a TLS listener.
    async fn refuse_plain_http(mut self) {
        let Some(scope) = self.in_force() else { return };
        self.now = Instant::now();
        self.take_head(self.input.len());
        let refusal =
            Refusal { failure: Failure::PlainHttp, reason: "HTTP without TLS came to a TLS listener" };
        let after = self.refuse(scope, refusal).await;
        self.end(after).await;
    }

    /// Serves HTTP/1.1, unless another protocol or engine takes over.
    async fn dispatch(&mut self) -> Disposition {
        if self.listener().is_some_and(|listener| listener.engine == Engine::Pingora) {
            return Disposition::Pingora;
        }
        match self.tls_info.as_ref().is_some_and(|info| info.http2) {
            true => Disposition::Http2,
            false => self.requests().await,
        }
    }

    /// Ends the connection.
    async fn end(&mut self, after: After) {
        match after {
            After::Flush => self.flush_and_close().await,
            After::Linger => Box::pin(self.linger()).await,
            After::Abort => self.stream.set_reset_on_close(true),
            After::KeepAlive | After::Close if self.tls_info.is_some() => {
                Box::pin(close_tls(&self.timer, &mut self.stream)).await
            }
            After::KeepAlive | After::Close => {}
        }
        self.release();
    }

    /// Sends the last bytes of the response and the end; lingers if the client has sent more. A close with bytes unread
    /// would send a reset instead, and the bytes that are held back would be lost.
    async fn flush_and_close(&mut self) {
        match self.tls_info {
            Some(_) => Box::pin(close_tls(&self.timer, &mut self.stream)).await,
            None => poll_fn(|context| self.stream.poll_shut_down_write(context)).await,
        }
        if self.stream.has_unread() {
            Box::pin(self.linger()).await;
        }
    }

    /// Serves HTTP/2 to the end of the connection.
    async fn serve_http2(mut self) {
        let ahead = self.take_ahead();
        let Self { worker, stream, identity, listener_state, tls_info, timer, .. } = self;
        http2::serve(Shared::new(worker, identity, listener_state, tls_info, timer), stream, ahead).await;
    }

    /// Has the engine `pingora` serve the connection to its end.
    async fn hand_over(mut self) {
        let ahead = self.take_ahead();
        let Self { worker, stream, identity, listener_state, tls_info, timer, .. } = self;
        let handover = Handover { stream, ahead, identity, listener_state, tls_info };
        if let Some(mut stream) = worker.other_engine.serve(handover).await {
            linger(&worker, &timer, &mut stream).await;
        }
    }

    /// Takes the bytes that have been read, for another protocol or engine.
    fn take_ahead(&mut self) -> Vec<u8> {
        let ahead = self.input.bytes().to_vec();
        self.input.consume(ahead.len());
        self.release();
        ahead
    }

    /// Finds out whose connection it is; `false`: it is refused or over.
    async fn identify(&mut self, listener: &Listener) -> bool {
        let Self { worker, stream, input, timer, .. } = self;
        let peer = self.identity.peer().clone();
        match proxy_header::identify(worker, stream, input, timer, listener, peer).await {
            Ok(identity) => {
                self.identity = identity;
                // The header may have been waited for.
                self.now = Instant::now();
                true
            }
            Err(Unidentified::Gone) => false,
            Err(Unidentified::Refused { reason, detail }) => {
                self.listener_state.turned_away(self.identity.peer(), reason, detail);
                false
            }
        }
    }

    /// Refuses the connection of a client that has too many, before a request is read.
    async fn refuse_too_many(&mut self, scope: Arc<RequestScope>) -> After {
        let failure = Failure::TooManyConnections;
        let reason = "the client has as many connections as limits.connections_per_client allows";
        if scope.listener().tls.is_some() {
            // A response would need a TLS handshake first, which costs too much for a refused client.
            self.listener_state.turned_away(self.identity.peer(), failure.label(), reason);
            return After::Close;
        }
        self.listener_state.counters.refused(failure.label());
        let after = self.refuse(scope, Refusal { failure, reason }).await;
        match self.listener_state.may_linger() {
            Some(_place) if after == After::Linger => {
                self.linger().await;
                After::Close
            }
            _ => After::Close,
        }
    }

    async fn requests(&mut self) -> Disposition {
        loop {
            let Some(listener) = self.listener() else { return Disposition::Over(After::Close) };
            let arrived = self.next(&listener).await;
            // The config may have changed during the wait.
            let Some(scope) = self.in_force() else { return Disposition::Over(After::Close) };
            let after = match arrived {
                Arrived::Nothing => return Disposition::Over(After::Close),
                Arrived::Http2 => return Disposition::Http2,
                // Boxed to keep the future of an idle connection small.
                Arrived::Request => Box::pin(self.serve(scope)).await,
                Arrived::Refused(refusal) => Box::pin(self.refuse(scope, refusal)).await,
            };
            self.requests += 1;
            if after != After::KeepAlive {
                return Disposition::Over(after);
            }
        }
    }

    /// Serves the request whose head has been read.
    async fn serve(&mut self, scope: Arc<RequestScope>) -> After {
        let mut request = Http1Client::new(self);
        let ending = forward::serve(&mut request, scope).await;
        request.finish(ending)
    }

    /// Answers a request whose head was refused.
    async fn refuse(&mut self, scope: Arc<RequestScope>, refusal: Refusal) -> After {
        let mut request = Http1Client::new(self);
        let failed = Failed::new(refusal.failure, refusal.reason.to_owned());
        let ending = forward::refuse(&mut request, scope, failed).await;
        request.finish(ending)
    }

    /// The snapshot in force and the listener; `None`: the listener is not there any more.
    pub fn in_force(&self) -> Option<Arc<RequestScope>> {
        self.worker.scopes.of(&self.listener_state)
    }

    /// The listener's config in force, for waits that must not hold a snapshot.
    fn listener(&self) -> Option<Arc<OwnListener>> {
        self.in_force().map(|scope| scope.listener().clone())
    }

    /// Whether the connection ends with the response to the current request: the process or the listener stops, and
    /// the requests that had arrived by then have been answered.
    pub fn has_to_go(&mut self) -> bool {
        if !self.worker.is_stopping() && !self.listener_state.is_retired() {
            return false;
        }
        let arrived = self.input.len() + self.stream.unread();
        !self.pipelined.goes_on(arrived)
    }

    /// Waits for a request, and reads its head.
    async fn next(&mut self, listener: &Listener) -> Arrived {
        if self.input.is_empty() && !self.first_bytes(listener).await {
            return Arrived::Nothing;
        }
        let mut may_be_http2 = self.requests == 0 && listener.h2c && self.tls_info.is_none();
        let mut partial = false;
        loop {
            let bytes = self.input.bytes();
            let parsed = match may_be_http2.then(|| Preface::of(bytes)) {
                Some(Preface::Whole) => return Arrived::Http2,
                Some(Preface::Part) => Parse::Partial,
                Some(Preface::None) | None => {
                    may_be_http2 = false;
                    let memory = self.request_memory.get_or_insert_with(|| self.worker.memory.request());
                    memory.request.parse(bytes, &listener.limits)
                }
            };
            match parsed {
                Parse::Complete { length } => {
                    if partial {
                        self.timer.clear();
                        self.now = Instant::now();
                    }
                    self.take_head(length);
                    return Arrived::Request;
                }
                Parse::Refused(refusal) => {
                    self.take_head(self.input.len());
                    return Arrived::Refused(refusal);
                }
                Parse::Partial if partial => {}
                Parse::Partial => self.timer.set_from(self.now, listener.timeouts.header),
            }
            partial = true;
            match self.read_more(listener).await {
                Ok(true) => {}
                Ok(false) => return Arrived::Nothing,
                Err(Elapsed) => {
                    self.take_head(self.input.len());
                    let reason = "the header did not arrive in time";
                    return Arrived::Refused(Refusal { failure: Failure::RequestTimeout, reason });
                }
            }
        }
    }

    /// Waits, without a buffer, for the first bytes of a request; `false`: none came in time, or the client has gone.
    async fn first_bytes(&mut self, listener: &Listener) -> bool {
        self.release();
        let (limit, phase) = self.silence_limit(listener);
        if self.half_closed || (phase == Phase::Idle && limit.is_zero() && !self.stream.has_unread()) {
            return false;
        }
        self.timer.set_from(self.now, limit);
        match phase {
            Phase::Idle => self.timer.idle(self.now),
            first => self.timer.enter(first),
        }
        let mut read = self.read_first().await;
        self.timer.enter(Phase::Request);
        if read.is_err() && self.stream.has_unread() {
            // Bytes arrived at the deadline, and the reactor has not reported them yet.
            self.timer.set(listener.timeouts.header);
            read = self.read_first().await;
        }
        self.timer.clear();
        self.now = Instant::now();
        matches!(read, Ok(Ok(read)) if read > 0)
    }

    /// How long the client may send nothing, and the phase in which it then is. A connection that has to go keeps some
    /// of its idle time, so that a last request can be answered with `Connection: close`.
    fn silence_limit(&self, listener: &Listener) -> (Duration, Phase) {
        let timeouts = &listener.timeouts;
        if self.requests == 0 {
            return match self.worker.drain.newcomers_limit() {
                Some(limit) => (limit.min(timeouts.header), Phase::Newcomer),
                None => (timeouts.header, Phase::First),
            };
        }
        let end = self.worker.drain.idle_end(&self.listener_state);
        let left = end.map(|end| end.saturating_duration_since(self.now));
        (left.map_or(timeouts.keep_alive, |left| left.min(timeouts.keep_alive)), Phase::Idle)
    }

    /// Reads once before the deadline; no buffer is held until there is something to read.
    fn read_first(&mut self) -> impl Future<Output = Result<io::Result<usize>, Elapsed>> {
        let Self { worker, stream, input, timer, .. } = self;
        poll_fn(|context| match worker.memory.poll_read(context, stream, input) {
            Poll::Ready(read) => Poll::Ready(Ok(read)),
            Poll::Pending => timer.poll_passed(context).map(|()| Err(Elapsed)),
        })
    }

    /// `false`: the client has gone.
    async fn read_more(&mut self, listener: &Listener) -> Result<bool, Elapsed> {
        if self.input.is_full() {
            let limits = &listener.limits;
            let most = limits.header_bytes + limits.target_bytes + LINE_BYTES;
            self.input.grow((self.input.len() * 2).min(most.max(self.input.len() + LINE_BYTES)));
        }
        Ok(self.read_first().await?.is_ok_and(|read| read > 0))
    }

    fn take_head(&mut self, length: usize) {
        let Self { worker, input, request_memory, .. } = self;
        let memory = request_memory.get_or_insert_with(|| worker.memory.request());
        memory.head.set(input.bytes().part(..length));
        input.consume(length);
    }

    /// Gives unused memory back to the worker: thousands of connections may be idle.
    fn release(&mut self) {
        if let Some(memory) = self.request_memory.take() {
            self.worker.memory.give_back_request(memory);
        }
        if self.input.is_empty() && self.input.has_memory() {
            self.worker.memory.give_back_buffer(self.input.release());
        }
    }

    /// An error if the client has closed its connection. Reads what it sends ahead, as far as there is room.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> io::Result<Notice> {
        if self.input.is_empty() && self.input.has_memory() {
            self.worker.memory.give_back_buffer(self.input.release());
        }
        while !self.half_closed && !self.input.is_full() {
            match self.worker.memory.poll_read(context, &mut self.stream, &mut self.input) {
                Poll::Pending => return Ok(Notice::Wake),
                Poll::Ready(read) => self.half_closed = read? == 0,
            }
        }
        match self.half_closed {
            true if !self.may_half_close() => Err(io::Error::other("the client has closed its connection")),
            true => Ok(Notice::Wake),
            false => Ok(Notice::Ask),
        }
    }

    /// Whether the client has closed its connection, even if bytes that it sent before are unread.
    pub fn has_gone(&self) -> bool {
        let socket = self.stream.socket();
        if self.may_half_close() { socket.is_reset_by_peer() } else { socket.is_closed_by_peer() }
    }

    /// Whether a client that has closed its side of the connection is served on.
    fn may_half_close(&self) -> bool {
        self.listener().is_some_and(|listener| listener.half_close)
    }

    /// Whether another request may come: those that arrived before a FIN are answered, too.
    pub fn may_go_on(&self) -> bool {
        !self.half_closed || !self.input.is_empty()
    }

    /// The current request's head; an empty one where none has been read.
    pub fn view(&self) -> RequestView<'_> {
        static NOTHING: LazyLock<RequestMemory> = LazyLock::new(RequestMemory::default);
        self.request_memory.as_deref().unwrap_or(&NOTHING).view()
    }

    /// The memory for the request's head.
    pub fn request_memory(&mut self) -> &mut RequestMemory {
        self.request_memory.get_or_insert_with(|| self.worker.memory.request())
    }

    /// Ends the connection so that the last response arrives.
    async fn linger(&mut self) {
        linger(&self.worker, &self.timer, &mut self.stream).await;
    }
}
