//! What the writer has taken from the queues, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::time::Instant;

use super::queue::{Lines, Queue};

/// Lines of several queues are merged into pieces of this size: what is copied is in the processor's cache still, and all
/// of them twice would be twice the memory.
const PIECE_BYTES: usize = 128 << 10;

/// The lines of one look at the queues. Those of a queue keep their order; among queues, the line of the earlier time comes
/// first.
#[derive(Default)]
pub(super) struct Batch {
    /// By queue.
    parts: Vec<Part>,
    /// The time of the next line of each part that has one, the earliest on top.
    next: BinaryHeap<Reverse<(Instant, usize)>>,
}

#[derive(Default)]
struct Part {
    lines: Lines,
    /// How many of its lines and bytes have been written.
    line: usize,
    byte: usize,
}

impl Batch {
    /// Takes all that waits; `false`: nothing does.
    pub(super) fn take(&mut self, queues: &[Queue]) -> bool {
        self.parts.resize_with(queues.len(), Part::default);
        self.next.clear();
        for (index, (part, queue)) in self.parts.iter_mut().zip(queues).enumerate() {
            part.clear();
            queue.take(&mut part.lines);
            self.next.extend(part.next().map(|at| Reverse((at, index))));
        }
        !self.next.is_empty()
    }

    /// Puts the next lines into `out`, which is empty; `false`: there are no more.
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
            out.extend_from_slice(part.line());
            match part.next() {
                Some(at) => *first = Reverse((at, index)),
                None => drop(PeekMut::pop(first)),
            }
        }
        !out.is_empty()
    }

    /// The lines of the one queue that had any: they need not be copied.
    fn only_part(&mut self) -> Option<&mut Vec<u8>> {
        let Reverse((_, index)) = *self.next.peek().filter(|_| self.next.len() == 1)?;
        let part = self.parts.get_mut(index).filter(|part| part.line == 0)?;
        Some(&mut part.lines.bytes)
    }
}

impl Part {
    fn clear(&mut self) {
        self.lines.clear();
        (self.line, self.byte) = (0, 0);
    }

    /// The time of its next line.
    fn next(&self) -> Option<Instant> {
        self.lines.ends.get(self.line).map(|mark| mark.at)
    }

    /// Its next line, which has been written now.
    fn line(&mut self) -> &[u8] {
        let begin = self.byte;
        self.byte += self.lines.ends.get(self.line).map_or(0, |mark| mark.length);
        self.line += 1;
        self.lines.bytes.get(begin..self.byte).unwrap_or_default()
    }
}
