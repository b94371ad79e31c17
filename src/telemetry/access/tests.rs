mod options;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;
use smallvec::{SmallVec, smallvec};
use tempfile::TempDir;

use super::*;
use crate::auth::Verdict;
use crate::config::Encoding;
use crate::mirror::NotMirrored;
use crate::pool::{Endpoint, Skipped, SkippedEndpoints};
use crate::telemetry::record::{
    AccessPlace, AttemptRecord, AttemptResult, AuthRecord, Captured, ClientAddress, Encoded, HedgeResult,
    MirrorResult, Outcome, Protocol, Record, RefusedBy, RequestText, RetryRefused, TextParts, Unusual,
    WaitedFor,
};
use crate::wait_queue::WaitsFor;

const SOON: Duration = Duration::from_secs(10);
const TEXT: Format = Format::Text(Painter { colours: false });

const PARTS: TextParts<'_> = TextParts {
    method: b"GET",
    host: b"example.com",
    target: b"/%761/./x?a=b",
    request_id: b"0123456789abcdef",
    user_agent: b"curl/8.5",
    referer: b"https://example.com/",
    accept: b"",
};

fn waited_for(all: &[WaitsFor]) -> WaitedFor {
    let mut waited_for = WaitedFor::default();
    all.iter().for_each(|what| waited_for.add(*what));
    waited_for
}

/// Everything happened.
fn full() -> Record {
    Record {
        time: UNIX_EPOCH + Duration::new(1_795_521_601, 123_456_000),
        client: ClientAddress::inet(([203, 0, 113, 9], 41_000).into()),
        peer: Some(ClientAddress::inet(([10, 0, 0, 9], 5000).into())),
        text: RequestText::new(PARTS),
        path: Some("/v1/x".into()),
        protocol: Protocol::Http11,
        tls: Some("TLSv1.3"),
        status: 502,
        bytes_in: 12,
        bytes_out: 1234,
        outcome: Outcome::Cut,
        generation: 3,
        attempts: smallvec![
            AttemptRecord {
                endpoint: Endpoint::named("10.0.0.1:3000"),
                connect: None,
                first_byte: None,
                result: AttemptResult::Failed("connect_failed"),
                beside: false,
            },
            AttemptRecord {
                endpoint: Endpoint::named("10.0.0.2:3000"),
                connect: Some(Duration::from_micros(210)),
                first_byte: Some(Duration::from_micros(3300)),
                result: AttemptResult::Status(502),
                beside: false,
            },
        ],
        skipped: Some(Arc::new(SkippedEndpoints {
            named: [Skipped { endpoint: "10.0.0.3:3000".into(), reason: "unhealthy" }].into(),
            others: 2,
        })),
        waited: Some(Duration::from_millis(1200)),
        waited_for: waited_for(&[WaitsFor::Pool, WaitsFor::HealthyEndpoint]),
        cause: Some("bad_response"),
        duration: Duration::from_micros(1_203_412),
        unusual: Some(Box::new(all_unusual())),
    }
}

/// What is asked for of heads.
fn headers() -> FieldNames {
    FieldNames {
        request: [HeaderName::from_static("x-tenant")].into(),
        response: [HeaderName::from_static("via")].into(),
        cookies: ["lang".into()].into(),
    }
}

fn captured(tenant: &str) -> Captured {
    let head = http::Request::builder()
        .header(
            "x-tenant",
            HeaderValue::from_bytes(tenant.as_bytes()).unwrap_or(HeaderValue::from_static("?")),
        )
        .header("cookie", "session=abc; lang=de");
    let (head, mut captured) = (head.body(()).expect("a request").into_parts().0, Captured::default());
    captured.add_request(&headers(), &head);
    captured.add_response(&headers(), || [(&b"Via"[..], &b"1.1 a"[..])].into_iter());
    captured
}

fn all_unusual() -> Unusual {
    Unusual {
        rewritten: Some("/x".into()),
        action: Some("redirect_https"),
        refused_by: Some(RefusedBy {
            place: AccessPlace::Route,
            denied: Some("10.0.0.0/8".parse().expect("a network")),
        }),
        limited: Some("header x-api-key".into()),
        limited_dry_run: Some("client 2".into()),
        queued: Some(Duration::from_millis(300)),
        buffered: Some(Duration::from_millis(250)),
        failed_open: true,
        unkeyed: true,
        sticky: Some("moved"),
        encoded: Some(Encoded { encoding: Encoding::Br, plain_bytes: 9000 }),
        retry_refused: Some(RetryRefused::Budget),
        hedge: Some(HedgeResult::Won),
        mirror: Some(MirrorResult::Dropped(NotMirrored::TooMany)),
        timeout_ignored: true,
        auth: Some(AuthRecord { kind: "basic", verdict: Verdict::Passed, user: Some("bob".into()) }),
        grpc_status: Some(14),
        detail: Some("invalid status line".into()),
        captured: Some(captured("acme").into()),
    }
}

/// A request that was no request.
fn minimal() -> Record {
    Record {
        peer: None,
        client: ClientAddress::unix(),
        text: RequestText::default(),
        path: None,
        tls: None,
        status: 400,
        bytes_in: 0,
        bytes_out: 0,
        attempts: SmallVec::new(),
        skipped: None,
        waited: None,
        waited_for: WaitedFor::default(),
        cause: None,
        duration: Duration::ZERO,
        unusual: None,
        ..full()
    }
}

fn plain() -> Record {
    let mut record = full();
    record.attempts.remove(0);
    let text = RequestText::new(TextParts { target: b"/v1/x?a=b", ..PARTS });
    Record {
        text,
        path: None,
        status: 200,
        waited: None,
        waited_for: WaitedFor::default(),
        cause: None,
        unusual: None,
        ..record
    }
}

/// One that was never sent anywhere has no route.
fn named(record: &Record) -> NamedRecord<'_> {
    let sent = !record.attempts.is_empty();
    NamedRecord { record, listener: "default", route: sent.then_some("api"), pool: sent.then_some("api-v1") }
}

fn line(format: Format, record: &Record) -> String {
    let (headers, mut out) = (headers(), Vec::new());
    // Only the full one has been chosen from others.
    let sampled = record.unusual.as_ref().and_then(|unusual| unusual.captured.is_some().then_some(0.01));
    format.write(&mut out, &Shown { fields: Some(&headers), sampled, ..Shown::new(named(record)) });
    String::from_utf8(out).expect("UTF-8")
}

fn parsed(record: &Record) -> Value {
    serde_json::from_str(&line(Format::Json, record)).expect("JSON")
}

#[test]
fn json_has_every_field() {
    let expected = concat!(
        r#"{"time":"2026-11-24T12:00:01.123456Z","listener":"default","client":"203.0.113.9:41000","#,
        r#""peer":"10.0.0.9:5000","method":"GET","host":"example.com","target":"/%761/./x?a=b","path":"/v1/x","rewritten":"/x","#,
        r#""protocol":"HTTP/1.1","tls":"TLSv1.3","status":502,"bytes_in":12,"bytes_out":1234,"#,
        r#""request_id":"0123456789abcdef","user_agent":"curl/8.5","referer":"https://example.com/","#,
        r#""route":"api","pool":"api-v1","generation":3,"action":"redirect_https","#,
        r#""refused_by":"route deny 10.0.0.0/8","limited":"header x-api-key","limited_dry_run":"client 2","#,
        r#""attempts":[{"endpoint":"10.0.0.1:3000","failure":"connect_failed"},"#,
        r#"{"endpoint":"10.0.0.2:3000","connect_seconds":0.000210,"first_byte_seconds":0.003300,"status":502}],"#,
        r#""skipped":[{"endpoint":"10.0.0.3:3000","reason":"unhealthy"}],"skipped_others":2,"queued_seconds":0.300000,"waited_seconds":1.200000,"waited_for":["pool","healthy_endpoint"],"buffered_seconds":0.250000,"#,
        r#""failed_open":true,"auth":"basic","auth_verdict":"passed","user":"bob","encoding":"br","bytes_plain":9000,"sticky":"moved","unkeyed":true,"hedge":"won","mirror":"too_many","retry_refused":"budget","timeout_ignored":true,"grpc_status":14,"request_headers":{"x-tenant":"acme"},"response_headers":{"via":"1.1 a"},"cookies":{"lang":"de"},"cause":"bad_response","detail":"invalid status line","#,
        r#""duration_seconds":1.203412,"sampled":0.01}"#
    );
    assert_eq!(line(Format::Json, &full()), expected);
    assert_eq!(parsed(&full())["attempts"][1]["first_byte_seconds"], 0.0033);
}

#[test]
fn json_leaves_out_what_is_not_there() {
    let expected = concat!(
        r#"{"time":"2026-11-24T12:00:01.123456Z","listener":"default","client":"unix","protocol":"HTTP/1.1","#,
        r#""status":400,"bytes_in":0,"bytes_out":0,"generation":3,"duration_seconds":0.000000}"#
    );
    assert_eq!(line(Format::Json, &minimal()), expected);
}

#[test]
fn text_is_aligned_and_short_when_all_went_well() {
    assert_eq!(
        line(TEXT, &plain()),
        "12:00:01.123 200 GET     example.com/v1/x?a=b              1.2kB   1.2s api > 10.0.0.2:3000"
    );
    let text = RequestText::new(TextParts { host: "é.example".as_bytes(), target: b"/", ..PARTS });
    let short = Record { text, ..plain() };
    assert_eq!(
        line(TEXT, &short),
        "12:00:01.123 200 GET     é.example/                        1.2kB   1.2s api > 10.0.0.2:3000"
    );
}

#[test]
fn text_tells_what_happened() {
    let told = "1.2s api redirect_https > 10.0.0.1:3000 connect_failed > 10.0.0.2:3000, queued 300ms, waited 1.2s for pool and healthy_endpoint, body in 250ms, basic passed as bob, gRPC status 14, failed open, br of 9.0kB, no key to hash, hedge won, not mirrored (too_many), no retry (budget), timeout asked for ignored, beyond the limit by client 2, x-tenant=acme, via=1.1 a, lang=de, sampled 0.01, \
                bad_response by route deny 10.0.0.0/8 by header x-api-key: invalid status line, skipped 10.0.0.3:3000 (unhealthy) and 2 others";
    let line = line(TEXT, &full());
    assert!(line.ends_with(told), "{line}");
}

#[test]
fn an_action_is_told() {
    let mut redirected = Record { attempts: smallvec![], ..plain() };
    redirected.unusual_mut().action = Some("redirect_https");
    assert!(line(TEXT, &redirected).ends_with(" 1.2s - redirect_https"), "{}", line(TEXT, &redirected));
    assert_eq!(parsed(&redirected)["action"], "redirect_https");
}

#[test]
fn text_of_a_request_that_was_none() {
    assert_eq!(line(TEXT, &minimal()), format!("12:00:01.123 400 -       {:32}     0B 0.00ms -", ""));
}

#[test]
fn the_status_is_coloured_on_a_terminal() {
    let coloured = line(Format::Text(Painter { colours: true }), &full());
    assert!(coloured.starts_with("12:00:01.123 \x1b[31m502\x1b[0m GET "), "{coloured}");
}

#[test]
fn combined_is_as_nginx_and_apache_write_it() {
    assert_eq!(
        line(Format::Combined, &full()),
        r#"203.0.113.9 - bob [24/Nov/2026:12:00:01 +0000] "GET /%761/./x?a=b HTTP/1.1" 502 1234 "https://example.com/" "curl/8.5""#
    );
    assert_eq!(
        line(Format::Combined, &minimal()),
        r#"unix: - - [24/Nov/2026:12:00:01 +0000] "-" 400 0 "-" "-""#
    );
}

#[test]
fn ipv4_clients_of_an_ipv6_listener_are_shown_as_ipv4() {
    let mapped = Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped();
    let record = Record { client: ClientAddress::inet((mapped, 5).into()), ..full() };
    assert_eq!(parsed(&record)["client"], "10.1.2.3:5");
    assert!(line(Format::Combined, &record).starts_with("10.1.2.3 - bob "));
    let record = Record { client: ClientAddress::of_ip(IpAddr::V6(mapped)), ..full() };
    assert_eq!(parsed(&record)["client"], "10.1.2.3");
}

#[test]
fn auto_is_text_on_a_terminal_only() {
    assert!(matches!(Format::choose(AccessFormat::Auto, true), Format::Text { .. }));
    assert_eq!(Format::choose(AccessFormat::Auto, false), Format::Json);
    assert_eq!(Format::choose(AccessFormat::Text, false), Format::Text(Painter { colours: false }));
    assert_eq!(Format::choose(AccessFormat::Combined, true), Format::Combined);
}

#[test]
fn a_log_file_gets_one_line_a_request() {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("access.log");
    let output = LogOutput::File(path.clone());
    let log = AccessLog::start(
        &config::AccessLog { output, format: AccessFormat::Json, queue: 64, options: None },
        1,
    )
    .expect("start");
    let (worker, now) = (log.worker(), Instant::now());
    worker.log(named(&plain()), now);
    worker.log(named(&minimal()), now);
    assert!(log.flush(SOON));
    let written = fs::read_to_string(&path).expect("read");
    assert_eq!(written, format!("{}\n{}\n", line(Format::Json, &plain()), line(Format::Json, &minimal())));
    fs::rename(&path, directory.path().join("access.log.1")).expect("rename");
    log.reopen();
    worker.log(named(&plain()), now);
    assert!(log.flush(SOON));
    assert_eq!(fs::read_to_string(&path).expect("read").lines().count(), 1);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_full_disk_is_counted_and_off_is_silent() {
    let start = |output| {
        AccessLog::start(
            &config::AccessLog { output, format: AccessFormat::Auto, queue: 64, options: None },
            1,
        )
    };
    let full_disk = start(LogOutput::File("/dev/full".into())).expect("start");
    full_disk.worker().log(named(&plain()), Instant::now());
    assert!(full_disk.flush(SOON));
    assert_eq!(full_disk.dropped(), 1);
    let off = start(LogOutput::Off).expect("start");
    off.worker().log(named(&plain()), Instant::now());
    off.reopen();
    assert!(off.flush(Duration::ZERO));
    assert_eq!(off.dropped(), 0);
}

#[test]
fn the_documentation_has_exactly_the_fields_that_are_written() {
    let written =
        |value: &Value| -> Vec<String> { value.as_object().expect("an object").keys().cloned().collect() };
    let record = parsed(&full());
    // serde_json sorts keys; the order is held by `json_has_every_field`.
    assert_eq!(sorted(documented("field")), written(&record));
    assert_eq!(sorted(documented("field of a skipped endpoint")), written(&record["skipped"][0]));
    let mut attempt = written(&record["attempts"][1]);
    attempt.extend(written(&record["attempts"][0]));
    attempt = sorted(attempt);
    attempt.dedup();
    assert_eq!(sorted(documented("field of an attempt")), attempt);
    let json = line(Format::Json, &full());
    let places: Vec<_> = documented("field").iter().map(|name| json.find(&format!("\"{name}\":"))).collect();
    assert!(places.is_sorted(), "the documentation has another order");
}

/// The names in the first column of a table in `docs/logs.md`, found by its heading.
fn documented(heading: &str) -> Vec<String> {
    let rows = include_str!("../../../docs/logs.md")
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned())).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// A record in which everything that comes from outside is `text`.
fn hostile(text: &str) -> Record {
    let mut record = full();
    record.attempts[0].endpoint = Endpoint::named(text);
    record.unusual_mut().detail = Some(text.into());
    record.unusual_mut().captured = Some(captured(text).into());
    Record {
        text: RequestText::new(TextParts {
            method: text.as_bytes(),
            host: text.as_bytes(),
            target: text.as_bytes(),
            request_id: text.as_bytes(),
            user_agent: text.as_bytes(),
            referer: text.as_bytes(),
            accept: text.as_bytes(),
        }),
        ..record
    }
}

proptest! {
    #[test]
    fn nothing_from_outside_breaks_a_line(text in "(?s)[.\\p{Cc}\\p{Cf}\\p{Zl}\u{fe0f}\u{3164}\u{e0041}]{0,80}|.{0,80}") {
        let record = hostile(&text);
        for format in [Format::Json, TEXT, Format::Combined] {
            let line = line(format, &record);
            prop_assert!(!line.chars().any(crate::escape::is_hostile), "{line:?}");
        }
    }

    #[test]
    fn json_parses_back_to_what_came_in(text in "(?s).{1,80}") {
        let value = parsed(&hostile(&text));
        for field in ["method", "host", "target", "request_id", "user_agent", "referer", "detail"] {
            prop_assert_eq!(value[field].as_str(), Some(&*text));
        }
        prop_assert_eq!(value["attempts"][0]["endpoint"].as_str(), Some(&*text));
    }

    #[test]
    fn combined_fields_can_be_taken_apart_again(text in "(?s).{1,80}") {
        let line = line(Format::Combined, &hostile(&text));
        // Quotes only delimit: three quoted fields, whatever was sent.
        prop_assert_eq!(line.matches('"').count(), 6);
    }
}
