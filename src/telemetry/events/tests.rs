use std::collections::BTreeSet;
use std::fs;
use std::time::UNIX_EPOCH;

use log::kv::ToValue;
use log::{Level, RecordBuilder};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn config(level: &str, format: EventFormat) -> config::Log {
    config::Log { level: level.to_owned(), format }
}

fn shown(level: &str, target: &str, event: Level) -> bool {
    filter(level).enabled(&Metadata::builder().target(target).level(event).build())
}

fn formatted(style: Style, build: impl FnOnce(&mut dyn FnMut(&Record<'_>))) -> String {
    let mut out = Vec::new();
    let now = UNIX_EPOCH + Duration::new(1_795_521_601, 123_456_000);
    build(&mut |record| style.write(&mut out, now, record, 1));
    String::from_utf8(out).expect("UTF-8")
}

fn event(style: Style, target: &str, message: &str, pairs: &[(&str, log::kv::Value<'_>)]) -> String {
    formatted(style, |write| {
        write(
            &RecordBuilder::new()
                .level(Level::Warn)
                .target(target)
                .args(format_args!("{message}"))
                .key_values(&pairs)
                .build(),
        );
    })
}

#[test]
fn json_has_the_pairs_flat_and_with_their_types() {
    let pairs = [
        ("pool", "api".to_value()),
        ("count", 3_u64.to_value()),
        ("delta", (-2_i64).to_value()),
        ("share", 0.5_f64.to_value()),
        ("odd", f64::NAN.to_value()),
        ("kept", true.to_value()),
    ];
    assert_eq!(
        event(Style::Json, "evenkeel::pool", "endpoint is unhealthy", &pairs),
        concat!(
            r#"{"time":"2026-11-24T12:00:01.123456Z","level":"warn","target":"evenkeel::pool","#,
            r#""message":"endpoint is unhealthy","pool":"api","count":3,"delta":-2,"share":0.5,"odd":"NaN","#,
            r#""kept":true}"#
        )
    );
}

#[test]
fn text_has_the_pairs_behind_the_message() {
    let style = Style::Text(Painter { colours: false });
    let pairs = [("endpoint", "10.0.0.1:3000".to_value()), ("reason", "no \"answer\"".to_value())];
    assert_eq!(
        event(style, "evenkeel::pool", "endpoint is unhealthy", &pairs),
        r#"12:00:01.123 WARN  endpoint is unhealthy endpoint=10.0.0.1:3000 reason="no 'answer'""#
    );
    assert_eq!(event(style, "h2::codec", "odd", &[]), "12:00:01.123 WARN  h2::codec: odd");
    let coloured = event(Style::Text(Painter { colours: true }), "evenkeel", "x", &[]);
    assert_eq!(coloured, "12:00:01.123 \x1b[33mWARN \x1b[0m x");
}

#[test]
fn nothing_from_outside_breaks_a_line() {
    let hostile = "a\nERROR forged\x1b[2J\u{9b}\u{feff}\u{200b}\u{e0041}";
    for style in [Style::Json, Style::Text(Painter { colours: false })] {
        let line = event(style, hostile, hostile, &[(hostile, hostile.to_value())]);
        assert!(!line.chars().any(crate::escape::is_hostile), "{line:?}");
    }
    let line = event(Style::Json, "evenkeel", hostile, &[("reason", hostile.to_value())]);
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((value["message"].as_str(), value["reason"].as_str()), (Some(hostile), Some(hostile)));
}

#[test]
fn of_pingora_only_errors_about_the_process_are_shown() {
    for level in ["info", "debug", "info,evenkeel=debug"] {
        assert!(shown(level, "pingora_core::services::listening", Level::Error));
        assert!(shown(level, "pingora_load_balancing", Level::Error));
        assert!(!shown(level, "pingora_load_balancing", Level::Warn), "health flips are ours to tell");
        assert!(!shown(level, "pingora_core::server", Level::Info));
        for target in ["pingora_proxy", "pingora_proxy::proxy_trait", "pingora_core::apps::http_app"] {
            assert!(!shown(level, target, Level::Error), "{target} repeats the access log");
        }
        assert!(!shown(level, "pingora_core::protocols::http::v1::common", Level::Error));
    }
}

#[test]
fn an_operator_can_bring_pingora_back() {
    assert!(shown("info,pingora_proxy=warn", "pingora_proxy", Level::Warn));
    assert!(!shown("info,pingora_proxy=warn", "pingora_core::apps", Level::Error));
    for target in ["pingora_proxy", "pingora_core::apps", "pingora_core::protocols::http::v1"] {
        assert!(shown("info,pingora=debug", target, Level::Debug));
    }
}

#[test]
fn levels_and_targets() {
    assert!(shown("info", "evenkeel::pool", Level::Info));
    assert!(!shown("info", "evenkeel::pool", Level::Debug));
    assert!(shown("warn,evenkeel::pool=debug", "evenkeel::pool", Level::Debug));
    assert!(!shown("warn,evenkeel::pool=debug", "evenkeel::proxy", Level::Info));
    assert!(shown("no=such=thing", "evenkeel", Level::Info), "better events than silence");
}

/// One test, because the `log` facade and the panic hook are the process's own.
#[test]
fn events_are_written_filtered_reloaded_and_panics_are_among_them() {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("events");
    let log = EventLog::start(&config("info", EventFormat::Auto), Output::File(path.clone())).expect("start");
    log::set_boxed_logger(Box::new(Backend(log.shared.clone())))
        .expect("the only logger of this test's process");
    log.set(&config("warn", EventFormat::Auto));
    log::info!(target: "evenkeel::test", "unheard");
    log.set(&config("info", EventFormat::Auto));
    log::info!(target: "evenkeel::test", listener = "default", address = "127.0.0.1:8080"; "listening");

    let counter = Arc::new(std::sync::atomic::AtomicU64::new(0));
    install_panic_hook(counter.clone());
    let panicked = std::thread::Builder::new()
        .name("worker".to_owned())
        .spawn(|| panic!("index {} is out of bounds", 7))
        .expect("spawn")
        .join();
    drop(std::panic::take_hook());
    assert!(panicked.is_err());
    assert_eq!(counter.load(std::sync::atomic::Ordering::Relaxed), 1);

    assert!(log.flush(SOON));
    let text = fs::read_to_string(&path).expect("read");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ours: Vec<_> = events
        .iter()
        .filter(|event| {
            ["evenkeel::test", "evenkeel::panic"].contains(&event["target"].as_str().unwrap_or(""))
        })
        .collect();
    assert_eq!(ours.len(), 2, "{text}");
    assert_eq!((&ours[0]["message"], &ours[0]["address"]), (&"listening".into(), &"127.0.0.1:8080".into()));
    assert_eq!(ours[1]["panic"], "index 7 is out of bounds");
    assert_eq!(ours[1]["thread"], "worker");
    let location = ours[1]["location"].as_str().expect("location");
    assert!(location.starts_with("src/telemetry/events/tests.rs:"), "{location}");
    assert_eq!(log.dropped(), 0);
}

/// Level and message of every event in the source, tests aside.
fn in_the_source(directory: &std::path::Path, found: &mut BTreeSet<(String, String)>) {
    let event =
        regex::Regex::new(r#"log::(error|warn|info)!\((?:[^;]*?;)?\s*"([^"]+)"\s*\)"#).expect("regex");
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            in_the_source(&path, found);
        } else if path.extension().is_some_and(|name| name == "rs") && !path.ends_with("tests.rs") {
            let source = fs::read_to_string(&path).expect("a source file");
            found
                .extend(event.captures_iter(&source).map(|event| (event[2].to_owned(), event[1].to_owned())));
        }
    }
}

#[test]
fn the_documentation_has_exactly_the_events_that_are_written() {
    let mut written = BTreeSet::new();
    for sources in ["src", "crates"] {
        in_the_source(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(sources), &mut written);
    }
    assert!(written.contains(&("ready".to_owned(), "info".to_owned())));
    let documented: BTreeSet<_> = include_str!("../../../docs/logs.md")
        .lines()
        .skip_while(|line| !line.starts_with("| message |"))
        .skip(2)
        .filter_map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            Some((cells.next()?.replace('`', ""), cells.next()?.to_owned()))
        })
        .collect();
    assert_eq!(documented, written);
}

#[test]
fn the_documentation_has_the_fields_in_their_order() {
    let line = event(Style::Json, "evenkeel", "x", &[]);
    let fields: Vec<_> = include_str!("../../../docs/logs.md")
        .lines()
        .skip_while(|line| !line.starts_with("| field of an event |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.split('`').nth(1))
        .collect();
    assert_eq!(fields, ["time", "level", "target", "message"]);
    let places: Vec<_> = fields.iter().map(|name| line.find(&format!("\"{name}\":"))).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{line}");
}

/// What a stranger sends may be a warning of another crate: one line in ten seconds, and not longer than it helps.
#[test]
fn other_crates_are_bounded() {
    let record = |target: &'static str, level: Level| {
        move |throttles: &Throttles, now| {
            throttles.due(&RecordBuilder::new().target(target).level(level).build(), now)
        }
    };
    let (throttles, now) = (Throttles::default(), Instant::now());
    let (warning, other) = (record("rustls::msgs", Level::Warn), record("rustls::server", Level::Warn));
    assert_eq!((warning(&throttles, now), warning(&throttles, now)), (Some(1), None));
    assert_eq!((warning(&throttles, now), other(&throttles, now)), (None, Some(1)));
    assert_eq!(warning(&throttles, now + Duration::from_secs(10)), Some(3));
    for free in [record("evenkeel::pool", Level::Warn), record("rustls::msgs", Level::Debug)] {
        assert!((0..9).all(|_| free(&throttles, now) == Some(1)));
    }
    let many = (0..1000).map(|number| format!("crate-{number}"));
    let due = many.filter(|target| {
        throttles.due(&RecordBuilder::new().target(target).level(Level::Warn).build(), now).is_some()
    });
    assert!(due.count() < 100, "targets that are made up are no way around it");
    let long = "\u{fc}".repeat(10_000);
    let line = event(Style::Json, "rustls::msgs", &long, &[]);
    assert!(line.len() < 1300 && line.contains("... (18976 bytes more)"), "{line}");
    assert!(event(Style::Json, "evenkeel::server", &long, &[]).contains(&long), "ours are whole");
}

/// A level by hand outlives reloads, and its end ends no later one.
#[test]
fn a_level_by_hand_takes_the_place_of_the_configs() {
    let log = EventLog::start(&config("info", EventFormat::Json), Output::Stderr).expect("it starts");
    let level = || log.level().level;
    let is_shown = |event| {
        let metadata = Metadata::builder().target("evenkeel").level(event).build();
        log.shared.settings.load().filter.enabled(&metadata)
    };
    let first = log.set_level("debug", "uid 0", None);
    assert!(is_shown(Level::Debug));
    log.set(&config("warn", EventFormat::Json));
    assert_eq!(level(), "debug");
    let by_hand = log.level().by_hand.expect("it is by hand");
    assert_eq!((&*by_hand.file, &*by_hand.by_hand.by), ("warn", "uid 0"));

    let second = log.set_level("off", "uid 1", Some(UNIX_EPOCH + Duration::from_secs(9)));
    assert!(!log.reset_level(Some(first), "its end"));
    assert_eq!((level(), log.level().until()), ("off".to_owned(), Some(9.0)));
    assert!(!is_shown(Level::Error));
    assert!(log.reset_level(Some(second), "its end"));
    assert!(!log.reset_level(None, "uid 0"));
    assert_eq!((level(), log.level().by_hand), ("warn".to_owned(), None));
    assert!(is_shown(Level::Warn) && !is_shown(Level::Info));
    log::set_max_level(LevelFilter::Trace);
}
