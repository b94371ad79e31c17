//! The queues of lines without a writer thread: their reader asks for the lines when it has room for them.

use std::time::Instant;

use super::batch::Batch;
use super::queues::Queues;

/// Bounded queues of lines, one for each of some worker threads.
pub struct LineQueues(Queues);

/// The lines that their reader has taken.
#[derive(Default)]
pub struct Gathered {
    batch: Batch,
    piece: Vec<u8>,
}

impl LineQueues {
    /// All of them together hold `lines_max` lines and `bytes_max` bytes, with those that their reader has taken.
    pub fn new(lines_max: usize, bytes_max: usize, workers: usize) -> Self {
        Self(Queues::bounded(lines_max, bytes_max, workers))
    }

    /// The index of a queue for one worker.
    pub fn claim(&self) -> usize {
        self.0.claim()
    }

    /// Drops and counts a line that does not fit. `at` orders it among the lines of other workers.
    pub fn add(&self, queue: usize, line: &[u8], at: Instant) {
        self.0.add(queue, line, at);
    }

    /// Lines that did not fit.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// The next lines; `None`: there are none. With the first of them that are new, the room of those before is free.
    pub fn next_piece<'a>(&self, gathered: &'a mut Gathered) -> Option<&'a [u8]> {
        let Gathered { batch, piece } = gathered;
        piece.clear();
        if !batch.next_piece(piece) {
            self.0.done();
            if !self.0.gather(batch) || !batch.next_piece(piece) {
                return None;
            }
        }
        Some(piece)
    }
}
