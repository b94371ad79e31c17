//! `evenkeel check --against`: what a config would make of the requests of an access log.

mod progress;
mod table;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::{Exit, fail, print, print_json};
use crate::config::Config;
use crate::replay;
use progress::ProgressBar;

#[derive(Debug, clap::Args)]
pub(super) struct Against {
    /// Judge the requests of an access log by the file: which would be routed, answered or refused otherwise. The log is
    /// in JSON or in the combined format; - is standard input
    #[arg(long, value_name = "LOG")]
    against: Option<PathBuf>,

    /// Whom the requests have asked for, where the log has no hosts
    #[arg(long, value_name = "HOST", requires = "against")]
    host: Option<String>,
}

impl Against {
    pub fn log(&self) -> Option<&Path> {
        self.against.as_deref()
    }

    /// Judges the log, and prints what is different.
    pub fn judge(&self, config: Config, log: &Path, json: bool) -> Exit {
        let (opened, size) = match open(log) {
            Ok(opened) => opened,
            Err(error) => return fail(format!("cannot read {}: {error}", log.display())),
        };
        let mut bar = ProgressBar::new(size);
        let report = replay::run(config, self.host.as_deref(), opened, |progress| bar.show(progress));
        bar.clear();
        let report = match report {
            Ok(report) => report,
            Err(error) => return fail(format!("cannot read {}: {error}", log.display())),
        };
        if !json {
            print(&table::render(&report));
        } else {
            match serde_json::to_string_pretty(&report) {
                Ok(text) => print_json(&text),
                Err(error) => return fail(error),
            }
        }
        // A gate must not open because nothing could be seen.
        if report.same + report.different == 0 {
            return fail(format!("no request of {} could be judged", log.display()));
        }
        if report.different > 0 { Exit::Changes } else { Exit::Done }
    }
}

/// The log, and its size where that is known.
fn open(log: &Path) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if log == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(log)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}
