//! `evenkeel weight`.

use std::time::Duration;

use super::adjust_request::{AdjustArguments, AdjustRequest};
use super::{Exit, fail_usage};
use crate::admin::adjust::{limit, weight_change};
use crate::pool::EndpointChange;

/// Give an endpoint another weight than the config file has, from now on and without a reload.
///
/// `evenkeel weight ENDPOINT reset` goes back to the weight of the file, and so does the endpoint's leaving the config. A
/// reload and an upgrade keep it, whatever weight the file has then; a restart does not.
#[derive(Debug, clap::Args)]
pub struct Weight {
    /// The endpoint as `evenkeel status` shows it, or its address alone: 10.0.0.1:3000.
    endpoint: String,
    /// From 0 (no requests) to 256, or `reset`: that of the config file.
    #[arg(value_name = "WEIGHT", value_parser = checked)]
    weight: String,
    /// Go back to the weight of the config file after this time, such as 10m.
    #[arg(long = "for", value_name = "TIME", value_parser = limit)]
    limit: Option<Duration>,
    /// Even if no endpoint of the pool is left that can serve.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    arguments: AdjustArguments,
}

impl Weight {
    pub fn execute(self) -> Exit {
        let resets = weight_change(&self.weight) == Ok(EndpointChange::ResetWeight);
        if resets && self.limit.is_some() {
            return fail_usage("`reset` goes back to the weight of the file, and has no `--for`");
        }
        self.arguments.perform(&AdjustRequest {
            command: "weight",
            endpoint: &self.endpoint,
            weight: Some(&self.weight),
            limit: self.limit,
            force: self.force,
        })
    }
}

fn checked(text: &str) -> Result<String, String> {
    weight_change(text).map(|_| text.to_owned())
}
