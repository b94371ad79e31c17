//! `evenkeel demo`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Demo {}

impl Demo {
    pub fn execute(self) -> Exit {
        Exit::Done
    }
}
