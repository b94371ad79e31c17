//! `evenkeel schema`: the JSON Schema of the config file.

use std::io::{self, Write};

use super::Exit;
use crate::config;

#[derive(Debug, clap::Args)]
pub struct Schema {}

impl Schema {
    pub fn execute(self) -> Exit {
        // Written, not printed: whoever reads only the first lines closes the pipe, and that is no panic.
        match writeln!(io::stdout().lock(), "{:#}", config::schema()) {
            Ok(()) => Exit::Done,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Err(_) => Exit::Failed,
        }
    }
}
