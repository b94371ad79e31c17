//! `evenkeel undrain`.

use super::Exit;
use super::adjust_request::{AdjustArguments, AdjustRequest};

/// Send an endpoint requests again that `evenkeel drain` has drained.
#[derive(Debug, clap::Args)]
pub struct Undrain {
    /// The endpoint as `evenkeel status` shows it, or its address alone: 10.0.0.1:3000.
    endpoint: String,
    #[command(flatten)]
    arguments: AdjustArguments,
}

impl Undrain {
    pub fn execute(self) -> Exit {
        let request =
            AdjustRequest { command: "undrain", endpoint: &self.endpoint, ..AdjustRequest::default() };
        self.arguments.perform(&request)
    }
}
