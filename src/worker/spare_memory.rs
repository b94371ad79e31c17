//! Memory that a worker's connections and requests have given back, for the next that need some.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::exchange::Edits;
use crate::http1::head::{RequestMemory, Response};
use crate::net::buffer::{Buffer, HEAD};
use crate::net::stream::Stream;

/// Buffers, kept for connections that have something to read.
const BUFFERS_MAX: usize = 64;

/// Heads of each kind. They are small, and a thousand clients use several hundred of them before the first is given
/// back.
const HEADS_MAX: usize = 512;

/// The capacity that a head buffer may keep: few heads need more.
const HEAD_BUFFER_MAX: usize = 8 * 1024;

#[derive(Default)]
pub struct SpareMemory {
    buffers: Spares<Vec<u8>, BUFFERS_MAX>,
    requests: Spares<Box<RequestMemory>, HEADS_MAX>,
    responses: Spares<Response, HEADS_MAX>,
    head_buffers: Spares<Vec<u8>, HEADS_MAX>,
    /// Taken while one head is written.
    pub edits: Cell<Edits>,
}

/// Up to `MAX` values that are in use by nobody.
struct Spares<T, const MAX: usize>(RefCell<Vec<T>>);

impl SpareMemory {
    /// Memory for a [`Buffer`]: few buffers serve many connections.
    pub fn buffer(&self) -> Vec<u8> {
        self.buffers.take()
    }

    pub fn give_back_buffer(&self, memory: Vec<u8>) {
        if !memory.is_empty() {
            self.buffers.give_back(memory, |_| {});
        }
    }

    pub fn free_buffers(&self) {
        self.buffers.0.take();
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
            buffer.adopt(self.buffer());
            buffer.grow(HEAD);
            if let Poll::Ready(read) = buffer.poll_read(context, Pin::new(&mut *stream)) {
                return Poll::Ready(read);
            }
            // It was not readable after all, as often after the first poll.
            self.give_back_buffer(buffer.release());
        }
        buffer.poll_read(context, Pin::new(stream))
    }

    /// For a request's head, until the request is over.
    pub fn request(&self) -> Box<RequestMemory> {
        self.requests.take()
    }

    pub fn give_back_request(&self, memory: Box<RequestMemory>) {
        self.requests.give_back(memory, |memory| memory.clear());
    }

    /// For a response's head.
    pub fn response(&self) -> Response {
        self.responses.take()
    }

    pub fn give_back_response(&self, response: Response) {
        self.responses.give_back(response, Response::restart);
    }

    /// For a head that is written.
    pub fn head_buffer(&self) -> Vec<u8> {
        self.head_buffers.take()
    }

    pub fn give_back_head_buffer(&self, memory: Vec<u8>) {
        if memory.capacity() > 0 {
            self.head_buffers.give_back(memory, |memory| {
                memory.clear();
                // A chunked body leaves a capacity of more than 100 kB.
                memory.shrink_to(HEAD_BUFFER_MAX);
            });
        }
    }
}

// === impl Spares ===

impl<T: Default, const MAX: usize> Spares<T, MAX> {
    fn take(&self) -> T {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps `spare`, made ready by `reset`, or drops it if there are enough.
    fn give_back(&self, mut spare: T, reset: impl FnOnce(&mut T)) {
        let mut spares = self.0.borrow_mut();
        if spares.len() < MAX {
            reset(&mut spare);
            spares.push(spare);
        }
    }
}

impl<T, const MAX: usize> Default for Spares<T, MAX> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}
