//! One demo endpoint, which can be told to stop for some time, and then listens on the same port again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::answer;

/// Pause after a socket could not be bound or accepted from.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an idle connection is kept: longer than the proxy keeps it, so that the proxy closes first.
const KEEP_ALIVE_SECONDS: u64 = 75;

/// What the answers need of their endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub name: String,
    pub address: SocketAddr,
    pub requests: AtomicU64,
    /// Sends how long to stay away. One order at a time is enough: the first one closes every connection.
    stop: mpsc::Sender<Duration>,
}

impl Endpoint {
    pub(super) fn next_request_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn stop_for(&self, away: Duration) {
        // The queue is full when a stop is already under way.
        let _ = self.stop.try_send(away);
    }
}

/// Serves until the runtime ends, and pauses at each stop order.
pub(super) async fn run(name: String, address: SocketAddr, listener: TcpListener) {
    let (stop, mut orders) = mpsc::channel(1);
    let endpoint = Arc::new(Endpoint { name, address, requests: AtomicU64::new(0), stop });
    let mut listener = listener;
    loop {
        let away = serve(&endpoint, listener, &mut orders).await;
        log::info!(endpoint = endpoint.name.as_str(), seconds = away.as_secs_f64(); "demo endpoint stops");
        tokio::time::sleep(away).await;
        listener = bind_again(address).await;
        log::info!(endpoint = endpoint.name.as_str(); "demo endpoint is back");
    }
}

/// Accepts until told to stop; returning closes the listening socket and every connection.
async fn serve(
    endpoint: &Arc<Endpoint>,
    listener: TcpListener,
    orders: &mut mpsc::Receiver<Duration>,
) -> Duration {
    // Tells Pingora's apps whether the process is stopping: never, because the demo stops by being dropped.
    let (_running, shutdown) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(away) = orders.recv() => return away,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(endpoint.clone(), stream, shutdown.clone()));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            // Finished connections are removed, or the set would grow with every client.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(endpoint: Arc<Endpoint>, stream: TcpStream, shutdown: ShutdownWatch) {
    // Server-sent events must be sent at once, not when the next one fills the packet.
    let _ = stream.set_nodelay(true);
    let app = Arc::new(App(endpoint));
    app.process_new(Box::new(Stream::from(stream)), &shutdown).await;
}

/// Binds the endpoint's port again; waits while another program has it.
async fn bind_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The HTTP server: Pingora reads requests and writes responses, and [`answer`] makes the answers.
struct App(Arc<Endpoint>);

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // `false` and errors mean that the client left; TCP health checks do.
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(KEEP_ALIVE_SECONDS));
        }
        answer::give(&self.0, &mut session).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}
