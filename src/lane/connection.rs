//! One client's connection: its requests, one after the other.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::attempt;
use super::buffer::{Buffer, HEAD};
use super::caller::{self, Unknown};
use super::carry::{self, After};
use super::deadline::{Elapsed, Timer};
use super::door::{Door, TooMany};
use super::head::{Parse, Refusal, Request, RequestView};
use super::stream::Stream;
use super::worker::Worker;
use crate::config::{Listener, ProxyProtocol};
use crate::exchange::{Caller, Failure};
use crate::snapshot::Snapshot;
use crate::telemetry::record::ClientAddress;

/// How long a connection is kept after its last answer for the client to read it, and how much is thrown away meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Memory that an idle connection may keep for the heads of its next request: what a browser sends fits.
const KEPT_FOR_HEADS: usize = 1024;

/// Beside its fields a head has a request line and the line ends.
const LINE_BYTES: usize = 512;

/// A client's connection and what is known of it.
pub struct Client {
    pub worker: Rc<Worker>,
    pub stream: Stream,
    pub caller: Caller,
    /// Where it came in.
    door: Arc<Door>,
    /// What has been read and not used.
    pub input: Buffer,
    pub request: Request,
    /// The bytes of the request's head: `request` points into them.
    pub head: Vec<u8>,
    pub timer: Timer,
    /// It has sent FIN.
    pub half_closed: bool,
    /// Memory for heads that are written.
    pub out: Vec<u8>,
    requests: u64,
    /// When the last thing happened that it waited for: its clock is looked at no more often than that.
    pub now: Instant,
}

/// What came of waiting for the next request.
enum Arrived {
    /// Its head is in `Client::head`.
    Request,
    Nothing,
    Refused(Refusal),
}

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, stream: Stream, peer: ClientAddress, door: Arc<Door>) {
    let timer = worker.clock.timer();
    let mut client = Client {
        worker,
        stream,
        caller: Caller::Peer(peer),
        door,
        input: Buffer::default(),
        request: Request::default(),
        head: Vec::new(),
        timer,
        half_closed: false,
        out: Vec::new(),
        requests: 0,
        now: Instant::now(),
    };
    let after = client.visit().await;
    match after {
        After::Linger => Box::pin(client.linger()).await,
        After::Abort => client.stream.reset(),
        After::KeepAlive | After::Close => {}
    }
    client.release();
}

impl Client {
    /// Serves the client, unless nobody knows who it is or it has too many connections already.
    async fn visit(&mut self) -> After {
        if !self.is_identified().await {
            return After::Close;
        }
        let Some((snapshot, listener)) = self.in_force() else { return After::Close };
        match self.door.admit(self.caller.address(), &listener) {
            Ok(_guest) => {
                drop((snapshot, listener));
                self.requests().await
            }
            Err(TooMany) => self.turn_away(snapshot, &listener).await,
        }
    }

    /// Finds out whose connection it is.
    async fn is_identified(&mut self) -> bool {
        let Some((_, listener)) = self.in_force() else { return false };
        let Self { worker, stream, input, timer, .. } = self;
        let peer = self.caller.peer().clone();
        match caller::identify(worker, stream, input, timer, &listener, peer).await {
            Ok(caller) => {
                self.caller = caller;
                // It may have waited for a header.
                if listener.proxy_protocol != ProxyProtocol::Off {
                    self.now = Instant::now();
                }
                true
            }
            Err(Unknown::Gone) => false,
            Err(Unknown::Refused { reason, detail }) => {
                self.door.turned_away(self.caller.peer(), reason, detail);
                false
            }
        }
    }

    /// Refuses the connection before a request was read.
    async fn turn_away(&mut self, snapshot: Arc<Snapshot>, listener: &Arc<Listener>) -> After {
        let failure = Failure::TooManyConnections;
        self.door.counters.refused(failure.label());
        let reason = "the client has as many connections as limits.connections_per_client allows";
        let after = carry::refused(self, snapshot, listener, Refusal { failure, reason }).await;
        match self.door.may_linger() {
            Some(_place) if after == After::Linger => {
                self.linger().await;
                After::Close
            }
            _ => After::Close,
        }
    }

    async fn requests(&mut self) -> After {
        loop {
            let Some((_, listener)) = self.in_force() else { return After::Close };
            let arrived = self.next(&listener).await;
            // While it waited, the config may have changed.
            let Some((snapshot, listener)) = self.in_force() else { return After::Close };
            let after = match arrived {
                Arrived::Nothing => return After::Close,
                // In a box, so that a connection that waits does not carry the room for a request along.
                Arrived::Request => Box::pin(carry::request(self, snapshot, &listener)).await,
                Arrived::Refused(refusal) => {
                    Box::pin(carry::refused(self, snapshot, &listener, refusal)).await
                }
            };
            self.requests += 1;
            if after != After::KeepAlive {
                return after;
            }
        }
    }

    /// The snapshot in force, and what it says of this listener.
    fn in_force(&self) -> Option<(Arc<Snapshot>, Arc<Listener>)> {
        let snapshot = self.worker.snapshot.load_full();
        let listener = snapshot.listener(&self.door.listener)?.clone();
        Some((snapshot, listener))
    }

    /// Waits for a request, and reads its head.
    async fn next(&mut self, listener: &Listener) -> Arrived {
        if self.input.is_empty() && !self.first_bytes(listener).await {
            return Arrived::Nothing;
        }
        self.request.restart();
        let mut partial = false;
        loop {
            match self.request.parse(self.input.bytes(), &listener.limits) {
                Parse::Complete { length } => {
                    if partial {
                        self.timer.clear();
                        self.now = Instant::now();
                    }
                    self.take_head(length);
                    return Arrived::Request;
                }
                Parse::Refused(refusal) => {
                    self.take_head(self.input.len());
                    return Arrived::Refused(refusal);
                }
                Parse::Partial if partial => {}
                Parse::Partial => self.timer.set_from(self.now, listener.timeouts.header),
            }
            partial = true;
            match self.read_more(listener).await {
                Ok(true) => {}
                Ok(false) => return Arrived::Nothing,
                Err(Elapsed) => {
                    self.take_head(self.input.len());
                    let reason = "the header did not arrive in time";
                    return Arrived::Refused(Refusal { failure: Failure::RequestTimeout, reason });
                }
            }
        }
    }

    /// Waits, without a buffer, for the client to say something; `false` if it did not, or went.
    async fn first_bytes(&mut self, listener: &Listener) -> bool {
        self.release();
        if self.half_closed || (self.requests > 0 && self.worker.is_stopping()) {
            return false;
        }
        let timeouts = &listener.timeouts;
        let limit = if self.requests == 0 { timeouts.header } else { timeouts.keep_alive };
        self.timer.set_from(self.now, limit);
        self.timer.idle(self.requests > 0);
        let Self { worker, stream, input, timer, .. } = self;
        let read = timer.before_deadline(worker.first_bytes(stream, input)).await;
        timer.clear();
        timer.idle(false);
        self.now = Instant::now();
        matches!(read, Ok(Ok(read)) if read > 0)
    }

    /// `false`: the client has gone.
    async fn read_more(&mut self, listener: &Listener) -> Result<bool, Elapsed> {
        if self.input.is_full() {
            let limits = &listener.limits;
            let most = limits.header_bytes + limits.target_bytes + LINE_BYTES;
            self.input.grow((self.input.len() * 2).min(most.max(self.input.len() + LINE_BYTES)));
        }
        let Self { input, stream, timer, .. } = self;
        let read = poll_fn(|context| input.poll_read(context, Pin::new(&mut *stream)));
        Ok(timer.before_deadline(read).await?.is_ok_and(|read| read > 0))
    }

    fn take_head(&mut self, length: usize) {
        self.head.clear();
        self.head.extend_from_slice(self.input.bytes().get(..length).unwrap_or_default());
        self.input.consume(length);
    }

    /// Gives the buffer back, if nothing is in it, and lets go of memory that only an unusual request or response needs:
    /// a chunked body leaves more than 100 kB, and thousands of connections may be idle.
    fn release(&mut self) {
        for memory in [&mut self.head, &mut self.out] {
            memory.clear();
            memory.shrink_to(KEPT_FOR_HEADS);
        }
        if self.input.is_empty() && self.input.has_memory() {
            self.worker.give_back(self.input.release());
        }
    }

    /// Sends `bytes` within the listener's write timeout.
    pub async fn send(&mut self, bytes: &[u8], listener: &Listener) -> Result<(), Failure> {
        match self.timer.within(listener.timeouts.write, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::ClientGone),
            Err(Elapsed) => Err(Failure::ClientStalled),
        }
    }

    /// Returns when the client has reset its connection; reads what it sends ahead, as far as there is room.
    pub async fn gone(&mut self) {
        poll_fn(|context| match self.poll_gone(context) {
            Ok(()) => Poll::Pending,
            Err(_) => Poll::Ready(()),
        })
        .await;
    }

    /// An error if the client has reset its connection; reads what it sends ahead, as far as there is room.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.side().poll_gone(context)
    }

    /// Whether another request may come: what has arrived before a FIN is answered, like anything else.
    pub fn may_go_on(&self) -> bool {
        !self.half_closed || !self.input.is_empty()
    }

    /// The request's head.
    pub fn view(&self) -> RequestView<'_> {
        self.request.view(&self.head)
    }

    /// What an attempt needs of the client.
    pub fn side(&mut self) -> attempt::ClientSide<'_> {
        attempt::ClientSide {
            stream: &mut self.stream,
            input: &mut self.input,
            half_closed: &mut self.half_closed,
            timer: &self.timer,
        }
    }

    /// Ends the connection so that the last answer arrives: closing with bytes unread would be a reset, which may
    /// overtake the answer (RFC 9112, section 9.6).
    async fn linger(&mut self) {
        self.stream.shut_down_write();
        let mut waste = self.worker.memory();
        waste.resize(HEAD, 0);
        let stream = &mut self.stream;
        let drain = async {
            let mut total = 0;
            while total < LINGER_BYTES {
                match stream.read(&mut waste).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => total += read,
                }
            }
        };
        // Either way it is over.
        let _ = self.timer.within(LINGER, drain).await;
        self.worker.give_back(waste);
    }
}
