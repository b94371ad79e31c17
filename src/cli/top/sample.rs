//! What a running process says at one moment, and how it is asked.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::scrape::Scrape;
use crate::admin::client::{Request, Response};
use crate::admin::{Status, encoded};
use crate::cli::admin_request::{AdminRequestError, AdminTarget};
use crate::cli::incident::timeline::event_text;

/// An order waits for the operation under way, if there is one.
const ORDER_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Sample {
    /// Since `top` began.
    pub at: Duration,
    pub status: Status,
    pub scrape: Scrape,
    /// Of the last minute, the oldest first.
    pub events: Vec<Event>,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// RFC 3339 with microseconds: in order of time as text.
    pub at: String,
    /// For people, and safe for a terminal.
    pub text: String,
}

/// What is to be done to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub command: Command,
    pub pool: String,
    pub endpoint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Drain,
    Undrain,
}

// === impl Sample ===

impl Sample {
    /// Asks the process.
    pub fn take(target: &AdminTarget, start: Instant) -> Result<Self, AdminRequestError> {
        let status = serde_json::from_str(&target.get_ok("/status")?)
            .map_err(|error| AdminRequestError::Refused(format!("the status is not understood: {error}")))?;
        let scrape = Scrape::parse(&target.get_ok("/metrics")?);
        Ok(Self { at: start.elapsed(), status, scrape, events: events(&target.get_ok("/api/v1/events")?) })
    }
}

/// Lines that are not understood are left out.
fn events(lines: &str) -> Vec<Event> {
    #[derive(Deserialize)]
    struct Line {
        at: String,
        event: Map<String, Value>,
    }
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.map(|line| Event { at: line.at, text: event_text(&line.event) }).collect()
}

// === impl Order ===

impl Order {
    /// Has the process carry it out; returns what it says.
    pub fn send(&self, target: &AdminTarget) -> Result<String, String> {
        let (command, endpoint, pool) = (self.command.name(), encoded(&self.endpoint), encoded(&self.pool));
        let path = format!("/{command}?endpoint={endpoint}&pool={pool}");
        match target.send(Request::post(&path, "", ORDER_LIMIT)) {
            Ok(Response { status: 200, body }) => Ok(body.trim().to_owned()),
            Ok(Response { body, .. }) => Err(body.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

// === impl Command ===

impl Command {
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_for_people() {
        let lines = r#"{"at":"2026-11-24T12:01:00.500000Z","event":{"time":"x","level":"warn","target":"t","message":"endpoint is \u001b[31munhealthy","pool":"api"}}
no JSON
"#;
        let expected = Event {
            at: "2026-11-24T12:01:00.500000Z".into(),
            text: "WARN     endpoint is \\x1b[31munhealthy pool=api".into(),
        };
        assert_eq!(events(lines), [expected]);
    }
}
