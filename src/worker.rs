//! What the connections of one worker share. A worker is one thread: nothing here is waited for.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod deadline;
pub mod http2_permits;
pub mod request_scopes;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::client::handover::OtherCarrier;
use crate::endpoint::http2::Connections;
use crate::endpoint::idle_pool::IdlePool;
use crate::exchange::Edits;
use crate::http1::head::{HeadRoom, Response};
use crate::lifecycle::Lifecycle;
use crate::listener_state::ListenerState;
use crate::net::buffer::{Buffer, HEAD};
use crate::net::stream::Stream;
use crate::worker::deadline::{Clock, Phase};
use crate::worker::http2_permits::RequestPermits;
use crate::worker::request_scopes::RequestScopes;

/// How often idle connections to endpoints are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a client must have been idle to be sent away for others: who has just been answered may have asked for more
/// already.
const IDLE_ENOUGH: Duration = Duration::from_millis(250);

/// Buffers that wait for the next connection that has something to read.
const SPARE_MAX: usize = 64;

/// Rooms for heads that wait for the next request: they are small, and a thousand clients have several hundred of them in
/// use before the first comes back.
const ROOMS_MAX: usize = 512;

/// Room for more than this is not kept: few heads need it.
const WRITTEN_HEAD_MAX: usize = 8 * 1024;

pub struct Worker {
    pub scopes: Arc<RequestScopes>,
    pub lifecycle: Arc<Lifecycle>,
    pub idle_pool: Arc<IdlePool>,
    pub http2_connections: Arc<Connections>,
    /// For requests of HTTP/2 clients.
    pub http2_permits: RequestPermits,
    pub clock: Rc<Clock>,
    /// For listeners with `engine: pingora`.
    pub other: Rc<dyn OtherCarrier>,
    spare: RefCell<Vec<Vec<u8>>>,
    /// Taken for as long as one head is written.
    pub edits: Cell<Edits>,
    responses: RefCell<Vec<Response>>,
    written_heads: RefCell<Vec<Vec<u8>>>,
    #[expect(clippy::vec_box, reason = "the box is what a connection takes, and gives back")]
    heads: RefCell<Vec<Box<HeadRoom>>>,
    /// The second of the last `Date`, and its text.
    date: RefCell<(u64, Rc<str>)>,
    /// How long who is idle may stay to be told.
    drain_idle: Duration,
    stopped: Cell<Option<Instant>>,
    /// Tunnels have to end.
    farewell: Cell<bool>,
}

impl Worker {
    pub fn new(
        scopes: Arc<RequestScopes>,
        lifecycle: Arc<Lifecycle>,
        idle_pool: Arc<IdlePool>,
        other: Rc<dyn OtherCarrier>,
    ) -> Rc<Self> {
        let drain_idle = scopes.snapshot().config().server.drain_idle;
        let http2_permits =
            RequestPermits::new(&scopes.snapshot().config().server, idle_pool.descriptors.for_http2());
        Rc::new(Self {
            scopes,
            lifecycle,
            http2_connections: Connections::new(idle_pool.clone()),
            idle_pool,
            http2_permits,
            clock: Rc::default(),
            other,
            spare: RefCell::default(),
            edits: Cell::default(),
            responses: RefCell::default(),
            written_heads: RefCell::default(),
            heads: RefCell::default(),
            date: RefCell::new((0, "".into())),
            drain_idle,
            stopped: Cell::default(),
            farewell: Cell::default(),
        })
    }

    /// The worker's own chores, for as long as it lives.
    pub async fn run(&self) {
        let sweep = async {
            loop {
                self.idle_pool.some().await;
                tokio::time::sleep(SWEEP).await;
                self.idle_pool.sweep(Instant::now());
            }
        };
        tokio::join!(self.clock.run(), sweep, self.give_up_memory());
    }

    /// Whenever memory is short, lets go what is kept for later only.
    async fn give_up_memory(&self) {
        loop {
            self.lifecycle.memory_shortage().await;
            self.dismiss_idle(usize::MAX, "memory", |_| true);
            self.idle_pool.descriptors.close_all_idle();
            self.spare.take();
        }
    }

    /// Ends so many connections of clients that have been idle for a while.
    pub fn dismiss_idle(
        &self,
        most: usize,
        reason: &'static str,
        concerned: impl Fn(&ListenerState) -> bool,
    ) {
        for listener_state in self.clock.end_idle(most, IDLE_ENOUGH, Instant::now(), concerned) {
            listener_state.counters.dismissed(reason);
        }
    }

    /// The listeners are closed. Idle connections of clients are closed after a while; those in use after their response,
    /// which says so.
    pub async fn stop(&self) {
        self.stopped.set(Some(Instant::now()));
        tokio::time::sleep(self.drain_idle).await;
        self.end_idle();
    }

    /// Whoever is not in the middle of anything.
    fn end_idle(&self) {
        self.clock.end(Phase::Idle, |_| true);
        self.clock.end(Phase::First, |_| true);
    }

    /// The same for the clients of listeners that have been retired, whenever that was. Who has not had a request yet may
    /// still ask for something.
    pub async fn end_retired(&self) {
        tokio::time::sleep(self.drain_idle).await;
        let is_over = |at: Instant| at.elapsed() >= self.drain_idle;
        self.clock.end(Phase::Idle, |listener_state| listener_state.retired_at().is_some_and(is_over));
    }

    /// Ends tunnels that can be told, and whoever is idle.
    pub fn say_farewell(&self) {
        self.farewell.set(true);
        self.end_idle();
        self.clock.end(Phase::Newcomer, |_| true);
        self.clock.end(Phase::Tunnel, |_| true);
    }

    /// How long idle connections of clients that have to go may stay.
    pub fn drain_idle(&self) -> Duration {
        self.drain_idle
    }

    pub fn says_farewell(&self) -> bool {
        self.farewell.get()
    }

    /// When clients of this listener have been idle for long enough, if they have to go.
    pub fn idle_end(&self, listener_state: &ListenerState) -> Option<Instant> {
        let begun = self.stopped.get().into_iter().chain(listener_state.retired_at()).min()?;
        begun.checked_add(self.drain_idle)
    }

    /// How long a client that comes in only now may say nothing, if the listeners are closed: it has waited in a queue, and
    /// has the time that the others had when it began.
    pub fn newcomers_limit(&self) -> Option<Duration> {
        self.stopped.get().map(|_| self.drain_idle)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopped.get().is_some() || self.lifecycle.is_stopping()
    }

    /// Memory for a buffer: used and given back, so that few of them serve many connections.
    pub fn memory(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back(&self, memory: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && !memory.is_empty() {
            spare.push(memory);
        }
    }

    /// Waits, without memory, until there is something to read, and reads it into `buffer`; 0 is the stream's end.
    pub async fn first_bytes(&self, stream: &mut Stream, buffer: &mut Buffer) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, stream, buffer)).await
    }

    /// Reads into `buffer`, which takes memory only once there is something to read; 0 is the stream's end.
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<usize>> {
        while !buffer.has_memory() {
            ready!(stream.poll_readable(context))?;
            buffer.adopt(self.memory());
            buffer.grow(HEAD);
            if let Poll::Ready(read) = buffer.poll_read(context, Pin::new(&mut *stream)) {
                return Poll::Ready(read);
            }
            // It was a false alarm, as the first one often is.
            self.give_back(buffer.release());
        }
        buffer.poll_read(context, Pin::new(stream))
    }

    /// Room for a request's head and for heads that are written, for as long as a request takes.
    pub fn head_room(&self) -> Box<HeadRoom> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back_head_room(&self, mut room: Box<HeadRoom>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < ROOMS_MAX {
            room.empty();
            heads.push(room);
        }
    }

    /// Memory for a head that is written: used and given back, like buffers.
    pub fn head_memory(&self) -> Vec<u8> {
        self.written_heads.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back_head_memory(&self, mut memory: Vec<u8>) {
        let mut heads = self.written_heads.borrow_mut();
        if heads.len() < ROOMS_MAX && memory.capacity() > 0 {
            memory.clear();
            // A chunked body leaves more than 100 kB.
            memory.shrink_to(WRITTEN_HEAD_MAX);
            heads.push(memory);
        }
    }

    /// Room for a response's head: used and given back, like buffers.
    pub fn response(&self) -> Response {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back_response(&self, mut response: Response) {
        let mut responses = self.responses.borrow_mut();
        if responses.len() < ROOMS_MAX {
            response.restart();
            responses.push(response);
        }
    }

    /// For `Date` (RFC 9110, section 6.6.1), made once a second.
    pub fn date(&self, now: Instant) -> Rc<str> {
        let time = self.clock.time_of_day(now);
        let second = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut date = self.date.borrow_mut();
        if date.0 != second || date.1.is_empty() {
            *date = (second, httpdate::fmt_http_date(time).into());
        }
        date.1.clone()
    }
}
