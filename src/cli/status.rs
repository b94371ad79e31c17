//! `evenkeel status`.

mod table;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};

use super::admin_request::{AdminRequestError, AdminTarget};
use super::{Exit, fail, print_json, print_verbatim};
use crate::admin;
use crate::terminal::{Painter, colours_wanted};

#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    target: AdminTarget,
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

    fn show(&self) -> Result<(), AdminRequestError> {
        let body = self.target.get_ok("/status")?;
        let status: admin::Status = serde_json::from_str(&body)
            .map_err(|error| AdminRequestError::Refused(format!("the status is not understood: {error}")))?;
        match self.json {
            true => print_json(&body),
            false => {
                let colours = io::stdout().is_terminal() && colours_wanted();
                print_verbatim(&table::render(&status, Painter { colours }));
            }
        }
        Ok(())
    }
}
