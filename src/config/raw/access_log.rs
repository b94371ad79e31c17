//! The access log: what its lines have, and which requests have one.

use serde_json::{Value as Json, json};

use super::balance::HeaderNameText;
use super::sticky::CookieName;
use crate::config::decode::{Fault, List, OrOff, Scalar};
use crate::config::model::{AccessFormat, CLIENT_PARTS, LOG_FIELDS, LogNames, LogOutput};
use crate::config::scalar::{Count, NonZeroPeriod, Percent, word_fault, words};
use crate::config::section::section;

section! {
    /// One line for every request.
    AccessLogSection "`access_log`" {
        /// `stdout`, `stderr`, `off`, or a file's absolute path, which is opened again at USR1.
        output: LogOutput = "stdout";
        /// `text`, `json`, `combined`, or `auto`: text on a terminal, JSON otherwise.
        format: AccessFormat = "auto";
        /// How many lines of all workers together may wait to be written; further ones are dropped and counted. Half of
        /// them are divided evenly among the workers, half are for any worker that needs more.
        queue: Count<1, 1_000_000> = 8192;
        /// Header fields of requests that lines have, too: at most 32, and at most 512 bytes of each.
        request_headers: List<HeaderNameText> = [];
        /// Header fields of endpoints' responses that lines have, too, as of requests.
        response_headers: List<HeaderNameText> = [];
        /// Cookies of requests that lines have, too, as of header fields.
        cookies: List<CookieName> = [];
        /// The fields that lines in JSON have, by their names in `docs/logs.md`. Default: all.
        fields: List<LogFieldText>, optional;
        /// Whose names the fields of lines in JSON have: `evenkeel`, `otel` (the semantic conventions of OpenTelemetry)
        /// or `ecs` (the Elastic Common Schema).
        names: LogNames = "evenkeel";
        /// Which requests have a line. `off`: all; or a section with `errors`, `slow` and `rest`. Metrics count all.
        sample: OrOff<SampleSection> = "off";
    }
}

section! {
    /// Which requests have a line. A share is chosen by the hash of the request's id, so that all nodes choose alike, and
    /// its lines say it as `sampled`.
    SampleSection "`sample`" {
        /// The share of requests that failed: with a status of 5xx, a response that broke off, or an attempt that failed.
        errors: ShareText = "all";
        /// Of the others, those that took at least so long all have a line; or `off`.
        slow: OrOff<NonZeroPeriod> = "off";
        /// The share of all that are left, such as 1%.
        rest: ShareText = "all";
    }
}

words!(AccessFormat, "a format" {
    "auto" => AccessFormat::Auto,
    "text" => AccessFormat::Text,
    "json" => AccessFormat::Json,
    "combined" => AccessFormat::Combined,
});

words!(LogNames, "a list of names" {
    "evenkeel" => LogNames::Evenkeel,
    "otel" => LogNames::Otel,
    "ecs" => LogNames::Ecs,
});

/// A field of lines in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogFieldText(pub(crate) &'static str);

fn field_names() -> Vec<&'static str> {
    LOG_FIELDS.into_iter().chain(CLIENT_PARTS).collect()
}

impl Scalar for LogFieldText {
    const WHAT: &'static str = "a field of the access log";
    const REMEDY: &'static str = "write a name such as status; docs/logs.md has all of them";

    fn parse(text: &str) -> Result<LogFieldText, Fault> {
        let names = field_names();
        match names.iter().find(|name| **name == text) {
            Some(name) => Ok(LogFieldText(name)),
            None => Err(word_fault(text, Self::WHAT, &names)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "enum": field_names() })
    }
}

/// `all`, or a percentage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ShareText(pub(crate) f64);

impl Scalar for ShareText {
    const WHAT: &'static str = "a share of requests";
    const REMEDY: &'static str = "write all, or a percentage such as 1%";

    fn parse(text: &str) -> Result<ShareText, Fault> {
        match text {
            "all" => Ok(ShareText(1.0)),
            _ => Percent::parse(text).map(|part| ShareText(part.0)).map_err(|fault| match fault.remedy {
                remedy if remedy.starts_with("add") => Fault::new(Self::fault(text).message, remedy),
                _ => Self::fault(text),
            }),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "anyOf": [{ "const": "all" }, Percent::scalar_schema()] })
    }
}
