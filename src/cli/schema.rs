//! `evenkeel schema`: the JSON Schema of the config file.

use super::{Exit, print};
use crate::config;

#[derive(Debug, clap::Args)]
pub struct Schema {}

impl Schema {
    pub fn execute(self) -> Exit {
        print(&format!("{:#}\n", config::schema()));
        Exit::Done
    }
}
