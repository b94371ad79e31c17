//! The access log as the config has it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::LogOutput;

#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    pub output: LogOutput,
    pub format: AccessFormat,
    /// How many lines may wait for the writer before lines are dropped and counted.
    pub queue: usize,
    /// `None`: each request has the usual line.
    pub options: Option<Arc<AccessLogOptions>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
    Combined,
}

/// What few configs ask of the access log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessLogOptions {
    /// Header fields and cookies that lines have beside what all have.
    pub headers: FieldNames,
    /// The fields of lines in JSON, of [`LOG_FIELDS`] and [`CLIENT_PARTS`]; `None`: all of the former.
    pub chosen: Option<Box<[&'static str]>>,
    pub names: LogNames,
    /// `None`: each request has a line.
    pub sample: Option<LogSample>,
}

/// The names of header fields and cookies that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldNames {
    pub request: Box<[HeaderName]>,
    pub response: Box<[HeaderName]>,
    pub cookies: Box<[Arc<str>]>,
}

/// Whose names the fields of lines in JSON have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogNames {
    #[default]
    Evenkeel,
    /// The semantic conventions of OpenTelemetry.
    Otel,
    /// The Elastic Common Schema.
    Ecs,
}

/// Which requests have a line: shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogSample {
    /// Of requests that failed.
    pub errors: f64,
    /// Of the others, those that took at least so long all have one.
    pub slow: Option<Duration>,
    /// Of all that are left.
    pub rest: f64,
}

/// The names of the fields of lines in JSON, in the order of the line.
pub const LOG_FIELDS: [&str; 51] = [
    "time",
    "listener",
    "client",
    "peer",
    "method",
    "host",
    "target",
    "path",
    "rewritten",
    "protocol",
    "tls",
    "status",
    "bytes_in",
    "bytes_out",
    "request_id",
    "user_agent",
    "referer",
    "route",
    "pool",
    "generation",
    "action",
    "refused_by",
    "limited",
    "limited_dry_run",
    "attempts",
    "skipped",
    "skipped_others",
    "queued_seconds",
    "waited_seconds",
    "waited_for",
    "buffered_seconds",
    "failed_open",
    "auth",
    "auth_verdict",
    "user",
    "encoding",
    "bytes_plain",
    "sticky",
    "unkeyed",
    "hedge",
    "mirror",
    "retry_refused",
    "timeout_ignored",
    "grpc_status",
    "request_headers",
    "response_headers",
    "cookies",
    "cause",
    "detail",
    "duration_seconds",
    "sampled",
];

/// The parts of `client`, each a field of its own where it is chosen.
pub const CLIENT_PARTS: [&str; 2] = ["client_address", "client_port"];

impl AccessLog {
    /// No log.
    pub fn off() -> Self {
        Self { output: LogOutput::Off, format: AccessFormat::Json, queue: 1, options: None }
    }
}

impl FieldNames {
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty() && self.cookies.is_empty()
    }
}
