//! `evenkeel reload`.

use std::time::Duration;

use super::Exit;
use super::ask::{Where, perform};

/// New names are resolved, and new endpoints probed, before the config is put in force.
const LIMIT: Duration = Duration::from_secs(60);

/// Put the config file of a running process in force as it is now, or say why not.
#[derive(Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    place: Where,
}

impl Reload {
    pub fn execute(self) -> Exit {
        perform(&self.place, "/reload", "", LIMIT)
    }
}
