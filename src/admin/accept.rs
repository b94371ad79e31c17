//! Accepts connections on the admin address, and bounds their number and their time. Each connection is for one
//! request.
//!
//! Connections are accepted at once. With too many whose request has not arrived, the oldest is closed for a new one.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use parking_lot::Mutex;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream as Connection;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::serve::App;
use super::tap;
use crate::log_throttle::LogThrottle;

/// Connections whose request has not arrived; one more closes the oldest of them.
const PENDING_MAX: usize = 64;

/// Time for the head of a request to arrive: local clients send it with their first packet.
const HEAD_LIMIT: Duration = Duration::from_secs(1);

/// Time for a body to arrive, and for a response to be written.
pub(super) const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);

/// Pause after a failed accept: without free descriptors every accept fails at once, and the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors held in reserve.
const RESERVE: usize = 8;
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Who has opened a connection.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For people: `uid 0`, or an address.
    text: String,
    is_root: bool,
}

/// Accepts connections until dropped.
pub(super) async fn accept<F>(app: Arc<App>, next: impl Fn() -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<(Connection, Caller)>>,
{
    let pending = Arc::new(PendingConnections::default());
    let [mut failed, mut crowded] = [REPORT_EVERY; 2].map(LogThrottle::every);
    let mut reserve = Reserve::default();
    loop {
        reserve.refill();
        match next().await {
            Ok(accepted) => {
                let (slot, closes_another) = pending.enter();
                if closes_another && crowded.due(Instant::now()).is_some() {
                    log::warn!(most = PENDING_MAX; "the admin address is crowded: silent connections are closed");
                }
                begin(&app, accepted, slot);
                // A request that has arrived already is read before its connection can count as silent.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                if failed.due(Instant::now()).is_some() {
                    log::error!(reason = error.to_string().as_str(); "the admin address cannot accept connections");
                }
                reserve.release();
                // The accept failed, so a client waits. It may leave meanwhile, or a client of the proxy may take the
                // descriptor.
                match timeout(ACCEPT_PAUSE, next()).await {
                    Ok(Ok(accepted)) => begin(&app, accepted, pending.enter().0),
                    _ => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        }
    }
}

/// Serves a connection in its own task: an operation may take minutes, and health must be answered meanwhile.
fn begin(app: &Arc<App>, (connection, caller): (Connection, Caller), slot: PendingSlot) {
    tokio::spawn(exchange(app.clone(), connection, caller, slot));
}

/// Serves one request. A client that is too slow or gone gets no error response.
async fn exchange(app: Arc<App>, connection: Connection, caller: Caller, mut slot: PendingSlot) {
    let mut session = ServerSession::new_http1(Box::new(connection));
    // Pingora's first timeout starts a thread that wakes a hundred times a second from then on.
    session.set_read_timeout(None);
    let read = tokio::select! {
        biased;
        read = timeout(HEAD_LIMIT, session.read_request()) => read,
        _ = &mut slot.needed => return,
    };
    drop(slot);
    if matches!(read, Ok(Ok(true))) {
        session.set_keepalive(None);
        if tap::is_asked_for(&session) {
            return app.tap(session, &caller).await;
        }
        let (response, _permit) = app.respond(&mut session, &caller).await;
        write_in_time(session, response).await;
    }
}

/// A client that takes too long, or is gone, gets the rest of its response from nobody.
pub(super) async fn write_in_time(session: ServerSession, response: Response<Vec<u8>>) {
    let _ = timeout(EXCHANGE_LIMIT, write(session, response)).await;
}

async fn write(mut session: ServerSession, response: Response<Vec<u8>>) -> pingora_core::Result<()> {
    let (head, body) = response.into_parts();
    session.write_response_header(Box::new(head.into())).await?;
    if !body.is_empty() {
        session.write_response_body(body.into(), true).await?;
    }
    session.finish().await?;
    Ok(())
}

impl Caller {
    pub(super) fn on_unix(connection: &UnixStream) -> Self {
        match connection.peer_cred() {
            Ok(peer) => Self { text: format!("uid {}", peer.uid()), is_root: peer.uid() == 0 },
            Err(_) => Self { text: "nobody known".to_owned(), is_root: false },
        }
    }

    pub(super) fn on_tcp(address: SocketAddr) -> Self {
        Self { text: address.ip().to_string(), is_root: false }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the kernel says that it is a process of root, on this machine.
    pub fn is_root(&self) -> bool {
        self.is_root
    }
}

/// Connections whose request has not arrived, oldest first.
#[derive(Default)]
struct PendingConnections(Mutex<VecDeque<oneshot::Sender<()>>>);

/// The slot of one pending connection, free again when dropped.
struct PendingSlot {
    /// Resolves when the slot is needed for another connection.
    needed: oneshot::Receiver<()>,
    /// Keeps the sender of `needed` alive when the accept loop is dropped, so that pending connections are served.
    _keeps_sender: Arc<PendingConnections>,
}

impl PendingConnections {
    /// Takes a slot; `true`: the oldest pending connection had to give up its own.
    fn enter(self: &Arc<Self>) -> (PendingSlot, bool) {
        let (sender, needed) = oneshot::channel();
        let mut slots = self.0.lock();
        // Connections whose request has arrived have dropped their receivers.
        slots.retain(|slot| !slot.is_closed());
        let oldest = if slots.len() >= PENDING_MAX { slots.pop_front() } else { None };
        slots.push_back(sender);
        (
            PendingSlot { needed, _keeps_sender: self.clone() },
            oldest.is_some_and(|oldest| oldest.send(()).is_ok()),
        )
    }
}

/// Descriptors held for when the process has no others left: the admin address must stay reachable then.
///
/// Several, because a client of the proxy may take the one that is released.
#[derive(Default)]
struct Reserve(Vec<std::fs::File>);

impl Reserve {
    fn refill(&mut self) {
        while self.0.len() < RESERVE
            && let Ok(file) = std::fs::File::open("/dev/null")
        {
            self.0.push(file);
        }
    }

    fn release(&mut self) {
        self.0.pop();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::serve::Limits;
    use super::super::tests::Idle;
    use super::*;
    use crate::telemetry::tap::Taps;

    #[tokio::test(start_paused = true)]
    async fn an_order_let_in_without_descriptors_keeps_nobody_out() {
        let app = Arc::new(App {
            process: Arc::new(Idle { ready: Ok(()), file: None, taps: Taps::default() }),
            token: None,
            tcp: false,
            limits: Limits::default(),
        });
        let arrivals =
            ["POST /upgrade", "GET /livez"].map(|request| (request, UnixStream::pair().expect("a pair")));
        let mut clients = Vec::new();
        let queue = Mutex::new(VecDeque::new());
        for (request, (mut client, server)) in arrivals {
            client
                .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
                .await
                .expect("written");
            clients.push(client);
            queue.lock().extend([
                Err(io::Error::from_raw_os_error(nix::libc::EMFILE)),
                Ok((server.into(), Caller { text: "uid 0".into(), is_root: true })),
            ]);
        }
        let next = || {
            let arrival = queue.lock().pop_front();
            async move {
                match arrival {
                    Some(arrival) => arrival,
                    None => std::future::pending().await,
                }
            }
        };
        let answer = async {
            let mut answer = String::new();
            clients[1].read_to_string(&mut answer).await.map(|_| answer)
        };
        let answer = tokio::select! {
            ended = accept(app, next) => panic!("{ended:?}"),
            answer = timeout(EXCHANGE_LIMIT, answer) => answer.expect("in time").expect("an answer"),
        };
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
