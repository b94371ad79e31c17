//! Serving a connection that was handed over, and what is known of it during its requests.

use std::cell::OnceCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, Session};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Carrier;
use super::stream::ClientStream;
use crate::client::handover::{Handover, OtherCarrier};
use crate::client::pipelined::Pipelined;
use crate::exchange::ClientIdentity;
use crate::listener_state::ListenerState;
use crate::tls::Secured;

/// One client's connection.
pub struct Visit {
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub secured: Option<Arc<Secured>>,
    pipelined: Mutex<Pipelined>,
    stage: AtomicU8,
    idle: Notify,
    /// The last answer may be out before all of its request has come.
    unread: AtomicBool,
}

/// A request has begun, or the first one is waited for.
const BUSY: u8 = 0;
/// Its answer is out.
const ANSWERED: u8 = 1;
/// The next one is waited for.
const IDLING: u8 = 2;

/// How long a connection of HTTP/2 may have no request.
const HTTP2_IDLE: Duration = Duration::from_secs(75);

/// For a client to show by its first bytes which version it speaks, as long as Pingora gives a client of HTTP/1.1.
const FIRST_BYTES: Duration = Duration::from_secs(60);

/// One worker's Pingora proxy, made when it is first needed: it has its own connections to endpoints.
pub struct Proxy {
    http: OnceCell<Arc<HttpProxy<Carrier>>>,
    conf: Arc<ServerConf>,
    carrier: Carrier,
}

impl Visit {
    fn new(
        identity: ClientIdentity,
        listener_state: Arc<ListenerState>,
        secured: Option<Arc<Secured>>,
        pipelined: Pipelined,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity,
            listener_state,
            secured,
            pipelined: Mutex::new(pipelined),
            stage: AtomicU8::new(BUSY),
            idle: Notify::new(),
            unread: AtomicBool::new(false),
        })
    }

    /// Whether a connection that has to go serves another request behind the one that is about to be answered.
    pub fn goes_on(&self) -> bool {
        self.pipelined.lock().goes_on(0)
    }

    /// The visit that a request belongs to.
    pub fn of(session: &Session) -> Option<&Arc<Self>> {
        session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    pub fn begins(&self) {
        self.stage.store(BUSY, SeqCst);
    }

    pub fn answered(&self) {
        self.stage.store(ANSWERED, SeqCst);
    }

    /// The connection ends behind an answer that does not wait for its request.
    pub fn leaves_unread(&self) {
        self.unread.store(true, SeqCst);
    }

    pub fn is_unread(&self) -> bool {
        self.unread.load(SeqCst)
    }

    /// There is nothing to read.
    pub fn waits(&self) {
        if self.stage.compare_exchange(ANSWERED, IDLING, SeqCst, SeqCst).is_ok() {
            self.idle.notify_one();
        }
    }

    /// Returns when the listener is leaving and the client is not in the middle of anything.
    ///
    /// `told_within`: how long it may stay to be told with its next response.
    async fn is_over(&self, mut leaving: watch::Receiver<bool>, told_within: Duration) {
        // An error means that the listener is gone, which this visit holds.
        let _ = leaving.wait_for(|leaving| *leaving).await;
        tokio::time::sleep(told_within).await;
        loop {
            if self.stage.load(SeqCst) == IDLING {
                // What has arrived is read before this goes on.
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

impl std::fmt::Debug for Visit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Visit").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Proxy {
    pub fn new(conf: Arc<ServerConf>, carrier: Carrier) -> Self {
        Self { http: OnceCell::new(), conf, carrier }
    }

    fn http(&self) -> Arc<HttpProxy<Carrier>> {
        self.http.get_or_init(|| Arc::new(self.make())).clone()
    }

    fn make(&self) -> HttpProxy<Carrier> {
        let mut http = pingora_proxy::http_proxy(&self.conf, self.carrier.clone());
        let mut options = HttpServerOptions::default();
        // It is answered in `hooks`.
        options.allow_connect_method_proxying = true;
        options.h2_idle_timeout = Some(HTTP2_IDLE);
        http.server_options = Some(options);
        http
    }
}

impl OtherCarrier for Proxy {
    fn serve(&self, handover: Handover) -> Pin<Box<dyn Future<Output = ()>>> {
        let http = self.http();
        let told_within = self.carrier.drain_idle();
        let h2c = self.carrier.takes_h2c(&handover.listener_state);
        Box::pin(async move {
            let Handover { stream, ahead, identity, listener_state, secured, pipelined } = handover;
            let leaving = listener_state.leaving();
            let has_tls = secured.is_some();
            let visit = Visit::new(identity, listener_state, secured, pipelined);
            let mut stream = ClientStream::new(stream, ahead, visit.clone());
            if h2c && !has_tls && !matches!(timeout(FIRST_BYTES, stream.find_http2()).await, Ok(Ok(()))) {
                return;
            }
            let is_http2 = stream.is_http2();
            let served = http.process_new(Box::new(stream), &leaving);
            if is_http2 {
                // It tells its client to go, and finishes what it has.
                drop(served.await);
                return;
            }
            tokio::select! {
                // What has arrived comes first.
                biased;
                _ = served => {}
                () = visit.is_over(leaving.clone(), told_within) => {}
            }
        })
    }
}
