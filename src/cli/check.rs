//! `evenkeel check`: reports the errors of a config file and runs its tests.

mod against;

use std::path::Path;

use super::config_file::ConfigFile;
use super::{Exit, fail_to_load, print, print_warnings};
use crate::config::{self, Config, LoadError, Loaded};
use crate::exchange;
use against::Against;

#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigFile,

    /// Say nothing about a file that is right
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    against: Against,

    /// Print what is found with --against as JSON
    #[arg(long, requires = "against")]
    json: bool,
}

impl Check {
    pub fn execute(self) -> Exit {
        let file = self.config.path();
        match checked(file) {
            Ok(Loaded { config, warnings }) => {
                print_warnings(&warnings);
                if let Some(log) = self.against.log() {
                    return self.against.judge(config, log, self.json);
                }
                if !self.quiet {
                    print(&format!("{}: ok, {}\n", file.display(), summary(&config)));
                }
                Exit::Done
            }
            Err(error) => fail_to_load(&error),
        }
    }
}

fn checked(file: &Path) -> Result<Loaded, LoadError> {
    exchange::run_config_tests(config::load(file)?)
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
