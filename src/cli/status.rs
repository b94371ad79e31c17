//! `evenkeel status`.

mod table;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};

use super::ask::{AskError, Where};
use super::{Exit, fail, print_json, print_verbatim};
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
    pub fn execute(self) -> Exit {
        match self.show() {
            Ok(()) => Exit::Done,
            Err(error) => fail(error),
        }
    }

    fn show(&self) -> Result<(), AskError> {
        let body = self.place.get_ok("/status")?;
        let status: admin::Status = serde_json::from_str(&body)
            .map_err(|error| AskError::Refused(format!("the status is not understood: {error}")))?;
        match self.json {
            true => print_json(&body),
            false => print_verbatim(&table::render(&status, io::stdout().is_terminal() && colours_wanted())),
        }
        Ok(())
    }
}
