//! What became of a request, and what would become of it.

use serde::Serialize;

use super::line::Line;
use crate::exchange::Failure;

/// What is done with a request, as far as the config decides it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Act {
    /// It goes to the route's pool. `status`: of the answer that it got, as `2xx`.
    Forwarded {
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
    },
    /// The config's own answer.
    Answered { action: String, status: u16 },
    Refused {
        cause: String,
        status: u16,
        /// The list or the rate limit that refuses it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Its client is asked who it is.
    Asked { auth: String },
    /// The config has no listener of that name.
    NoListener { listener: String },
    /// A log in the combined format tells no more.
    Status { status: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Fate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(flatten)]
    pub act: Act,
}

/// What would become of a request, and what else the judge has found.
#[derive(Debug)]
pub(super) struct Verdict {
    pub fate: Fate,
    /// The path that the endpoint gets, where the route rewrites it.
    pub rewritten: Option<Box<str>>,
    /// The pool of yesterday gets some of this route's requests: which ones, a field decides that the log has not.
    pub may_be_in_old_pool: bool,
    /// Of the fields that were asked for and that the log has not, as bits.
    pub asked: u64,
}

/// The result of the comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Same,
    Different(Box<Difference>),
    /// For that reason.
    NotJudged(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Difference {
    pub was: Fate,
    pub now: Fate,
    /// The endpoint would get another path.
    pub path: bool,
    /// It may be none: the decision depends on something that the log does not tell.
    pub unsure: bool,
}

const NO_REQUEST: &str = "the line has no request";
const NOT_ROUTED: &str = "the request ended before its route was looked for";
const ENDED: &str = "the request may have ended before its client was asked who it is";
const SIZE: &str = "the log does not tell the size of what was refused for its size";
const FIELDS: &str = "the answer depends on a header that the log has not";

// === impl Fate ===

impl Fate {
    pub fn new(act: Act) -> Self {
        Self { route: None, pool: None, act }
    }

    /// What became of a line's request; the error is the reason why it cannot be compared.
    pub(super) fn of(line: &Line<'_>) -> Result<Self, &'static str> {
        if !line.has_request() {
            return Err(NO_REQUEST);
        }
        if !line.tells_decision {
            return Ok(Self::new(Act::Status { status: line.status }));
        }
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let act = match decided_by_config(&line.cause) {
            Some(status) => Act::Refused {
                cause: line.cause.clone().into_owned(),
                status,
                by: text(&line.refused_by).or_else(|| text(&line.limited)),
            },
            None if line.action == "max_forwards" => return Err(FIELDS),
            None if !line.action.is_empty() => {
                Act::Answered { action: line.action.clone().into_owned(), status: line.status }
            }
            None if line.cause == Failure::HeadersTooLarge.label() => return Err(SIZE),
            None if line.route.is_empty() => return Err(NOT_ROUTED),
            None => Act::Forwarded { status: class(line.status) },
        };
        Ok(Self { route: text(&line.route), pool: text(&line.pool), act })
    }
}

/// The status of a refusal that depends on the config and on what the log tells alone.
fn decided_by_config(cause: &str) -> Option<u16> {
    const DECIDED: [Failure; 10] = [
        Failure::BadRequest,
        Failure::MissingHost,
        Failure::Denied,
        Failure::NoRoute,
        Failure::MethodNotAllowed,
        Failure::BodyTooLarge,
        Failure::TargetTooLong,
        Failure::RateLimited,
        Failure::Unauthorized,
        Failure::AuthUnavailable,
    ];
    let failure = DECIDED.iter().find(|failure| failure.label() == cause)?;
    Some(failure.status().as_u16())
}

fn class(status: u16) -> Option<&'static str> {
    Some(match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => return None,
    })
}

/// Compares what became of a line's request with what would.
pub(super) fn compare(line: &Line<'_>, verdict: &Verdict) -> Compared {
    let was = match Fate::of(line) {
        Ok(was) => was,
        Err(reason) => return Compared::NotJudged(reason),
    };
    let now = &verdict.fate;
    let cause_was = |failure: Failure| line.cause == failure.label();
    let same_answer = match (&was.act, &now.act) {
        (Act::Forwarded { .. }, Act::Forwarded { .. }) => {
            let same_path = verdict.rewritten.as_deref().unwrap_or_default() == line.rewritten;
            let same_pool = was.pool == now.pool || verdict.may_be_in_old_pool;
            if was.route == now.route && same_pool && !same_path {
                return different(was, now, true, verdict.asked != 0);
            }
            same_pool && same_path
        }
        (Act::Answered { action, .. }, Act::Asked { auth }) if action == "auth" => *auth == line.auth,
        (Act::Answered { action, status }, Act::Answered { action: other, status: other_status }) => {
            action == other && status == other_status
        }
        (Act::Forwarded { .. }, Act::Asked { .. }) if !line.cause.is_empty() => {
            return Compared::NotJudged(ENDED);
        }
        (Act::Refused { .. }, Act::Asked { auth }) if !line.auth.is_empty() => *auth == line.auth,
        (Act::Refused { cause, .. }, Act::Refused { cause: other, .. }) => cause == other,
        (Act::Refused { .. }, Act::Forwarded { .. } | Act::Answered { .. })
            if cause_was(Failure::BodyTooLarge) || cause_was(Failure::TargetTooLong) =>
        {
            return Compared::NotJudged(SIZE);
        }
        // An endpoint may have answered anything.
        (Act::Status { .. }, Act::Forwarded { .. }) => return Compared::Same,
        (
            Act::Status { status },
            Act::Answered { status: other, .. } | Act::Refused { status: other, .. },
        ) => {
            return if status == other {
                Compared::Same
            } else {
                different(was, now, false, verdict.asked != 0)
            };
        }
        (Act::Status { status: 401 }, Act::Asked { .. }) => return Compared::Same,
        _ => false,
    };
    // A refusal may come before the route or behind it, whatever comes of it is the same.
    let same_route = was.route == now.route || matches!((&was.act, &now.act), (Act::Refused { .. }, _));
    if same_answer && same_route {
        return Compared::Same;
    }
    let unsure = verdict.asked != 0 || (!line.auth.is_empty() && matches!(now.act, Act::Asked { .. }));
    different(was, now, false, unsure)
}

fn different(was: Fate, now: &Fate, path: bool, unsure: bool) -> Compared {
    Compared::Different(Box::new(Difference { was, now: now.clone(), path, unsure }))
}
