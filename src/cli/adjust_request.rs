//! What `drain`, `undrain` and `weight` have in common: which endpoint is meant, and how the answer is shown.

use std::fmt::Write;
use std::time::Duration;

use super::Exit;
use super::admin_request::AdminTarget;
use crate::admin::client::Request;
use crate::admin::encoded;

/// The order waits for the operation under way, if there is one.
const LIMIT: Duration = Duration::from_secs(60);

/// The pools in which an endpoint is meant, and the process to ask.
#[derive(Debug, clap::Args)]
pub(super) struct AdjustArguments {
    /// In this pool, where several have the endpoint.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// In all pools that have the endpoint.
    #[arg(long, conflicts_with = "pool")]
    all_pools: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: AdminTarget,
}

/// The parameters of one order.
#[derive(Debug, Default)]
pub(super) struct AdjustRequest<'a> {
    pub command: &'a str,
    pub endpoint: &'a str,
    pub weight: Option<&'a str>,
    pub limit: Option<Duration>,
    pub force: bool,
}

impl AdjustArguments {
    /// Has the running process carry out the order, and prints its answer.
    pub fn perform(&self, request: &AdjustRequest<'_>) -> Exit {
        self.target.order(Request::post(&self.path(request), "", LIMIT), self.json)
    }

    fn path(&self, request: &AdjustRequest<'_>) -> String {
        let mut path = format!("/{}?endpoint={}", request.command, encoded(request.endpoint));
        let mut add = |name: &str, value: Option<String>| {
            // Writing to a `String` cannot fail.
            let _ = value.map(|value| write!(path, "&{name}={}", encoded(&value)));
        };
        let flag = |set: bool| set.then(|| "true".to_owned());
        add("weight", request.weight.map(str::to_owned));
        add("for", request.limit.map(|limit| format!("{}ms", limit.as_millis())));
        add("force", flag(request.force));
        add("pool", self.pool.clone());
        add("all_pools", flag(self.all_pools));
        add("json", flag(self.json));
        path
    }
}
