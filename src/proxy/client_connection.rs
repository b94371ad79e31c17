//! Serves a connection that was handed over to this engine, and keeps its state during its requests.

use std::cell::OnceCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use pingora::apps::{HttpServerOptions, ServerApp};
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, Session};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Hooks;
use super::stream::PingoraStream;
use crate::client::http2::SMALL_MESSAGES;
use crate::exchange::ClientIdentity;
use crate::listener_state::ListenerState;
use crate::tls::TlsInfo;
use crate::worker::handover::{Handover, OtherEngine};

/// The state of one client's connection.
pub struct ClientConnection {
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub tls_info: Option<Arc<TlsInfo>>,
    stage: AtomicU8,
    idle: Notify,
    /// The last response does not wait for the rest of its request.
    unread: AtomicBool,
}

/// A request has begun, or the first one is waited for.
const BUSY: u8 = 0;
/// The response has been sent.
const ANSWERED: u8 = 1;
/// The next request is waited for.
const IDLING: u8 = 2;

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
    fn new(
        identity: ClientIdentity,
        listener_state: Arc<ListenerState>,
        tls_info: Option<Arc<TlsInfo>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity,
            listener_state,
            tls_info,
            stage: AtomicU8::new(BUSY),
            idle: Notify::new(),
            unread: AtomicBool::new(false),
        })
    }

    /// The connection that a request came on.
    pub fn of(session: &Session) -> Option<&Arc<Self>> {
        session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    pub fn begins(&self) {
        self.stage.store(BUSY, SeqCst);
    }

    pub fn answered(&self) {
        self.stage.store(ANSWERED, SeqCst);
    }

    /// Notes that the last response does not wait for the rest of its request.
    pub fn leaves_unread(&self) {
        self.unread.store(true, SeqCst);
    }

    pub fn is_unread(&self) -> bool {
        self.unread.load(SeqCst)
    }

    /// Pingora waits for bytes from the client.
    pub fn waits(&self) {
        if self.stage.compare_exchange(ANSWERED, IDLING, SeqCst, SeqCst).is_ok() {
            self.idle.notify_one();
        }
    }

    /// Returns when the listener is leaving and the connection is idle.
    ///
    /// `told_within`: how long it may stay, so that the client's next response can announce the close.
    async fn is_over(&self, mut leaving: watch::Receiver<bool>, told_within: Duration) {
        // There is no error while this connection holds the listener's state.
        let _ = leaving.wait_for(|leaving| *leaving).await;
        tokio::time::sleep(told_within).await;
        loop {
            if self.stage.load(SeqCst) == IDLING {
                // Lets Pingora read bytes that have arrived meanwhile.
                tokio::task::yield_now().await;
                if self.stage.load(SeqCst) == IDLING {
                    return;
                }
            } else {
                self.idle.notified().await;
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
    fn serve(&self, handover: Handover) -> Pin<Box<dyn Future<Output = ()>>> {
        let http = self.http();
        let told_within = self.hooks.drain_idle();
        let h2c = self.hooks.takes_h2c(&handover.listener_state);
        Box::pin(async move {
            let Handover { stream, ahead, identity, listener_state, tls_info } = handover;
            let leaving = listener_state.leaving();
            let has_tls = tls_info.is_some();
            let client = ClientConnection::new(identity, listener_state, tls_info);
            let mut stream = PingoraStream::new(stream, ahead, client.clone());
            if h2c && !has_tls && !matches!(timeout(FIRST_BYTES, stream.find_http2()).await, Ok(Ok(()))) {
                return;
            }
            let is_http2 = stream.is_http2();
            let served = http.process_new(Box::new(stream), &leaving);
            if is_http2 {
                // Pingora itself sends GOAWAY and finishes the streams.
                drop(served.await);
                return;
            }
            tokio::select! {
                // Requests that have arrived come first.
                biased;
                _ = served => {}
                () = client.is_over(leaving.clone(), told_within) => {}
            }
        })
    }
}
