//! `evenkeel health`.

use serde_json::json;

use super::admin_request::AdminTarget;
use super::{Exit, fail, print_json};
use crate::human;

#[derive(Debug, clap::Args)]
pub struct Health {
    #[command(flatten)]
    target: AdminTarget,
    /// Print `ready` and what was said, as JSON
    #[arg(long)]
    json: bool,
}

impl Health {
    /// Silent when all is well, so that Docker's record of its checks stays empty.
    pub fn execute(self) -> Exit {
        match self.target.get("/readyz") {
            Ok(response) if self.json => {
                let ready = response.status == 200;
                print_json(&json!({ "ready": ready, "said": response.body.trim() }).to_string());
                if ready { Exit::Done } else { Exit::Failed }
            }
            Ok(response) if response.status == 200 => Exit::Done,
            Ok(response) => fail(format_args!("not ready: {}", human::safe(response.body.trim()))),
            Err(error) => fail(error),
        }
    }
}
