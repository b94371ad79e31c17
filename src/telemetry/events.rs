//! The event log: the `log` facade's lines, filtered and formatted, to standard error through the bounded writer.

mod format;
mod panic;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use env_filter::Filter;
use log::{LevelFilter, Log, Metadata, Record};

use super::writer::{LineWriter, Output};
use crate::config::{self, EventFormat};
use format::Style;
pub use panic::install_panic_hook;

/// What Pingora logs and an operator should not see; read in its source, version 0.9.1. Written here as directives, so
/// that `log: { level: "info,pingora_proxy=warn" }` brings a target back.
///
/// - `pingora` in general: errors only. Its warnings and its info are either about features that are not used here, or
///   tell a second time what evenkeel tells better: `pingora_load_balancing` announces health changes without a reason,
///   `pingora_pool` and `pingora_core` note connections that an endpoint closed, the server its own start and stop.
/// - `pingora_proxy`: "Fail to proxy" at ERROR for each request that failed, and for each client that went away. The
///   access log has a line for the same request, with the cause; a client that leaves is no error at all.
/// - `pingora_core::apps`: read and write errors of clients that went away.
/// - `pingora_core::protocols::http`: requests with broken headers; they are answered 400.
///
/// What stays at ERROR is worth waking somebody: accept failures, a service that did not start, a selector that
/// panicked, a descriptor that was closed twice.
const PINGORA: [(&str, LevelFilter); 4] = [
    ("pingora", LevelFilter::Error),
    ("pingora_proxy", LevelFilter::Off),
    ("pingora_core::apps", LevelFilter::Off),
    ("pingora_core::protocols::http", LevelFilter::Off),
];

/// Lines that may wait for standard error.
const QUEUE: usize = 8192;

/// All threads have one queue together: events are rare, and stay in the order in which they happened.
const NO_WORKERS: usize = 0;

thread_local! {
    /// The line in the making; taken out while in use, for a panic while formatting logs a line itself.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The handle on the event log; clones share it.
#[derive(Clone)]
pub struct EventLog {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ArcSwap<Settings>,
    writer: LineWriter,
    terminal: bool,
}

/// What a reload may change.
struct Settings {
    filter: Filter,
    style: Style,
}

/// What `log` calls.
struct Backend(Arc<Shared>);

/// Starts the event log and makes it the `log` facade's backend.
///
/// Fails when standard error cannot be duplicated or the thread cannot start; both mean that the process has no
/// descriptors or threads left to work with. A second call gets a log of its own, but the facade keeps the first.
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
        let settings = ArcSwap::from_pointee(Settings::new(config, terminal));
        let writer = LineWriter::start("events", output, QUEUE, NO_WORKERS)?;
        Ok(EventLog { shared: Arc::new(Shared { settings, writer, terminal }) })
    }

    /// Applies the `log` section of a reloaded config.
    pub fn set(&self, config: &config::Log) {
        let settings = Settings::new(config, self.shared.terminal);
        log::set_max_level(settings.filter.filter());
        self.shared.settings.store(Arc::new(settings));
    }

    /// Lines lost since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.writer.dropped()
    }

    /// Waits until all events so far are written; false if `limit` was too short.
    pub fn flush(&self, limit: Duration) -> bool {
        self.shared.writer.flush(limit)
    }
}

// === impl Settings ===

impl Settings {
    fn new(config: &config::Log, terminal: bool) -> Settings {
        let style = match config.format {
            EventFormat::Json => Style::Json,
            EventFormat::Auto if !terminal => Style::Json,
            EventFormat::Auto | EventFormat::Text => {
                Style::Text { colour: terminal && super::colours_wanted() }
            }
        };
        Settings { filter: filter(&config.level), style }
    }
}

/// The operator's directives over [`PINGORA`]'s: a default gives way to a directive for the same target or for one
/// above it (`pingora=debug` shows all of Pingora).
fn filter(level: &str) -> Filter {
    let mut builder = env_filter::Builder::new();
    for (target, default) in PINGORA {
        if !level.split(',').any(|directive| names(directive, target)) {
            builder.filter_module(target, default);
        }
    }
    // The config refuses what cannot be parsed; should it come here all the same, events are better than silence.
    if builder.try_parse(level).is_err() {
        builder.filter_level(LevelFilter::Info);
    }
    builder.build()
}

/// Whether a directive is for `target` or a target above it.
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
        let mut line = LINE.take();
        line.clear();
        settings.style.write(&mut line, SystemTime::now(), record);
        line.push(b'\n');
        self.0.writer.write(&line);
        LINE.set(line);
    }

    /// Nothing: a facade that waits for a stalled terminal would be back at blocking. [`EventLog::flush`] has a limit.
    fn flush(&self) {}
}
