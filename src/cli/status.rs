//! `evenkeel status`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Status {}

impl Status {
    pub fn execute(self) -> Exit {
        Exit::Done
    }
}
