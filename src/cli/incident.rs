//! `evenkeel incident`: what the flight recorder has of the time when something went wrong.

pub(super) mod timeline;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::admin_request::{AdminTarget, cannot_ask};
use super::order::Order;
use super::{Exit, fail, print, print_json, print_verbatim};
use crate::admin::encoded;
use crate::admin::incident::IncidentStatus;
use crate::human;

/// The disk may be slow.
const LIMIT: Duration = Duration::from_secs(60);

/// Write down the last minute of a running process: requests that failed, were slow or were tried again, events, and what
/// was measured each second. It does so by itself when failures jump or a pool has no endpoint left.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Incident {
    #[command(subcommand)]
    about: Option<About>,
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, clap::Subcommand)]
enum About {
    /// List the incidents that are kept, the newest first
    List(List),
    /// Show an incident as a timeline
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    target: AdminTarget,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The path of an incident, its name as in the list, or `now` for the last minute of the running process [default: the
    /// newest]
    #[arg(value_name = "INCIDENT")]
    incident: Option<String>,
    #[command(flatten)]
    target: AdminTarget,
    /// Print its lines as they are: one JSON object each
    #[arg(long)]
    json: bool,
}

impl Incident {
    pub fn execute(self) -> Exit {
        match self.about {
            None => self.order.perform("/incident", LIMIT),
            Some(About::List(list)) => list.execute(),
            Some(About::Show(show)) => show.execute(),
        }
    }
}

impl List {
    fn execute(&self) -> Exit {
        let body = match self.target.get("/incidents") {
            Ok(response) if response.status == 200 => response.body,
            Ok(response) => return fail(response.body.trim_end()),
            Err(error) => return cannot_ask(&error),
        };
        if self.json {
            print_json(&body);
            return Exit::Done;
        }
        match serde_json::from_str::<Vec<IncidentStatus>>(&body) {
            Ok(incidents) => {
                let line = |it: &IncidentStatus| {
                    format!(
                        "{}  {}\n    {}\n",
                        human::date(it.at),
                        human::safe(&it.reason),
                        human::safe(&it.path)
                    )
                };
                let all: String = incidents.iter().map(line).collect();
                print(if all.is_empty() { "there is no incident yet\n" } else { &all });
                Exit::Done
            }
            Err(error) => fail(format!("the list is not understood: {error}")),
        }
    }
}

impl Show {
    fn execute(&self) -> Exit {
        let lines = match self.lines() {
            Ok(lines) => lines,
            Err(exit) => return exit,
        };
        if self.json {
            print_verbatim(&crate::escape::document(&lines));
            return Exit::Done;
        }
        match timeline::render(&lines) {
            Ok(text) => {
                print(&text);
                Exit::Done
            }
            Err(error) => fail(format!("this is no incident: {error}")),
        }
    }

    /// Of a file that is there, or of the process.
    fn lines(&self) -> Result<String, Exit> {
        let name = self.incident.as_deref().unwrap_or_default();
        if name.contains('/') || Path::new(name).is_file() {
            let path = PathBuf::from(name);
            let text = std::fs::read_to_string(&path);
            return text.map_err(|error| fail(format!("cannot read {}: {error}", path.display())));
        }
        match self.target.get(&format!("/incidents/{}", encoded(name))) {
            Ok(response) if response.status == 200 => Ok(response.body),
            Ok(response) => Err(fail(response.body.trim_end())),
            Err(error) => Err(cannot_ask(&error)),
        }
    }
}
