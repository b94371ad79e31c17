//! The access log as one JSON object a line. Names and order are an interface: tools are built on them.

use crate::telemetry::json::Object;
use crate::telemetry::record::{Attempt, AttemptResult, ClientAddress, Record, Skipped};
use crate::telemetry::{escape, time};

/// What is not there is left out: an absent value, an empty text, an empty list, a `false`.
pub(super) fn write(out: &mut Vec<u8>, record: &Record) {
    let mut line = Object::begin(out);
    let at = line.key("time");
    at.push(b'"');
    time::rfc3339(at, record.time);
    at.push(b'"');
    line.string("listener", &record.listener);
    line.string("client", record.client.text());
    line.optional("peer", record.peer.as_ref().map(ClientAddress::text));
    let text = record.text.parts();
    line.optional("method", present(text.method));
    line.optional("host", present(text.host));
    line.optional("target", present(text.target));
    line.string("protocol", record.protocol.as_str());
    line.number("status", record.status.into());
    line.number("bytes_in", record.bytes_in);
    line.number("bytes_out", record.bytes_out);
    line.optional("request_id", present(text.request_id));
    line.optional("user_agent", present(text.user_agent));
    line.optional("referer", present(text.referer));
    decision(&mut line, record);
    outcome(&mut line, record);
    line.end();
}

fn decision(line: &mut Object<'_>, record: &Record) {
    line.optional("route", record.route.as_deref());
    line.optional("pool", record.pool.as_deref());
    line.number("generation", record.generation);
    line.list("attempts", &record.attempts, attempt);
    line.list("skipped", record.skipped.as_deref().unwrap_or_default(), skipped);
}

fn outcome(line: &mut Object<'_>, record: &Record) {
    if let Some(waited) = record.waited {
        line.seconds("waited_seconds", waited);
    }
    if record.failed_open {
        line.literal("failed_open", "true");
    }
    line.optional("cause", record.cause);
    line.optional("detail", record.detail.as_deref());
    line.seconds("duration_seconds", record.duration);
}

fn attempt(object: &mut Object<'_>, attempt: &Attempt) {
    object.string("endpoint", &attempt.endpoint);
    if let Some(connect) = attempt.connect {
        object.seconds("connect_seconds", connect);
    }
    if let Some(first_byte) = attempt.first_byte {
        object.seconds("first_byte_seconds", first_byte);
    }
    match attempt.result {
        AttemptResult::Status(status) => object.number("status", status.into()),
        AttemptResult::Failed(label) => escape::json(object.key("failure"), label),
    }
}

fn skipped(object: &mut Object<'_>, skipped: &Skipped) {
    object.string("endpoint", &skipped.endpoint);
    object.string("reason", skipped.reason);
}

fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
