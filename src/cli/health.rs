//! `evenkeel health`.

use super::Exit;
use super::ask::Where;
use crate::telemetry::human;

#[derive(Debug, clap::Args)]
pub struct Health {
    #[command(flatten)]
    place: Where,
}

impl Health {
    /// Silent when all is well, so that Docker's log of the check stays empty.
    #[expect(clippy::print_stderr, reason = "the command line prints")]
    pub fn execute(self) -> Exit {
        let reason = match self.place.get("/readyz") {
            Ok(response) if response.status == 200 => return Exit::Done,
            Ok(response) => human::safe(response.body.trim()),
            Err(error) => error.to_string(),
        };
        eprintln!("not ready: {reason}");
        Exit::Failed
    }
}
