//! The connections of HTTP/2 clients (RFC 9113): what they are told at the start, and when they have to go.
//!
//! Pingora has a loop of its own for them, with one idle time for all listeners, none once a client was told to go, and
//! no limit to a connection's age.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Connection;
use parking_lot::Mutex;
use pingora::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora_core::protocols::{Digest, Stream};
use pingora_proxy::HttpProxy;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::turns::OfConnection;
use super::visit::Visit;
use super::{Carrier, unread};
use crate::config::Listener;

/// What unread DATA frames that are smaller than 256 bytes may cost beside what is in them, on one connection: as much as
/// a stream of messages of five bytes that fills a window of 64 KiB. By default h2 ends such a connection much sooner.
const SMALL_MESSAGES: usize = 64 * 1024 / 5 * 256;

/// What is kept of one response for a client that does not take it, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// Requests that are refused before they are any, on one connection; one that sends more is closed.
const MALFORMED: usize = 32;

/// Requests that are refused because too many wait, on one connection.
const REFUSED: usize = 256;

/// Requests with more fields than the listener allows, on one connection.
const TOO_MANY_FIELDS: usize = 2;

/// A client that was told to go has at least this long to say that it has heard it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the connections of a listener are held to.
pub struct Terms {
    options: H2Options,
    /// For the client's first bytes.
    greeting: Duration,
    /// How long the connection may have no request.
    idle: Duration,
    /// The same, after the client was told to go.
    farewell: Duration,
    /// After it the client is told to go; `None`: never.
    age: Option<Duration>,
    /// Of a request's fields.
    header_count: usize,
}

impl Terms {
    /// `None`: the listener speaks no HTTP/2.
    pub fn of(listener: &Listener, drain_idle: Duration) -> Option<Self> {
        let http2 = listener.http2?;
        let mut options = default_h2_options();
        options
            .enable_connect_protocol()
            .max_concurrent_streams(http2.max_streams)
            .initial_window_size(http2.stream_window)
            .initial_connection_window_size(http2.connection_window)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_MESSAGES)
            .max_header_list_size(u32::try_from(listener.limits.header_bytes).unwrap_or(u32::MAX));
        let idle = listener.timeouts.keep_alive;
        let farewell = idle.min(drain_idle.max(FAREWELL));
        Some(Self {
            options,
            greeting: listener.timeouts.header,
            idle,
            farewell,
            age: listener.timeouts.age,
            header_count: listener.limits.header_count,
        })
    }
}

/// The streams of one connection that are being served.
#[derive(Clone)]
struct Active(Arc<Mutex<Streams>>);

struct Streams {
    count: usize,
    /// The time without any counts from here on.
    since: Instant,
}

/// Counts one stream for as long as it lives.
struct Serving(Active);

impl Active {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Streams { count: 0, since: Instant::now() })))
    }

    fn begin(&self) -> Serving {
        self.0.lock().count += 1;
        Serving(self.clone())
    }

    /// The time without streams counts from now on.
    fn count_anew(&self) {
        self.0.lock().since = Instant::now();
    }

    /// Returns when there has been none for so long.
    ///
    /// Streams come and go without a word: it looks when there may have been none, at the earliest.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let until = match &*self.0.lock() {
                Streams { count: 0, since } => *since + limit,
                Streams { .. } => now + limit,
            };
            if until <= now {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut streams = self.0.0.lock();
        streams.count -= 1;
        streams.since = Instant::now();
    }
}

/// What a client may still do that nobody should.
struct Patience {
    malformed: usize,
    too_large: usize,
    refused: usize,
    /// Of a request's fields.
    header_count: usize,
}

impl Patience {
    fn new(header_count: usize) -> Self {
        Self { malformed: MALFORMED, too_large: TOO_MANY_FIELDS, refused: REFUSED, header_count }
    }

    /// `None`: there was none left.
    fn lose(left: &mut usize) -> Option<()> {
        *left = left.checked_sub(1)?;
        Some(())
    }
}

/// A connection that is served, and whose it is.
pub struct Served {
    pub http: Arc<HttpProxy<Carrier>>,
    pub carrier: Carrier,
    pub visit: Arc<Visit>,
    pub leaving: watch::Receiver<bool>,
}

impl Served {
    /// Serves the connection to its end. When the listener is `leaving`, or the connection is old, the client is told by a
    /// GOAWAY frame, and the streams that it has are finished (RFC 9113, section 6.8).
    pub async fn serve(self, stream: Stream, terms: Terms) {
        let digest = Arc::new(Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        });
        let mut connection = match timeout(terms.greeting, handshake(stream, Some(terms.options))).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return unread::connection(&self.visit, &error),
            Err(_) => return,
        };
        let active = Active::new();
        let turns = Arc::new(OfConnection::new(&self.carrier.turns));
        let mut told = false;
        let mut patience = Patience::new(terms.header_count);
        let has_to_go = has_to_go(self.leaving.clone(), terms.age);
        let idle = active.idle_for(terms.idle);
        let takes_nothing = self.visit.takes_nothing();
        tokio::pin!(has_to_go, idle, takes_nothing);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut has_to_go, if !told => {
                    connection.graceful_shutdown();
                    active.count_anew();
                    idle.set(active.idle_for(terms.farewell));
                    told = true;
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
                () = &mut idle => return,
                () = &mut takes_nothing => return unread::stalled(&self.visit),
            };
            let request = match accepted {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(error) => return unread::connection(&self.visit, &error),
            };
            if let Err((reason, detail)) = self.take(request, &mut patience, &active, &turns) {
                unread::too_many(&self.visit, reason, detail);
                return dismiss(connection).await;
            }
        }
    }

    /// Takes up a request; an error is why there is no patience left with this client: the metric's reason, and a detail.
    fn take(
        &self,
        request: H2Accept,
        patience: &mut Patience,
        active: &Active,
        turns: &Arc<OfConnection>,
    ) -> Result<(), (&'static str, &'static str)> {
        match request {
            H2Accept::Rejected => {
                unread::request(&self.carrier, &self.visit);
                let detail = "too many malformed requests";
                Patience::lose(&mut patience.malformed).ok_or(("http2_malformed", detail))
            }
            H2Accept::Session(session) if session.req_header().headers.len() > patience.header_count => {
                // At once, because so many fields may take far more memory than they have bytes.
                unread::too_many_fields(&self.carrier, &self.visit, session);
                let detail = "too many requests with too many fields";
                Patience::lose(&mut patience.too_large).ok_or(("http2_flood", detail))
            }
            H2Accept::Session(session) => match self.begins(session, active, turns) {
                true => Ok(()),
                false => {
                    let detail = "too many requests beyond those that may wait";
                    Patience::lose(&mut patience.refused).ok_or(("http2_flood", detail))
                }
            },
        }
    }

    /// Serves a request, now or when it is its turn; `false`: it is refused, because too many wait.
    fn begins(&self, mut session: HttpSession, active: &Active, turns: &Arc<OfConnection>) -> bool {
        let (http, leaving, serving) = (self.http.clone(), self.leaving.clone(), active.begin());
        let window = self.visit.window();
        if let Some(turn) = turns.now(window) {
            tokio::spawn(async move {
                let _while_served = (serving, turn);
                serve(http, session, leaving).await;
            });
            return true;
        }
        self.visit.listener_state.waits_for_turn();
        let Some(waiting) = turns.may_wait(window) else {
            session.shutdown_with_reason(Reason::REFUSED_STREAM);
            return false;
        };
        let (carrier, visit, turns) = (self.carrier.clone(), self.visit.clone(), turns.clone());
        tokio::spawn(async move {
            let _serving = serving;
            let turn = tokio::select! {
                turn = turns.turn(&waiting) => turn,
                _ = session.idle() => return unread::gone(&carrier, &visit, &session),
            };
            drop(waiting);
            // In a box, so that those who wait do not carry the room for being served along.
            Box::pin(serve(http, session, leaving)).await;
            drop(turn);
        });
        true
    }
}

/// Serves a request to its end.
async fn serve(http: Arc<HttpProxy<Carrier>>, session: HttpSession, leaving: watch::Receiver<bool>) {
    drop(http.process_new_http(ServerSession::new_http2(session), &leaving).await);
}

/// Ends the connection; what has been answered goes out before.
async fn dismiss(mut connection: Connection<Stream, Bytes>) {
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    // Who does not take it has gone.
    let _ = timeout(FAREWELL, poll_fn(|context| connection.poll_closed(context))).await;
}

/// Returns when the client has to be told.
async fn has_to_go(mut leaving: watch::Receiver<bool>, age: Option<Duration>) {
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
