//! `evenkeel rollback`.

use std::time::Duration;

use super::Exit;
use super::order::Order;

/// Names are resolved and endpoints probed, as at a reload.
const LIMIT: Duration = Duration::from_secs(60);

/// Put the config in force again that a running process had before. The file is not touched: the next reload reads it.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    #[command(flatten)]
    order: Order,
}

impl Rollback {
    pub fn execute(self) -> Exit {
        self.order.perform("/rollback", LIMIT)
    }
}
