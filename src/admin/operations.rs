//! The operations that the running process takes on its admin address, and their outcomes.

use std::time::Duration;

use http::StatusCode;

use super::adjust::Adjust;
use super::log_level::LogOrder;
use super::query;
use crate::config;

/// The content type of text for people.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// How long a config may wait for its confirmation.
const CONFIRM_MAX: Duration = Duration::from_hours(24);

/// An operation on the process. Operations run one at a time, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Change the config in force.
    Config(ConfigChange),
    /// Tell, as JSON, what the config `text` would change; errors call it `name`.
    Plan { text: String, name: String },
    /// Change something of an endpoint by hand.
    Adjust(Adjust),
    /// Change the level of the event log.
    Log(LogOrder),
    /// Write the flight recorder to the state directory.
    Incident,
    /// Start a new process from the binary on the disk, which takes over.
    Upgrade,
}

/// An operation that may change which config is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigChange {
    /// Put the present config file in force; with `confirm`, the previous config comes back after that time unless
    /// [`ConfigChange::Confirm`] comes first.
    Reload { confirm: Option<Duration> },
    /// Keep the config that waits for its confirmation.
    Confirm,
    /// Put the previous config in force again.
    Rollback,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// The operation is impossible, or failed; nothing has changed.
    Refused,
    /// The config file is invalid; nothing has changed.
    InvalidConfig,
}

/// How an operation ended, with a text for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationOutcome {
    pub verdict: Verdict,
    pub text: String,
}

impl Operation {
    /// The operation at a path of the admin address; an error says what is wrong with the query.
    pub fn at(path: &str, query: &str) -> Result<Option<Self>, String> {
        Ok(match path {
            "/reload" => Some(Self::Config(ConfigChange::Reload { confirm: confirm(query)? })),
            "/confirm" => Some(Self::Config(ConfigChange::Confirm)),
            "/rollback" => Some(Self::Config(ConfigChange::Rollback)),
            LogOrder::PATH => Some(Self::Log(LogOrder::of(query)?)),
            "/upgrade" => Some(Self::Upgrade),
            "/incident" => Some(Self::Incident),
            "/plan" => {
                let name = query::value(query, "name").unwrap_or_else(|| "the plan".to_owned());
                Some(Self::Plan { text: String::new(), name })
            }
            _ => Adjust::at(path, query)?.map(Self::Adjust),
        })
    }

    /// The content type of the response when the operation was done.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Plan { .. }
            | Self::Adjust(Adjust { json: true, .. })
            | Self::Log(LogOrder { json: true, .. }) => "application/json",
            Self::Config(_) | Self::Adjust(_) | Self::Log(_) | Self::Upgrade | Self::Incident => PLAIN,
        }
    }

    /// Where to put the request's body, if the operation takes one.
    pub fn body(&mut self) -> Option<&mut String> {
        match self {
            Self::Plan { text, .. } => Some(text),
            Self::Config(_) | Self::Adjust(_) | Self::Log(_) | Self::Upgrade | Self::Incident => None,
        }
    }
}

impl ConfigChange {
    /// The name of the command for this operation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reload { .. } => "reload",
            Self::Confirm => "confirm",
            Self::Rollback => "rollback",
        }
    }
}

fn confirm(query: &str) -> Result<Option<Duration>, String> {
    query::value(query, "confirm").map(|text| confirm_time(&text)).transpose()
}

/// Parses how long to wait for a confirmation, such as `60s`.
pub fn confirm_time(text: &str) -> Result<Duration, String> {
    match config::duration(text) {
        Some(time) if !time.is_zero() && time <= CONFIRM_MAX => Ok(time),
        Some(_) => Err("the time to confirm is more than none and at most 24h".to_owned()),
        None => Err("the time to confirm is written as 60s or 5m".to_owned()),
    }
}

impl Verdict {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Done => StatusCode::OK,
            Self::Refused => StatusCode::CONFLICT,
            Self::InvalidConfig => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

impl OperationOutcome {
    pub fn done(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Done, text: text.into() }
    }

    pub fn refused(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Refused, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_time_is_no_plain_reload() {
        let reload = |confirm| Ok(Some(Operation::Config(ConfigChange::Reload { confirm })));
        assert_eq!(Operation::at("/reload", ""), reload(None));
        assert_eq!(Operation::at("/reload", "confirm=1m30s"), reload(Some(Duration::from_secs(90))));
        for time in ["", "60", "0s", "25h", "%31"] {
            assert!(Operation::at("/reload", &format!("confirm={time}")).is_err(), "{time}");
        }
        assert_eq!(Operation::at("/reload/", "confirm=x"), Ok(None));
    }
}
