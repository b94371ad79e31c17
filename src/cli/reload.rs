//! `evenkeel reload`.

use std::time::Duration;

use super::Exit;
use super::order::Order;
use crate::admin::operations::confirm_time;

/// New names are resolved, and new endpoints probed, before the config is put in force.
const LIMIT: Duration = Duration::from_secs(60);

/// Put the config file of a running process in force as it is now, or say why not.
#[derive(Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    order: Order,
    /// Go back to the config before after this time, such as 60s, unless `evenkeel confirm` comes first.
    #[arg(long, value_name = "TIME", value_parser = confirm_time)]
    confirm: Option<Duration>,
}

impl Reload {
    pub fn execute(self) -> Exit {
        let path = match self.confirm {
            Some(time) => format!("/reload?confirm={}ms", time.as_millis()),
            None => "/reload".to_owned(),
        };
        self.order.perform(&path, LIMIT)
    }
}
