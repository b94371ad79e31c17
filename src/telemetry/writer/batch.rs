//! The lines that the writer has taken from the queues, merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::time::Instant;

use super::queue::{Lines, Queue};

/// Lines of several queues are merged in pieces of this size: a piece is written while it is still in the processor's
/// cache, and a copy of the whole batch would double the memory.
const PIECE_BYTES: usize = 128 << 10;

/// The lines taken from all queues at once. Lines of one queue keep their order; between queues, the earlier line comes
/// first.
#[derive(Default)]
pub(super) struct Batch {
    /// By queue.
    parts: Vec<Part>,
    /// The time of the next line of each part that has lines left, and the part's index; the earliest on top.
    next: BinaryHeap<Reverse<(Instant, usize)>>,
}

#[derive(Default)]
struct Part {
    lines: Lines,
    /// How many of its lines and bytes have been written.
    lines_written: usize,
    bytes_written: usize,
}

impl Batch {
    /// Takes all waiting lines; `false`: there are none.
    pub(super) fn take(&mut self, queues: &[Queue]) -> bool {
        self.parts.resize_with(queues.len(), Part::default);
        self.next.clear();
        for (index, (part, queue)) in self.parts.iter_mut().zip(queues).enumerate() {
            part.clear();
            queue.take(&mut part.lines);
            self.next.extend(part.next_time().map(|at| Reverse((at, index))));
        }
        !self.next.is_empty()
    }

    /// Moves the next lines to `out`, which must be empty; `false`: there are no more.
    pub(super) fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(bytes) = self.only_part() {
            std::mem::swap(out, bytes);
            self.next.clear();
        }
        while out.len() < PIECE_BYTES
            && let Some(mut first) = self.next.peek_mut()
        {
            let Reverse((_, index)) = *first;
            let Some(part) = self.parts.get_mut(index) else { break };
            out.extend_from_slice(part.next_line());
            match part.next_time() {
                Some(at) => *first = Reverse((at, index)),
                None => drop(PeekMut::pop(first)),
            }
        }
        !out.is_empty()
    }

    /// The lines of the only queue that had any: they can be taken without a copy.
    fn only_part(&mut self) -> Option<&mut Vec<u8>> {
        let Reverse((_, index)) = *self.next.peek().filter(|_| self.next.len() == 1)?;
        let part = self.parts.get_mut(index).filter(|part| part.lines_written == 0)?;
        Some(&mut part.lines.bytes)
    }
}

impl Part {
    fn clear(&mut self) {
        self.lines.clear();
        (self.lines_written, self.bytes_written) = (0, 0);
    }

    /// The time of the next line.
    fn next_time(&self) -> Option<Instant> {
        self.lines.marks.get(self.lines_written).map(|mark| mark.at)
    }

    /// Returns the next line and counts it as written.
    fn next_line(&mut self) -> &[u8] {
        let begin = self.bytes_written;
        self.bytes_written += self.lines.marks.get(self.lines_written).map_or(0, |mark| mark.length);
        self.lines_written += 1;
        self.lines.bytes.get(begin..self.bytes_written).unwrap_or_default()
    }
}
