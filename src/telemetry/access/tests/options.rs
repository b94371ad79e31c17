//! What few configs ask of the access log: names of others, chosen fields, a sample.

use super::*;
use crate::config::{CLIENT_PARTS, LOG_FIELDS, LogNames, LogSample};

fn renamed(names: LogNames, chosen: Option<&[&'static str]>, record: &Record) -> Value {
    let options = AccessLogOptions { names, chosen: chosen.map(Into::into), ..AccessLogOptions::default() };
    let mut out = Vec::new();
    Naming::of(&options)
        .expect("it is not the usual line")
        .write(&mut out, line(Format::Json, record).as_bytes());
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

#[test]
fn the_config_knows_all_fields() {
    let full = line(Format::Json, &full());
    let places: Vec<_> = LOG_FIELDS.iter().map(|name| full.find(&format!(",\"{name}\":"))).skip(1).collect();
    assert!(places.iter().all(Option::is_some), "{:?}", LOG_FIELDS.iter().zip(&places).collect::<Vec<_>>());
    assert!(places.is_sorted(), "in the order of the line");
    assert_eq!(parsed(&super::full()).as_object().map(serde_json::Map::len), Some(LOG_FIELDS.len()));
}

#[test]
fn all_fields_chosen_are_the_usual_line() {
    let all = renamed(LogNames::Evenkeel, Some(&LOG_FIELDS), &full());
    assert_eq!(all, parsed(&full()));
    let some =
        renamed(LogNames::Evenkeel, Some(&["status", "attempts", CLIENT_PARTS[0], CLIENT_PARTS[1]]), &full());
    let attempts = parsed(&full())["attempts"].clone();
    let expected = serde_json::json!({
        "client_address": "203.0.113.9", "client_port": 41000, "status": 502, "attempts": attempts
    });
    assert_eq!(some, expected);
}

#[test]
fn the_names_of_opentelemetry() {
    let line = renamed(LogNames::Otel, None, &full());
    let expected = serde_json::json!({
        "timestamp": "2026-11-24T12:00:01.123456Z",
        "client.address": "203.0.113.9",
        "client.port": 41000,
        "network.peer.address": "10.0.0.9",
        "http.request.method": "GET",
        "server.address": "example.com",
        "url.path": "/%761/./x",
        "url.query": "a=b",
        "network.protocol.version": "1.1",
        "tls.protocol.version": "1.3",
        "http.response.status_code": 502,
        "http.request.body.size": 12,
        "user_agent.original": "curl/8.5",
        "http.request.header.referer": ["https://example.com/"],
        "http.request.header.x-tenant": ["acme"],
        "http.response.header.via": ["1.1 a"],
        "user.name": "bob",
        "error.type": "bad_response",
        "evenkeel.request_id": "0123456789abcdef",
        "evenkeel.route": "api",
        "evenkeel.cookies": { "lang": "de" },
        "http.server.request.duration": 1.203412,
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[name], value, "{name}");
    }
    assert_eq!(line["evenkeel.attempts"], parsed(&full())["attempts"]);
    assert!(line.get("server.port").is_none() && line.get("status").is_none());
}

#[test]
fn the_names_of_the_elastic_common_schema() {
    let text = RequestText::new(TextParts { host: b"[::1]:8080", ..PARTS });
    let line = renamed(LogNames::Ecs, None, &Record { text, protocol: Protocol::Http2, ..full() });
    let expected = serde_json::json!({
        "@timestamp": "2026-11-24T12:00:01.123456Z",
        "client.address": "203.0.113.9",
        "source.address": "10.0.0.9",
        "source.port": 5000,
        "url.domain": "::1",
        "url.port": 8080,
        "url.original": "/%761/./x?a=b",
        "http.version": "2",
        "tls.version": "1.3",
        "http.request.body.bytes": 12,
        "http.request.id": "0123456789abcdef",
        "http.request.referrer": "https://example.com/",
        "error.message": "invalid status line",
        "evenkeel.request_headers": { "x-tenant": "acme" },
        "event.duration": 1_203_412_000_u64,
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[name], value, "{name}");
    }
    let short = renamed(LogNames::Ecs, Some(&["duration_seconds", "client"]), &minimal());
    assert_eq!(short, serde_json::json!({ "client.address": "unix", "event.duration": 0 }));
}

proptest! {
    /// Whatever comes from outside, the other line is JSON with the same values.
    #[test]
    fn any_line_can_be_taken_apart(text in "(?s).{1,80}|[\"\\\\{}\\[\\],:]{1,20}") {
        let usual = parsed(&hostile(&text));
        let otel = renamed(LogNames::Otel, None, &hostile(&text));
        prop_assert_eq!(&otel["user_agent.original"], &usual["user_agent"]);
        prop_assert_eq!(&otel["evenkeel.attempts"], &usual["attempts"]);
        prop_assert_eq!(&otel["http.server.request.duration"], &usual["duration_seconds"]);
        prop_assert_eq!(&renamed(LogNames::Evenkeel, Some(&LOG_FIELDS), &hostile(&text)), &usual);
    }
}

#[test]
fn a_sample_keeps_what_failed_or_was_slow() {
    let sample = LogSample { errors: 1.0, slow: Some(Duration::from_secs(1)), rest: 0.0 };
    let sampling = Sampling::new(&sample);
    let quick = Record { duration: Duration::from_millis(999), outcome: Outcome::Answered, ..plain() };
    assert_eq!(sampling.of(&quick), Sampled::Not);
    for kept in [
        Record { duration: Duration::from_secs(1), ..quick.clone() },
        Record { status: 500, ..quick.clone() },
        Record { outcome: Outcome::Cut, ..quick.clone() },
        Record { attempts: full().attempts, ..quick.clone() },
    ] {
        assert_eq!(sampling.of(&kept), Sampled::All, "{kept:?}");
    }
    let refused =
        Record { status: 429, outcome: Outcome::Refused, attempts: SmallVec::new(), ..quick.clone() };
    assert_eq!(sampling.of(&refused), Sampled::Not, "clients' own faults are not failures");

    let sampling = Sampling::new(&LogSample { errors: 0.5, slow: None, rest: 0.1 });
    let share = |status: u16| {
        let ids = (0..2000).map(|number| format!("id-{number}"));
        ids.filter(|id| {
            let text = RequestText::new(TextParts { request_id: id.as_bytes(), ..PARTS });
            let of = sampling.of(&Record { text, status, ..quick.clone() });
            assert_ne!(of, Sampled::All);
            of == Sampled::Part(if status == 503 { 0.5 } else { 0.1 })
        })
        .count()
    };
    assert!((900..1100).contains(&share(503)) && (150..250).contains(&share(200)));
    // Who has no id is drawn, too.
    let nameless = (0..1000_u64).filter(|number| {
        let time = UNIX_EPOCH + Duration::from_micros(*number);
        sampling.of(&Record { time, outcome: Outcome::Refused, ..minimal() }) != Sampled::Not
    });
    assert!((50..150).contains(&nameless.count()));
}
