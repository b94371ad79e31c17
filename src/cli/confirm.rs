//! `evenkeel confirm`.

use std::time::Duration;

use super::Exit;
use super::order::Order;

/// The operation waits for the one under way, if there is one.
const LIMIT: Duration = Duration::from_secs(60);

/// Keep the config that `reload --confirm` has put in force for a while.
#[derive(Debug, clap::Args)]
pub struct Confirm {
    #[command(flatten)]
    order: Order,
}

impl Confirm {
    pub fn execute(self) -> Exit {
        self.order.perform("/confirm", LIMIT)
    }
}
