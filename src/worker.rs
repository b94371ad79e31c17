//! The state that the connections of one worker share. A worker is one thread, so nothing here waits for a lock.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod deadline;
pub mod handover;
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

use crate::endpoint_connections::http2::Connections;
use crate::endpoint_connections::idle_pool::IdlePool;
use crate::exchange::Edits;
use crate::http1::head::{HeadRoom, Response};
use crate::lifecycle::Lifecycle;
use crate::listener_state::ListenerState;
use crate::net::buffer::{Buffer, HEAD};
use crate::net::stream::Stream;
use crate::worker::deadline::{Clock, Phase};
use crate::worker::handover::OtherEngine;
use crate::worker::http2_permits::RequestPermits;
use crate::worker::request_scopes::RequestScopes;

/// How often idle connections to endpoints are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a client must have been idle to be closed in favour of others: right after a response, the next request may
/// be on its way.
const IDLE_ENOUGH: Duration = Duration::from_millis(250);

/// Spare buffers, kept for connections that have something to read.
const SPARE_BUFFERS_MAX: usize = 64;

/// Spare heads of each kind. They are small, and a thousand clients use several hundred of them before the first is
/// given back.
const SPARE_HEADS_MAX: usize = 512;

/// The capacity that a spare written head may keep: few heads need more.
const WRITTEN_HEAD_MAX: usize = 8 * 1024;

pub struct Worker {
    pub scopes: Arc<RequestScopes>,
    pub lifecycle: Arc<Lifecycle>,
    pub idle_pool: Arc<IdlePool>,
    pub http2_connections: Arc<Connections>,
    /// The permits for requests of HTTP/2 clients.
    pub http2_permits: RequestPermits,
    pub clock: Rc<Clock>,
    /// For listeners with `engine: pingora`.
    pub other_engine: Rc<dyn OtherEngine>,
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Memory for edits, taken while one head is written.
    pub edits: Cell<Edits>,
    responses: RefCell<Vec<Response>>,
    written_heads: RefCell<Vec<Vec<u8>>>,
    #[expect(clippy::vec_box, reason = "the box is what a connection takes, and gives back")]
    head_rooms: RefCell<Vec<Box<HeadRoom>>>,
    /// The second of the last `Date`, and its text.
    date: RefCell<(u64, Rc<str>)>,
    /// `server.drain_idle`: how long idle connections stay open in a drain, so that the response to a last request can
    /// announce the close.
    drain_idle: Duration,
    /// When the listeners were closed for a drain.
    stopped: Cell<Option<Instant>>,
    /// The drain time is over: tunnels have to end.
    farewell: Cell<bool>,
}

impl Worker {
    pub fn new(
        scopes: Arc<RequestScopes>,
        lifecycle: Arc<Lifecycle>,
        idle_pool: Arc<IdlePool>,
        other_engine: Rc<dyn OtherEngine>,
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
            other_engine,
            buffers: RefCell::default(),
            edits: Cell::default(),
            responses: RefCell::default(),
            written_heads: RefCell::default(),
            head_rooms: RefCell::default(),
            date: RefCell::new((0, "".into())),
            drain_idle,
            stopped: Cell::default(),
            farewell: Cell::default(),
        })
    }

    /// The background tasks of the worker: its clock, the sweep of idle connections, and freeing memory.
    pub async fn run(&self) {
        let sweep = async {
            loop {
                self.idle_pool.not_empty().await;
                tokio::time::sleep(SWEEP).await;
                self.idle_pool.sweep(Instant::now());
            }
        };
        tokio::join!(self.clock.run(), sweep, self.free_memory());
    }

    /// Frees idle connections and spare memory whenever memory is short.
    async fn free_memory(&self) {
        loop {
            self.lifecycle.memory_shortage().await;
            self.dismiss_idle(usize::MAX, "memory", |_| true);
            self.idle_pool.descriptors.close_all_idle();
            self.buffers.take();
        }
    }

    /// Ends up to `most` client connections that have been idle for a while, the longest idle first.
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

    /// The listeners are closed. Ends idle client connections after `drain_idle`; the others end after their response,
    /// which announces it.
    pub async fn stop(&self) {
        self.stopped.set(Some(Instant::now()));
        tokio::time::sleep(self.drain_idle).await;
        self.end_idle();
    }

    /// Ends the connections without a request under way.
    fn end_idle(&self) {
        self.clock.end(Phase::Idle, |_| true);
        self.clock.end(Phase::First, |_| true);
    }

    /// After `drain_idle`, ends the idle connections of the listeners that were retired at least that long ago. A
    /// client that has not had a request yet may still send one.
    pub async fn end_retired(&self) {
        tokio::time::sleep(self.drain_idle).await;
        let is_over = |at: Instant| at.elapsed() >= self.drain_idle;
        self.clock.end(Phase::Idle, |listener_state| listener_state.retired_at().is_some_and(is_over));
    }

    /// Ends idle connections, and tunnels whose protocol can announce it.
    pub fn say_farewell(&self) {
        self.farewell.set(true);
        self.end_idle();
        self.clock.end(Phase::Newcomer, |_| true);
        self.clock.end(Phase::Tunnel, |_| true);
    }

    /// How long idle client connections that have to be closed may stay open.
    pub fn drain_idle(&self) -> Duration {
        self.drain_idle
    }

    pub fn says_farewell(&self) -> bool {
        self.farewell.get()
    }

    /// When idle connections of this listener are closed, if the process or the listener is being drained.
    pub fn idle_end(&self, listener_state: &ListenerState) -> Option<Instant> {
        let begun = self.stopped.get().into_iter().chain(listener_state.retired_at()).min()?;
        begun.checked_add(self.drain_idle)
    }

    /// How long a newly accepted client may stay silent, if the listeners are closed: it has waited in a socket's
    /// queue, and gets the time that the others had when the drain began.
    pub fn newcomers_limit(&self) -> Option<Duration> {
        self.stopped.get().map(|_| self.drain_idle)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopped.get().is_some() || self.lifecycle.is_stopping()
    }

    /// Memory for a buffer, to be given back: few buffers serve many connections.
    pub fn memory(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back(&self, memory: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARE_BUFFERS_MAX && !memory.is_empty() {
            buffers.push(memory);
        }
    }

    /// Waits, without holding memory, until there is something to read, and reads it into `buffer`; 0 is the stream's
    /// end.
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
            // It was not readable after all, as often after the first poll.
            self.give_back(buffer.release());
        }
        buffer.poll_read(context, Pin::new(stream))
    }

    /// Room for a request's head and for written heads, to be given back at the end of the request.
    pub fn head_room(&self) -> Box<HeadRoom> {
        self.head_rooms.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back_head_room(&self, mut room: Box<HeadRoom>) {
        let mut head_rooms = self.head_rooms.borrow_mut();
        if head_rooms.len() < SPARE_HEADS_MAX {
            room.empty();
            head_rooms.push(room);
        }
    }

    /// Memory to write a head into, to be given back.
    pub fn head_memory(&self) -> Vec<u8> {
        self.written_heads.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back_head_memory(&self, mut memory: Vec<u8>) {
        let mut heads = self.written_heads.borrow_mut();
        if heads.len() < SPARE_HEADS_MAX && memory.capacity() > 0 {
            memory.clear();
            // A chunked body leaves a capacity of more than 100 kB.
            memory.shrink_to(WRITTEN_HEAD_MAX);
            heads.push(memory);
        }
    }

    /// Room for a response's head, to be given back.
    pub fn response(&self) -> Response {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back_response(&self, mut response: Response) {
        let mut responses = self.responses.borrow_mut();
        if responses.len() < SPARE_HEADS_MAX {
            response.restart();
            responses.push(response);
        }
    }

    /// The value of `Date` (RFC 9110, section 6.6.1), formatted once a second.
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
