//! `evenkeel run`: runs the proxy, from a config file or from addresses on the command line.

use std::path::{Path, PathBuf};

use super::Exit;
use super::{fail, fail_to_load, print, print_stderr, print_warnings};
use crate::config::{self, LoadError, Loaded};
use crate::exchange;
use crate::server::inherit::InheritedSockets;
use crate::server::upgrade::launch::Invocation;
use crate::server::{self, Start};

/// What errors call a config made from arguments.
const COMMAND_LINE: &str = "command line";

/// Run the proxy, from a config file or from addresses.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  evenkeel run -c evenkeel.yaml\n  evenkeel run --listen :8080 127.0.0.1:3001 127.0.0.1:3002"
)]
pub struct Run {
    /// The config file [default: /etc/evenkeel/evenkeel.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["listen", "endpoints"])]
    config: Option<PathBuf>,

    /// Listen here instead of reading a file
    #[arg(long, value_name = "ADDRESS", requires = "endpoints")]
    listen: Option<String>,

    /// Endpoints to balance over
    #[arg(value_name = "ENDPOINT", requires = "listen")]
    endpoints: Vec<String>,

    /// Print the config that the arguments stand for, and exit
    #[arg(long, requires = "listen", conflicts_with = "config")]
    print: bool,
}

impl Run {
    pub fn execute(self) -> Exit {
        let Some(listen) = &self.listen else {
            let file = self.config.as_deref().unwrap_or(Path::new(super::DEFAULT_CONFIG));
            return serve_file(file, Invocation::of_process().ok());
        };
        let text = config::long_form_of(listen, &self.endpoints);
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
            let invalid = matches!(error, LoadError::Invalid(_));
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
