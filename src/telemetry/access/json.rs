//! The access log as one JSON object a line. Names and order of the fields are an interface that tools depend on.

use super::shown::{InFlight, Shown};
use crate::pool::Skipped;
use crate::telemetry::json::{Key, Object, key};
use crate::telemetry::record::{
    AttemptRecord, AttemptResult, Captured, ClientAddress, FieldPlace, HedgeResult, MirrorResult,
    RetryRefused, Unusual,
};
use crate::telemetry::time;

/// Leaves out absent values, empty texts, empty lists and `false`.
pub(in crate::telemetry) fn write(out: &mut Vec<u8>, record: &Shown<'_>) {
    let mut line = Object::begin(out);
    let at = line.key(key!("time"));
    at.push(b'"');
    time::rfc3339(at, record.time);
    at.push(b'"');
    line.plain(key!("listener"), record.listener);
    line.plain(key!("client"), record.client.text());
    line.optional(key!("peer"), record.peer.as_ref().map(ClientAddress::text));
    let text = &record.parts;
    line.optional(key!("method"), present(text.method));
    line.optional(key!("host"), present(text.host));
    line.optional(key!("target"), present(text.target));
    line.optional(key!("path"), record.path.as_deref());
    line.optional(key!("rewritten"), record.unusual().rewritten.as_deref());
    line.plain(key!("protocol"), record.protocol.as_str());
    line.optional(key!("tls"), record.tls);
    if record.status != 0 {
        line.number(key!("status"), record.status.into());
    }
    line.number(key!("bytes_in"), record.bytes_in);
    line.number(key!("bytes_out"), record.bytes_out);
    line.optional(key!("request_id"), present(text.request_id));
    line.optional(key!("user_agent"), present(text.user_agent));
    line.optional(key!("referer"), present(text.referer));
    decision(&mut line, record);
    outcome(&mut line, record);
    line.end();
}

fn decision(line: &mut Object<'_>, record: &Shown<'_>) {
    // The config allows no names that would have to be escaped.
    if let Some(route) = record.route {
        line.plain(key!("route"), route);
    }
    if let Some(pool) = record.pool {
        line.plain(key!("pool"), pool);
    }
    line.number(key!("generation"), record.generation);
    if let Some(unusual) = &record.unusual {
        line.optional(key!("action"), unusual.action);
        if let Some(refused_by) = &unusual.refused_by {
            line.plain(key!("refused_by"), &refused_by.to_string());
        }
        line.optional(key!("limited"), unusual.limited.as_deref());
        line.optional(key!("limited_dry_run"), unusual.limited_dry_run.as_deref());
    }
    line.list(key!("attempts"), &record.attempts, attempt);
    if let Some(passed_over) = &record.skipped {
        line.list(key!("skipped"), &passed_over.named, skipped);
        if passed_over.others > 0 {
            line.number(key!("skipped_others"), passed_over.others as u64);
        }
    }
}

fn outcome(line: &mut Object<'_>, record: &Shown<'_>) {
    if let Some(queued) = record.unusual().queued {
        line.seconds(key!("queued_seconds"), queued);
    }
    if let Some(waited) = record.waited {
        line.seconds(key!("waited_seconds"), waited);
        line.words(key!("waited_for"), record.waited_for.labels());
    }
    if let Some(unusual) = &record.unusual {
        unusual_outcome(line, unusual);
        if let Some(captured) = &unusual.captured {
            fields(line, record, captured);
        }
    }
    line.optional(key!("cause"), record.cause);
    line.optional(key!("detail"), record.unusual().detail.as_deref());
    line.seconds(key!("duration_seconds"), record.duration);
    if let Some(part) = record.sampled {
        line.literal(key!("sampled"), &part.to_string());
    }
    if let Some(in_flight) = record.in_flight {
        stage(line, in_flight);
    }
}

/// Of a request that has not ended yet.
fn stage(line: &mut Object<'_>, in_flight: InFlight<'_>) {
    match in_flight {
        InFlight::For(what) => {
            line.plain(key!("in_flight"), "waiting");
            line.plain(key!("waiting_for"), what.label());
        }
        InFlight::At(endpoint) => {
            line.plain(key!("in_flight"), "attempt");
            line.string(key!("endpoint"), &**endpoint.label());
        }
    }
}

fn fields(line: &mut Object<'_>, record: &Shown<'_>, captured: &Captured) {
    for place in FieldPlace::ALL {
        line.foreign(key_of(place), record.captured(captured, place));
    }
}

fn key_of(place: FieldPlace) -> Key {
    match place {
        FieldPlace::Request => key!("request_headers"),
        FieldPlace::Response => key!("response_headers"),
        FieldPlace::Cookie => key!("cookies"),
    }
}

fn unusual_outcome(line: &mut Object<'_>, unusual: &Unusual) {
    if let Some(buffered) = unusual.buffered {
        line.seconds(key!("buffered_seconds"), buffered);
    }
    if unusual.failed_open {
        line.literal(key!("failed_open"), "true");
    }
    if let Some(auth) = &unusual.auth {
        line.plain(key!("auth"), auth.kind);
        line.plain(key!("auth_verdict"), auth.verdict.label());
        line.optional(key!("user"), auth.user.as_deref());
    }
    if let Some(encoded) = unusual.encoded {
        line.plain(key!("encoding"), encoded.encoding.as_str());
        line.number(key!("bytes_plain"), encoded.plain_bytes);
    }
    line.optional(key!("sticky"), unusual.sticky);
    if unusual.unkeyed {
        line.literal(key!("unkeyed"), "true");
    }
    line.optional(key!("hedge"), unusual.hedge.map(HedgeResult::label));
    line.optional(key!("mirror"), unusual.mirror.map(MirrorResult::label));
    line.optional(key!("retry_refused"), unusual.retry_refused.map(RetryRefused::label));
    if unusual.timeout_ignored {
        line.literal(key!("timeout_ignored"), "true");
    }
    if let Some(status) = unusual.grpc_status {
        line.number(key!("grpc_status"), status.into());
    }
}

fn attempt(object: &mut Object<'_>, attempt: &AttemptRecord) {
    object.string(key!("endpoint"), &**attempt.endpoint.label());
    if let Some(connect) = attempt.connect {
        object.seconds(key!("connect_seconds"), connect);
    }
    if let Some(first_byte) = attempt.first_byte {
        object.seconds(key!("first_byte_seconds"), first_byte);
    }
    match attempt.result {
        AttemptResult::Status(status) => object.number(key!("status"), status.into()),
        AttemptResult::Failed(label) => object.plain(key!("failure"), label),
        AttemptResult::Overtaken => object.plain(key!("failure"), "overtaken"),
    }
}

fn skipped(object: &mut Object<'_>, skipped: &Skipped) {
    object.string(key!("endpoint"), &*skipped.endpoint);
    object.string(key!("reason"), skipped.reason);
}

fn present<T: AsRef<[u8]>>(text: T) -> Option<T> {
    (!text.as_ref().is_empty()).then_some(text)
}
