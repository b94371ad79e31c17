//! `evenkeel status`.

mod table;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};

use super::Exit;
use super::ask::{AskError, Where};
use crate::admin;
use crate::telemetry::colours_wanted;

#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    place: Where,
    /// Print what the admin server says, as JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    #[expect(clippy::print_stderr, reason = "the command line prints")]
    pub fn execute(self) -> Exit {
        let text = match self.text() {
            Ok(text) => text,
            Err(error) => {
                eprintln!("error: {error}");
                return Exit::Failed;
            }
        };
        // Not `print!`, which panics when `| head` has seen enough.
        match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("error: cannot write to standard output: {error}");
                Exit::Failed
            }
            _ => Exit::Done,
        }
    }

    fn text(&self) -> Result<String, AskError> {
        let body = self.place.get_ok("/status")?;
        let status: admin::Status = serde_json::from_str(&body)
            .map_err(|error| AskError::Refused(format!("the status is not understood: {error}")))?;
        if self.json {
            return Ok(body + "\n");
        }
        Ok(table::render(&status, io::stdout().is_terminal() && colours_wanted()))
    }
}
