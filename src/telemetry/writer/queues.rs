//! The queues of a log, one for each worker thread and one for all other threads, and the next task of their writer.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::batch::Batch;
use super::budget::Common;
use super::queue::{Added, Limits, Queue};
use super::signal::{Signal, Sleep};

/// A line may be as long as its request, so a limit on lines alone would allow gigabytes.
const BYTES_MAX: usize = 64 << 20;

/// The queue that threads without their own share.
pub(super) const COMMON_QUEUE: usize = 0;

pub(super) struct Queues {
    all: Box<[Queue]>,
    limits: Limits,
    signal: Signal,
    control: Mutex<Control>,
    /// Notified when the writer is done with a batch.
    progress: Condvar,
}

/// What other threads ask of the writer, apart from writing lines.
#[derive(Default)]
struct Control {
    /// How often the output was to be opened anew, as asked for, as taken by the writer, and as done.
    reopens: Reopens,
    closed: bool,
    /// The number of threads that wait in [`Queues::flush`].
    flushing: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reopens {
    asked: u64,
    taken: u64,
    done: u64,
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The lines are in the batch.
    Write,
    /// Open the output anew, then write the batch, which may be empty.
    Reopen,
    /// Nothing arrived within the time limit.
    Nothing,
    /// The log is closed and all queues are empty.
    End,
}

impl Queues {
    /// A queue for each of `workers`, and one for other threads, with `lines_max` lines in all.
    pub(super) fn new(lines_max: usize, workers: usize) -> Self {
        Self::bounded(lines_max, BYTES_MAX, workers)
    }

    /// The same, with `bytes_max` bytes in all.
    pub(super) fn bounded(lines_max: usize, bytes_max: usize, workers: usize) -> Self {
        let parts = workers.max(1);
        let (lines, lines_each) = Common::divide(lines_max.max(1), parts);
        let (bytes, bytes_each) = Common::divide(bytes_max.max(1), parts);
        // With workers, other threads log hardly anything: the common half is enough for them.
        let common_queue = if workers == 0 { Queue::new(lines_each, bytes_each) } else { Queue::new(0, 0) };
        let of_workers = (0..workers).map(|_| Queue::new(lines_each, bytes_each));
        Self {
            all: std::iter::once(common_queue).chain(of_workers).collect(),
            limits: Limits { lines, bytes, many_lines: lines_each },
            signal: Signal::default(),
            control: Mutex::default(),
            progress: Condvar::new(),
        }
    }

    /// A queue for one thread, or the common one where none is left. [`Queues::release`] gives it back.
    pub(super) fn claim(&self) -> usize {
        let own = self.all.iter().enumerate().skip(COMMON_QUEUE + 1).find(|(_, queue)| queue.claim());
        own.map_or(COMMON_QUEUE, |(index, _)| index)
    }

    pub(super) fn release(&self, queue: usize) {
        if let Some(queue) = self.all.get(queue) {
            queue.release();
        }
    }

    /// `false`: there is no room.
    pub(super) fn add(&self, queue: usize, line: &[u8], at: Instant) -> bool {
        let added = self.all.get(queue).map_or(Added::Dropped, |queue| queue.add(line, at, &self.limits));
        self.signal.notify(added != Added::Little);
        added != Added::Dropped
    }

    /// Lines that did not fit.
    pub(super) fn dropped(&self) -> u64 {
        self.all.iter().map(Queue::dropped).sum()
    }

    pub(super) fn reopen(&self) {
        self.control.lock().reopens.asked += 1;
        self.signal.wake();
    }

    pub(super) fn close(&self) {
        self.control.lock().closed = true;
        self.signal.wake();
    }

    /// For the writer: lets lines gather for `limit`, unless there is a reason to go on at once.
    pub(super) fn rest(&self, limit: Duration) {
        let is_needed = || {
            let Control { reopens, closed, flushing } = *self.control.lock();
            reopens.is_asked()
                || closed
                || flushing > 0
                || self.all.iter().any(|queue| queue.is_much(&self.limits))
        };
        // Woken or not, the writer looks at the queues next.
        let _ = self.signal.sleep(Sleep::Resting, Some(Instant::now() + limit), is_needed);
    }

    /// For a reader in place of a writer: takes all waiting lines; `false`: there are none.
    pub(super) fn gather(&self, batch: &mut Batch) -> bool {
        batch.take(&self.all)
    }

    /// For the writer: waits for work, at most `limit`, and takes all waiting lines.
    pub(super) fn take(&self, batch: &mut Batch, limit: Option<Duration>) -> Task {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            // Read before the queues, so that lines added before the close are found.
            let (reopen, closed) = self.take_requests();
            match (batch.take(&self.all), reopen, closed) {
                (_, true, _) => return Task::Reopen,
                (true, ..) => return Task::Write,
                (false, _, true) => return Task::End,
                (false, ..) => {}
            }
            if !self.signal.sleep(Sleep::Idle, until, || self.has_work()) {
                return Task::Nothing;
            }
        }
    }

    /// Whether to open the output anew, once for all who asked so far, and whether the log is closed.
    fn take_requests(&self) -> (bool, bool) {
        let mut control = self.control.lock();
        let reopen = control.reopens.is_asked();
        control.reopens.taken = control.reopens.asked;
        (reopen, control.closed)
    }

    fn has_work(&self) -> bool {
        let Control { reopens, closed, .. } = *self.control.lock();
        reopens.is_asked() || closed || self.all.iter().any(Queue::has_lines)
    }

    /// For the writer: it has done what it has taken. Frees the room of the lines, and tells those who wait.
    pub(super) fn done(&self) {
        self.all.iter().for_each(|queue| queue.done(&self.limits));
        let mut control = self.control.lock();
        control.reopens.done = control.reopens.taken;
        if control.flushing > 0 {
            self.progress.notify_all();
        }
    }

    /// Waits until the writer is done with all lines so far, and has opened the output anew if that was asked; `false` if that took longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut control = self.control.lock();
        let wanted: Vec<u64> = self.all.iter().map(Queue::added).collect();
        let reopens = control.reopens.asked;
        let is_done = |control: &Control| {
            let mut each = self.all.iter().zip(&wanted);
            control.reopens.done >= reopens && each.all(|(queue, wanted)| queue.is_done_with(*wanted))
        };
        control.flushing += 1;
        self.signal.wake();
        let mut in_time = true;
        while in_time && !is_done(&control) {
            in_time = !self.progress.wait_until(&mut control, until).timed_out();
        }
        control.flushing -= 1;
        is_done(&control)
    }
}

impl Reopens {
    fn is_asked(&self) -> bool {
        self.taken < self.asked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::super::queue::MANY_BYTES;
    use super::*;

    fn add(queues: &Queues, line: &[u8]) -> bool {
        queues.add(COMMON_QUEUE, line, Instant::now())
    }

    /// Whether the writer still rests after `meanwhile` has run.
    fn rests_on(queues: Queues, meanwhile: impl FnOnce(&Queues)) -> bool {
        let queues = Arc::new(queues);
        let resting = queues.clone();
        let thread = thread::spawn(move || resting.rest(Duration::from_secs(600)));
        while !queues.signal.is_resting() {
            thread::yield_now();
        }
        meanwhile(&queues);
        let rests_on = queues.signal.is_resting();
        queues.close();
        thread.join().expect("it ends");
        rests_on
    }

    #[test]
    fn a_rest_lasts_until_there_is_a_reason_to_end_it() {
        let rests_on = |meanwhile: fn(&Queues)| rests_on(Queues::new(100, 0), meanwhile);
        assert!(rests_on(|queues| assert!((0..49).all(|_| add(queues, b"line\n")))));
        assert!(!rests_on(|queues| assert!((0..50).all(|_| add(queues, b"line\n")))));
        assert!(rests_on(|queues| assert!(add(queues, &[0; MANY_BYTES - 1]))));
        assert!(!rests_on(|queues| assert!(add(queues, &[0; MANY_BYTES]))));
        assert!(!rests_on(Queues::reopen));
        assert!(!rests_on(|queues| assert!(queues.flush(Duration::ZERO))));
    }

    #[test]
    fn a_rest_ends_once_one_worker_has_used_its_part_up() {
        let add_to_both = |lines: usize| {
            rests_on(Queues::new(100, 2), |queues| {
                let (one, two) = (queues.claim(), queues.claim());
                assert!(queues.add(two, b"line\n", Instant::now()));
                assert!((0..lines).all(|_| queues.add(one, b"line\n", Instant::now())));
            })
        };
        assert!(add_to_both(24));
        assert!(!add_to_both(25));
    }

    #[test]
    fn nobody_rests_while_somebody_waits() {
        let queues = Arc::new(Queues::new(100, 0));
        assert!(add(&queues, b"line\n"));
        let waiting = queues.clone();
        let flush = thread::spawn(move || waiting.flush(Duration::from_secs(600)));
        while queues.control.lock().flushing == 0 {
            thread::yield_now();
        }
        queues.rest(Duration::from_secs(600));
        assert_eq!(queues.take(&mut Batch::default(), None), Task::Write);
        queues.done();
        assert!(flush.join().expect("it ends"));
    }

    #[test]
    fn a_flush_lasts_until_the_output_is_open_anew() {
        let queues = Queues::new(100, 0);
        let mut batch = Batch::default();
        queues.reopen();
        assert!(!queues.flush(Duration::ZERO), "the writer does not know of it");
        assert_eq!(queues.take(&mut batch, None), Task::Reopen);
        assert!(!queues.flush(Duration::ZERO), "the writer is about to");
        // Another one meanwhile is another one.
        queues.reopen();
        queues.done();
        assert!(!queues.flush(Duration::ZERO));
        assert_eq!(queues.take(&mut batch, None), Task::Reopen);
        queues.done();
        assert!(queues.flush(Duration::ZERO));
    }

    #[test]
    fn a_queue_that_was_given_back_is_the_next_threads() {
        let queues = Queues::new(100, 2);
        let (one, two) = (queues.claim(), queues.claim());
        assert_ne!(one, two);
        assert_eq!(queues.claim(), COMMON_QUEUE, "none is left");
        queues.release(one);
        assert_eq!(queues.claim(), one);
        queues.release(COMMON_QUEUE);
        assert_eq!(queues.claim(), COMMON_QUEUE);
    }

    /// The first line wakes a sleeping writer, whichever thread adds it.
    #[test]
    fn no_line_is_left_behind() {
        const LINES: u64 = 2_000;
        let queues = Arc::new(Queues::new(100_000, 3));
        let writing = queues.clone();
        let writer = thread::spawn(move || {
            let (mut batch, mut out, mut lines) = (Batch::default(), Vec::new(), 0);
            while writing.take(&mut batch, None) != Task::End {
                while batch.next_piece(&mut out) {
                    lines += out.iter().filter(|byte| **byte == b'\n').count() as u64;
                    out.clear();
                }
                writing.done();
            }
            lines
        });
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let own = queues.claim();
                    for added in 1..=LINES {
                        assert!(queues.add(own, b"line\n", Instant::now()));
                        let begun = Instant::now();
                        while own != COMMON_QUEUE && !queues.all[own].is_done_with(added) {
                            assert!(begun.elapsed() < Duration::from_secs(60), "the writer sleeps on");
                            thread::yield_now();
                        }
                    }
                });
            }
        });
        queues.close();
        assert_eq!(writer.join().expect("it ends"), 4 * LINES);
    }
}
