//! `evenkeel tap`.

use std::io::{self, IsTerminal, Write};

use parking_lot::Mutex;

use super::admin_request::{AdminTarget, cannot_ask};
use super::{Exit, fail, fail_usage};
use crate::admin::client::{Request, Response, Sink};
use crate::admin::{TapOrder, encoded};
use crate::escape;
use crate::terminal::colours_wanted;

/// Show requests as they end, until Ctrl-C.
///
/// All conditions must hold; of several values of one, which may be written with commas, one is enough. What is likely to be
/// a secret is shown as `***`. When requests come faster than they are shown, some are left out, and their number is said:
/// no request waits for a tap.
#[derive(Debug, clap::Args)]
pub struct Tap {
    /// Of these routes.
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// Of these pools.
    #[arg(long, value_name = "NAME")]
    pool: Vec<String>,
    /// That were sent to this endpoint, also in vain: as `evenkeel status` shows it, or its address alone.
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Vec<String>,
    /// That came to these listeners.
    #[arg(long, value_name = "NAME")]
    listener: Vec<String>,
    /// With these statuses: 503, 5xx or 500-599.
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,
    /// That took at least so long, such as 1s.
    #[arg(long, value_name = "TIME")]
    slow: Option<String>,
    /// Of these clients: an address, or a network such as 10.0.0.0/8.
    #[arg(long, value_name = "NETWORK")]
    client: Vec<String>,
    /// With these methods.
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// For these hosts.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Whose path begins with these segments: /v1 is /v1 and /v1/x, not /v10.
    #[arg(long, value_name = "PREFIX")]
    path: Vec<String>,
    /// That have this header field, with this value if one is written. Several must all be there.
    #[arg(short = 'H', long, value_name = "NAME[: VALUE]")]
    header: Vec<String>,
    /// A share of them, such as 10%: chosen by the request's id.
    #[arg(long, value_name = "SHARE")]
    share: Option<String>,
    /// End after so many requests.
    #[arg(long, value_name = "NUMBER")]
    count: Option<String>,
    /// End after this time, such as 30s.
    #[arg(long = "for", value_name = "TIME")]
    limit: Option<String>,
    /// Show also each request that begins to wait, and each that is sent to an endpoint.
    #[arg(long)]
    in_flight: bool,
    /// Show these header fields of requests.
    #[arg(long, value_name = "NAMES")]
    request_headers: Vec<String>,
    /// Show these header fields of endpoints' responses.
    #[arg(long, value_name = "NAMES")]
    response_headers: Vec<String>,
    /// Print the lines that the access log has in JSON.
    #[arg(long)]
    json: bool,
    /// Mask no secrets: for root alone, on the unix socket.
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    target: AdminTarget,
}

impl Tap {
    pub fn execute(self) -> Exit {
        let query = self.query();
        if let Err(fault) = TapOrder::of(&query) {
            return fail_usage(fault);
        }
        let printer = Printer { json: self.json, line: Mutex::default() };
        let path = format!("/api/v1/tap?{query}");
        match self.target.send(Request::stream(&path, Sink(&|piece| printer.print(piece)))) {
            Ok(Response { status: 200, .. }) => Exit::Done,
            Ok(Response { body, .. }) => fail(body.trim_end()),
            Err(error) => cannot_ask(&error),
        }
    }

    fn has_colours(&self) -> bool {
        !self.json && io::stdout().is_terminal() && colours_wanted()
    }

    fn query(&self) -> String {
        let lists = [
            ("route", &self.route),
            ("pool", &self.pool),
            ("endpoint", &self.endpoint),
            ("listener", &self.listener),
            ("status", &self.status),
            ("client", &self.client),
            ("method", &self.method),
            ("host", &self.host),
            ("path", &self.path),
            ("header", &self.header),
            ("request_headers", &self.request_headers),
            ("response_headers", &self.response_headers),
        ];
        let texts =
            [("slow", &self.slow), ("share", &self.share), ("count", &self.count), ("for", &self.limit)];
        let flags =
            [("in_flight", self.in_flight), ("secrets", self.secrets), ("colours", self.has_colours())];
        let lists =
            lists.into_iter().flat_map(|(name, values)| values.iter().map(move |value| (name, &**value)));
        let texts = texts.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let flags = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| (name, "true"));
        let format = if self.json { "json" } else { "text" };
        let pairs = lists.chain(texts).chain(flags).chain([("format", format)]);
        pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
    }
}

/// Prints lines as they come.
struct Printer {
    json: bool,
    /// A line whose end has not come yet.
    line: Mutex<Vec<u8>>,
}

/// No line is longer, but of a process that is no evenkeel.
const LINE_BYTES_MAX: usize = 1 << 20;

impl Printer {
    /// `false`: nobody takes them any more.
    fn print(&self, piece: &[u8]) -> bool {
        let mut line = self.line.lock();
        let mut lines = std::mem::take(&mut *line);
        lines.extend_from_slice(piece);
        let end = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = lines.split_off(end);
        if rest.len() > LINE_BYTES_MAX {
            return false;
        }
        *line = rest;
        let text = String::from_utf8_lossy(&lines);
        let shown = match self.json {
            true => escape::document(&text),
            false => escape::coloured_lines(&text).into(),
        };
        let mut out = io::stdout().lock();
        out.write_all(shown.as_bytes()).and_then(|()| out.flush()).is_ok()
    }
}
