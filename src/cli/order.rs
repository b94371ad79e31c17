//! Orders to a running process whose answer is a text: `reload`, `confirm`, `rollback`, `upgrade`.

use std::time::Duration;

use serde_json::json;

use super::admin_request::{AdminTarget, cannot_ask};
use super::{Exit, fail, fail_as_invalid, print, print_json};
use crate::admin::client::{Request, Response};

/// The process that gets the order, and how its answer is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Order {
    #[command(flatten)]
    target: AdminTarget,
    /// Print the answer as JSON: `result` is done, invalid or refused, `said` is the text
    #[arg(long)]
    json: bool,
}

impl Order {
    /// Has the process carry it out, and prints the answer.
    pub fn perform(&self, path: &str, limit: Duration) -> Exit {
        let Response { status, body } = match self.target.send(Request::post(path, "", limit)) {
            Ok(response) => response,
            Err(error) => return cannot_ask(&error),
        };
        let (result, exit) = match status {
            200 => ("done", Exit::Done),
            422 => ("invalid", Exit::InvalidConfig),
            _ => ("refused", Exit::Failed),
        };
        match exit {
            _ if self.json => print_json(&json!({ "result": result, "said": body.trim_end() }).to_string()),
            Exit::Done => print(&body),
            Exit::InvalidConfig => return fail_as_invalid(&body),
            _ => return fail(body.trim_end()),
        }
        exit
    }
}
