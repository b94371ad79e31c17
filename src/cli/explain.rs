//! `evenkeel explain`: says what would become of a request, and why.

mod text;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::admin_request::{AdminTarget, cannot_ask};
use super::config_file::ConfigFile;
use super::{Exit, fail, fail_to_load, fail_usage, print_json, print_verbatim, print_warnings};
use crate::admin::client::{Request, Response};
use crate::admin::explain::PATH;
use crate::admin::{Address, ExplainRequest};
use crate::config;
use crate::exchange::explain::Explanation;
use crate::explain::{self, Question, Source};
use crate::snapshot::Snapshot;
use crate::terminal::{Painter, colours_wanted};

/// The hash of a password may be computed.
const LIMIT: Duration = Duration::from_secs(5);

/// Say what would become of a request, and why: its listener, route, policies, pool and endpoint.
///
/// A running process is asked, and nothing is sent to an endpoint or counted in a limit; with --offline, a file is. Exits
/// with 0 whatever becomes of the request, and 2 if no client could send it.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "evenkeel explain [OPTIONS] [METHOD] URL",
    after_help = "Examples:
  evenkeel explain https://www.example.com/login
  evenkeel explain POST http://api.example.com/v1/orders -H 'X-Env: canary' --from 203.0.113.7"
)]
pub struct Explain {
    /// The method of the request [default: GET], and its URL
    #[arg(value_name = "METHOD", required = true, num_args = 1..=2)]
    request: Vec<String>,
    /// A header field of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    fields: Vec<String>,
    /// The address that the request comes from [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    from: Option<String>,
    /// The request comes over HTTP/2
    #[arg(long)]
    http2: bool,
    /// The listener that the request comes to, where the URL's scheme and port do not say it
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The config file, of the running process unless --offline is said [default: /etc/evenkeel/evenkeel.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the file alone, and no process: nothing is known of endpoints then
    #[arg(long)]
    offline: bool,
    /// The admin address to ask: unix:/path or 127.0.0.1:9900. A token is taken from EVENKEEL_ADMIN_TOKEN.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "offline"])]
    admin: Option<Address>,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

// === impl Explain ===

impl Explain {
    pub fn execute(self) -> Exit {
        let request = self.question();
        // Before anybody is asked: the answer would be the same.
        if let Err(error) = Question::new(&request) {
            return fail_usage(error);
        }
        if self.offline { self.ask_file(&request) } else { self.ask_process(&request) }
    }

    fn question(&self) -> ExplainRequest {
        let (method, url) = match &*self.request {
            [method, url] => (method.clone(), url.clone()),
            other => ("GET".to_owned(), other.concat()),
        };
        ExplainRequest {
            method,
            url,
            headers: self.fields.clone(),
            from: self.from.clone(),
            http2: self.http2,
            listener: self.listener.clone(),
        }
    }

    fn ask_file(&self, request: &ExplainRequest) -> Exit {
        let file = ConfigFile::new(self.config.clone());
        let loaded = match config::load(file.path()) {
            Ok(loaded) => loaded,
            Err(error) => return fail_to_load(&error),
        };
        print_warnings(&loaded.warnings);
        let snapshot = Arc::new(Snapshot::build(loaded.config, None));
        let explanation = match explain::explain(&snapshot, &Source::File, request) {
            Ok(explanation) => explanation,
            Err(error) => return fail_usage(error),
        };
        match serde_json::to_string(&explanation) {
            Ok(json) => self.show(&json, &explanation),
            Err(error) => fail(error),
        }
    }

    fn ask_process(&self, request: &ExplainRequest) -> Exit {
        let target = AdminTarget::new(self.config.clone(), self.admin.clone());
        let body = match serde_json::to_string(request) {
            Ok(body) => body,
            Err(error) => return fail(error),
        };
        match target.send(Request::post(PATH, &body, LIMIT)) {
            Ok(Response { status: 200, body }) => match serde_json::from_str(&body) {
                Ok(explanation) => self.show(&body, &explanation),
                Err(error) => fail(format!("the explanation is not understood: {error}")),
            },
            Ok(Response { status: 400, body }) => fail_usage(body.trim_end()),
            Ok(Response { status: 404, .. }) => fail(
                "the process that runs is of an older version, which explains nothing: upgrade it, or use --offline",
            ),
            Ok(Response { body, .. }) => fail(body.trim_end()),
            Err(error) => cannot_ask(&error),
        }
    }

    fn show(&self, json: &str, explanation: &Explanation) -> Exit {
        if self.json {
            print_json(json);
        } else {
            let painter = Painter { colours: io::stdout().is_terminal() && colours_wanted() };
            print_verbatim(&text::render(explanation, painter));
        }
        Exit::Done
    }
}
