//! `evenkeel health`.

use super::admin_request::AdminTarget;
use super::{Exit, fail};
use crate::human;

#[derive(Debug, clap::Args)]
pub struct Health {
    #[command(flatten)]
    target: AdminTarget,
}

impl Health {
    /// Silent when all is well, so that Docker's record of its checks stays empty.
    pub fn execute(self) -> Exit {
        match self.target.get("/readyz") {
            Ok(response) if response.status == 200 => Exit::Done,
            Ok(response) => fail(format_args!("not ready: {}", human::safe(response.body.trim()))),
            Err(error) => fail(error),
        }
    }
}
