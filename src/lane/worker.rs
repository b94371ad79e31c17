//! What the connections of one worker share. A worker is one thread: nothing here is locked.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::buffer::{Buffer, HEAD};
use super::deadline::Clock;
use super::door::Door;
use super::handover::OtherCarrier;
use super::head::{HeadRoom, Response};
use super::kept::KeptConnections;
use super::stream::Stream;
use crate::exchange::Edits;
use crate::lifecycle::Lifecycle;
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;

/// How often idle connections to endpoints are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Buffers that wait for the next connection that has something to read.
const SPARE_MAX: usize = 64;

pub struct Worker {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub telemetry: Arc<Telemetry>,
    pub lifecycle: Arc<Lifecycle>,
    pub kept: KeptConnections,
    pub clock: Rc<Clock>,
    /// For HTTP/2.
    pub other: Rc<dyn OtherCarrier>,
    /// Everything goes there.
    pub hands_over_all: bool,
    spare: RefCell<Vec<Vec<u8>>>,
    /// Taken for as long as one head is written.
    pub edits: Cell<Edits>,
    responses: RefCell<Vec<Response>>,
    #[expect(clippy::vec_box, reason = "the box is what a connection takes, and gives back")]
    heads: RefCell<Vec<Box<HeadRoom>>>,
    /// The second of the last `Date`, and its text.
    date: RefCell<(u64, Rc<str>)>,
    stopping: Cell<bool>,
}

impl Worker {
    pub fn new(
        snapshot: Arc<ArcSwap<Snapshot>>,
        telemetry: Arc<Telemetry>,
        lifecycle: Arc<Lifecycle>,
        (other, hands_over_all): (Rc<dyn OtherCarrier>, bool),
    ) -> Rc<Self> {
        Rc::new(Self {
            snapshot,
            telemetry,
            lifecycle,
            kept: KeptConnections::default(),
            clock: Rc::default(),
            other,
            hands_over_all,
            spare: RefCell::default(),
            edits: Cell::default(),
            responses: RefCell::default(),
            heads: RefCell::default(),
            date: RefCell::new((0, "".into())),
            stopping: Cell::new(false),
        })
    }

    /// The worker's own chores, for as long as it lives.
    pub async fn run(&self) {
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                self.kept.sweep(Instant::now());
            }
        };
        tokio::join!(self.clock.run(), sweep);
    }

    /// Idle connections of clients are closed from now on; those in use after their response.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.clock.end_idle(|_| true);
    }

    /// The same for the clients of doors that have been retired, whenever that was.
    pub fn end_retired(&self) {
        self.clock.end_idle(Door::is_retired);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get() || self.lifecycle.is_stopping()
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
        if heads.len() < SPARE_MAX {
            room.empty();
            heads.push(room);
        }
    }

    /// Room for a response's head: used and given back, like buffers.
    pub fn response(&self) -> Response {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back_response(&self, mut response: Response) {
        let mut responses = self.responses.borrow_mut();
        if responses.len() < SPARE_MAX {
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
