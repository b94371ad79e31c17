//! The access log: one line for every request, in one of three formats. `docs/logs.md` says what each field means.

mod combined;
pub(super) mod json;
mod naming;
mod sampling;
pub(super) mod secrets;
pub(super) mod shown;
#[cfg(test)]
mod tests;
pub(super) mod text;

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::record::NamedRecord;
use super::wanted::Wanted;
use super::writer::{LineWriter, Output, Pending, Producer};
use crate::config::{self, AccessFormat, AccessLogOptions, FieldNames, LogOutput};
use crate::terminal::{Painter, colours_wanted};
use naming::Naming;
use sampling::{Sampled, Sampling};
use shown::Shown;

thread_local! {
    /// The line being formatted; taken out while in use, so that it cannot be borrowed twice.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Capacity that the line buffer keeps after a longer line.
const KEPT_BYTES: usize = 16 << 10;

/// The access log of the process; each worker writes through its own [`WorkerLog`].
pub struct AccessLog {
    in_use: Mutex<InUse>,
    /// Logs that others have replaced, and whose lines are not all written.
    replaced: Mutex<Replaced>,
}

struct InUse {
    /// `None`: off.
    log: Option<OpenLog>,
    workers: Vec<Weak<WorkerSide>>,
}

/// An output with its queues and its format.
struct OpenLog {
    writer: LineWriter,
    format: Format,
    options: Option<Arc<Options>>,
}

/// What few logs have.
struct Options {
    headers: Option<Arc<FieldNames>>,
    naming: Option<Naming>,
    sampling: Option<Sampling>,
}

#[derive(Default)]
struct Replaced {
    pending: Vec<Pending>,
    /// Lines lost by those that are over.
    dropped: u64,
}

/// Formats and queues the records of one thread.
pub struct WorkerLog(Arc<WorkerSide>);

/// What one worker has of the log. In its own cache lines: other workers write theirs.
#[repr(align(128))]
struct WorkerSide {
    /// `None`: off.
    output: Mutex<Option<WorkerOutput>>,
    wanted: Arc<Wanted>,
}

struct WorkerOutput {
    producer: Producer,
    format: Format,
    options: Option<Arc<Options>>,
}

/// A log of another config, open, that can take the place of the one in use.
pub struct NextLog(Option<OpenLog>);

/// The format in use: `auto` is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text(Painter),
    Json,
    Combined,
}

/// Appends the line that a request has in a log in JSON, with what is likely to be secret masked.
pub(super) fn write_masked(out: &mut Vec<u8>, record: NamedRecord<'_>) {
    Shown::new(record).masked(|shown| json::write(out, shown));
}

// === impl AccessLog ===

impl AccessLog {
    /// Opens the output, with a queue for each of `workers` threads; an error names the output.
    pub fn start(config: &config::AccessLog, workers: usize) -> io::Result<AccessLog> {
        let log = OpenLog::open(config, workers)?;
        let in_use = Mutex::new(InUse { log, workers: Vec::new() });
        Ok(AccessLog { in_use, replaced: Mutex::default() })
    }

    /// Opens the log of another config; an error names the output.
    pub fn open(config: &config::AccessLog, workers: usize) -> io::Result<NextLog> {
        Ok(NextLog(OpenLog::open(config, workers)?))
    }

    /// Puts another log in the place of the one in use, for all workers. What is queued in the old one is still written
    /// there: each line is in the place and the format that were in force when its request ended.
    pub fn replace(&self, next: NextLog) {
        let mut in_use = self.in_use.lock();
        let old = std::mem::replace(&mut in_use.log, next.0);
        in_use.workers.retain(|worker| worker.strong_count() > 0);
        for worker in in_use.workers.iter().filter_map(Weak::upgrade) {
            worker.wanted.set_log(in_use.log.as_ref().and_then(OpenLog::headers));
            *worker.output.lock() = in_use.log.as_ref().map(OpenLog::worker);
        }
        self.replaced.lock().add(old.map(|old| old.writer.pending()));
    }

    /// A handle for one thread whose requests have no other telemetry.
    pub fn worker(&self) -> WorkerLog {
        self.worker_with(Arc::default())
    }

    /// A handle for one worker thread, which asks `wanted` which header fields to keep.
    pub(super) fn worker_with(&self, wanted: Arc<Wanted>) -> WorkerLog {
        let mut in_use = self.in_use.lock();
        wanted.set_log(in_use.log.as_ref().and_then(OpenLog::headers));
        let output = Mutex::new(in_use.log.as_ref().map(OpenLog::worker));
        let worker = Arc::new(WorkerSide { output, wanted });
        in_use.workers.push(Arc::downgrade(&worker));
        WorkerLog(worker)
    }

    /// Lines lost since the start.
    pub fn dropped(&self) -> u64 {
        let in_use = self.pending_in_use().map_or(0, |pending| pending.dropped());
        in_use + self.replaced.lock().dropped()
    }

    /// Closes a log file and opens it anew, after it was renamed. Returns at once.
    pub fn reopen(&self) {
        if let Some(log) = &self.in_use.lock().log {
            log.writer.reopen();
        }
    }

    /// Waits until all lines queued so far are written; false if that takes longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut all = self.replaced.lock().pending.clone();
        all.extend(self.pending_in_use());
        all.iter().all(|pending| pending.flush(until.saturating_duration_since(Instant::now())))
    }

    fn pending_in_use(&self) -> Option<Pending> {
        self.in_use.lock().log.as_ref().map(|log| log.writer.pending())
    }
}

// === impl OpenLog ===

impl OpenLog {
    /// `None`: off.
    fn open(config: &config::AccessLog, workers: usize) -> io::Result<Option<Self>> {
        let output = match &config.output {
            LogOutput::Off => return Ok(None),
            LogOutput::Stdout => Output::Stdout,
            LogOutput::Stderr => Output::Stderr,
            LogOutput::File(path) => Output::File(path.clone()),
        };
        let format = Format::choose(config.format, output.is_terminal());
        let writer = LineWriter::start("access", output, config.queue, workers)?;
        let options = config.options.as_deref().map(|options| Arc::new(Options::new(options)));
        Ok(Some(Self { writer, format, options }))
    }

    fn worker(&self) -> WorkerOutput {
        WorkerOutput { producer: self.writer.producer(), format: self.format, options: self.options.clone() }
    }

    /// The header fields and cookies that lines have.
    fn headers(&self) -> Option<Arc<FieldNames>> {
        self.options.as_ref()?.headers.clone()
    }
}

// === impl Options ===

impl Options {
    fn new(config: &AccessLogOptions) -> Self {
        let headers = (!config.headers.is_empty()).then(|| Arc::new(config.headers.clone()));
        Self { headers, naming: Naming::of(config), sampling: config.sample.as_ref().map(Sampling::new) }
    }

    /// Writes a line; `false`: the request has none.
    fn write(&self, line: &mut Vec<u8>, format: Format, record: NamedRecord<'_>) -> bool {
        let sampled = match self.sampling.map(|sampling| sampling.of(&record)) {
            Some(Sampled::Not) => return false,
            Some(Sampled::Part(part)) => Some(part),
            Some(Sampled::All) | None => None,
        };
        let shown = Shown { fields: self.headers.as_deref(), sampled, ..Shown::new(record) };
        match &self.naming {
            Some(naming) if format == Format::Json => {
                let mut usual = Vec::new();
                format.write(&mut usual, &shown);
                naming.write(line, &usual);
            }
            _ => format.write(line, &shown),
        }
        true
    }
}

// === impl Replaced ===

impl Replaced {
    fn add(&mut self, pending: Option<Pending>) {
        let over = self.pending.extract_if(.., |pending| pending.is_over());
        self.dropped += over.map(|pending| pending.dropped()).sum::<u64>();
        self.pending.extend(pending);
    }

    fn dropped(&self) -> u64 {
        self.dropped + self.pending.iter().map(Pending::dropped).sum::<u64>()
    }
}

// === impl WorkerLog ===

impl WorkerLog {
    /// Writes the line of a request that ended at `now`. Never blocks: only a reload holds the lock, for a moment.
    pub fn log(&self, record: NamedRecord<'_>, now: Instant) {
        let output = self.0.output.lock();
        let Some(WorkerOutput { producer, format, options }) = &*output else { return };
        let mut line = LINE.take();
        line.clear();
        let has_line = match options {
            None => {
                format.write(&mut line, &Shown::new(record));
                true
            }
            Some(options) => options.write(&mut line, *format, record),
        };
        if has_line {
            line.push(b'\n');
            producer.write(&line, now);
        }
        line.shrink_to(KEPT_BYTES);
        LINE.set(line);
    }
}

// === impl Format ===

impl Format {
    fn choose(format: AccessFormat, terminal: bool) -> Format {
        match format {
            AccessFormat::Text => Format::Text(Painter { colours: terminal && colours_wanted() }),
            AccessFormat::Auto if terminal => Format::Text(Painter { colours: colours_wanted() }),
            AccessFormat::Auto | AccessFormat::Json => Format::Json,
            AccessFormat::Combined => Format::Combined,
        }
    }

    fn write(self, out: &mut Vec<u8>, record: &Shown<'_>) {
        match self {
            Format::Text(painter) => text::write(out, record, painter),
            Format::Json => json::write(out, record),
            Format::Combined => combined::write(out, record),
        }
    }
}
