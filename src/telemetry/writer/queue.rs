//! The lines that wait for their thread, one behind the other in one piece of memory: adding one is a copy, and taking
//! them all is a swap.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Lines are bounded by the length of their requests, so a bound on their number alone would allow gigabytes.
const BYTES_MAX: usize = 64 << 20;

/// A thread that rests is woken for so many bytes, or for half of the lines that may wait: what it copies is in the
/// processor's cache still.
const MANY_BYTES: usize = 128 << 10;

/// After a burst, more memory than this is given back.
const KEPT_BYTES: usize = 512 << 10;

pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something for the thread to do.
    work: Condvar,
    /// The thread has written something.
    progress: Condvar,
    lines_max: usize,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines and bytes that wait or are being written.
    lines: usize,
    bytes: usize,
    /// Of these, what is being written.
    taken: (usize, usize),
    /// All lines so far, and those that the thread is done with.
    added: u64,
    done: u64,
    reopen: bool,
    closed: bool,
    /// The thread waits for something to do.
    asleep: bool,
    /// The thread waits for much to do.
    resting: bool,
    /// So many wait for the thread.
    hurried: usize,
}

/// What the thread is given to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The lines are in the buffer.
    Write,
    /// Open the output anew; lines may be in the buffer as well, which came later.
    Reopen,
    /// Nothing came within the time.
    Nothing,
    /// There will be nothing more.
    End,
}

impl Queue {
    pub(super) fn new(lines_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            lines_max: lines_max.max(1),
        }
    }

    /// `false`: it is full.
    pub(super) fn add(&self, line: &[u8]) -> bool {
        let mut state = self.state.lock();
        if state.lines >= self.lines_max || state.bytes + line.len() > BYTES_MAX {
            return false;
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        state.bytes += line.len();
        state.added += 1;
        if !state.resting || self.is_much(&state) {
            self.wake(&mut state);
        }
        true
    }

    pub(super) fn reopen(&self) {
        let mut state = self.state.lock();
        state.reopen = true;
        self.wake(&mut state);
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.wake(&mut state);
    }

    fn is_much(&self, state: &State) -> bool {
        state.bytes >= MANY_BYTES || state.lines * 2 >= self.lines_max
    }

    /// Waking costs a system call, and is needed only where the thread sleeps.
    fn wake(&self, state: &mut State) {
        if std::mem::take(&mut state.asleep) || std::mem::take(&mut state.resting) {
            self.work.notify_one();
        }
    }

    /// For the thread: lets lines gather for so long, unless there is a reason to go on at once.
    pub(super) fn rest(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        state.resting = !(state.reopen || state.closed || state.hurried > 0 || self.is_much(&state));
        while state.resting {
            if self.work.wait_until(&mut state, until).timed_out() {
                state.resting = false;
            }
        }
    }

    /// For the thread: waits for something to do, at most so long, and puts all lines that wait into `buffer`.
    pub(super) fn take(&self, buffer: &mut Vec<u8>, limit: Option<Duration>) -> Task {
        buffer.clear();
        buffer.shrink_to(KEPT_BYTES);
        let until = limit.map(|limit| Instant::now() + limit);
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.reopen {
            if state.closed {
                return Task::End;
            }
            state.asleep = true;
            match until {
                None => self.work.wait(&mut state),
                Some(until) => {
                    if self.work.wait_until(&mut state, until).timed_out() {
                        state.asleep = false;
                        return Task::Nothing;
                    }
                }
            }
        }
        std::mem::swap(&mut state.waiting, buffer);
        state.taken = (state.lines, state.bytes);
        if std::mem::take(&mut state.reopen) { Task::Reopen } else { Task::Write }
    }

    /// For the thread: it is done with the lines that it has taken.
    pub(super) fn done(&self) {
        let mut state = self.state.lock();
        let (lines, bytes) = std::mem::take(&mut state.taken);
        state.lines -= lines;
        state.bytes -= bytes;
        state.done += lines as u64;
        self.progress.notify_all();
    }

    /// Waits until the thread is done with all lines so far; `false` if that took longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        let wanted = state.added;
        state.hurried += 1;
        self.wake(&mut state);
        let mut in_time = true;
        while in_time && (state.done < wanted || state.reopen) {
            in_time = !self.progress.wait_until(&mut state, until).timed_out();
        }
        state.hurried -= 1;
        state.done >= wanted && !state.reopen
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// Whether the thread still rests after `meanwhile`.
    fn rests_on(meanwhile: impl FnOnce(&Queue)) -> bool {
        let queue = Arc::new(Queue::new(100));
        let resting = queue.clone();
        let thread = thread::spawn(move || resting.rest(Duration::from_secs(600)));
        while !queue.state.lock().resting {
            thread::yield_now();
        }
        meanwhile(&queue);
        let rests_on = queue.state.lock().resting;
        queue.close();
        thread.join().expect("it ends");
        rests_on
    }

    #[test]
    fn a_rest_lasts_until_there_is_a_reason_to_end_it() {
        let add = |queue: &Queue, lines| assert!((0..lines).all(|_| queue.add(b"line\n")));
        assert!(rests_on(|queue| add(queue, 49)));
        assert!(!rests_on(|queue| add(queue, 50)));
        assert!(rests_on(|queue| assert!(queue.add(&[0; MANY_BYTES - 1]))));
        assert!(!rests_on(|queue| assert!(queue.add(&[0; MANY_BYTES]))));
        assert!(!rests_on(Queue::reopen));
        assert!(!rests_on(|queue| assert!(queue.flush(Duration::ZERO))));
    }

    #[test]
    fn nobody_rests_while_somebody_waits() {
        let queue = Arc::new(Queue::new(100));
        assert!(queue.add(b"line\n"));
        let waiting = queue.clone();
        let flush = thread::spawn(move || waiting.flush(Duration::from_secs(600)));
        while queue.state.lock().hurried == 0 {
            thread::yield_now();
        }
        queue.rest(Duration::from_secs(600));
        let mut lines = Vec::new();
        assert_eq!(queue.take(&mut lines, None), Task::Write);
        queue.done();
        assert!(flush.join().expect("it ends"));
    }
}
