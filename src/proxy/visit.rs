//! Serving a connection that was handed over, and what is known of it during its requests.

use std::cell::OnceCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::apps::{HttpServerApp, HttpServerOptions, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, Session};
use tokio::sync::{Notify, watch};

use super::Carrier;
use super::stream::ClientStream;
use super::{http2, turns};
use crate::client::handover::{Handover, Judged, OtherCarrier, Returned, What};
use crate::client::pipelined::Pipelined;
use crate::exchange::{ClientIdentity, Tracked};
use crate::http1::framing::Framing;
use crate::listener_state::ListenerState;
use crate::tls::Secured;

/// One client's connection.
pub struct Visit {
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub secured: Option<Arc<Secured>>,
    /// A request that has been admitted already, until it is carried on.
    admitted: Mutex<Option<Tracked>>,
    owed: Mutex<Pipelined>,
    /// Bytes that have been read behind the one request that is served.
    behind: AtomicUsize,
    stage: AtomicU8,
    idle: Notify,
    /// The last answer may be out before all of its request has come.
    unread: AtomicBool,
    /// What the client has been sent is not whole, and nothing but a reset says so.
    cut: AtomicBool,
    /// Responses in a row that the client has not taken.
    stalled: AtomicUsize,
    gone: Notify,
    /// What the client takes of each response on HTTP/2 before it has to be asked.
    window: AtomicU32,
}

/// A request has begun, or the first one is waited for.
const BUSY: u8 = 0;
/// Its answer is out.
const ANSWERED: u8 = 1;
/// The next one is waited for.
const IDLING: u8 = 2;

/// So many responses that are not taken, with nothing between them that is, say that nothing will be.
const STALLED: usize = 4;

/// The same, of a client that has no more of them at a time.
const STALLED_OF_RELUCTANT: usize = 2;

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
        owed: Pipelined,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity,
            listener_state,
            secured,
            admitted: Mutex::default(),
            owed: Mutex::new(owed),
            behind: AtomicUsize::new(0),
            stage: AtomicU8::new(BUSY),
            idle: Notify::new(),
            unread: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            stalled: AtomicUsize::new(0),
            gone: Notify::new(),
            window: AtomicU32::new(u32::MAX),
        })
    }

    /// The request that it has come with.
    pub fn take_admitted(&self) -> Option<Tracked> {
        self.admitted.lock().take()
    }

    /// So many bytes have been read behind the request.
    pub fn has_behind(&self, bytes: usize) {
        self.behind.store(bytes, SeqCst);
    }

    /// Whether a connection that has to go serves another request behind the one that is about to be answered.
    pub fn goes_on(&self) -> bool {
        self.owed.lock().goes_on(self.behind.load(SeqCst))
    }

    pub fn owed(&self) -> Pipelined {
        *self.owed.lock()
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

    /// The response has broken off, and only the connection's end says that it is over.
    pub fn cuts(&self) {
        self.cut.store(true, SeqCst);
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(SeqCst)
    }

    /// There is nothing to read.
    pub fn waits(&self) {
        if self.stage.compare_exchange(ANSWERED, IDLING, SeqCst, SeqCst).is_ok() {
            self.idle.notify_one();
        }
    }

    pub fn has_window(&self, window: u32) {
        self.window.store(window, SeqCst);
    }

    /// In bytes; of any response.
    pub fn window(&self) -> u32 {
        self.window.load(SeqCst)
    }

    /// A response has been taken, or a piece of one.
    pub fn takes(&self) {
        self.stalled.store(0, SeqCst);
    }

    /// A response has not been taken in its time.
    pub fn stalls(&self) {
        let most = if turns::is_reluctant(self.window()) { STALLED_OF_RELUCTANT } else { STALLED };
        if self.stalled.fetch_add(1, SeqCst) + 1 >= most {
            self.gone.notify_one();
        }
    }

    /// Returns when several responses in a row have not been taken: the client takes nothing any more.
    pub async fn takes_nothing(&self) {
        self.gone.notified().await;
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
        // It is answered, or a WebSocket, in `proxy`.
        options.allow_connect_method_proxying = true;
        http.server_options = Some(options);
        http
    }
}

impl OtherCarrier for Proxy {
    fn serve(&self, handover: Handover) -> Pin<Box<dyn Future<Output = Option<Returned>>>> {
        let http = self.http();
        let told_within = self.carrier.drain_idle();
        let terms = self.carrier.terms(&handover.listener_state);
        let carrier = self.carrier.clone();
        Box::pin(async move {
            let Handover { stream, ahead, identity, listener_state, secured, owed, what } = handover;
            let leaving = listener_state.leaving();
            let visit = Visit::new(identity, listener_state, secured, owed);
            let stream = ClientStream::new(stream, ahead, visit.clone());
            match what {
                What::Http2 => {
                    // Without terms the listener has just stopped to speak it.
                    if let Some(terms) = terms {
                        let stream = Box::new(stream.of_http2());
                        http2::Served { http, carrier, visit, leaving }.serve(stream, terms).await;
                    }
                    None
                }
                What::Http1 => {
                    let served = http.process_new(Box::new(stream), &leaving);
                    tokio::select! {
                        // What has arrived comes first.
                        biased;
                        _ = served => {}
                        () = visit.is_over(leaving.clone(), told_within) => {}
                    }
                    None
                }
                What::Request(judged) => serve_one(&http, stream, &visit, *judged).await,
            }
        })
    }
}

/// Serves one request; gives the connection back if another may follow.
async fn serve_one(
    http: &Arc<HttpProxy<Carrier>>,
    stream: ClientStream,
    visit: &Visit,
    judged: Judged,
) -> Option<Returned> {
    let Judged { tracked, head_length, framing } = judged;
    *visit.admitted.lock() = Some(tracked);
    let body = match framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        _ => None,
    };
    let stream = match body {
        Some(body) => stream.within(body.saturating_add(head_length as u64)),
        None => stream,
    };
    let session = ServerSession::new_http1(Box::new(stream));
    // Whether it is the last one is asked with its answer: Pingora would say so however many have come behind it.
    let (_, never) = watch::channel(false);
    let (stream, _) = http.process_new_http(session, &never).await?.consume();
    // Where a body of chunks ends, Pingora has found out, and may have read on.
    let stream = stream.into_any().downcast::<ClientStream>().ok().filter(|_| body.is_some())?;
    Some(stream.give_back())
}
