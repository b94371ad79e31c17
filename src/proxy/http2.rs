//! The connections of HTTP/2 clients (RFC 9113): what they are told at the start, and when they have to go.
//!
//! Pingora has a loop of its own for them, with one idle time for all listeners, none once a client was told to go, and
//! no limit to a connection's age.

use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora_core::protocols::{Digest, Stream};
use pingora_proxy::HttpProxy;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Carrier;
use crate::config::Listener;

/// Requests that one connection may have open at a time.
const STREAMS: u32 = 100;

/// What may be on its way of one request's body before it is read, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;

/// What unread DATA frames that are smaller than 256 bytes may cost beside what is in them, on one connection: as much as
/// a stream of messages of five bytes that fills its window. By default h2 ends such a connection much sooner.
const SMALL_MESSAGES: usize = STREAM_WINDOW as usize / 5 * 256;

/// What may be on its way of all bodies of one connection, in bytes.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of one response for a client that does not take it, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// Requests that are refused before they are any, on one connection; one that sends more is closed.
const MALFORMED: usize = 32;

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
}

impl Terms {
    pub fn of(listener: &Listener, drain_idle: Duration) -> Self {
        let mut options = default_h2_options();
        options
            .max_concurrent_streams(STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_MESSAGES)
            .max_header_list_size(u32::try_from(listener.limits.header_bytes).unwrap_or(u32::MAX));
        let idle = listener.timeouts.keep_alive;
        let farewell = idle.min(drain_idle.max(FAREWELL));
        Self { options, greeting: listener.timeouts.header, idle, farewell, age: listener.timeouts.age }
    }
}

/// The streams of one connection that are being served.
#[derive(Clone)]
struct Active(Arc<watch::Sender<usize>>);

/// Counts one stream for as long as it lives.
struct Serving(Active);

impl Active {
    fn begin(&self) -> Serving {
        self.0.send_modify(|count| *count += 1);
        Serving(self.clone())
    }

    /// Returns when there has been none for so long.
    async fn idle_for(&self, limit: Duration) {
        // The sender is here, so this cannot fail.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
        sleep(limit).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Serves the connection to its end. When the listener is `leaving`, or the connection is old, the client is told by a
/// GOAWAY frame, and the streams that it has are finished (RFC 9113, section 6.8).
pub async fn serve(
    http: Arc<HttpProxy<Carrier>>,
    stream: Stream,
    terms: Terms,
    leaving: watch::Receiver<bool>,
) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let Ok(Ok(mut connection)) = timeout(terms.greeting, handshake(stream, Some(terms.options))).await else {
        return;
    };
    let active = Active(Arc::new(watch::Sender::new(0)));
    let mut told = false;
    let mut malformed = 0;
    let has_to_go = has_to_go(leaving.clone(), terms.age);
    tokio::pin!(has_to_go);
    loop {
        let idle = if told { terms.farewell } else { terms.idle };
        let accepted = tokio::select! {
            biased;
            () = &mut has_to_go, if !told => {
                connection.graceful_shutdown();
                told = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
            () = active.idle_for(idle) => return,
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => begin(&http, session, &active, &leaving),
            Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED => malformed += 1,
            // It is over, or the client is not worth it.
            Ok(_) | Err(_) => return,
        }
    }
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

fn begin(
    http: &Arc<HttpProxy<Carrier>>,
    session: HttpSession,
    active: &Active,
    leaving: &watch::Receiver<bool>,
) {
    let (http, leaving, serving) = (http.clone(), leaving.clone(), active.begin());
    tokio::spawn(async move {
        let _serving = serving;
        http.process_new_http(ServerSession::new_http2(session), &leaving).await;
    });
}
