//! `evenkeel plan`: shows what a config file would change in a running process.

use std::path::PathBuf;
use std::time::Duration;

use super::admin_request::{self, AdminTarget, cannot_ask};
use super::config_file::ConfigFile;
use super::{Exit, fail, fail_as_invalid, fail_to_load, print, print_json};
use crate::admin::client::{Request, Response};
use crate::admin::{Address, encoded};
use crate::config;
use crate::config_diff;

/// New names are resolved, and new endpoints probed.
const LIMIT: Duration = Duration::from_secs(60);

/// Say what a config file would change in a running process, and change nothing.
///
/// Exits with 0 if nothing would change, 3 if something would, 78 if the file is invalid, 1 if nobody can be asked.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// The file to try [default: that of -c]; the process at its own admin address is asked
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The config file of the running process, where FILE has another admin address [default: FILE]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin address to ask: unix:/path or 127.0.0.1:9900. A token is taken from EVENKEEL_ADMIN_TOKEN.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin: Option<Address>,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub fn execute(self) -> Exit {
        let file = ConfigFile::new(self.file.clone().or_else(|| self.config.clone()));
        let text = match config::read_or_pipe(file.path()) {
            Ok(text) => text,
            Err(error) => return fail_to_load(&error),
        };
        let name = file.path().display().to_string();
        let path = format!("/plan?name={}", encoded(&name));
        let request = Request::post(&path, &text, LIMIT);
        let answer = match self.running() {
            Some(target) => target.send(request),
            // What a shell hands over can be read only once.
            None => admin_request::of_text(&text, file.path()).and_then(|admin| admin.send(request, false)),
        };
        match answer {
            Ok(Response { status: 200, body }) => self.show(&body),
            Ok(Response { status: 422, body }) => fail_as_invalid(&body),
            Ok(Response { body, .. }) => fail(body.trim_end()),
            Err(error) => cannot_ask(&error),
        }
    }

    /// The process to ask; `None`: the one at the admin address of the file to try.
    fn running(&self) -> Option<AdminTarget> {
        let file = self.config.clone().filter(|_| self.file.is_some());
        (self.admin.is_some() || file.is_some()).then(|| AdminTarget::new(file, self.admin.clone()))
    }

    fn show(&self, body: &str) -> Exit {
        let plan: config_diff::Plan = match serde_json::from_str(body) {
            Ok(plan) => plan,
            Err(error) => return fail(format!("the plan is not understood: {error}")),
        };
        if self.json {
            print_json(body);
        } else {
            print(&plan.text());
        }
        if plan.diff.is_empty() { Exit::Done } else { Exit::Changes }
    }
}
