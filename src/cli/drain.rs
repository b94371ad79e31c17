//! `evenkeel drain`.

use std::time::Duration;

use super::Exit;
use super::adjust_request::{AdjustArguments, AdjustRequest};
use crate::admin::adjust::limit;

/// Send an endpoint no new requests, from now on and without a reload. What it has in flight goes on, and it is probed on.
///
/// `evenkeel undrain` ends it, and so does the endpoint's leaving the config. A reload and an upgrade keep it, a restart
/// does not.
#[derive(Debug, clap::Args)]
pub struct Drain {
    /// The endpoint as `evenkeel status` shows it, or its address alone: 10.0.0.1:3000.
    endpoint: String,
    /// Undrain it by itself after this time, such as 10m.
    #[arg(long = "for", value_name = "TIME", value_parser = limit)]
    limit: Option<Duration>,
    /// Even if it is the last endpoint of its pool that can serve.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    arguments: AdjustArguments,
}

impl Drain {
    pub fn execute(self) -> Exit {
        self.arguments.perform(&AdjustRequest {
            command: "drain",
            endpoint: &self.endpoint,
            limit: self.limit,
            force: self.force,
            ..AdjustRequest::default()
        })
    }
}
