//! How many requests a route takes in a time.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::balance::HeaderNameText;
use crate::config::decode::{Fault, Scalar, ShortOr};
use crate::config::scalar::{Count, Flag, Text, words};
use crate::config::section::section;

section! {
    /// How many requests of one key a route takes in a time; beyond it, 429.
    RateLimitSection "`rate_limit`" {
        /// How many on average: `100/s`, `60/m` or `1000/h`.
        rate: QuotaRate, required "100/s";
        /// How many may come at once. Default: the number of `rate`.
        burst: Count<1, 10_000_000>, optional;
        /// Which requests are counted together: those of a `client` (an IPv4 address, or a /64 of IPv6), those with the
        /// same value of `{ header: X-Api-Key }` or `{ cookie: session }`, or all of the `route`. A request without that
        /// field or cookie, or with several such fields, is counted by its client.
        by: RateKeyForm = "client";
        /// `true`: requests beyond it are let in, and counted in the log and the metrics.
        dry_run: Flag = false;
        /// How many keys are remembered; beyond it, the one that has not been seen for longest is forgotten. A key takes
        /// about 40 bytes. Default: 100000.
        table: Count<1, 10_000_000>, optional;
    }
}

/// What requests are counted by.
pub(crate) type RateKeyForm = ShortOr<RateKeyWord, RateKeySection>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateKeyWord {
    Client,
    Route,
}

words!(RateKeyWord, "a key to count by" {
    "client" => RateKeyWord::Client,
    "route" => RateKeyWord::Route,
});

section! {
    /// A part of the request to count by: exactly one of these keys.
    RateKeySection "`by`" {
        /// The value of this header field. Clients can send any: put a limit `by: client` beside it.
        header: HeaderNameText, optional;
        /// The value of this cookie. Clients can send any: put a limit `by: client` beside it.
        cookie: Text, optional;
    }
}

/// A number of requests in a second, minute or hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotaRate {
    pub(crate) count: u32,
    pub(crate) period: Duration,
}

const COUNT_MAX: u32 = 1_000_000;

impl Scalar for QuotaRate {
    const WHAT: &'static str = "a rate";
    const REMEDY: &'static str = "write a whole number and its time, such as 100/s, 60/m or 1000/h";

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number(text) {
            return Err(Fault::new(Self::fault(text).message, format!("add the time: {text}/s")));
        }
        let (number, unit) = text.split_once('/').ok_or_else(|| Self::fault(text))?;
        let (number, unit) = (number.trim_end(), unit.trim_start());
        let period = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            "sec" | "second" | "min" | "minute" | "hour" if is_number(number) => {
                let unit = unit.get(..1).unwrap_or("s");
                return Err(Fault::new(Self::fault(text).message, format!("write {number}/{unit}")));
            }
            _ => return Err(Self::fault(text)),
        };
        if !is_number(number) {
            return Err(Self::fault(text));
        }
        match number.parse::<u32>() {
            Ok(0) => Err(Fault::new(
                format!("`{text}` lets nothing through"),
                "write a rate above 0; `enabled: false` takes the route out, and `deny` refuses clients",
            )),
            Ok(count) if count <= COUNT_MAX => Ok(Self { count, period }),
            _ => Err(Fault::new(format!("`{text}` is out of range"), format!("write at most {COUNT_MAX}/s"))),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]{1,7} */ *[smh]$", "examples": ["100/s", "60/m", "1000/h"] })
    }
}
