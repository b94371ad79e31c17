//! `evenkeel plan`: shows what a config file would change in a running process.

use std::path::PathBuf;
use std::time::Duration;

use super::admin_request::{AdminTarget, cannot_ask};
use super::{Exit, fail, fail_as_invalid, fail_to_load, print, print_json};
use crate::admin::client::{Request, Response};
use crate::admin::encoded;
use crate::config;
use crate::config_diff;

/// New names are resolved, and new endpoints probed.
const LIMIT: Duration = Duration::from_secs(60);

/// Say what a config file would change in a running process, and change nothing.
///
/// Exits with 0 if nothing would change, 3 if something would, 78 if the file is invalid, 1 if nobody can be asked.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// The file to try
    file: PathBuf,
    #[command(flatten)]
    target: AdminTarget,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub fn execute(self) -> Exit {
        let text = match config::read_or_pipe(&self.file) {
            Ok(text) => text,
            Err(error) => return fail_to_load(&error),
        };
        let path = format!("/plan?name={}", encoded(&self.file.display().to_string()));
        match self.target.send(Request::post(&path, &text, LIMIT)) {
            Ok(Response { status: 200, body }) => self.show(&body),
            Ok(Response { status: 422, body }) => fail_as_invalid(&body),
            Ok(Response { body, .. }) => fail(body.trim_end()),
            Err(error) => cannot_ask(&error),
        }
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
