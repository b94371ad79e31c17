//! The lines of one thread that wait for the writer, concatenated in one buffer: adding a line is a copy, taking all
//! lines is a swap.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use super::budget::{Allowance, Common};

/// So many bytes of one thread wake a resting writer, while they are still in the processor's cache.
pub(super) const MANY_BYTES: usize = 128 << 10;

/// Capacity that the buffers keep after a burst.
const KEPT_BYTES: usize = 512 << 10;
const KEPT_LINES: usize = KEPT_BYTES / 128;

/// Only the writer contends for the lock, a few times for each batch. In its own cache lines, which processors fetch in
/// pairs.
#[repr(align(128))]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A thread has this queue for itself.
    claimed: AtomicBool,
    /// Lines that did not fit.
    dropped: AtomicU64,
}

struct State {
    waiting: Lines,
    /// Lines and bytes that wait or are being written.
    lines: Allowance,
    bytes: Allowance,
    /// The lines and bytes among them that are being written.
    taken: (usize, usize),
    /// Lines added since the start, and lines that the writer is done with.
    added: u64,
    done: u64,
}

/// Concatenated lines, with the time and the length of each.
#[derive(Default)]
pub(super) struct Lines {
    pub bytes: Vec<u8>,
    pub marks: Vec<Mark>,
}

/// One line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub at: Instant,
    pub length: usize,
}

/// Limits for all queues together; see [`super::budget`].
pub(super) struct Limits {
    pub lines: Common,
    pub bytes: Common,
    /// So many lines of one thread wake a resting writer.
    pub many_lines: usize,
}

/// The result of adding a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    Little,
    /// Enough lines wait to end the writer's rest.
    Much,
    /// There was no room for it.
    Dropped,
}

impl Queue {
    /// Lines and bytes that this queue has to itself, beside its use of the common half.
    pub(super) fn new(lines: usize, bytes: usize) -> Self {
        let state = State {
            waiting: Lines::default(),
            lines: Allowance::new(lines),
            bytes: Allowance::new(bytes),
            taken: (0, 0),
            added: 0,
            done: 0,
        };
        Self { state: Mutex::new(state), claimed: AtomicBool::new(false), dropped: AtomicU64::new(0) }
    }

    /// `false`: another thread has it.
    pub(super) fn claim(&self) -> bool {
        !self.claimed.swap(true, Relaxed)
    }

    /// The queue's thread has ended: the next one may claim it, although old lines may still wait.
    pub(super) fn release(&self) {
        self.claimed.store(false, Relaxed);
    }

    pub(super) fn add(&self, line: &[u8], at: Instant, limits: &Limits) -> Added {
        let mut state = self.state.lock();
        if !state.lines.reserve(1, &limits.lines) || !state.bytes.reserve(line.len(), &limits.bytes) {
            drop(state);
            self.dropped.fetch_add(1, Relaxed);
            return Added::Dropped;
        }
        state.waiting.bytes.extend_from_slice(line);
        state.waiting.marks.push(Mark { at, length: line.len() });
        state.lines.add(1);
        state.bytes.add(line.len());
        state.added += 1;
        if state.is_much(limits) { Added::Much } else { Added::Little }
    }

    pub(super) fn is_much(&self, limits: &Limits) -> bool {
        self.state.lock().is_much(limits)
    }

    pub(super) fn has_lines(&self) -> bool {
        !self.state.lock().waiting.marks.is_empty()
    }

    /// For the writer: moves all waiting lines to `lines`, which must be empty.
    pub(super) fn take(&self, lines: &mut Lines) {
        let mut state = self.state.lock();
        std::mem::swap(&mut state.waiting, lines);
        state.taken = (lines.marks.len(), lines.bytes.len());
    }

    /// For the writer: frees the room of the lines that it has taken.
    pub(super) fn done(&self, limits: &Limits) {
        let mut state = self.state.lock();
        let (lines, bytes) = std::mem::take(&mut state.taken);
        state.lines.remove(lines, &limits.lines);
        state.bytes.remove(bytes, &limits.bytes);
        state.done += lines as u64;
    }

    /// Lines added since the start.
    pub(super) fn added(&self) -> u64 {
        self.state.lock().added
    }

    /// Whether the writer is done with the first `lines` lines.
    pub(super) fn is_done_with(&self, lines: u64) -> bool {
        self.state.lock().done >= lines
    }

    /// Lines that did not fit.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl State {
    fn is_much(&self, limits: &Limits) -> bool {
        self.bytes.used() >= MANY_BYTES || self.lines.used() >= limits.many_lines
    }
}

impl Lines {
    /// Removes all lines, and keeps some capacity.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.marks.clear();
        self.marks.shrink_to(KEPT_LINES);
    }
}
