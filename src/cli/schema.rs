//! `evenkeel schema`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Schema {}

impl Schema {
    pub fn execute(self) -> Exit {
        Exit::Done
    }
}
