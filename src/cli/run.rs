//! `evenkeel run`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Run {}

impl Run {
    pub fn execute(self) -> Exit {
        Exit::Done
    }
}
