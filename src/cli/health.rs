//! `evenkeel health`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Health {}

impl Health {
    pub fn execute(self) -> Exit {
        Exit::Done
    }
}
