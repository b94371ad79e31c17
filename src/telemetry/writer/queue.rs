//! The lines of one thread that wait for the writer, one behind the other in one piece of memory: adding one is a copy,
//! and taking them all is a swap.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use super::budget::{Allowance, Common};

/// A writer that rests is woken for so many bytes of one thread: what it copies is in the processor's cache still.
pub(super) const MANY_BYTES: usize = 128 << 10;

/// After a burst, more memory than this is given back.
const KEPT_BYTES: usize = 512 << 10;
const KEPT_LINES: usize = KEPT_BYTES / 128;

/// Only the writer contends for the lock, a few times in its rounds. In cache lines of its own, which come in pairs.
#[repr(align(128))]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A thread has it for itself.
    claimed: AtomicBool,
    /// Lines that did not fit.
    dropped: AtomicU64,
}

struct State {
    waiting: Lines,
    /// Lines and bytes that wait or are being written.
    lines: Allowance,
    bytes: Allowance,
    /// Of these, what is being written.
    taken: (usize, usize),
    /// All lines so far, and those that the writer is done with.
    added: u64,
    done: u64,
}

/// Lines with the time of each.
#[derive(Default)]
pub(super) struct Lines {
    pub bytes: Vec<u8>,
    pub ends: Vec<Mark>,
}

/// One line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub at: Instant,
    pub length: usize,
}

/// What all queues together may hold; see [`super::budget`].
pub(super) struct Limits {
    pub lines: Common,
    pub bytes: Common,
    /// A writer that rests is woken for so many lines of one thread.
    pub many_lines: usize,
}

/// What came of adding a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    Little,
    /// The writer should not rest any longer.
    Much,
    /// There was no room for it.
    Dropped,
}

impl Queue {
    /// With so many lines and bytes that are its own.
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

    /// Its thread has ended: the next one may have it, behind what waits.
    pub(super) fn release(&self) {
        self.claimed.store(false, Relaxed);
    }

    pub(super) fn add(&self, line: &[u8], at: Instant, limits: &Limits) -> Added {
        let mut state = self.state.lock();
        if !state.lines.has_room(1, &limits.lines) || !state.bytes.has_room(line.len(), &limits.bytes) {
            drop(state);
            self.dropped.fetch_add(1, Relaxed);
            return Added::Dropped;
        }
        state.waiting.bytes.extend_from_slice(line);
        state.waiting.ends.push(Mark { at, length: line.len() });
        state.lines.add(1);
        state.bytes.add(line.len());
        state.added += 1;
        if state.is_much(limits) { Added::Much } else { Added::Little }
    }

    pub(super) fn is_much(&self, limits: &Limits) -> bool {
        self.state.lock().is_much(limits)
    }

    pub(super) fn has_lines(&self) -> bool {
        !self.state.lock().waiting.ends.is_empty()
    }

    /// For the writer: puts all lines that wait into `lines`, which is empty.
    pub(super) fn take(&self, lines: &mut Lines) {
        let mut state = self.state.lock();
        std::mem::swap(&mut state.waiting, lines);
        state.taken = (lines.ends.len(), lines.bytes.len());
    }

    /// For the writer: it is done with the lines that it has taken.
    pub(super) fn done(&self, limits: &Limits) {
        let mut state = self.state.lock();
        let (lines, bytes) = std::mem::take(&mut state.taken);
        state.lines.remove(lines, &limits.lines);
        state.bytes.remove(bytes, &limits.bytes);
        state.done += lines as u64;
    }

    /// How many lines there have been.
    pub(super) fn added(&self) -> u64 {
        self.state.lock().added
    }

    /// Whether the writer is done with so many lines.
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
    /// Forgets them, and keeps some of their memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_LINES);
    }
}
