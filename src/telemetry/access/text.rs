//! The access log for people at a terminal: short and aligned; only unusual requests have longer lines.
//!
//! `12:00:01.123 200 GET     example.com/v1/x                  1.2kB  3.4ms api > 10.0.0.1:3000`

use std::io::Write;

use super::shown::{InFlight, Shown};
use crate::escape;
use crate::human;
use crate::telemetry::record::{AttemptResult, Captured, FieldPlace, MirrorResult, Record, Unusual};
use crate::telemetry::time;
use crate::terminal::{Painter, TextStyle};

/// Columns for the URL; a longer one pushes the rest of its line to the right.
const URL_COLUMNS: usize = 32;

pub(in crate::telemetry) fn write(out: &mut Vec<u8>, record: &Shown<'_>, painter: Painter) {
    time::time_of_day(out, record.time);
    // Writing to a `Vec` cannot fail.
    let _ = match record.status {
        0 => write!(out, " {} ", painter.paint(TextStyle::Dim, "...")),
        status => write!(out, " {} ", painter.paint(style_of(status), status)),
    };
    let text = &record.parts;
    let method = if text.method.is_empty() { b"-" } else { text.method };
    padded(out, 8, |out| escape::text(out, method));
    padded(out, URL_COLUMNS, |out| {
        escape::text(out, text.host);
        escape::text(out, text.target);
    });
    let _ =
        write!(out, " {:>6} {:>6}", human::bytes(record.bytes_out), human::fine_duration(record.duration));
    route_and_attempts(out, record);
    if let Some(in_flight) = record.in_flight {
        stage(out, in_flight);
    }
    details(out, record);
}

fn style_of(status: u16) -> TextStyle {
    match status {
        500.. => TextStyle::Red,
        400..500 => TextStyle::Yellow,
        300..400 => TextStyle::Cyan,
        _ => TextStyle::Green,
    }
}

/// `api > 10.0.0.1:3000 connect_failed > 10.0.0.2:3000`
fn route_and_attempts(out: &mut Vec<u8>, record: &Shown<'_>) {
    out.push(b' ');
    match record.route {
        Some(route) => escape::text(out, route),
        None => out.push(b'-'),
    }
    if let Some(action) = record.unusual().action {
        let _ = write!(out, " {action}");
    }
    // The status of the last attempt is the request's own, which is already in the line.
    let last = record.attempts.len().saturating_sub(1);
    for (index, attempt) in record.attempts.iter().enumerate() {
        out.extend_from_slice(b" > ");
        escape::text(out, &**attempt.endpoint.label());
        match attempt.result {
            AttemptResult::Failed(label) => drop(write!(out, " {label}")),
            AttemptResult::Status(status) if index < last => drop(write!(out, " {status}")),
            AttemptResult::Status(_) => {}
            AttemptResult::Overtaken => out.extend_from_slice(b" overtaken"),
        }
    }
}

/// Of a request that has not ended yet.
fn stage(out: &mut Vec<u8>, in_flight: InFlight<'_>) {
    match in_flight {
        InFlight::For(what) => drop(write!(out, ", waits for {}", what.label())),
        InFlight::At(endpoint) => {
            out.extend_from_slice(b" > ");
            escape::text(out, &**endpoint.label());
            out.extend_from_slice(b" ...");
        }
    }
}

fn details(out: &mut Vec<u8>, record: &Shown<'_>) {
    if let Some(queued) = record.unusual().queued {
        let _ = write!(out, ", queued {}", human::fine_duration(queued));
    }
    if let Some(waited) = record.waited {
        let _ = write!(out, ", waited {}", human::fine_duration(waited));
        for (index, label) in record.waited_for.labels().enumerate() {
            let _ = write!(out, "{}{label}", if index == 0 { " for " } else { " and " });
        }
    }
    if let Some(unusual) = &record.unusual {
        unusual_details(out, unusual);
        if let Some(captured) = &unusual.captured {
            fields(out, record, captured);
        }
    }
    if let Some(part) = record.sampled {
        let _ = write!(out, ", sampled {part}");
    }
    if let Some(cause) = record.cause {
        failure(out, record, cause);
    }
}

fn unusual_details(out: &mut Vec<u8>, unusual: &Unusual) {
    if let Some(buffered) = unusual.buffered {
        let _ = write!(out, ", body in {}", human::fine_duration(buffered));
    }
    if let Some(auth) = &unusual.auth {
        let _ = write!(out, ", {} {}", auth.kind, auth.verdict.label());
        if let Some(user) = &auth.user {
            out.extend_from_slice(b" as ");
            escape::text(out, &**user);
        }
    }
    if let Some(status) = unusual.grpc_status {
        let _ = write!(out, ", gRPC status {status}");
    }
    if unusual.failed_open {
        out.extend_from_slice(b", failed open");
    }
    if let Some(encoded) = unusual.encoded {
        let _ = write!(out, ", {} of {}", encoded.encoding.as_str(), human::bytes(encoded.plain_bytes));
    }
    if unusual.unkeyed {
        out.extend_from_slice(b", no key to hash");
    }
    if let Some(hedge) = unusual.hedge {
        let _ = write!(out, ", hedge {}", hedge.label());
    }
    if let Some(MirrorResult::Dropped(why)) = unusual.mirror {
        let _ = write!(out, ", not mirrored ({})", why.label());
    }
    if let Some(refused) = unusual.retry_refused {
        let _ = write!(out, ", no retry ({})", refused.label());
    }
    if unusual.timeout_ignored {
        out.extend_from_slice(b", timeout asked for ignored");
    }
    if let Some(limit) = &unusual.limited_dry_run {
        out.extend_from_slice(b", beyond the limit by ");
        escape::text(out, &**limit);
    }
}

/// `, x-tenant=acme`
fn fields(out: &mut Vec<u8>, record: &Shown<'_>, captured: &Captured) {
    for place in FieldPlace::ALL {
        for (name, value) in record.captured(captured, place) {
            out.extend_from_slice(b", ");
            escape::text(out, name);
            out.push(b'=');
            escape::text(out, &*value);
        }
    }
}

fn failure(out: &mut Vec<u8>, record: &Record, cause: &str) {
    let unusual = record.unusual();
    let _ = write!(out, ", {cause}");
    if let Some(refused_by) = &unusual.refused_by {
        let _ = write!(out, " by {refused_by}");
    }
    if let Some(limit) = &unusual.limited {
        out.extend_from_slice(b" by ");
        escape::text(out, &**limit);
    }
    if let Some(detail) = &unusual.detail {
        out.extend_from_slice(b": ");
        escape::text(out, &**detail);
    }
    let Some(passed_over) = &record.skipped else { return };
    for skipped in &passed_over.named {
        out.extend_from_slice(b", skipped ");
        escape::text(out, &*skipped.endpoint);
        let _ = write!(out, " ({})", skipped.reason);
    }
    if passed_over.others > 0 {
        let _ = write!(out, " and {} others", passed_over.others);
    }
}

/// Pads what `write` adds with spaces to `columns` characters.
fn padded(out: &mut Vec<u8>, columns: usize, write: impl Fn(&mut Vec<u8>)) {
    let from = out.len();
    write(out);
    // The number of UTF-8 characters: all bytes but continuation bytes.
    let shown = out[from..].iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
    out.resize(out.len() + columns.saturating_sub(shown), b' ');
}
