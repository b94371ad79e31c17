//! What can be done to the running process from outside, and what came of it.

use http::StatusCode;

/// An order to the process; one is carried out at a time, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Put the config file as it is now in force.
    Reload,
    /// Have a new process of the binary on the disk take over.
    Upgrade,
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
pub struct Outcome {
    pub verdict: Verdict,
    pub text: String,
}

impl Operation {
    /// The operation behind a path of the admin address.
    pub fn at(path: &str, _query: &str) -> Option<Self> {
        match path {
            "/reload" => Some(Self::Reload),
            "/upgrade" => Some(Self::Upgrade),
            _ => None,
        }
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

impl Outcome {
    pub fn done(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Done, text: text.into() }
    }

    pub fn refused(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Refused, text: text.into() }
    }
}
