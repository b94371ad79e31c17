//! Lines to an output without ever waiting for it: a bounded queue, and one thread for each output.
//!
//! `write` either takes a line into the queue or drops and counts it. Only the thread touches the output, so a stalled
//! reader, a full disk or a dead pipe costs lines, never a request. The thread writes all that waits in one call.

mod queue;
mod sink;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use queue::{Queue, Task};
pub use sink::Output;
use sink::Sink;

/// How long the thread rests after a batch, unless much comes meanwhile or somebody waits for it. Waking a sleeping
/// thread costs the request a system call, and the processor two changes of thread; while the thread rests, a line costs
/// neither.
const REST: Duration = Duration::from_millis(20);

/// Losses go to the event log at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(60);
const QUEUE_FULL: &str = "the queue is full";

/// The writing end: share it by reference. Dropped, its thread writes what is queued and ends.
pub struct LineWriter {
    shared: Arc<Shared>,
}

/// Lines lost since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) log: &'static str,
    pub(super) lines: u64,
    pub(super) reason: String,
}

/// Who hears of losses, and how often.
pub(super) struct Reporter {
    pub(super) every: Duration,
    pub(super) tell: Box<dyn Fn(Loss) + Send + Sync>,
}

struct Shared {
    name: &'static str,
    started: Instant,
    queue: Queue,
    dropped: AtomicU64,
    reporter: Reporter,
    /// Of the dropped lines, those that were told.
    reported: AtomicU64,
    /// When the next report may be, in nanoseconds since the start.
    next_report: AtomicU64,
}

struct Thread {
    shared: Arc<Shared>,
    output: Output,
    sink: Sink,
    buffer: Vec<u8>,
    /// The output ends within a line: the next write begins with a line break.
    torn: bool,
    last_error: Option<String>,
}

// === impl LineWriter ===

impl LineWriter {
    /// Opens the output and starts its thread. `name` is what reports call this log, `queue` how many lines may wait.
    pub fn start(name: &'static str, output: Output, queue: usize) -> io::Result<LineWriter> {
        Self::start_with(name, output, queue, Reporter::to_event_log())
    }

    pub(super) fn start_with(
        name: &'static str,
        output: Output,
        queue: usize,
        reporter: Reporter,
    ) -> io::Result<LineWriter> {
        let sink = output.open()?;
        let shared = Arc::new(Shared::new(name, queue, reporter));
        let thread = Thread {
            shared: shared.clone(),
            output,
            sink,
            buffer: Vec::new(),
            torn: false,
            last_error: None,
        };
        thread::Builder::new().name(format!("log-{name}")).spawn(move || thread.run())?;
        Ok(LineWriter { shared })
    }

    /// Queues a line, which ends with its line break and has no other. Never blocks: dropped and counted when the
    /// queue is full.
    pub fn write(&self, line: &[u8]) {
        if !self.shared.queue.add(line) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            // Here, not in the thread: the reason that the queue is full may be that the thread is stuck.
            self.shared.report(QUEUE_FULL);
        }
    }

    /// Lines lost since the start: the queue was full, or the output took them not.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Has the thread close a file output and open it anew. Returns at once.
    pub fn reopen(&self) {
        self.shared.queue.reopen();
    }

    /// Waits until everything queued so far is written; false if that took longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.shared.queue.flush(limit)
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

// === impl Shared ===

impl Shared {
    fn new(name: &'static str, queue: usize, reporter: Reporter) -> Shared {
        Shared {
            name,
            started: Instant::now(),
            queue: Queue::new(queue),
            dropped: AtomicU64::new(0),
            reporter,
            reported: AtomicU64::new(0),
            next_report: AtomicU64::new(0),
        }
    }

    /// How long until losses may be reported; `None`: there are none to report.
    fn until_report(&self) -> Option<Duration> {
        let untold = self.dropped.load(Ordering::Relaxed) > self.reported.load(Ordering::Relaxed);
        untold.then(|| {
            Duration::from_nanos(self.next_report.load(Ordering::Relaxed))
                .saturating_sub(self.started.elapsed())
        })
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
        let dropped = self.dropped.load(Ordering::Relaxed);
        let lines = dropped.saturating_sub(self.reported.swap(dropped, Ordering::Relaxed));
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
            let task = self.shared.queue.take(&mut self.buffer, self.shared.until_report());
            match task {
                Task::End => return,
                Task::Reopen => self.reopen(),
                Task::Write | Task::Nothing => {}
            }
            self.write_batch();
            self.shared.queue.done();
            self.report();
            if task == Task::Write {
                self.shared.queue.rest(REST);
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
        if self.buffer.is_empty() {
            return;
        }
        let (written, result) =
            self.end_torn_line().map_or_else(|error| (0, Err(error)), |()| self.sink.write(&self.buffer));
        if written > 0 {
            self.torn = self.buffer[written - 1] != b'\n';
        }
        if let Err(error) = result {
            let unwritten = self.buffer[written..].iter().filter(|&&byte| byte == b'\n').count();
            self.shared.dropped.fetch_add(unwritten as u64, Ordering::Relaxed);
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
