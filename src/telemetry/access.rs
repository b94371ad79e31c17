//! The access log: one line for every request, in one of three formats. `docs/logs.md` says what each field means.

mod combined;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use super::record::NamedRecord;
use super::writer::{LineWriter, Output, Producer};
use crate::config::{self, AccessFormat, LogOutput};
use crate::terminal::{Painter, colours_wanted};

thread_local! {
    /// The line being formatted; taken out while in use, so that it cannot be borrowed twice.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Capacity that the line buffer keeps after a longer line.
const KEPT_BYTES: usize = 16 << 10;

/// The access log of the process; each worker writes through its own [`WorkerLog`].
pub struct AccessLog {
    /// `None`: off.
    writer: Option<LineWriter>,
    format: Format,
}

/// Formats and queues the records of one thread.
pub struct WorkerLog {
    /// `None`: off.
    producer: Option<Producer>,
    format: Format,
}

/// The format in use: `auto` is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text(Painter),
    Json,
    Combined,
}

// === impl AccessLog ===

impl AccessLog {
    /// Opens the output, with a queue for each of `workers` threads; an error names the output.
    pub fn start(config: &config::AccessLog, workers: usize) -> io::Result<AccessLog> {
        let output = match &config.output {
            LogOutput::Off => return Ok(AccessLog { writer: None, format: Format::Json }),
            LogOutput::Stdout => Output::Stdout,
            LogOutput::Stderr => Output::Stderr,
            LogOutput::File(path) => Output::File(path.clone()),
        };
        let format = Format::choose(config.format, output.is_terminal());
        let writer = LineWriter::start("access", output, config.queue, workers)?;
        Ok(AccessLog { writer: Some(writer), format })
    }

    /// A handle for one worker thread.
    pub fn worker(&self) -> WorkerLog {
        WorkerLog { producer: self.writer.as_ref().map(LineWriter::producer), format: self.format }
    }

    /// Lines lost since the start.
    pub fn dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, LineWriter::dropped)
    }

    /// Closes a log file and opens it anew, after it was renamed. Returns at once.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// Waits until all lines queued so far are written; false if that takes longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.flush(limit))
    }
}

// === impl WorkerLog ===

impl WorkerLog {
    /// Writes the line of a request that ended at `now`. Never blocks.
    pub fn log(&self, record: NamedRecord<'_>, now: Instant) {
        let Some(producer) = &self.producer else { return };
        let mut line = LINE.take();
        line.clear();
        self.format.write(&mut line, record);
        line.push(b'\n');
        producer.write(&line, now);
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

    fn write(self, out: &mut Vec<u8>, record: NamedRecord<'_>) {
        match self {
            Format::Text(painter) => text::write(out, record, painter),
            Format::Json => json::write(out, record),
            Format::Combined => combined::write(out, &record),
        }
    }
}
