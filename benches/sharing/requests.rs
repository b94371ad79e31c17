//! Whole HTTP/1.1 requests: a worker with a client and an endpoint.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream as Socket;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwap;
use evenkeel::client::connection::{self, Connection};
use evenkeel::endpoint_connections::idle_pool::IdlePool;
use evenkeel::lifecycle::Lifecycle;
use evenkeel::listener_state::ListenerState;
use evenkeel::net::descriptors::Descriptors;
use evenkeel::net::stream::Stream;
use evenkeel::snapshot::Snapshot;
use evenkeel::telemetry::Telemetry;
use evenkeel::telemetry::record::ClientAddress;
use evenkeel::worker::Worker;
use evenkeel::worker::handover::{Handover, OtherEngine};
use evenkeel::worker::request_scopes::RequestScopes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::operations::{self, CONNECTIONS, ForWorkers};
use super::stuck::{grow_queue, stuck_telemetry};
use super::traffic::{PLAIN, RESPONSE};

/// The body that follows [`RESPONSE`].
const BODY: [u8; 100] = [b'x'; 100];

/// How the client uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    Kept,
    /// A new one for each request.
    New,
}

/// What all workers of a process share.
struct Process {
    snapshot: Arc<ArcSwap<Snapshot>>,
    telemetry: Telemetry,
    lifecycle: Arc<Lifecycle>,
    descriptors: Arc<Descriptors>,
    listener_state: Arc<ListenerState>,
}

/// One worker, on this thread.
struct LoneWorker {
    process: Arc<Process>,
    worker: Rc<Worker>,
    /// The client's end of a connection that is kept.
    kept: Cell<Option<UnixStream>>,
}

/// For handovers, which do not happen here.
struct NoOther;

impl OtherEngine for NoOther {
    fn serve(&self, _: Handover) -> Pin<Box<dyn Future<Output = Option<Stream>>>> {
        unreachable!("the listener has our own engine")
    }
}

pub fn requests(connections: Connections) -> ForWorkers {
    let process = Arc::new(Process::new(endpoint()));
    Box::new(move || {
        let worker = Rc::new(LoneWorker::new(process.clone()));
        Box::new(move || {
            let worker = worker.clone();
            Box::pin(async move { worker.request(connections).await })
        })
    })
}

/// Starts an endpoint that answers every request with the same response.
fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let (mut request, mut length) = ([0; 4096], 0);
                while let Some(read @ 1..) = request.get_mut(length..).and_then(|rest| stream.read(rest).ok())
                {
                    length += read;
                    if request[..length].ends_with(b"\r\n\r\n") {
                        length = 0;
                        if stream.write_all(&[RESPONSE, &BODY].concat()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

impl Process {
    fn new(endpoint: SocketAddr) -> Self {
        let (snapshot, telemetry) = (operations::snapshot(&endpoint.to_string()), stuck_telemetry());
        let listener: Arc<str> = "a".into();
        let counters = telemetry.metrics.listener(&listener);
        Self {
            snapshot: Arc::new(ArcSwap::new(snapshot)),
            telemetry,
            lifecycle: Arc::default(),
            descriptors: Arc::new(Descriptors::new(CONNECTIONS)),
            listener_state: ListenerState::new(listener, counters),
        }
    }
}

impl LoneWorker {
    fn new(process: Arc<Process>) -> Self {
        grow_queue(&process.telemetry);
        let scopes = RequestScopes::new(process.snapshot.clone(), process.telemetry.worker());
        let kept = IdlePool::new(process.descriptors.clone());
        let worker = Worker::new(Arc::new(scopes), process.lifecycle.clone(), kept, Rc::new(NoOther));
        Self { process, worker, kept: Cell::default() }
    }

    async fn request(&self, connections: Connections) {
        let mut client = self.kept.take().unwrap_or_else(|| self.client());
        ask(&mut client).await;
        self.kept.set(Some(client).filter(|_| connections == Connections::Kept));
        // Lets the connection finish its work after the response.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    /// A new client connection, counted as the accept loop counts it.
    fn client(&self) -> UnixStream {
        let (near, far) = Socket::pair().expect("a pair of sockets");
        let Process { listener_state, descriptors, .. } = &*self.process;
        let permits = (descriptors.clients.take(CONNECTIONS), listener_state.permits.take(CONNECTIONS));
        let occupied = (permits, listener_state.counters.connection_accepted());
        far.set_nonblocking(true).expect("a socket");
        let stream = Stream::accepted(far.into(), true).expect("a socket");
        let peer = ClientAddress::inet(SocketAddr::from(([192, 0, 2, 1], 50_000)));
        let client = Connection::new(self.worker.clone(), stream, peer, listener_state.clone());
        tokio::task::spawn_local(connection::serve(client, occupied));
        near.set_nonblocking(true).and_then(|()| UnixStream::from_std(near)).expect("a socket")
    }
}

/// Sends one request and reads the whole response.
async fn ask(client: &mut UnixStream) {
    client.write_all(PLAIN).await.expect("the request goes out");
    let (mut response, mut length) = ([0; 4096], 0);
    while !response[..length].ends_with(&BODY) {
        let read = client.read(&mut response[length..]).await.expect("a response");
        assert!(read > 0, "the connection was closed");
        length += read;
    }
    assert!(response.starts_with(b"HTTP/1.1 200 "));
}
