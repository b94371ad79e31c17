//! `evenkeel run`: runs the proxy, from a config file or from addresses on the command line.

use std::path::{Path, PathBuf};

use super::config_file::ConfigFile;
use super::{Exit, fail, fail_to_load, fail_usage, print, print_stderr, print_warnings};
use crate::config::{self, LoadError, Loaded};
use crate::exchange;
use crate::server::inherit::InheritedSockets;
use crate::server::upgrade::launch::Invocation;
use crate::server::{self, Start};

/// What errors call a config made from arguments.
const COMMAND_LINE: &str = "the config that the arguments stand for, which --print shows";

/// Run the proxy, from a config file or from addresses.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "evenkeel run [-c FILE | FILE]\n       evenkeel run --listen ADDRESS [--print] ENDPOINT...",
    after_help = "Examples:\n  evenkeel run evenkeel.yaml\n  evenkeel run --listen :8080 127.0.0.1:3001 127.0.0.1:3002"
)]
pub struct Run {
    /// The config file [default: /etc/evenkeel/evenkeel.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["listen", "arguments"])]
    config: Option<PathBuf>,

    /// Listen here instead of reading a file
    #[arg(long, value_name = "ADDRESS", requires = "arguments", value_parser = config::listen_argument)]
    listen: Option<String>,

    /// The config file; with --listen, the endpoints to balance over
    #[arg(value_name = "FILE | ENDPOINT")]
    arguments: Vec<String>,

    /// Print the config that the arguments stand for, and exit
    #[arg(long, requires = "listen", conflicts_with = "config")]
    print: bool,
}

impl Run {
    pub fn execute(self) -> Exit {
        match &self.listen {
            Some(listen) => self.run_addresses(listen),
            None => match self.file() {
                Ok(file) => serve_file(file.path(), Invocation::of_process().ok()),
                Err(fault) => fail_usage(fault),
            },
        }
    }

    /// The file to run, or what is wrong with the arguments.
    fn file(&self) -> Result<ConfigFile, String> {
        let file = match self.arguments.as_slice() {
            [] => self.config.clone(),
            [file] => Some(file.into()),
            [..] => {
                return Err(
                    "one config file is run; to balance over endpoints, add --listen :8080".to_owned()
                );
            }
        };
        if let [argument] = self.arguments.as_slice()
            && config::endpoint_argument(argument).is_ok()
            && !Path::new(argument).exists()
        {
            return Err(format!(
                "{argument} is an endpoint: say where to listen, too, such as --listen :8080"
            ));
        }
        Ok(ConfigFile::new(file))
    }

    fn run_addresses(&self, listen: &str) -> Exit {
        for endpoint in &self.arguments {
            if let Err(fault) = config::endpoint_argument(endpoint) {
                return fail_usage(format!("invalid value '{endpoint}' for an ENDPOINT: {fault}"));
            }
        }
        let text = config::long_form_of(listen, &self.arguments);
        match config::parse(&text, COMMAND_LINE) {
            Err(report) => fail_to_load(&LoadError::Invalid(report)),
            Ok(_) if self.print => {
                print(&text);
                Exit::Done
            }
            Ok(config) => {
                let (invocation, inherited) = (Invocation::of_process().ok(), InheritedSockets::receive());
                serve(Start { config, file: None, invocation, inherited })
            }
        }
    }
}

fn serve_file(file: &Path, invocation: Option<Invocation>) -> Exit {
    let inherited = InheritedSockets::receive();
    let loaded = config::read_or_pipe(file).and_then(|text| {
        let loaded = config::compile_text(&text, &file.display().to_string());
        match inherited.predecessor() {
            // As in a reload, the config's tests must pass.
            Some(_) => loaded.and_then(exchange::run_config_tests),
            None => loaded.or_else(|error| earlier_config(file, &text, error)),
        }
    });
    match loaded {
        Ok(loaded) => {
            print_warnings(&loaded.warnings);
            serve(Start { config: loaded.config, file: Some(file.to_owned()), invocation, inherited })
        }
        Err(error) => {
            let invalid = error.is_invalid();
            match inherited.predecessor() {
                Some(predecessor) if predecessor.refuse(&error.to_string(), invalid) => Exit::Failed,
                _ => fail_to_load(&error),
            }
        }
    }
}

/// Falls back to the previous config if the invalid file was never confirmed: an unconfirmed config must not prevent a
/// start.
fn earlier_config(file: &Path, text: &str, error: LoadError) -> Result<Loaded, LoadError> {
    let Some(earlier) = server::fallback_for_invalid(text, file) else { return Err(error) };
    print_stderr(&error.to_string());
    print_stderr("nobody has confirmed what the file says: starting with the config before");
    Ok(earlier)
}

pub(super) fn serve(start: Start) -> Exit {
    let predecessor = start.inherited.predecessor();
    match (server::run(start), predecessor) {
        (Ok(()), _) => Exit::Done,
        // The predecessor logs the error.
        (Err(error), Some(predecessor)) if predecessor.refuse(&error.to_string(), false) => Exit::Failed,
        (Err(error), _) => fail(error),
    }
}
