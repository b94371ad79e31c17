//! When requests are tried again, as a pool and a route say it.

use http::Method;
use serde_json::{Value as Json, json};

use super::pool::parse_status;
use crate::config::decode::{Fault, List, OrOff, Scalar, ShortOr};
use crate::config::model::HedgeAfter;
use crate::config::scalar::{Count, NonZeroPeriod, Percent, Rate, word_fault};
use crate::config::section::section;

section! {
    /// When a request is tried again.
    RetrySection "`retry`" {
        /// Attempts after the first one; 0: none. Failed connects do not count: all other endpoints are tried, in all
        /// for at most `timeouts.connect` times (1 + `limit`).
        limit: Count<0, 20> = 2;
        /// After which failures: `connect` (any method: nothing was sent); for the methods below also `reset` (closed
        /// before the first byte of a response), `timeout` (no response in time), and statuses from 500 to 599.
        on: List<RetryCause> = ["connect", "reset"];
        /// The methods whose requests may reach an endpoint twice. POST among them says that the endpoints can tell
        /// when they get a request again.
        methods: List<Method> = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        /// How long one attempt may take, from its begin, or from the end of the client's body, to the end of the
        /// response's header; then it counts as `timeout`. `off`: only `timeouts` bound it.
        attempt_timeout: OrOff<NonZeroPeriod> = "off";
        /// The longest pause before an endpoint is tried for the second time by the same request; it doubles with each
        /// one, up to ten times this, and its length is drawn by lot. Before another endpoint there is none. `off`: no
        /// pause.
        backoff: OrOff<NonZeroPeriod> = "25ms";
        /// How many retries the pool may have in all; beyond it, failures go to the clients. `off`: as many as `limit`
        /// allows.
        budget: OrOff<BudgetSection> = {};
        /// When a GET or HEAD that has no response yet gets a second attempt beside the first, at another endpoint: the
        /// first good answer goes to the client. After a time such as `50ms`; or `p95`, which 95 % of the route's recent
        /// requests have not exceeded.
        hedge: OrOff<HedgeForm> = "off";
    }
}

/// After which time, or with a share of its own.
pub(crate) type HedgeForm = ShortOr<HedgeAfter, HedgeSection>;

section! {
    /// A second attempt beside the first.
    HedgeSection "`hedge`" {
        /// How long after the first: a time, or `p95`.
        after: HedgeAfter = "p95";
        /// How many of the requests, over about ten seconds, may have one.
        share: Percent = "2%";
    }
}

impl Scalar for HedgeAfter {
    const WHAT: &'static str = "a time to a second attempt";
    const REMEDY: &'static str = "write p95, a time such as 50ms, or off";

    fn parse(text: &str) -> Result<HedgeAfter, Fault> {
        match text {
            "p95" => Ok(HedgeAfter::P95),
            _ => {
                NonZeroPeriod::parse(text).map(|time| HedgeAfter::Time(time.0)).map_err(|_| Self::fault(text))
            }
        }
    }

    fn scalar_schema() -> Json {
        json!({ "anyOf": [{ "enum": ["p95"] }, NonZeroPeriod::scalar_schema()] })
    }
}

section! {
    /// How many retries a pool may have, over about ten seconds: the larger of the two. Failed connects do not count.
    BudgetSection "`budget`" {
        /// Of the requests.
        share: Percent = "20%";
        /// So many are allowed in any case.
        floor: Rate = "10/s";
    }
}

section! {
    /// When a request of this route is tried again, where that differs from the pool's `retry`.
    RouteRetrySection "a route's `retry`" {
        /// Attempts after the first one; 0: none. Default: the pool's.
        limit: Count<0, 20>, optional;
        /// After which failures. Default: the pool's.
        on: List<RetryCause>, optional;
        /// The methods whose requests may reach an endpoint twice. Default: the pool's.
        methods: List<Method>, optional;
        /// How long one attempt may take to the end of the response's header. Default: the pool's.
        attempt_timeout: OrOff<NonZeroPeriod>, optional;
        /// The longest pause before an endpoint is tried for the second time. Default: the pool's.
        backoff: OrOff<NonZeroPeriod>, optional;
        /// When a second attempt begins beside the first. Default: the pool's.
        hedge: OrOff<HedgeForm>, optional;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryCause {
    Connect,
    Reset,
    Timeout,
    Status(u16),
}

impl Scalar for RetryCause {
    const WHAT: &'static str = "a failure to retry after";
    const REMEDY: &'static str = "write connect, reset, timeout, or a status from 500 to 599";

    fn parse(text: &str) -> Result<RetryCause, Fault> {
        match text {
            "connect" => Ok(RetryCause::Connect),
            "reset" => Ok(RetryCause::Reset),
            "timeout" => Ok(RetryCause::Timeout),
            _ => match parse_status(text) {
                Some(status) if status >= 500 => Ok(RetryCause::Status(status)),
                Some(_) => Err(Self::fault(text)),
                None => {
                    let fault = word_fault(text, Self::WHAT, &["connect", "reset", "timeout"]);
                    let is_near = fault.remedy.starts_with("did you mean");
                    Err(if is_near { fault } else { Self::fault(text) })
                }
            },
        }
    }

    fn scalar_schema() -> Json {
        json!({ "anyOf": [
            { "enum": ["connect", "reset", "timeout"] },
            { "type": "integer", "minimum": 500, "maximum": 599 },
        ] })
    }
}
