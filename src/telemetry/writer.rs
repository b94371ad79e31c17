//! Writes log lines without blocking the caller: bounded queues, and for each output one writer thread.
//!
//! `write` either queues a line, or drops and counts it. Only the writer touches the output, so a stalled reader, a
//! full disk or a dead pipe costs lines, never a request. Each worker has its own queue ([`Producer`]), so that workers
//! share no memory that they write; the writer takes the lines of all queues and merges them by time.

mod batch;
mod budget;
mod line_queues;
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
pub use line_queues::{Gathered, LineQueues};
use queues::{COMMON_QUEUE, Queues, Task};
pub use sink::Output;
use sink::Sink;

/// How long the writer rests after a batch, unless many lines arrive or a caller waits for it. Waking a sleeping thread
/// costs the request a system call and the processor two context switches; while the writer rests, a line costs
/// neither.
const REST: Duration = Duration::from_millis(20);

/// Losses go to the event log at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(60);
const QUEUE_FULL: &str = "the queue is full";

/// Capacity that the buffer keeps after a burst.
const KEPT_BYTES: usize = 512 << 10;

/// Queues lines for one output. Once it and all its producers are dropped, the writer writes the queued lines and ends.
pub struct LineWriter {
    open: Arc<CloseOnDrop>,
}

/// Queues the lines of one thread. Has its own queue as long as there are no more producers than workers, else the
/// common one.
pub struct Producer {
    open: Arc<CloseOnDrop>,
    queue: usize,
}

/// The lines that a writer still has to write, also once its log is closed. Does not keep the log open.
#[derive(Clone)]
pub struct Pending(Arc<Shared>);

/// Shared by the log and its producers; closes the queues when the last of them is dropped.
struct CloseOnDrop(Arc<Shared>);

/// Lines lost since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loss {
    log: &'static str,
    lines: u64,
    reason: String,
}

/// Where losses are reported, and how often.
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
    /// Lost lines that have been reported.
    reported: AtomicU64,
    /// The time of the next report at the earliest, in nanoseconds since `started`.
    next_report: AtomicU64,
}

/// The thread that writes to the output.
struct Writer {
    shared: Arc<Shared>,
    output: Output,
    sink: Sink,
    batch: Batch,
    /// The piece of the batch that is being written.
    buffer: Vec<u8>,
    /// The output ends within a line: the next write must begin with a line break.
    torn: bool,
    last_error: Option<String>,
}

// === impl LineWriter ===

impl LineWriter {
    /// Opens the output and starts its writer. Reports call this log `name`; at most `lines_max` lines wait, and
    /// `workers` threads have their own queues.
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
        let writer = Writer {
            shared: shared.clone(),
            output,
            sink,
            batch: Batch::default(),
            buffer: Vec::new(),
            torn: false,
            last_error: None,
        };
        thread::Builder::new().name(format!("log-{name}")).spawn(move || writer.run())?;
        Ok(LineWriter { open: Arc::new(CloseOnDrop(shared)) })
    }

    /// A producer for one thread. The next producer reuses its queue once it is dropped.
    pub fn producer(&self) -> Producer {
        Producer { queue: self.open.0.queues.claim(), open: self.open.clone() }
    }

    /// As [`Producer::write`], for threads without a producer: they share one queue.
    pub fn write(&self, line: &[u8]) {
        self.open.0.write(COMMON_QUEUE, line, Instant::now());
    }

    /// Tells the writer to close a file output and to open it anew. Returns at once.
    pub fn reopen(&self) {
        self.open.0.queues.reopen();
    }

    /// Lines lost since the start: the queue was full, or writing them failed.
    pub fn dropped(&self) -> u64 {
        self.pending().dropped()
    }

    /// Waits until everything queued so far is written; false if that took longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.pending().flush(limit)
    }

    pub fn pending(&self) -> Pending {
        Pending(self.open.0.clone())
    }
}

// === impl Pending ===

impl Pending {
    /// Waits until everything queued so far is written; false if that took longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.queues.flush(limit)
    }

    /// Lines lost since the start: the queue was full, or writing them failed.
    pub fn dropped(&self) -> u64 {
        self.0.lost()
    }

    /// Whether the log is closed and its writer has ended.
    pub fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

// === impl Producer ===

impl Producer {
    /// Queues a line, which ends with its only line break. `at` orders it among the lines of other threads; lines of
    /// this thread stay in order. Never blocks: without room, the line is dropped and counted.
    pub fn write(&self, line: &[u8], at: Instant) {
        self.open.0.write(self.queue, line, at);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.open.0.queues.release(self.queue);
    }
}

// === impl CloseOnDrop ===

impl Drop for CloseOnDrop {
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
        // Reported here, not by the writer, because a stuck writer may be why the queue is full.
        if !self.queues.add(queue, line, at) && self.until_next_report().is_zero() {
            self.report(QUEUE_FULL);
        }
    }

    fn lost(&self) -> u64 {
        self.queues.dropped() + self.unwritten.load(Ordering::Relaxed)
    }

    /// How long until losses are to be reported; `None`: there are none to report.
    fn until_report(&self) -> Option<Duration> {
        let untold = self.lost() > self.reported.load(Ordering::Relaxed);
        untold.then(|| self.until_next_report())
    }

    /// As [`Shared::until_report`], whether there are losses or not.
    fn until_next_report(&self) -> Duration {
        Duration::from_nanos(self.next_report.load(Ordering::Relaxed)).saturating_sub(self.started.elapsed())
    }

    /// Reports losses, if there are any and a report is due. A report of the event log's own losses may call this
    /// function again; by then the next report is not due.
    fn report(&self, reason: &str) {
        if self.until_report() != Some(Duration::ZERO) {
            return;
        }
        let now = self.next_report.load(Ordering::Relaxed);
        let next = nanos(self.started.elapsed() + self.reporter.every);
        if self.next_report.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // Another thread reports.
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
    /// Reports losses as events. The event log may report its own: that queues at most one line a minute, so nothing
    /// can build up.
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

// === impl Writer ===

impl Writer {
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
            // The old file is better than none.
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
