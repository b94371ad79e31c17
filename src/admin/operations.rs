//! What can be done to the running process from outside, and what came of it.

use std::time::Duration;

use http::StatusCode;

use super::query;
use crate::config;

/// The content type of what is written for people.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// How long a config may wait for its confirmation.
const CONFIRM_MAX: Duration = Duration::from_hours(24);

/// An order to the process; one is carried out at a time, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Change what is in force.
    Config(ConfigChange),
    /// Say what this text would change as a config, as JSON; `name` is what errors call it.
    Plan { text: String, name: String },
    /// Have a new process of the binary on the disk take over.
    Upgrade,
}

/// What may change which config is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigChange {
    /// Put the config file as it is now in force; with `confirm`, the config before comes back after that time unless
    /// there is a [`ConfigChange::Confirm`].
    Reload { confirm: Option<Duration> },
    /// Keep the config that waits for it.
    Confirm,
    /// Put the config before in force again.
    Rollback,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// It cannot be done, or was tried and failed: everything is as it was.
    Refused,
    /// The config file is wrong, and everything is as it was.
    InvalidConfig,
}

/// What came of an operation, in words for whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationOutcome {
    pub verdict: Verdict,
    pub text: String,
}

impl Operation {
    /// The operation behind a path of the admin address, or what is wrong with its query.
    pub fn at(path: &str, query: &str) -> Result<Option<Self>, String> {
        Ok(match path {
            "/reload" => Some(Self::Config(ConfigChange::Reload { confirm: confirm(query)? })),
            "/confirm" => Some(Self::Config(ConfigChange::Confirm)),
            "/rollback" => Some(Self::Config(ConfigChange::Rollback)),
            "/upgrade" => Some(Self::Upgrade),
            "/plan" => {
                let name = query::value(query, "name").unwrap_or_else(|| "the plan".to_owned());
                Some(Self::Plan { text: String::new(), name })
            }
            _ => None,
        })
    }

    /// What its answer is where it was done.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "application/json",
            Self::Config(_) | Self::Upgrade => PLAIN,
        }
    }

    /// Where the request's body belongs, if it takes one.
    pub fn body(&mut self) -> Option<&mut String> {
        match self {
            Self::Plan { text, .. } => Some(text),
            Self::Config(_) | Self::Upgrade => None,
        }
    }
}

impl ConfigChange {
    /// The command that asks for it.
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

/// How long to wait for a confirmation, as people write it.
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
