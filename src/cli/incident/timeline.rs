//! An incident as text: what it is, and a line for each thing that happened, with its time before the incident.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::admin::incident::IncidentHead;
use crate::human;
use crate::telemetry::flight_recorder::Second;

#[derive(Deserialize)]
struct Line {
    /// RFC 3339.
    at: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Event(Map<String, Value>),
    Request(Map<String, Value>),
    Second(Second),
}

/// `lines`: as they were written. The error says which line is another one's.
pub(super) fn render(lines: &str) -> Result<String, String> {
    let mut lines = lines.lines().zip(1..);
    let (head, _) = lines.next().ok_or("it is empty")?;
    let head: IncidentHead = serde_json::from_str(head).map_err(|error| format!("line 1: {error}"))?;
    let mut out = head_text(&head);
    let mut calm = None;
    for (line, number) in lines {
        let wrong = |error: &dyn std::fmt::Display| format!("line {number}: {error}");
        let line: Line = serde_json::from_str(line).map_err(|error| wrong(&error))?;
        let at: Timestamp = line.at.parse().map_err(|error| wrong(&error))?;
        let before = at.as_duration().as_secs_f64() - head.at;
        let text = match line.what {
            What::Event(event) => event_text(&event),
            What::Request(request) => request_text(&request),
            What::Second(second) => {
                let text = second_text(&second);
                // A line like the one before it says nothing.
                if calm.as_ref() == Some(&text) {
                    continue;
                }
                calm = Some(text.clone());
                text
            }
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "{before:>+8.3}s  {text}");
    }
    Ok(out)
}

fn head_text(head: &IncidentHead) -> String {
    let IncidentHead { at, reason, version, pid, generation, file, lost, .. } = head;
    let file = file.as_ref().map(|file| format!(", {}", human::safe(file))).unwrap_or_default();
    let mut out = format!(
        "{}  {}\nevenkeel {}, pid {pid}, generation {generation}{file}\n",
        human::date(*at),
        human::safe(reason),
        human::safe(version),
    );
    if *lost > 0 {
        let _ = writeln!(out, "{} entries more had no room", human::count(*lost));
    }
    out.push('\n');
    out
}

/// `WARN     endpoint is unhealthy pool=api endpoint=10.0.0.1:3000`
pub(in crate::cli) fn event_text(event: &Map<String, Value>) -> String {
    let of = |name: &str| event.get(name).map(plain).unwrap_or_default();
    let mut text = format!("{:<8} {}", of("level").to_uppercase(), of("message"));
    let known = ["time", "level", "target", "message"];
    for (name, value) in event.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let _ = write!(text, " {name}={}", plain(value));
    }
    human::safe(&text)
}

/// `request  503 GET example.com/v1/x 3.4ms api no_healthy_endpoint > 10.0.0.1:3000 connect_failed`
fn request_text(request: &Map<String, Value>) -> String {
    let of = |name: &str| request.get(name).map(plain).unwrap_or_default();
    let seconds = request.get("duration_seconds").and_then(Value::as_f64).unwrap_or_default();
    let took = human::fine_duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let mut text = format!(
        "request  {} {} {}{} {took} {} {}",
        of("status"),
        of("method"),
        of("host"),
        of("target"),
        of("route"),
        of("cause"),
    );
    for attempt in request.get("attempts").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| attempt.get(name).map(plain).unwrap_or_default();
        let _ = write!(text, " > {} {}{}", of("endpoint"), of("status"), of("failure"));
    }
    let words: Vec<&str> = text.split_whitespace().skip(1).collect();
    format!("request  {}", human::safe(&words.join(" ")))
}

/// `second   1,203 requests, 12 failed, 40 in flight; pool api: 40 in flight, 3 waiting`
fn second_text(second: &Second) -> String {
    let Second { ended, failed, client_gone, in_flight, pools } = second;
    let [ended, failed_text, gone, in_flight] =
        [ended, failed, client_gone, in_flight].map(|n| human::count(*n));
    let mut text = format!("second   {ended} requests, {failed_text} failed, ");
    if *client_gone > 0 {
        let _ = write!(text, "{gone} left by their clients, ");
    }
    let _ = write!(text, "{in_flight} in flight");
    for pool in pools {
        let _ = write!(text, "; {}: {} in flight", human::safe(&pool.name), human::count(pool.in_flight));
        if pool.waiting > 0 {
            let _ = write!(text, ", {} waiting", human::count(pool.waiting));
        }
        if !pool.available {
            text.push_str(", NO ENDPOINT");
        }
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_read_from_top_to_bottom() {
        let lines = r#"{"at":1795521660.5,"reason":"pool api has no endpoint left","version":"1.0","pid":7,"generation":2,"file":"/etc/e.yaml","span_seconds":60,"lost":3}
{"at":"2026-11-24T12:00:58.500000Z","second":{"ended":10,"failed":0,"client_gone":0,"in_flight":1,"pools":[]}}
{"at":"2026-11-24T12:00:59.500000Z","second":{"ended":10,"failed":0,"client_gone":0,"in_flight":1,"pools":[]}}
{"at":"2026-11-24T12:01:00.250000Z","event":{"time":"x","level":"warn","target":"t","message":"endpoint is unhealthy","pool":"api","count":2}}
{"at":"2026-11-24T12:01:00.300000Z","request":{"time":"x","status":503,"method":"GET","host":"a","target":"/b\u001b","route":"r","cause":"no_healthy_endpoint","duration_seconds":0.0123,"attempts":[{"endpoint":"10.0.0.1:80","failure":"connect_failed"}]}}
{"at":"2026-11-24T12:01:00.500000Z","second":{"ended":1000,"failed":9,"client_gone":1,"in_flight":1,"pools":[{"name":"api","available":false,"in_flight":0,"waiting":4}]}}
"#;
        let expected = "2026-11-24 12:01:00 UTC  pool api has no endpoint left\n\
            evenkeel 1.0, pid 7, generation 2, /etc/e.yaml\n3 entries more had no room\n\n  \
            -2.000s  second   10 requests, 0 failed, 1 in flight\n  \
            -0.250s  WARN     endpoint is unhealthy count=2 pool=api\n  \
            -0.200s  request  503 GET a/b\\x1b 12ms r no_healthy_endpoint > 10.0.0.1:80 connect_failed\n  \
            +0.000s  second   1,000 requests, 9 failed, 1 left by their clients, 1 in flight; api: 0 in flight, 4 waiting, NO ENDPOINT\n";
        assert_eq!(render(lines).expect("an incident"), expected);
    }

    #[test]
    fn what_is_no_incident_is_said_with_its_line() {
        let head = r#"{"at":1,"reason":"r","version":"1","pid":7,"generation":2,"span_seconds":60,"lost":0}"#;
        for (lines, why) in
            [("", "it is empty"), ("listen: :80", "line 1: "), (&format!("{head}\n{{}}"), "line 2: ")]
        {
            assert!(render(lines).expect_err("it is none").starts_with(why), "{lines}");
        }
    }
}
