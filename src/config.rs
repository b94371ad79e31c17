//! The config file: what is written (`raw`), what it means (`model`), and how one becomes the other (`compile`).
//!
//! Text becomes a tree with positions (`tree`), environment variables are put in (`environment`), sections are read
//! from the tree (`raw`, whose types are also the JSON Schema and the list of known keys), and `compile` judges the
//! whole. No stage stops at its first error: a [`Report`] holds everything that is wrong with a file.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

mod address;
mod auth;
mod compile;
mod decode;
mod endpoint_list;
mod environment;
mod foreign;
mod mask;
pub mod model;
mod raw;
mod read;
mod regexes;
mod report;
mod scalar;
mod secret;
mod section;
mod source;
pub(crate) mod suggest;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use address::endpoint_address;
pub use auth::{Auth, BasicAuth, ForwardAuth, JwtAuth, JwtKeys};
pub use endpoint_list::endpoint_list;
pub(crate) use mask::is_secret;
pub use model::*;
pub use raw::schema;
pub use read::{read, read_or_pipe};
pub use report::{Problem, Report, Severity};
pub use scalar::duration;
pub use secret::Secret;
pub use write::{endpoint_argument, listen_argument, long_form_of};

use decode::DiagnosticSink;
use regexes::Regexes;
use source::Source;

/// The largest file that is read as a config: a wrong path may name anything.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A valid config with its warnings.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Holds no errors; may be empty.
    pub warnings: Report,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// What the path leads to is no config: there is nothing, a directory, no text (exit code 78).
    #[error("{0}")]
    NoConfig(String),
    /// The file cannot be read (exit code 1).
    #[error("cannot read {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    /// The file says something wrong (exit code 78).
    #[error("{0}")]
    Invalid(Report),
}

// === impl LoadError ===

impl LoadError {
    /// Whether no start can succeed before somebody has changed what is there.
    pub fn is_invalid(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// Reads and compiles a file, with the environment variables of this process.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    compile_text(&read_or_pipe(path)?, &path.display().to_string())
}

/// The `admin` section of a file, even if its other sections are invalid: it is needed to ask the running process.
pub fn load_admin(path: &Path) -> Result<Admin, LoadError> {
    admin_of(&read_or_pipe(path)?, &path.display().to_string())
}

/// Like [`load_admin`], of a text. Errors call it `file_name`.
pub fn admin_of(text: &str, file_name: &str) -> Result<Admin, LoadError> {
    match compile_text(text, file_name) {
        Ok(loaded) => Ok(loaded.config.admin),
        Err(report) => section_alone(text, "admin", &[], compile::admin_alone)
            // The token may be in a variable of the process alone, and unix sockets need none.
            .or_else(|| section_alone(text, "admin", &["token"], compile::admin_sockets_alone))
            .ok_or(report),
    }
}

/// The state directory that a text sets, even if other sections are invalid; the default if its `server` section is.
pub fn state_directory(text: &str) -> StateDirectory {
    let server =
        section_alone(text, "server", &[], |root, _, diagnostics| compile::server_alone(root, diagnostics));
    server.map_or(StateDirectory::Default, |server| server.state)
}

/// Parses a level of the event log, or directives, as in `log.level`. The error is for people.
pub fn log_level(text: &str) -> Result<String, String> {
    argument::<raw::LevelText>(text).map(|level| level.0)
}

/// Parses a status such as 404, a class such as 5xx, or a range such as 500-599.
pub fn statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    match class.filter(|class| text.len() == 3 && (1..=5).contains(class)) {
        Some(class) => Ok(class * 100..=class * 100 + 99),
        None => argument::<raw::StatusRange>(text).map(|range| range.0),
    }
}

/// Parses a part of a whole, such as `10%`: from 0 to 1.
pub fn percentage(text: &str) -> Result<f64, String> {
    argument::<scalar::Percent>(text).map(|part| part.0)
}

/// Parses a network such as 10.0.0.0/8, or an address.
pub fn network(text: &str) -> Result<ipnet::IpNet, String> {
    argument(text)
}

/// Parses an argument of a command as a value of the file.
fn argument<T: decode::Scalar>(text: &str) -> Result<T, String> {
    T::parse(text).map_err(|fault| format!("{}: {}", fault.message, fault.remedy))
}

/// One section of a text, compiled as if there were no others, and none of the keys `without`; `None` if it is invalid.
fn section_alone<T>(
    text: &str,
    name: &str,
    without: &[&str],
    compile: impl FnOnce(&tree::Node, &Source, &mut DiagnosticSink) -> Option<T>,
) -> Option<T> {
    let source = Source::new("", text);
    let mut diagnostics = DiagnosticSink::default();
    let section = tree::parse(&source, &mut diagnostics).and_then(|mut root| {
        root.keep_only(name, without);
        environment::interpolate(&mut root, &|variable| std::env::var(variable).ok(), &mut diagnostics);
        compile(&root, &source, &mut diagnostics)
    });
    section.filter(|_| !diagnostics.has_errors())
}

/// Compiles a text, with the environment variables of this process. Errors call it `file_name`.
pub fn compile_text(text: &str, file_name: &str) -> Result<Loaded, LoadError> {
    parse_with(text, file_name, &|variable| std::env::var(variable).ok()).map_err(LoadError::Invalid)
}

/// Like [`compile_text`], but takes regular expressions that `in_force` has too from there.
pub fn compile_next(text: &str, file_name: &str, in_force: &Config) -> Result<Loaded, LoadError> {
    let lookup = |variable: &str| std::env::var(variable).ok();
    parse_with_regexes(text, file_name, &lookup, Regexes::after(in_force)).map_err(LoadError::Invalid)
}

/// Like [`compile_text`], without the warnings.
pub fn parse(text: &str, file_name: &str) -> Result<Config, Report> {
    parse_with(text, file_name, &|variable| std::env::var(variable).ok()).map(|loaded| loaded.config)
}

/// Like [`compile_text`], with variables from `lookup`.
pub fn parse_with(
    text: &str,
    file_name: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Report> {
    parse_with_regexes(text, file_name, lookup, Regexes::default())
}

fn parse_with_regexes(
    text: &str,
    file_name: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    regexes: Regexes,
) -> Result<Loaded, Report> {
    let source = Source::new(file_name, text);
    let mut diagnostics = DiagnosticSink::default();
    let mut secrets = Vec::new();
    let config = tree::parse(&source, &mut diagnostics).and_then(|mut root| {
        environment::interpolate(&mut root, lookup, &mut diagnostics);
        let config = compile::compile(&root, &source, regexes, &mut diagnostics);
        diagnostics.warn_of_unbraced();
        secrets = diagnostics.conceal_values(&root, &source);
        config
    });
    let report = Report::new(source, diagnostics.into_diagnostics(), secrets);
    match config {
        Some(config) if !report.has_errors() => Ok(Loaded { config, warnings: report }),
        _ => Err(report),
    }
}
