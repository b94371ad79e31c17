//! `evenkeel check`: everything that is wrong with a config file, and whether its tests pass.

use std::path::{Path, PathBuf};

use super::Exit;
use crate::config::{self, Config, LoadError, Loaded, Report, TestRequest};
use crate::routing::{Decided, RouteOutcome, Router, judge};

#[derive(Debug, clap::Args)]
pub struct Check {
    /// The config file.
    #[arg(short, long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Say nothing about a file that is right.
    #[arg(short, long)]
    quiet: bool,
}

impl Check {
    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line prints")]
    pub fn execute(self) -> Exit {
        match examined(&self.config) {
            Ok(loaded) => {
                if !loaded.warnings.is_empty() {
                    eprintln!("{}", loaded.warnings);
                }
                if !self.quiet {
                    println!("{}: ok, {}", self.config.display(), summary(&loaded.config));
                }
                Exit::Done
            }
            Err(error) => {
                eprintln!("{error}");
                match error {
                    LoadError::Io { .. } => Exit::Failed,
                    LoadError::Invalid(_) => Exit::InvalidConfig,
                }
            }
        }
    }
}

/// A config whose tests pass, too.
fn examined(path: &Path) -> Result<Loaded, LoadError> {
    let Loaded { config, mut warnings } = config::load(path)?;
    add_failures(&config, &mut warnings);
    if warnings.has_errors() { Err(LoadError::Invalid(warnings)) } else { Ok(Loaded { config, warnings }) }
}

fn add_failures(config: &Config, report: &mut Report) {
    let router = Router::new(&config.routes);
    let decide = |request: &TestRequest| match router.find(request) {
        RouteOutcome::Matched(index, why) => Decided::Route {
            route: config.routes[index].name.to_string(),
            pool: config.routes[index].pool.to_string(),
            why: why.to_string(),
        },
        RouteOutcome::Missed(miss) => Decided::NoRoute { why: miss.to_string() },
    };
    for failure in judge(&config.tests, decide) {
        let message = format!("a test fails: it expects {}", failure.expected);
        report.add_error(failure.line, failure.column, message, format!("decided: {}", failure.decided));
    }
}

/// `2 listeners, 3 routes, 4 pools, 9 endpoints, 5 tests passed`
fn summary(config: &Config) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let endpoints = config.pools.iter().map(|pool| pool.endpoints.len()).sum();
    let parts = [
        counted(config.listeners.len(), "listener"),
        counted(config.routes.len(), "route"),
        counted(config.pools.len(), "pool"),
        counted(endpoints, "endpoint"),
        match config.tests.len() {
            0 => "no tests".to_owned(),
            count => format!("{} passed", counted(count, "test")),
        },
    ];
    parts.join(", ")
}
