//! Lines to an output without ever waiting for it: bounded queues, and one thread for each output, the writer.
//!
//! `write` either takes a line into a queue or drops and counts it. Only the writer touches the output, so a stalled
//! reader, a full disk or a dead pipe costs lines, never a request. Each worker has a queue of its own ([`Producer`]), so
//! that workers write nothing in common for a line; the writer takes what all queues hold and merges it by time.

mod batch;
mod budget;
mod queue;
mod queues;
mod signal;
mod sink;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use batch::Batch;
use queues::{COMMON_QUEUE, Queues, Task};
pub use sink::Output;
use sink::Sink;

/// How long the writer rests after a batch, unless much comes meanwhile or somebody waits for it. Waking a sleeping
/// thread costs the request a system call, and the processor two changes of thread; while the writer rests, a line costs
/// neither.
const REST: Duration = Duration::from_millis(20);

/// Losses go to the event log at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(60);
const QUEUE_FULL: &str = "the queue is full";

/// After a burst, more memory than this is given back.
const KEPT_BYTES: usize = 512 << 10;

/// A log: share it by reference. Once it and all its producers are dropped, its writer writes what is queued and ends.
pub struct LineWriter {
    open: Arc<Open>,
}

/// What one thread writes by: it has a queue of its own, as long as there are no more of them than workers.
pub struct Producer {
    open: Arc<Open>,
    queue: usize,
}

/// Dropped, there are no more lines to come.
struct Open(Arc<Shared>);

/// Lines lost since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loss {
    log: &'static str,
    lines: u64,
    reason: String,
}

/// Who hears of losses, and how often.
struct Reporter {
    every: Duration,
    tell: Box<dyn Fn(Loss) + Send + Sync>,
}

struct Shared {
    name: &'static str,
    started: Instant,
    queues: Queues,
    /// Lines that the output did not take.
    unwritten: AtomicU64,
    reporter: Reporter,
    /// Of the lost lines, those that were told.
    reported: AtomicU64,
    /// When the next report may be, in nanoseconds since the start.
    next_report: AtomicU64,
}

struct Thread {
    shared: Arc<Shared>,
    output: Output,
    sink: Sink,
    batch: Batch,
    /// Of the batch, what is being written.
    buffer: Vec<u8>,
    /// The output ends within a line: the next write begins with a line break.
    torn: bool,
    last_error: Option<String>,
}

// === impl LineWriter ===

impl LineWriter {
    /// Opens the output and starts its writer. `name` is what reports call this log, `lines_max` how many lines may wait,
    /// `workers` how many threads are to have queues of their own.
    pub fn start(
        name: &'static str,
        output: Output,
        lines_max: usize,
        workers: usize,
    ) -> io::Result<LineWriter> {
        Self::start_with(name, output, Queues::new(lines_max, workers), Reporter::to_event_log())
    }

    fn start_with(
        name: &'static str,
        output: Output,
        queues: Queues,
        reporter: Reporter,
    ) -> io::Result<LineWriter> {
        let sink = output.open()?;
        let shared = Arc::new(Shared::new(name, queues, reporter));
        let thread = Thread {
            shared: shared.clone(),
            output,
            sink,
            batch: Batch::default(),
            buffer: Vec::new(),
            torn: false,
            last_error: None,
        };
        thread::Builder::new().name(format!("log-{name}")).spawn(move || thread.run())?;
        Ok(LineWriter { open: Arc::new(Open(shared)) })
    }

    /// For one thread. Dropped, its queue is the next one's.
    pub fn producer(&self) -> Producer {
        Producer { queue: self.open.0.queues.claim(), open: self.open.clone() }
    }

    /// Queues a line beside those of other threads that have no producer, as [`Producer::write`] does.
    pub fn write(&self, line: &[u8]) {
        self.open.0.write(COMMON_QUEUE, line, Instant::now());
    }

    /// Lines lost since the start: the queue was full, or the output took them not.
    pub fn dropped(&self) -> u64 {
        self.open.0.lost()
    }

    /// Has the writer close a file output and open it anew. Returns at once.
    pub fn reopen(&self) {
        self.open.0.queues.reopen();
    }

    /// Waits until everything queued so far is written; false if that took longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.open.0.queues.flush(limit)
    }
}

// === impl Producer ===

impl Producer {
    /// Queues a line, which ends with its line break and has no other. `at` is its place among the lines of other threads
    /// that are written with it; those of this thread stay in order. Never blocks: dropped and counted where there is no
    /// room.
    pub fn write(&self, line: &[u8], at: Instant) {
        self.open.0.write(self.queue, line, at);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.open.0.queues.release(self.queue);
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.0.queues.close();
    }
}

// === impl Shared ===

impl Shared {
    fn new(name: &'static str, queues: Queues, reporter: Reporter) -> Shared {
        Shared {
            name,
            started: Instant::now(),
            queues,
            unwritten: AtomicU64::new(0),
            reporter,
            reported: AtomicU64::new(0),
            next_report: AtomicU64::new(0),
        }
    }

    fn write(&self, queue: usize, line: &[u8], at: Instant) {
        // Reported here, not by the writer: the reason that there is no room may be that the writer is stuck.
        if !self.queues.add(queue, line, at) && self.until_next_report().is_zero() {
            self.report(QUEUE_FULL);
        }
    }

    fn lost(&self) -> u64 {
        self.queues.dropped() + self.unwritten.load(Ordering::Relaxed)
    }

    /// How long until losses may be reported; `None`: there are none to report.
    fn until_report(&self) -> Option<Duration> {
        let untold = self.lost() > self.reported.load(Ordering::Relaxed);
        untold.then(|| self.until_next_report())
    }

    /// The same, if there are any.
    fn until_next_report(&self) -> Duration {
        Duration::from_nanos(self.next_report.load(Ordering::Relaxed)).saturating_sub(self.started.elapsed())
    }

    /// Reports losses, if there are any and it is time. Where the event log tells of its own, this is called again from
    /// within; it is too early by then.
    fn report(&self, reason: &str) {
        if self.until_report() != Some(Duration::ZERO) {
            return;
        }
        let now = self.next_report.load(Ordering::Relaxed);
        let next = nanos(self.started.elapsed() + self.reporter.every);
        if self.next_report.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // Another thread does it.
            return;
        }
        let lost = self.lost();
        let lines = lost.saturating_sub(self.reported.swap(lost, Ordering::Relaxed));
        (self.reporter.tell)(Loss { log: self.name, lines, reason: reason.to_owned() });
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Reporter ===

impl Reporter {
    /// As an ordinary event. The event log may report on itself: a report is one more line to queue, at most once a
    /// minute, so nothing can build up.
    fn to_event_log() -> Reporter {
        let tell = |loss: Loss| {
            log::error!(
                target: "evenkeel::telemetry",
                log = loss.log, lines = loss.lines, reason = loss.reason.as_str();
                "log lines were lost"
            );
        };
        Reporter { every: REPORT_EVERY, tell: Box::new(tell) }
    }
}

// === impl Thread ===

impl Thread {
    fn run(mut self) {
        loop {
            let task = self.shared.queues.take(&mut self.batch, self.shared.until_report());
            match task {
                Task::End => return,
                Task::Reopen => self.reopen(),
                Task::Write | Task::Nothing => {}
            }
            self.write_batch();
            self.shared.queues.done();
            self.report();
            if task == Task::Write {
                self.shared.queues.rest(REST);
            }
        }
    }

    fn reopen(&mut self) {
        match self.output.reopen() {
            Ok(None) => {}
            Ok(Some(sink)) => {
                self.sink = sink;
                self.torn = false;
            }
            // Better the old file than none.
            Err(error) => {
                log::error!(
                    target: "evenkeel::telemetry",
                    log = self.shared.name, reason = error.to_string().as_str();
                    "log file was not opened anew, the old one is kept"
                );
            }
        }
    }

    fn write_batch(&mut self) {
        while self.batch.next_piece(&mut self.buffer) {
            self.write_buffer();
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
        }
    }

    fn write_buffer(&mut self) {
        let (written, result) =
            self.end_torn_line().map_or_else(|error| (0, Err(error)), |()| self.sink.write(&self.buffer));
        if written > 0 {
            self.torn = self.buffer[written - 1] != b'\n';
        }
        if let Err(error) = result {
            let unwritten = self.buffer[written..].iter().filter(|&&byte| byte == b'\n').count();
            self.shared.unwritten.fetch_add(unwritten as u64, Ordering::Relaxed);
            self.last_error = Some(error.to_string());
        }
    }

    fn end_torn_line(&mut self) -> io::Result<()> {
        if self.torn {
            self.sink.write(b"\n").1?;
            self.torn = false;
        }
        Ok(())
    }

    fn report(&mut self) {
        if self.shared.until_report() == Some(Duration::ZERO) {
            let error = self.last_error.take();
            self.shared.report(error.as_deref().unwrap_or(QUEUE_FULL));
        }
    }
}
