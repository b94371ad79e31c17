//! `evenkeel upgrade`.

use std::ffi::OsString;
use std::time::Duration;

use super::order::Order;
use super::{Exit, fail};
use crate::server::upgrade::launch;

/// Longer than any sensible `server.upgrade_timeout`, after which the process answers.
const LIMIT: Duration = Duration::from_secs(3600);

/// Have the binary that is on the disk now take over from a running process; no request is lost.
#[derive(Debug, clap::Args)]
pub struct Upgrade {
    #[command(flatten)]
    order: Order,
}

/// Start a successor and end: for an upgrade, which runs this itself.
#[derive(Debug, clap::Args)]
pub struct StartSuccessor {
    /// A binary, the name by which it is called, and its arguments.
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Upgrade {
    pub fn execute(self) -> Exit {
        self.order.perform("/upgrade", LIMIT)
    }
}

impl StartSuccessor {
    pub fn execute(self) -> Exit {
        match launch::start(&self.command) {
            Ok(()) => Exit::Done,
            Err(error) => fail(error),
        }
    }
}
