//! `evenkeel check`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Check {}

impl Check {
    pub fn execute(self) -> Exit {
        Exit::Done
    }
}
