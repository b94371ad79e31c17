//! `evenkeel rollback`.

use std::time::Duration;

use super::Exit;
use super::admin_request::{AdminTarget, perform};

/// Names are resolved and endpoints probed, as at a reload.
const LIMIT: Duration = Duration::from_secs(60);

/// Put the config in force again that a running process had before. The file is not touched: the next reload reads it.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    #[command(flatten)]
    target: AdminTarget,
}

impl Rollback {
    pub fn execute(self) -> Exit {
        perform(&self.target, "/rollback", "", LIMIT)
    }
}
