//! The connections of HTTP/2 clients (RFC 9113): their settings, when each request begins, and when they are closed.

mod drain_body;
mod flood_guard;
mod head_filter;
mod head_judge;
mod hpack;
mod io;
mod piece;
mod refused;
mod request;
mod sent_frames;
mod shared;
mod unserved;
pub mod validate;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use self::head_judge::{Fault, Limits};
use self::io::Io;
use self::piece::Piece;
use super::linger::close_tls;
use crate::config::Listener;
use crate::exchange::{Failed, Failure};
use crate::forward;
use crate::message::RequestFields;
use crate::net::stream::Stream;
use crate::worker::http2_permits::{ConnectionPermits, is_small_window};
use request::Http2Client;
pub use shared::Shared;

/// h2's budget for the overhead of unread DATA frames smaller than 256 bytes, for one connection: enough for five-byte
/// messages that fill a window of 64 KiB. By default h2 ends such a connection much sooner.
pub const SMALL_MESSAGES: usize = 64 * 1024 / 5 * 256;

/// Bytes of one response that are buffered for a client that does not read it.
const SEND_BUFFER: usize = 64 * 1024;

/// Malformed requests that one connection may send; with one more it is closed.
const MALFORMED: usize = 32;

/// The same for requests that are refused because too many wait.
const REFUSED: usize = 256;

/// A client has at least this long to react to GOAWAY.
const GOAWAY_GRACE: Duration = Duration::from_secs(1);

/// Settings and limits of a listener's HTTP/2 connections.
struct ConnectionConfig {
    builder: Builder,
    /// For the preface and the client's first SETTINGS, and for each request to begin.
    header: Duration,
    /// How long the connection may have no request.
    idle: Duration,
    /// The same, after GOAWAY.
    idle_after_goaway: Duration,
    /// When GOAWAY is sent, after the connection began; `None`: never.
    age: Option<Duration>,
    limits: Limits,
}

impl ConnectionConfig {
    /// `None`: the listener speaks no HTTP/2.
    /// More than `most_requests` of one connection are not served at a time, so more are not advertised.
    fn of(listener: &Listener, drain_idle: Duration, most_requests: usize) -> Option<Self> {
        let http2 = listener.http2?;
        let max_streams = u32::try_from(most_requests).unwrap_or(u32::MAX).min(http2.max_streams);
        let mut builder = Builder::new();
        builder
            .enable_connect_protocol()
            .max_concurrent_streams(max_streams)
            .initial_window_size(http2.stream_window)
            .initial_connection_window_size(http2.connection_window)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_MESSAGES)
            .max_header_list_size(u32::try_from(listener.limits.header_bytes).unwrap_or(u32::MAX));
        let idle = listener.timeouts.keep_alive;
        let idle_after_goaway = idle.min(drain_idle.max(GOAWAY_GRACE));
        Some(Self {
            builder,
            header: listener.timeouts.header,
            idle,
            idle_after_goaway,
            age: listener.timeouts.age,
            limits: Limits { bytes: listener.limits.header_bytes, fields: listener.limits.header_count },
        })
    }
}

/// How many more abusive requests of each kind are tolerated on a connection.
struct AbuseBudget {
    malformed: usize,
    refused: usize,
}

/// Why a connection is ended: the metric's reason, and a detail for the log.
type Abuse = (&'static str, &'static str);

impl AbuseBudget {
    fn spend(left: &mut usize, abuse: Abuse) -> Result<(), Abuse> {
        *left = left.checked_sub(1).ok_or(abuse)?;
        Ok(())
    }
}

/// What a connection's task acts on next.
enum Event {
    Abusive(Abuse),
    /// GOAWAY has to be sent.
    GoAway,
    /// The connection has had no request for too long.
    Idle,
    /// The client does not read its responses.
    Stalled,
    Over(Option<h2::Error>),
}

/// Serves a connection to its end, which its client is told; `ahead` holds the bytes that have been read from it.
pub async fn serve(shared: Rc<Shared>, stream: Stream, ahead: Vec<u8>) {
    let Some(config) = config(&shared) else { return };
    let stream = Rc::new(RefCell::new(stream));
    let io = Io::new(stream.clone(), ahead, shared.clone(), config.limits);
    serve_over(&shared, io, config).await;
    if let Some(stream) = Rc::into_inner(stream)
        && shared.tls_info.is_some()
    {
        close_tls(&shared.timer, &mut stream.into_inner()).await;
    }
}

async fn serve_over(shared: &Rc<Shared>, io: Io, config: ConnectionConfig) {
    shared.set_idle_limit(config.idle);
    let handshake = shared.timer.within(config.header, config.builder.handshake(io));
    match handshake.await {
        Ok(Ok(connection)) => Serving::new(shared.clone(), connection, config).run().await,
        Ok(Err(error)) => unserved::connection(shared, &error),
        Err(_) => {}
    }
}

fn config(shared: &Shared) -> Option<ConnectionConfig> {
    let scope = shared.scope_in_force()?;
    let worker = &shared.worker;
    ConnectionConfig::of(
        scope.listener(),
        worker.drain.idle_limit(),
        worker.http2_permits.most_of_connection(),
    )
}

/// A connection that is served.
struct Serving {
    shared: Rc<Shared>,
    connection: Connection<Io, Piece>,
    config: ConnectionConfig,
    permits: Rc<ConnectionPermits>,
    abuse_budget: AbuseBudget,
    /// GOAWAY has been sent.
    goaway_sent: bool,
}

impl Serving {
    fn new(shared: Rc<Shared>, connection: Connection<Io, Piece>, config: ConnectionConfig) -> Self {
        let counters = shared.listener_state.counters.clone();
        let permits = ConnectionPermits::new(&shared.worker.http2_permits, counters);
        let abuse_budget = AbuseBudget { malformed: MALFORMED, refused: REFUSED };
        Self { shared, connection, config, permits, abuse_budget, goaway_sent: false }
    }

    /// Serves the connection to its end. When the listener is leaving, or the connection is too old, it sends GOAWAY
    /// and finishes the open streams (RFC 9113, section 6.8).
    async fn run(mut self) {
        self.shared.set_idle_limit(self.config.idle);
        let shared = self.shared.clone();
        let mut goaway_due = pin!(goaway_due(shared.listener_state.leaving(), self.config.age));
        let mut until_stalled = pin!(shared.until_stalled());
        loop {
            let next =
                poll_fn(|context| self.poll_next(context, goaway_due.as_mut(), until_stalled.as_mut()));
            match next.await {
                Event::Abusive((reason, detail)) => {
                    self.shared.turned_away(reason, detail);
                    return dismiss(self.connection).await;
                }
                Event::GoAway => self.send_goaway(self.config.idle_after_goaway),
                // A request may be on its way: after GOAWAY the client knows that it can send it elsewhere.
                Event::Idle if !self.goaway_sent => self.send_goaway(GOAWAY_GRACE),
                Event::Idle => return,
                Event::Stalled => {
                    return self
                        .shared
                        .turned_away("http2_stalled", "several responses in a row were not taken");
                }
                Event::Over(error) => {
                    return error.iter().for_each(|error| unserved::connection(&self.shared, error));
                }
            }
        }
    }

    /// Sends GOAWAY; from now on the connection may be `idle` for so long.
    fn send_goaway(&mut self, idle: Duration) {
        self.connection.graceful_shutdown();
        self.shared.set_idle_limit(idle);
        self.goaway_sent = true;
    }

    /// Takes requests until something else is to be done.
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        goaway_due: Pin<&mut impl Future<Output = ()>>,
        until_stalled: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Event> {
        if !self.goaway_sent && goaway_due.poll(context).is_ready() {
            return Poll::Ready(Event::GoAway);
        }
        while let Poll::Ready(accepted) = self.connection.poll_accept(context) {
            let (request, response) = match accepted {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => return Poll::Ready(Event::Over(Some(error))),
                None => return Poll::Ready(Event::Over(None)),
            };
            if let Err(abuse) = self.take(request, response) {
                return Poll::Ready(Event::Abusive(abuse));
            }
        }
        if self.shared.timer.poll_passed(context).is_ready() && self.shared.is_idle() {
            return Poll::Ready(Event::Idle);
        }
        until_stalled.poll(context).map(|()| Event::Stalled)
    }

    /// Starts or refuses a request; an error if the client has sent too many bad ones.
    fn take(&mut self, request: Request<RecvStream>, response: SendResponse<Piece>) -> Result<(), Abuse> {
        let stream = response.stream_id().as_u32();
        self.shared.received.borrow_mut().accepted(stream);
        let client = Http2Client::new(&self.shared, request, response);
        let fault = self.shared.refused.borrow_mut().take(stream);
        let refused = fault.map(|Fault { failure, reason }| Failed::new(failure, reason.to_owned()));
        if let Some(failed) = refused.or_else(|| client.judge_request().err()) {
            let is_abuse = matches!(failed.failure, Failure::BadRequest | Failure::HeadersTooLarge);
            self.refuse(client, failed);
            if is_abuse {
                let detail = "too many malformed requests";
                return AbuseBudget::spend(&mut self.abuse_budget.malformed, ("http2_malformed", detail));
            }
            return Ok(());
        }
        if self.begin(client) {
            return Ok(());
        }
        let detail = "too many requests beyond those that may wait";
        AbuseBudget::spend(&mut self.abuse_budget.refused, ("http2_flood", detail))
    }

    /// Answers a request that is refused.
    fn refuse(&self, client: Http2Client, failed: Failed) {
        let active = self.shared.activate();
        spawn_local(async move {
            answer_refused(client, failed).await;
            drop(active);
        });
    }

    /// Serves a request as soon as it gets a permit; `false`: its stream is refused, because too many wait.
    fn begin(&self, mut client: Http2Client) -> bool {
        let active = self.shared.activate();
        let window = self.shared.window();
        if let Some(permit) = self.permits.try_acquire(window) {
            client.begin(permit);
            let served = boxed(|| serve_request(client));
            spawn_local(async move {
                served.await;
                drop(active);
            });
            return true;
        }
        self.shared.listener_state.waits_for_turn();
        let Some(waiting) = self.permits.enqueue(window) else {
            client.refuse_stream();
            return false;
        };
        let (shared, limit) = (self.shared.clone(), self.config.header);
        spawn_local(async move {
            let permit = tokio::select! {
                permit = timeout(limit, waiting.acquire()) => permit,
                () = client.gone() => {
                    let request = client.request_head();
                    return unserved::gone(&shared, &request, request.target());
                }
            };
            drop(waiting);
            client.record_queue_time();
            // Boxed to keep the future of a request that waits small.
            match permit {
                Ok(permit) => {
                    client.begin(permit);
                    boxed(|| serve_request(client)).await;
                }
                Err(_) => boxed(|| answer_refused(client, Failure::TurnExpired.into())).await,
            }
            drop(active);
        });
        true
    }
}

/// Answers a request that is refused.
async fn answer_refused(client: Http2Client, failed: Failed) {
    let Some(scope) = client.scope() else { return };
    // Nobody waits here for a client that takes nothing.
    let mut client = match is_small_window(client.window()) {
        true => client.with_status_only(),
        false => client,
    };
    let ending = forward::refuse(&mut client, scope, failed).await;
    client.finish(ending).await;
}

/// Boxes a future, which would be moved several times as a task's. It is made where it stays: `Box::pin` would copy all
/// of it from the stack, although nearly all is uninitialised still.
#[inline(always)]
fn boxed<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

/// No `async fn`, whose future would have room for the client twice: as its argument, and as its local variable.
#[expect(clippy::manual_async_fn, reason = "see above")]
fn serve_request(mut client: Http2Client) -> impl Future<Output = ()> {
    async move {
        let Some(scope) = client.scope() else { return };
        let ending = forward::serve(&mut client, scope).await;
        client.finish(ending).await;
    }
}

/// Ends an abusive client's connection, after the responses that are ready have been sent.
async fn dismiss(mut connection: Connection<Io, Piece>) {
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    // On an error the client has gone already.
    let _ = timeout(GOAWAY_GRACE, poll_fn(|context| connection.poll_closed(context))).await;
}

/// Returns when GOAWAY has to be sent.
async fn goaway_due(mut leaving: watch::Receiver<bool>, age: Option<Duration>) {
    let old = async {
        match age {
            Some(age) => sleep(age).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = leaving.wait_for(|leaving| *leaving) => {}
        () = old => {}
    }
}
