//! `evenkeel check`: reports the errors of a config file and runs its tests.

mod against;

use std::path::Path;

use serde::Serialize;

use super::config_file::ConfigFile;
use super::{Exit, fail, fail_to_load, print, print_json, print_warnings};
use crate::config::{self, Config, LoadError, Loaded, Problem, Report};
use crate::exchange;
use against::Against;

#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigFile,

    /// Say nothing about a file that is right
    #[arg(short, long)]
    quiet: bool,

    /// Refuse a file with warnings, too
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    against: Against,

    /// Print all that is found as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    valid: bool,
    /// Why the file could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    /// Errors and warnings, in file order; a hundred of each at most.
    problems: Vec<Problem>,
    #[serde(flatten)]
    size: Option<Size>,
}

/// How much is in a file that is right.
#[derive(Debug, Serialize)]
struct Size {
    listeners: usize,
    routes: usize,
    pools: usize,
    endpoints: usize,
    /// All of them have passed.
    tests: usize,
}

impl Check {
    pub fn execute(self) -> Exit {
        let file = self.config.path();
        match (checked(file), self.against.log()) {
            (Ok(Loaded { config, warnings }), Some(log)) => {
                print_warnings(&warnings);
                self.against.judge(config, log, self.json)
            }
            (checked, _) if self.json => self.print_json(file, &checked),
            (Ok(Loaded { config, warnings }), None) => {
                print_warnings(&warnings);
                if !self.quiet {
                    print(&format!("{}: ok, {}\n", file.display(), Size::of(&config).in_words()));
                }
                self.exit(&warnings)
            }
            (Err(error), _) => fail_to_load(&error),
        }
    }

    fn print_json(&self, file: &Path, checked: &Result<Loaded, LoadError>) -> Exit {
        let problems = |report: &Report| report.problems().collect();
        let size = checked.as_ref().ok().map(|loaded| Size::of(&loaded.config));
        let (unreadable, problems, exit) = match checked {
            Ok(loaded) => (None, problems(&loaded.warnings), self.exit(&loaded.warnings)),
            Err(LoadError::Invalid(report)) => (None, problems(report), Exit::InvalidConfig),
            Err(error) if error.is_invalid() => (Some(error.to_string()), Vec::new(), Exit::InvalidConfig),
            Err(error) => (Some(error.to_string()), Vec::new(), Exit::Failed),
        };
        let (file, valid) = (file.display().to_string(), exit == Exit::Done);
        match serde_json::to_string_pretty(&Checked { file, valid, unreadable, problems, size }) {
            Ok(text) => print_json(&text),
            Err(error) => return fail(error),
        }
        exit
    }

    fn exit(&self, warnings: &Report) -> Exit {
        if self.strict && !warnings.is_empty() { Exit::InvalidConfig } else { Exit::Done }
    }
}

fn checked(file: &Path) -> Result<Loaded, LoadError> {
    exchange::run_config_tests(config::load(file)?)
}

// === impl Size ===

impl Size {
    fn of(config: &Config) -> Self {
        Self {
            listeners: config.listeners.len(),
            routes: config.routes.len(),
            pools: config.pools.len(),
            endpoints: config.pools.iter().map(|pool| pool.endpoints.len()).sum(),
            tests: config.tests.len(),
        }
    }

    /// `2 listeners, 3 routes, 4 pools, 9 endpoints, 5 tests passed`
    fn in_words(&self) -> String {
        let counted =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let parts = [
            counted(self.listeners, "listener"),
            counted(self.routes, "route"),
            counted(self.pools, "pool"),
            counted(self.endpoints, "endpoint"),
            match self.tests {
                0 => "no tests".to_owned(),
                count => format!("{} passed", counted(count, "test")),
            },
        ];
        parts.join(", ")
    }
}
