//! `evenkeel log`.

use std::time::Duration;

use super::admin_request::AdminTarget;
use super::{Exit, fail_usage};
use crate::admin::adjust::limit;
use crate::admin::client::Request;
use crate::admin::encoded;
use crate::admin::log_level::log_level;

/// The order waits for nothing.
const LIMIT: Duration = Duration::ZERO;

/// Give the event log another level than the config file has, from now on and without a reload.
///
/// `evenkeel log reset` goes back to the level of the file. A reload keeps the level that was set here, a restart and an
/// upgrade do not.
#[derive(Debug, clap::Args)]
pub struct Log {
    /// error, warn, info, debug or off; directives such as info,evenkeel::pool=debug; or `reset`: that of the file.
    #[arg(value_name = "LEVEL", value_parser = checked)]
    level: String,
    /// Go back to the level of the file after this time, such as 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = limit)]
    limit: Option<Duration>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: AdminTarget,
}

impl Log {
    pub fn execute(self) -> Exit {
        if self.limit.is_some() && log_level(&self.level) == Ok(None) {
            return fail_usage("`reset` goes back to the level of the file, and has no `--for`");
        }
        self.target.order(Request::post(&self.path(), "", LIMIT), self.json)
    }

    fn path(&self) -> String {
        let limit = self.limit.map(|limit| format!("&for={}ms", limit.as_millis())).unwrap_or_default();
        let json = if self.json { "&json=true" } else { "" };
        format!("/log?level={}{limit}{json}", encoded(&self.level))
    }
}

fn checked(text: &str) -> Result<String, String> {
    log_level(text).map(|_| text.to_owned())
}
