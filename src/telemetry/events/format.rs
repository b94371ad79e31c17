//! Formats an event as one line: a JSON object, or text for people.

use std::fmt::Display;
use std::io::Write;
use std::time::SystemTime;

use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};

use super::other_crates;
use crate::escape;
use crate::telemetry::json::{Object, key};
use crate::telemetry::time;
use crate::terminal::{Painter, TextStyle};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Text(Painter),
    Json,
}

/// Writes key-values as members of the JSON object.
struct JsonPairs<'a, 'b>(&'a mut Object<'b>);

/// Writes one value, as a JSON number or boolean where it is one.
struct JsonValue<'a, 'b> {
    object: &'a mut Object<'b>,
    key: &'a str,
}

/// Writes key-values as ` key=value`.
struct TextPairs<'a>(&'a mut Vec<u8>);

// === impl Style ===

impl Style {
    /// `count`: how many events the line stands for.
    pub(super) fn write(self, out: &mut Vec<u8>, now: SystemTime, record: &Record<'_>, count: u64) {
        match self {
            Style::Json => json(out, now, record, count),
            Style::Text(painter) => text(out, now, record, count, painter),
        }
    }
}

fn json(out: &mut Vec<u8>, now: SystemTime, record: &Record<'_>, count: u64) {
    let mut line = Object::begin(out);
    let at = line.key(key!("time"));
    at.push(b'"');
    time::rfc3339(at, now);
    at.push(b'"');
    line.string(key!("level"), level(record.level()));
    line.string(key!("target"), record.target());
    line.string(key!("message"), other_crates::message(record));
    if count > 1 {
        line.number(key!("count"), count);
    }
    // `JsonPairs` never returns an error.
    let _ = record.key_values().visit(&mut JsonPairs(&mut line));
    line.end();
}

/// `12:00:01.123 INFO  message key=value`; messages of other crates begin with their target.
fn text(out: &mut Vec<u8>, now: SystemTime, record: &Record<'_>, count: u64, painter: Painter) {
    time::time_of_day(out, now);
    let (name, style) = match record.level() {
        Level::Error => ("ERROR", TextStyle::Red),
        Level::Warn => ("WARN ", TextStyle::Yellow),
        Level::Info => ("INFO ", TextStyle::Green),
        Level::Debug => ("DEBUG", TextStyle::Cyan),
        Level::Trace => ("TRACE", TextStyle::Cyan),
    };
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, " {} ", painter.paint(style, name));
    if !record.target().starts_with("evenkeel") {
        escape::text(out, record.target());
        out.extend_from_slice(b": ");
    }
    escape::text(out, other_crates::message(record));
    if count > 1 {
        let _ = write!(out, " count={count}");
    }
    let _ = record.key_values().visit(&mut TextPairs(out));
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

// === impl JsonPairs ===

impl<'kvs> VisitSource<'kvs> for JsonPairs<'_, '_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        value.visit(JsonValue { object: self.0, key: key.as_str() })
    }
}

// === impl JsonValue ===

impl JsonValue<'_, '_> {
    fn literal(&mut self, value: impl Display) -> Result<(), Error> {
        // Writing to a `Vec` cannot fail.
        let _ = write!(self.object.foreign_key(self.key), "{value}");
        Ok(())
    }
}

impl<'v> VisitValue<'v> for JsonValue<'_, '_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        escape::json(self.object.foreign_key(self.key), value.to_string());
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        escape::json(self.object.foreign_key(self.key), value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.literal(value)
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.literal(value)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.literal(value)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        // JSON has no infinity and no NaN.
        if value.is_finite() { self.literal(value) } else { self.visit_str(&value.to_string()) }
    }
}

// === impl TextPairs ===

impl<'kvs> VisitSource<'kvs> for TextPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push(b' ');
        escape::text(self.0, key.as_str());
        self.0.push(b'=');
        let value = value.to_string();
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        if quoted {
            self.0.push(b'"');
            escape::text(self.0, value.replace('"', "'"));
            self.0.push(b'"');
        } else {
            escape::text(self.0, &value);
        }
        Ok(())
    }
}
