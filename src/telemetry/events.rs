//! The event log: filters and formats the `log` facade's records, and writes them to standard error through
//! [`LineWriter`].

mod format;
mod level;
mod other_crates;
mod panic;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use env_filter::Filter;
use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

use super::flight_recorder::FlightRecorder;
use super::writer::{LineWriter, Output};
use crate::config::{self, EventFormat};
use crate::human;
use crate::terminal::{Painter, colours_wanted};
use format::Style;
use level::Levels;
pub use level::{LevelByHand, LevelOrder, LogLevelStatus};
use other_crates::Throttles;
pub use panic::install_panic_hook;

/// Levels of Pingora's log targets, chosen by reading the source of version 0.9.1. They are directives, so that
/// `log: { level: "info,pingora_proxy=warn" }` brings a target back.
///
/// - `pingora` in general: errors only. Its warnings and infos are either about features that are not used here, or
///   repeat what evenkeel logs in more detail: `pingora_load_balancing` announces health changes without a reason,
///   `pingora_pool` and `pingora_core` note connections that an endpoint closed, the server its own start and stop.
/// - `pingora_proxy`: "Fail to proxy" at ERROR for each request that failed, and for each client that went away. The
///   access log has a line for the same request, with the cause; a client that leaves is no error at all.
/// - `pingora_core::apps`: read and write errors of clients that went away.
/// - `pingora_core::protocols::http`: requests with broken headers; they are answered 400.
///
/// The errors that remain need an operator: accept failures, a service that did not start, a selector that panicked, a
/// descriptor that was closed twice.
const PINGORA: [(&str, LevelFilter); 4] = [
    ("pingora", LevelFilter::Error),
    ("pingora_proxy", LevelFilter::Off),
    ("pingora_core::apps", LevelFilter::Off),
    ("pingora_core::protocols::http", LevelFilter::Off),
];

/// Lines that may wait to be written to standard error.
const QUEUE: usize = 8192;

/// All threads share one queue: events are rare, and this keeps them in order.
const NO_WORKERS: usize = 0;

thread_local! {
    /// The line being formatted; taken out while in use, because a panic during formatting logs a line itself.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A handle to the event log; clones share it.
#[derive(Clone)]
pub struct EventLog {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ArcSwap<Settings>,
    levels: Mutex<Levels>,
    throttles: Throttles,
    writer: LineWriter,
    terminal: bool,
    /// Gets every event that is logged.
    recorder: OnceLock<Arc<FlightRecorder>>,
}

/// What a reload or an operator may change.
struct Settings {
    filter: Filter,
    style: Style,
}

/// The logger that the `log` facade calls.
struct Backend(Arc<Shared>);

/// Starts the event log and makes it the `log` facade's backend.
///
/// Fails when standard error cannot be duplicated or the writer thread cannot start: the process is out of descriptors
/// or threads. A second call returns another log, but the facade keeps the first.
pub fn init(config: &config::Log) -> io::Result<EventLog> {
    let log = EventLog::start(config, Output::Stderr)?;
    if log::set_boxed_logger(Box::new(Backend(log.shared.clone()))).is_ok() {
        log::set_max_level(log.shared.settings.load().filter.filter());
    }
    Ok(log)
}

// === impl EventLog ===

impl EventLog {
    fn start(config: &config::Log, output: Output) -> io::Result<EventLog> {
        let terminal = output.is_terminal();
        let levels = Levels::new(config);
        let settings = ArcSwap::from_pointee(Settings::new(&levels, terminal));
        let levels = Mutex::new(levels);
        let writer = LineWriter::start("events", output, QUEUE, NO_WORKERS)?;
        Ok(EventLog {
            shared: Arc::new(Shared {
                settings,
                levels,
                throttles: Throttles::default(),
                writer,
                terminal,
                recorder: OnceLock::new(),
            }),
        })
    }

    /// Tells the recorder of every event from now on.
    pub fn record_into(&self, recorder: Arc<FlightRecorder>) {
        // Only the first one is told.
        let _ = self.shared.recorder.set(recorder);
    }

    /// Applies the `log` section of a reloaded config. A level that an operator has set stays.
    pub fn set(&self, config: &config::Log) {
        let mut levels = self.shared.levels.lock();
        levels.config = config.clone();
        self.apply(self.settings_for(&levels));
    }

    /// Sets another level in place of the config's. `until` is for the status and the event; who asks ends it then.
    pub fn set_level(&self, level: &str, by: &str, until: Option<SystemTime>) -> LevelOrder {
        let mut levels = self.shared.levels.lock();
        let order = levels.set(level, by, until);
        let status = levels.status();
        let until = status.until().map_or_else(|| "log reset".to_owned(), human::date);
        self.apply_and_tell(
            &levels,
            || log::info!(log_level = level, by, until = until.as_str(); "log level set"),
        );
        order
    }

    /// Goes back to the config's level: whatever is in force, or only if it is of that order. Whether there was something
    /// to end.
    pub fn reset_level(&self, order: Option<LevelOrder>, by: &str) -> bool {
        let mut levels = self.shared.levels.lock();
        let ended = levels.end(order);
        if ended {
            let level = levels.in_force();
            self.apply_and_tell(&levels, || log::info!(log_level = level, by; "log level reset"));
        }
        ended
    }

    pub fn level(&self) -> LogLevelStatus {
        self.shared.levels.lock().status()
    }

    fn settings_for(&self, levels: &Levels) -> Settings {
        Settings::new(levels, self.shared.terminal)
    }

    fn apply(&self, settings: Settings) {
        log::set_max_level(settings.filter.filter());
        self.shared.settings.store(Arc::new(settings));
    }

    /// Tells of the change while the level is in force that shows more.
    fn apply_and_tell(&self, levels: &Levels, tell: impl Fn()) {
        let settings = self.settings_for(levels);
        if settings.filter.filter() < self.shared.settings.load().filter.filter() {
            tell();
            self.apply(settings);
        } else {
            self.apply(settings);
            tell();
        }
    }

    /// Lines lost since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.writer.dropped()
    }

    /// Waits until all events queued so far are written; false if that takes longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.shared.writer.flush(limit)
    }
}

// === impl Settings ===

impl Settings {
    fn new(levels: &Levels, terminal: bool) -> Settings {
        let style = match levels.config.format {
            EventFormat::Json => Style::Json,
            EventFormat::Auto if !terminal => Style::Json,
            EventFormat::Auto | EventFormat::Text => {
                Style::Text(Painter { colours: terminal && colours_wanted() })
            }
        };
        Settings { filter: filter(levels.in_force()), style }
    }
}

/// The operator's directives on top of [`PINGORA`]'s. A directive replaces the defaults of its target and of the
/// targets below it (`pingora=debug` shows all of Pingora).
fn filter(level: &str) -> Filter {
    let mut builder = env_filter::Builder::new();
    for (target, default) in PINGORA {
        if !level.split(',').any(|directive| names(directive, target)) {
            builder.filter_module(target, default);
        }
    }
    // The config refuses directives that cannot be parsed. Should some arrive here, log at `info` rather than nothing.
    if builder.try_parse(level).is_err() {
        builder.filter_level(LevelFilter::Info);
    }
    builder.build()
}

/// Whether a directive is for `target` or for a target above it.
fn names(directive: &str, target: &str) -> bool {
    let name = directive.split(['=', '/']).next().unwrap_or_default().trim();
    !name.is_empty() && name.parse::<LevelFilter>().is_err() && target.starts_with(name)
}

// === impl Backend ===

impl Log for Backend {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.settings.load().filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let settings = self.0.settings.load();
        if !settings.filter.matches(record) {
            return;
        }
        let Some(count) = self.0.throttles.due(record, Instant::now()) else { return };
        let mut line = LINE.take();
        line.clear();
        let now = SystemTime::now();
        if let Some(recorder) = self.0.recorder.get() {
            Style::Json.write(&mut line, now, record, count);
            recorder.event(&line, now);
            line.clear();
        }
        settings.style.write(&mut line, now, record, count);
        line.push(b'\n');
        self.0.writer.write(&line);
        LINE.set(line);
    }

    /// Does nothing, because waiting for a stalled terminal would block. [`EventLog::flush`] has a time limit.
    fn flush(&self) {}
}
