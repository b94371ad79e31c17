//! Serves a connection that was handed over to this engine, and keeps its state during its requests.

use std::cell::OnceCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, Session};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Hooks;
use super::attached::attached;
use super::stream::PingoraStream;
use crate::client::http2::SMALL_MESSAGES;
use crate::client::preface::Preface;
use crate::exchange::ClientIdentity;
use crate::listener_state::ListenerState;
use crate::net::stream::Stream;
use crate::tls::TlsInfo;
use crate::worker::handover::{Handover, OtherEngine};

/// The state of one client's connection.
pub struct ClientConnection {
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub tls_info: Option<Arc<TlsInfo>>,
    /// Nothing has come since the last response. `false` while the first request is waited for.
    idle: watch::Sender<bool>,
    /// The last response does not wait for the rest of its request.
    unread: AtomicBool,
}

/// How long a connection of HTTP/2 may have no request.
const HTTP2_IDLE: Duration = Duration::from_secs(75);

/// How long a client may take to show by its first bytes whether it speaks HTTP/2: as long as Pingora's own limit.
const FIRST_BYTES: Duration = Duration::from_secs(60);

/// One worker's Pingora proxy, with its own connections to endpoints. Created when it is first needed.
pub struct PingoraEngine {
    http: OnceCell<Arc<HttpProxy<Hooks>>>,
    conf: Arc<ServerConf>,
    hooks: Hooks,
}

impl ClientConnection {
    /// The connection that a request came on.
    pub fn of(session: &Session) -> Option<&Arc<Self>> {
        attached(session.digest()?)
    }

    pub fn set_idle(&self, now: bool) {
        self.idle.send_if_modified(|idle| std::mem::replace(idle, now) != now);
    }

    /// Notes that the last response does not wait for the rest of its request.
    pub fn leaves_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Returns when the listener is leaving and the connection is idle.
    ///
    /// `told_within`: how long it may stay, so that the client's next response can announce the close.
    async fn is_over(&self, told_within: Duration) {
        let (mut leaving, mut idle) = (self.listener_state.leaving(), self.idle.subscribe());
        // There are no errors while this connection holds the senders.
        let _ = leaving.wait_for(|leaving| *leaving).await;
        tokio::time::sleep(told_within).await;
        loop {
            let _ = idle.wait_for(|idle| *idle).await;
            // Lets Pingora read bytes that have arrived meanwhile.
            tokio::task::yield_now().await;
            if *idle.borrow() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for ClientConnection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ClientConnection").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl PingoraEngine {
    pub fn new(conf: Arc<ServerConf>, hooks: Hooks) -> Self {
        Self { http: OnceCell::new(), conf, hooks }
    }

    fn http(&self) -> Arc<HttpProxy<Hooks>> {
        self.http.get_or_init(|| Arc::new(self.make())).clone()
    }

    fn make(&self) -> HttpProxy<Hooks> {
        let mut http = pingora_proxy::http_proxy(&self.conf, self.hooks.clone());
        let mut options = HttpServerOptions::default();
        // `hooks` answers CONNECT itself.
        options.allow_connect_method_proxying = true;
        options.h2_idle_timeout = Some(HTTP2_IDLE);
        http.server_options = Some(options);
        let mut http2 = default_h2_options();
        http2.data_frame_budget(SMALL_MESSAGES);
        http.h2_options = Some(http2);
        http
    }
}

impl OtherEngine for PingoraEngine {
    fn serve(&self, handover: Handover) -> Pin<Box<dyn Future<Output = Option<Stream>>>> {
        let http = self.http();
        let snapshot = self.hooks.scopes.snapshot();
        let told_within = snapshot.config().server.drain_idle;
        let h2c = handover.listener_state.in_force(&snapshot).is_some_and(|listener| listener.h2c);
        // Before the first bytes are waited for, so that Pingora sees the change.
        let leaving = handover.listener_state.leaving();
        Box::pin(async move {
            let Handover { mut stream, mut ahead, identity, listener_state, tls_info } = handover;
            let is_http2 = match &tls_info {
                Some(info) => info.http2,
                None => {
                    h2c && timeout(FIRST_BYTES, begins_http2(&mut stream, &mut ahead)).await.ok()?.ok()?
                }
            };
            let client = Arc::new(ClientConnection {
                identity,
                listener_state,
                tls_info,
                idle: watch::Sender::new(false),
                unread: AtomicBool::new(false),
            });
            let stream = Arc::new(Mutex::new(stream));
            let pingoras = PingoraStream::new(stream.clone(), ahead, client.clone(), is_http2);
            let served = http.process_new(Box::new(pingoras), &leaving);
            if is_http2 {
                // Pingora itself sends GOAWAY and finishes the streams.
                drop(served.await);
                return None;
            }
            tokio::select! {
                // Requests that have arrived come first.
                biased;
                _ = served => {}
                () = client.is_over(told_within) => {}
            }
            let stream = Arc::into_inner(stream)?.into_inner();
            (client.unread.load(Relaxed) || stream.has_unread()).then_some(stream)
        })
    }
}

/// Reads until the first bytes show whether the client speaks HTTP/2 without TLS; an error if it leaves before.
async fn begins_http2(stream: &mut Stream, ahead: &mut Vec<u8>) -> io::Result<bool> {
    while Preface::of(ahead) == Preface::Part {
        if stream.read_buf(ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Preface::of(ahead) == Preface::Whole)
}
