//! The read buffer of a connection: bytes that have been read and not used yet.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Room for a body. Not a power of two: 65,536 bytes would be a full loopback segment and a tiny one, which costs twice
/// as much.
pub const BODY: usize = 60_000;

/// Room for the first `BODY_BEGINNING` bytes of a body. That is more than the kernel buffers, so clients that read
/// nothing never get a larger buffer: allocating it for a thousand of them takes longer than moving the bytes.
pub const BODY_FIRST: usize = 16_384;
pub const BODY_BEGINNING: u64 = 96 * 1024;

/// Bytes moved for one connection before the worker's others get their turn.
pub const TURN: u64 = 4 * BODY as u64;

/// The first room for a head; it grows up to the limits of the listener.
pub const HEAD: usize = 8_192;

/// Memory that is initialised once and then passed from connection to connection, with the bytes in use somewhere in
/// it.
#[derive(Default)]
pub struct Buffer {
    memory: Vec<u8>,
    used: Range<usize>,
    /// Bytes left free in front of those that are read.
    gap: usize,
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(self.used.clone()).unwrap_or(&[])
    }

    pub fn len(&self) -> usize {
        self.used.len()
    }

    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Removes the first `count` bytes, which have been used.
    pub fn consume(&mut self, count: usize) {
        self.used.start = (self.used.start + count).min(self.used.end);
        if self.used.is_empty() {
            self.used = self.gap..self.gap;
        }
    }

    /// Makes room for `capacity` bytes in all.
    pub fn grow(&mut self, capacity: usize) {
        let capacity = capacity + self.gap;
        if self.memory.len() < capacity {
            self.memory.resize(capacity, 0);
        }
    }

    /// Leaves room for `gap` bytes in front of those that are read, for [`Self::put_before`]. The buffer must be empty.
    pub fn leave_gap(&mut self, gap: usize) {
        self.gap = gap;
        self.used = gap..gap;
    }

    /// Puts these bytes right before those in use; `false`: there is no room.
    pub fn put_before(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.used.start.checked_sub(bytes.len()) else { return false };
        let Some(room) = self.memory.get_mut(start..self.used.start) else { return false };
        room.copy_from_slice(bytes);
        self.used.start = start;
        true
    }

    /// Moves the bytes in use to the front, so that all the room is behind them.
    fn compact(&mut self) {
        if self.used.start > self.gap {
            self.memory.copy_within(self.used.clone(), self.gap);
            self.used = self.gap..self.gap + self.used.len();
        }
    }

    /// Reads once into the room that is left; 0 is the end of the stream. Must not be called when it is full.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        stream: Pin<&mut impl AsyncRead>,
    ) -> Poll<io::Result<usize>> {
        self.compact();
        let room = self.memory.get_mut(self.used.end..).unwrap_or_default();
        if room.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let mut read = ReadBuf::new(room);
        ready!(stream.poll_read(context, &mut read))?;
        let count = read.filled().len();
        self.used.end += count;
        Poll::Ready(Ok(count))
    }

    /// Puts these bytes before those in use, in new memory.
    pub fn prepend(&mut self, bytes: &[u8]) {
        let mut all = bytes.to_vec();
        all.extend_from_slice(self.bytes());
        (self.used, self.gap) = (0..all.len(), 0);
        self.memory = all;
    }

    /// Whether there is memory, and no room in it.
    pub fn is_full(&self) -> bool {
        self.has_memory() && self.used.len() + self.gap >= self.memory.len()
    }

    /// Takes the memory, for another connection. The buffer must be empty.
    pub fn release(&mut self) -> Vec<u8> {
        self.used = self.gap..self.gap;
        std::mem::take(&mut self.memory)
    }

    pub fn adopt(&mut self, memory: Vec<u8>) {
        if self.memory.is_empty() {
            self.memory = memory;
        }
    }

    pub fn has_memory(&self) -> bool {
        !self.memory.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(buffer: &mut Buffer, stream: &mut &[u8]) -> usize {
        std::future::poll_fn(|context| buffer.poll_read(context, Pin::new(&mut *stream)))
            .await
            .expect("bytes")
    }

    #[tokio::test]
    async fn what_is_used_up_makes_room() {
        let mut buffer = Buffer::default();
        buffer.grow(4);
        let mut stream: &[u8] = b"abcdef";
        assert_eq!(read(&mut buffer, &mut stream).await, 4);
        assert!(buffer.is_full());
        buffer.consume(3);
        assert_eq!(read(&mut buffer, &mut stream).await, 2);
        assert_eq!(buffer.bytes(), b"def");
        buffer.consume(9);
        assert!(buffer.is_empty() && !buffer.put_before(b"x"));
        assert_eq!(read(&mut buffer, &mut stream).await, 0);
    }

    #[tokio::test]
    async fn a_gap_is_room_for_what_goes_first() {
        let mut buffer = Buffer::default();
        buffer.leave_gap(3);
        buffer.grow(4);
        let mut stream: &[u8] = b"abcdef";
        assert_eq!(read(&mut buffer, &mut stream).await, 4);
        assert!(buffer.is_full() && !buffer.put_before(b"wxyz") && buffer.put_before(b"xyz"));
        assert_eq!(buffer.bytes(), b"xyzabcd");
        buffer.consume(6);
        assert!(buffer.put_before(b"uvwxyz"));
        assert_eq!(buffer.bytes(), b"uvwxyzd");
        buffer.consume(7);
        assert_eq!(read(&mut buffer, &mut stream).await, 2);
        assert_eq!(buffer.bytes(), b"ef");
    }
}
