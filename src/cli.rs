//! The command line: one file a subcommand, and the only place that prints.

use std::io::{self, Write};

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{LoadError, Report};
use crate::escape;
use crate::server::upgrade::launch;

mod adjust_request;
mod admin_request;
mod check;
mod completions;
mod config_file;
mod confirm;
mod demo;
mod drain;
mod explain;
mod foreign_commands;
mod health;
mod incident;
mod log;
mod man;
mod order;
mod plan;
mod prove;
mod reload;
mod rollback;
mod run;
mod schema;
mod simulate;
mod status;
mod tap;
mod top;
mod undrain;
mod upgrade;
mod weight;

/// The process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A file that cannot be read, a port in use, a forced stop.
    Failed = 1,
    /// Wrong arguments.
    Usage = 2,
    /// `plan` has found changes, or `check --against` differences.
    Changes = 3,
    /// An invalid config (`EX_CONFIG`): a service manager can be told not to restart after this code.
    InvalidConfig = 78,
}

/// A load balancer and HTTP reverse proxy.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it with nothing written: three endpoints and the proxy in front of them.
    Demo(demo::Demo),
    /// Run the proxy, from a config file or from addresses.
    Run(run::Run),
    /// Check a config file and run its tests.
    Check(check::Check),
    /// Put the config file of a running process in force as it is now, or say why not.
    Reload(reload::Reload),
    /// Keep the config that `reload --confirm` has put in force for a while.
    Confirm(confirm::Confirm),
    /// Put the config in force again that a running process had before.
    Rollback(rollback::Rollback),
    /// Say what a config file would change in a running process, and change nothing.
    Plan(plan::Plan),
    /// Say what would become of a request, and why: its route, policies, pool and endpoint. Nothing is sent.
    Explain(explain::Explain),
    /// Send an endpoint no new requests; what it has goes on.
    Drain(drain::Drain),
    /// Send a drained endpoint requests again.
    Undrain(undrain::Undrain),
    /// Give an endpoint another weight than the config file has, without a reload.
    Weight(weight::Weight),
    /// Give the event log another level for a while, without a reload.
    Log(log::Log),
    /// Have the binary that is on the disk now take over from a running process; no request is lost.
    Upgrade(upgrade::Upgrade),
    #[command(name = launch::COMMAND, hide = true)]
    StartSuccessor(upgrade::StartSuccessor),
    /// Show the state of a running process: pools, endpoints, shares of traffic.
    Status(status::Status),
    /// Watch a running process: rates, times and states of its pools and endpoints, and its last events.
    Top(top::Top),
    /// Write down the last minute of a running process, or show what was written when something went wrong.
    Incident(incident::Incident),
    /// Show requests of a running process as they end.
    Tap(tap::Tap),
    /// Ask a running process whether it is ready; for Docker's HEALTHCHECK.
    Health(health::Health),
    /// Simulate traffic, and endpoints that are slow, fail or die, on a virtual clock.
    Simulate(simulate::Simulate),
    /// Prove on this machine that reloads, restarts, upgrades and dying endpoints lose nothing.
    Prove(prove::Prove),
    /// Print the JSON Schema of the config file, for editors.
    Schema(schema::Schema),
    /// Print what a shell needs to complete the command line.
    Completions(completions::Completions),
    /// Write the manual pages into a directory.
    Man(man::Man),
}

impl Cli {
    /// The command line of this process. Ends the process if that is wrong, or asks for help.
    pub fn of_process() -> Self {
        Self::try_parse().unwrap_or_else(|error| foreign_commands::explained(error).exit())
    }

    pub fn execute(self) -> Exit {
        match self.command {
            Command::Demo(command) => command.execute(),
            Command::Run(command) => command.execute(),
            Command::Check(command) => command.execute(),
            Command::Reload(command) => command.execute(),
            Command::Confirm(command) => command.execute(),
            Command::Rollback(command) => command.execute(),
            Command::Plan(command) => command.execute(),
            Command::Explain(command) => command.execute(),
            Command::Drain(command) => command.execute(),
            Command::Undrain(command) => command.execute(),
            Command::Weight(command) => command.execute(),
            Command::Log(command) => command.execute(),
            Command::Upgrade(command) => command.execute(),
            Command::StartSuccessor(command) => command.execute(),
            Command::Status(command) => command.execute(),
            Command::Top(command) => command.execute(),
            Command::Incident(command) => command.execute(),
            Command::Tap(command) => command.execute(),
            Command::Health(command) => command.execute(),
            Command::Simulate(command) => command.execute(),
            Command::Prove(command) => command.execute(),
            Command::Schema(command) => command.execute(),
            Command::Completions(command) => command.execute(),
            Command::Man(command) => command.execute(),
        }
    }
}

/// The command line as people see it: for completions and manual pages.
fn visible_command() -> clap::Command {
    let whole = Cli::command();
    let seen: Vec<_> = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let about = whole.get_about().cloned().unwrap_or_default();
    clap::Command::new("evenkeel")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .about(about)
        .subcommand_required(true)
        .subcommands(seen)
}

/// Prints text that may have foreign parts: control characters are escaped.
fn print(text: &str) {
    print_verbatim(&escape::lines(text));
}

/// Prints a JSON document, with hostile characters as JSON escapes.
fn print_json(json: &str) {
    print_verbatim(&format!("{}\n", escape::document(json.trim_end())));
}

/// Prints text with colours, whose foreign parts are already escaped.
///
/// Does not use `print!`, which panics when `| head` has closed the pipe.
fn print_verbatim(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Prints text on standard error, escaped as [`print`] does.
fn print_stderr(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escape::lines(text));
}

/// Prints an error on standard error.
fn print_error(what: impl std::fmt::Display) {
    print_stderr(&format!("error: {what}"));
}

/// Prints an error; returns the exit code for it.
fn fail(what: impl std::fmt::Display) -> Exit {
    print_error(what);
    Exit::Failed
}

/// Prints what is wrong with the arguments; returns the exit code for it.
fn fail_usage(what: impl std::fmt::Display) -> Exit {
    print_error(what);
    Exit::Usage
}

/// Prints a config's warnings, which do not change the exit code.
fn print_warnings(warnings: &Report) {
    if !warnings.is_empty() {
        print_stderr(&warnings.to_string());
    }
}

/// Prints a running process's answer about an invalid config: mostly a report, which may begin with `error: ` itself.
fn fail_as_invalid(said: &str) -> Exit {
    print_error(said.strip_prefix("error: ").unwrap_or(said).trim_end());
    Exit::InvalidConfig
}

/// Prints why a config was not loaded. A report of errors is printed as it is, with its snippets.
fn fail_to_load(error: &LoadError) -> Exit {
    match error {
        LoadError::Io { .. } => fail(error),
        LoadError::NoConfig(_) => fail_as_invalid(&error.to_string()),
        LoadError::Invalid(report) => {
            print_stderr(&report.to_string());
            Exit::InvalidConfig
        }
    }
}
