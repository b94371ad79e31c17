use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use smallvec::smallvec;

use super::listeners::Handshake;
use super::*;
use crate::auth::Verdict;
use crate::pool::Endpoint;
use crate::pool::status::{
    ByHandStatus, EndpointState, EndpointStatus, MirrorStatus, RateLimitStatus, RetryStatus, RouteStatus,
    SourceStatus,
};
use crate::telemetry::record::{
    AccessPlace, AttemptRecord, AuthRecord, ClientAddress, Outcome, Protocol, RefusedBy, RequestText,
    TextParts, WaitedFor,
};
use crate::wait_queue::QueueStatus;

fn attempt(connect: Option<u64>, result: AttemptResult) -> AttemptRecord {
    let connect = connect.map(Duration::from_micros);
    let endpoint = Endpoint::named("10.0.0.1:3000");
    AttemptRecord { endpoint, connect, first_byte: Some(Duration::from_millis(3)), result, beside: false }
}

fn asking_with(method: &str) -> RequestText {
    RequestText::new(TextParts {
        method: method.as_bytes(),
        host: b"example.com",
        target: b"/",
        ..TextParts::default()
    })
}

fn record() -> Record {
    let mut record = plain();
    record.unusual_mut().auth = Some(AuthRecord { kind: "basic", verdict: Verdict::Passed, user: None });
    record
}

fn plain() -> Record {
    Record {
        time: UNIX_EPOCH,
        client: ClientAddress::unix(),
        peer: None,
        text: asking_with("GET"),
        path: None,
        protocol: Protocol::Http11,
        tls: None,
        status: 200,
        bytes_in: 0,
        bytes_out: 0,
        generation: 1,
        attempts: smallvec![attempt(Some(400), AttemptResult::Status(200))],
        skipped: None,
        waited: None,
        waited_for: WaitedFor::default(),
        cause: None,
        outcome: Outcome::Answered,
        unusual: None,
        duration: Duration::from_millis(4),
    }
}

fn named(record: &Record) -> NamedRecord<'_> {
    NamedRecord { record, listener: "default", route: Some("api"), pool: Some("api-v1") }
}

fn pools() -> Vec<PoolStatus> {
    let endpoint = EndpointStatus {
        weight: 5,
        drained: Some(ByHandStatus { by: "uid 0".into(), until: None }),
        requests: 10,
        in_flight: 1,
        idle_connections: 6,
        failures: 2,
        bytes_in: 100,
        bytes_out: 2000,
        share: 1.0,
        expected_share: 1.0,
        checks_passed: 7,
        checks_failed: 3,
        ..EndpointStatus::named("10.0.0.1:3000")
    };
    let down =
        EndpointStatus { address: "x\"y\\z\n".into(), state: EndpointState::Checking, ..endpoint.clone() };
    let endpoints = vec![endpoint, down];
    vec![PoolStatus {
        name: "api-v1".into(),
        balance: "round_robin".into(),
        waiting: 4,
        retries: RetryStatus::default(),
        queue: QueueStatus { waiting: 4, waits: 18, full: 19, expired: 20, shed: 21 },
        in_flight: 15,
        most: Some(16),
        refused: 17,
        sources: vec![SourceStatus {
            source: "app.internal:80".into(),
            endpoints: 2,
            answered: Some(7.5),
            failing: None,
        }],
        endpoints,
    }]
}

/// A process in which everything has happened once.
fn busy() -> Metrics {
    let metrics = Metrics::new(UNIX_EPOCH + Duration::from_millis(1_500));
    metrics.request(named(&record()));
    let failed = Record {
        status: 503,
        cause: Some("connect_failed"),
        attempts: smallvec![
            attempt(None, AttemptResult::Failed("connect_failed")),
            attempt(None, AttemptResult::Status(502)),
            attempt(None, AttemptResult::Failed("connect_failed")),
        ],
        ..record()
    };
    metrics.request(named(&failed));
    let denied = RefusedBy { place: AccessPlace::Route, denied: None };
    let mut denied_request = Record { status: 403, attempts: smallvec![], ..record() };
    denied_request.unusual_mut().refused_by = Some(denied);
    metrics.request(NamedRecord { route: Some("admin"), ..named(&denied_request) });
    let connections = metrics.listener(&"default".into());
    drop(connections.connection_accepted());
    // This one stays open.
    std::mem::forget(metrics.listener(&"default".into()).connection_accepted());
    connections.refused("too_many_connections");
    connections.paused("connections");
    connections.dismissed("connections");
    connections.handshake(Handshake::Done { version: "TLSv1.3", resumed: true });
    connections.handshake(Handshake::TimedOut);
    metrics
}

/// One whose attempts were counted by [`Metrics::request`].
fn tried_endpoint() -> Arc<Endpoint> {
    let tried = attempt(Some(400), AttemptResult::Status(204));
    let endpoint = tried.endpoint.clone();
    let failed = AttemptRecord { result: AttemptResult::Failed("endpoint_reset"), ..tried.clone() };
    Metrics::new(UNIX_EPOCH).request(named(&Record { attempts: smallvec![failed, tried], ..record() }));
    endpoint
}

fn rate_limits() -> Vec<RateLimitStatus> {
    let (route, limit) = ("api".into(), "client".into());
    vec![RateLimitStatus { route, limit, refused: 31, would_refuse: 32, keys: 33, forgotten: 34 }]
}

fn mirrors() -> Vec<MirrorStatus> {
    let count = |label: &str, count| [(label.to_owned(), count)].into();
    vec![MirrorStatus {
        route: "api".into(),
        pool: "shadow".into(),
        in_flight: 35,
        sent: 36,
        dropped: count("too_many", 37),
        answered: count("2xx", 38),
        failed: count("connect_failed", 39),
    }]
}

fn routes() -> Vec<RouteStatus> {
    let queue = QueueStatus { waiting: 22, waits: 23, full: 24, expired: 25, shed: 26 };
    vec![RouteStatus { name: "api".into(), in_flight: 27, most: Some(28), refused: 29, queue }]
}

fn certificates() -> Vec<(String, CertificateStatus)> {
    let certificate = CertificateStatus { name: "a.example".into(), file: "/a.pem".into(), expires: 14.0 };
    vec![("default".into(), certificate)]
}

fn encode(metrics: &Metrics) -> String {
    metrics.encode(Scrape {
        pools: &pools(),
        members: &[("api-v1".into(), vec![tried_endpoint(), Endpoint::named("10.0.0.2:3000")])],
        endpoints_max: 1,
        routes: &routes(),
        rate_limits: &rate_limits(),
        mirrors: &mirrors(),
        certificates: &certificates(),
        workers: &[3, 4],
        confirmation_awaited: false,
        memory: MemoryUse { resident: 13, of_limit: Some((95, 100)), short: true },
        process: Some(ProcessUse {
            cpu_seconds: 1.5,
            threads: 3,
            virtual_bytes: 99,
            open_files: 20,
            open_files_max: 1024,
        }),
        to_endpoints: ConnectionsToEndpoints { open: 5, closed: 6 },
        access_log_dropped: 11,
        events_dropped: 12,
    })
}

fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "no line {line}\n{text}");
    }
}

#[test]
fn connections_are_counted_by_listener() {
    let labels = r#"{listener="default""#;
    assert_has(
        &encode(&busy()),
        &[
            &format!("evenkeel_connections{labels}}} 1"),
            &format!("evenkeel_connections_total{labels}}} 2"),
            r#"evenkeel_worker_connections{worker="1"} 4"#,
            &format!(r#"evenkeel_connections_refused_total{labels},reason="too_many_connections"}} 1"#),
            &format!(r#"evenkeel_accept_pauses_total{labels},reason="connections"}} 1"#),
        ],
    );
}

#[test]
fn requests_are_counted_where_they_belong() {
    let text = encode(&busy());
    let api = r#"listener="default",route="api",pool="api-v1""#;
    assert_has(
        &text,
        &[
            &format!(r#"evenkeel_requests_total{{{api},method="GET",status="2xx"}} 1"#),
            &format!(r#"evenkeel_requests_total{{{api},method="GET",status="5xx"}} 1"#),
            r#"evenkeel_request_duration_seconds_bucket{route="api",pool="api-v1",le="0.0025"} 0"#,
            r#"evenkeel_request_duration_seconds_bucket{route="api",pool="api-v1",le="0.005"} 2"#,
            r#"evenkeel_request_duration_seconds_bucket{route="api",pool="api-v1",le="+Inf"} 2"#,
            r#"evenkeel_request_duration_seconds_sum{route="api",pool="api-v1"} 0.008"#,
            r#"evenkeel_request_duration_seconds_count{route="api",pool="api-v1"} 2"#,
            r#"evenkeel_request_failures_total{cause="connect_failed"} 1"#,
            r#"evenkeel_retries_total{pool="api-v1",reason="connect_failed"} 1"#,
            r#"evenkeel_retries_total{pool="api-v1",reason="status"} 1"#,
            r#"evenkeel_retries_total{pool="api-v1",reason="endpoint_reset"} 0"#,
            r#"evenkeel_connect_duration_seconds_bucket{pool="api-v1",le="0.0005"} 1"#,
            r#"evenkeel_connect_duration_seconds_count{pool="api-v1"} 1"#,
            r#"evenkeel_first_byte_duration_seconds_count{pool="api-v1"} 4"#,
        ],
    );
}

#[test]
fn an_endpoint_has_what_its_attempts_came_to() {
    let endpoint = r#"{pool="api-v1",endpoint="10.0.0.1:3000""#;
    assert_has(
        &encode(&busy()),
        &[
            &format!(r#"evenkeel_endpoint_responses_total{endpoint},status="2xx"}} 1"#),
            &format!(r#"evenkeel_endpoint_responses_total{endpoint},status="5xx"}} 0"#),
            &format!(r#"evenkeel_endpoint_first_byte_duration_seconds_bucket{endpoint},le="0.0025"}} 0"#),
            &format!(r#"evenkeel_endpoint_first_byte_duration_seconds_bucket{endpoint},le="0.005"}} 2"#),
            &format!("evenkeel_endpoint_first_byte_duration_seconds_sum{endpoint}}} 0.006"),
            &format!("evenkeel_endpoint_connect_duration_seconds_count{endpoint}}} 2"),
            &format!(r#"evenkeel_endpoint_retries_total{endpoint},reason="endpoint_reset"}} 1"#),
            &format!(r#"evenkeel_endpoint_state_changes_total{endpoint},state="unhealthy"}} 0"#),
            &format!("evenkeel_endpoint_open_connections{endpoint}}} 0"),
            r#"evenkeel_pool_endpoints{pool="api-v1",state="healthy"} 1"#,
            r#"evenkeel_pool_endpoints{pool="api-v1",state="checking"} 1"#,
            r#"evenkeel_pool_endpoints{pool="api-v1",state="ejected"} 0"#,
        ],
    );
}

/// What is left out is said, and what says that an endpoint is down is never left out.
#[test]
fn endpoints_beyond_the_limit_have_their_state_only() {
    let text = encode(&busy());
    assert_has(
        &text,
        &[
            "evenkeel_endpoints_without_series 1",
            r#"evenkeel_endpoint_open_connections{pool="api-v1",endpoint="10.0.0.2:3000"} 0"#,
        ],
    );
    let of_second = text.lines().filter(|line| line.contains("10.0.0.2:3000"));
    assert_eq!(of_second.count(), 1);
}

#[test]
fn handshakes_are_counted_where_a_listener_has_tls() {
    let metrics = busy();
    let tls = metrics.listener(&"secure".into());
    tls.begin_handshakes();
    metrics.listener(&"plain".into());
    let text = encode(&metrics);
    assert_has(
        &text,
        &[
            r#"evenkeel_tls_handshakes_total{listener="default",version="TLSv1.3",result="resumed"} 1"#,
            r#"evenkeel_tls_handshakes_total{listener="default",version="TLSv1.3",result="full"} 0"#,
            r#"evenkeel_tls_handshakes_total{listener="default",version="",result="timeout"} 1"#,
            r#"evenkeel_tls_handshakes_total{listener="secure",version="",result="failed"} 0"#,
        ],
    );
    assert!(!text.contains(r#"evenkeel_tls_handshakes_total{listener="plain""#), "{text}");
}

/// An alert sees the first failure only where its series was there before.
#[test]
fn the_series_of_a_config_are_there_before_its_first_request() {
    let metrics = Metrics::new(UNIX_EPOCH);
    metrics.begin_requests([("default", "", ""), ("default", "api", "api-v1")].into_iter());
    let labels = r#"{listener="default",route="api",pool="api-v1""#;
    assert_has(
        &encode(&metrics),
        &[
            &format!(r#"evenkeel_requests_total{labels},method="GET",status="5xx"}} 0"#),
            r#"evenkeel_requests_total{listener="default",route="",pool="",method="GET",status="4xx"} 0"#,
            &format!("evenkeel_request_bytes_total{labels}}} 0"),
            r#"evenkeel_request_duration_seconds_count{route="api",pool="api-v1"} 0"#,
            r#"evenkeel_request_wait_duration_seconds_count{route="api",pool="api-v1"} 0"#,
            r#"evenkeel_retries_refused_total{pool="api-v1",cause="budget"} 0"#,
        ],
    );
    let waited = Record { waited: Some(Duration::from_millis(40)), bytes_in: 7, bytes_out: 9, ..record() };
    metrics.request(named(&waited));
    assert_has(
        &encode(&metrics),
        &[
            &format!("evenkeel_request_bytes_total{labels}}} 7"),
            &format!("evenkeel_response_bytes_total{labels}}} 9"),
            r#"evenkeel_request_wait_duration_seconds_bucket{route="api",pool="api-v1",le="0.025"} 0"#,
            r#"evenkeel_request_wait_duration_seconds_bucket{route="api",pool="api-v1",le="0.05"} 1"#,
        ],
    );
}

#[test]
fn what_clients_write_never_becomes_a_label() {
    let metrics = Metrics::new(UNIX_EPOCH);
    for number in 0..100 {
        let text = asking_with(&format!("BREW{number}"));
        let record = Record { text, status: 700 + number, ..record() };
        metrics.request(NamedRecord { route: None, pool: None, ..named(&record) });
    }
    let record = Record { text: asking_with("get"), status: 0, ..record() };
    metrics.request(NamedRecord { route: None, pool: None, ..named(&record) });
    let text = encode(&metrics);
    let mut requests: Vec<_> =
        text.lines().filter(|line| line.starts_with("evenkeel_requests_total")).collect();
    let none = r#"evenkeel_requests_total{listener="default",route="",pool="",method="other""#;
    const CLASSES: usize = 5;
    let expected = [("1xx", 1), ("2xx", 0), ("3xx", 0), ("4xx", 0), ("5xx", 100)];
    let expected = expected.map(|(class, count)| format!(r#"{none},status="{class}"}} {count}"#));
    assert_eq!(requests.split_off(CLASSES), expected);
    // GET is there from the start.
    assert!(requests.iter().all(|line| line.contains(r#"method="GET""#) && line.ends_with(" 0")));
    // Series that are there before anything happens, so that a rate sees the first burst.
    let listener = metrics.listener(&"default".into());
    listener.request_accepted();
    metrics.begin_failures(["no_route"]);
    assert_has(
        &encode(&metrics),
        &[
            r#"evenkeel_connections_refused_total{listener="default",reason="http2_flood"} 0"#,
            r#"evenkeel_accept_pauses_total{listener="default",reason="max_connections"} 0"#,
            r#"evenkeel_idle_connections_closed_total{listener="default",reason="memory"} 0"#,
            r#"evenkeel_request_failures_total{cause="no_route"} 0"#,
        ],
    );
}

#[test]
fn a_route_on_two_listeners_has_one_duration_and_a_pool_of_two_routes_one_connect() {
    let metrics = Metrics::new(UNIX_EPOCH);
    for (listener, route) in [("one", "a"), ("two", "a"), ("one", "b")] {
        metrics.request(NamedRecord { listener, route: Some(route), ..named(&record()) });
    }
    assert_has(
        &encode(&metrics),
        &[
            r#"evenkeel_request_duration_seconds_count{route="a",pool="api-v1"} 2"#,
            r#"evenkeel_request_duration_seconds_count{route="b",pool="api-v1"} 1"#,
            r#"evenkeel_connect_duration_seconds_count{pool="api-v1"} 3"#,
        ],
    );
}

#[test]
fn nothing_is_lost_when_threads_find_a_route_together() {
    let metrics = Metrics::new(UNIX_EPOCH);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..500 {
                    let route = format!("route-{}", number % 50);
                    let record = Record { cause: Some("no_route"), ..record() };
                    metrics.request(NamedRecord { route: Some(&route), ..named(&record) });
                }
            });
        }
    });
    let text = encode(&metrics);
    let count = |name: &str| -> u64 {
        let values = text.lines().filter(|line| line.starts_with(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    assert_eq!(count("evenkeel_requests_total{"), 4000);
    assert_eq!(count("evenkeel_request_duration_seconds_count{"), 4000);
    assert_eq!(count("evenkeel_connect_duration_seconds_count{"), 4000);
    assert_eq!(count("evenkeel_request_failures_total{"), 4000);
}

#[test]
fn a_request_is_in_flight_until_its_outcome_is_known() {
    let metrics = busy();
    let (one, two) = (metrics.listener(&"default".into()), metrics.listener(&"b".into()));
    [&one, &two].into_iter().for_each(|listener| listener.request_accepted());
    assert_eq!(metrics.balance().in_flight, 2);
    one.request_closed(Outcome::Refused);
    assert_has(
        &encode(&metrics),
        &[
            "evenkeel_active_requests 1",
            r#"evenkeel_requests_accepted_total{listener="default"} 1"#,
            r#"evenkeel_request_outcomes_total{listener="default",outcome="refused"} 1"#,
            r#"evenkeel_requests_in_flight{listener="default"} 0"#,
            r#"evenkeel_requests_in_flight{listener="b"} 1"#,
        ],
    );
    two.request_closed(Outcome::Answered);
    assert_eq!((metrics.balance().in_flight, metrics.balance().ended()), (0, 2));
}

#[test]
fn reloads_panics_and_pools_show() {
    let metrics = busy();
    let version = format!("evenkeel_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert_has(
        &encode(&metrics),
        &[
            &version,
            "evenkeel_start_time_seconds 1.5",
            "evenkeel_config_generation 1",
            "evenkeel_config_last_reload_successful 1",
            "evenkeel_config_last_reload_timestamp_seconds 1",
            "process_start_time_seconds 1.5",
            "process_cpu_seconds_total 1.5",
            "process_resident_memory_bytes 13",
            "process_open_fds 20",
            "process_max_fds 1024",
            "process_threads 3",
            r#"evenkeel_log_dropped_total{log="access"} 11"#,
            r#"evenkeel_log_dropped_total{log="events"} 12"#,
            r#"evenkeel_pool_waiting_requests{pool="api-v1"} 4"#,
            r#"evenkeel_health_checks_total{pool="api-v1",endpoint="10.0.0.1:3000",result="failed"} 3"#,
            r#"evenkeel_endpoint_adjusted{pool="api-v1",endpoint="10.0.0.1:3000",change="drain"} 1"#,
            r#"evenkeel_endpoint_adjusted{pool="api-v1",endpoint="10.0.0.1:3000",change="weight"} 0"#,
            r#"evenkeel_endpoint_up{pool="api-v1",endpoint="10.0.0.1:3000"} 1"#,
            r#"evenkeel_endpoint_up{pool="api-v1",endpoint="x\"y\\z\n"} 0"#,
            r#"evenkeel_endpoint_sent_bytes_total{pool="api-v1",endpoint="10.0.0.1:3000"} 100"#,
            r#"evenkeel_endpoint_received_bytes_total{pool="api-v1",endpoint="10.0.0.1:3000"} 2000"#,
        ],
    );
    metrics.snapshots_in_use(3);
    metrics.config_in_force(2, UNIX_EPOCH + Duration::from_secs(50));
    metrics.count_reload(ReloadResult::Refused);
    metrics.panics().fetch_add(1, Ordering::Relaxed);
    assert_has(
        &encode(&metrics),
        &[
            "evenkeel_config_generation 2",
            "evenkeel_config_snapshots 3",
            "evenkeel_config_last_reload_successful 0",
            "evenkeel_config_last_reload_timestamp_seconds 50",
            "evenkeel_panics_total 1",
        ],
    );
}

/// What a scrape says of one metric.
#[derive(Debug, Default)]
struct Described {
    kind: String,
    labels: BTreeSet<String>,
}

/// Reads a scrape as strictly as Prometheus and `promtool check metrics` do.
fn described(text: &str) -> BTreeMap<String, Described> {
    let name = regex::Regex::new("^(evenkeel|process)_[a-z0-9_]+$").expect("regex");
    let sample =
        regex::Regex::new(r#"^([a-z0-9_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? ([0-9.e+-]+)$"#)
            .expect("regex");
    let label = regex::Regex::new(r#"([a-z_]+)="(?:[^"\\]|\\.)*""#).expect("regex");
    let mut metrics: BTreeMap<String, Described> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (found, help) = help.split_once(' ').expect("a help text");
            assert!(name.is_match(found) && help.ends_with('.'), "{line}");
            current = found.to_owned();
            assert!(metrics.insert(current.clone(), Described::default()).is_none(), "{current} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (found, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(found, current);
            metrics.get_mut(found).expect("help first").kind = kind.to_owned();
        } else {
            let parts = sample.captures(line).unwrap_or_else(|| panic!("no sample: {line}"));
            assert!(seen.insert(line.rsplit_once(' ').expect("a value").0.to_owned()), "twice: {line}");
            let suffix = parts[1].strip_prefix(&current).unwrap_or_else(|| panic!("{line} within {current}"));
            let metric = metrics.get_mut(&current).expect("help first");
            assert_eq!(suffix.is_empty(), metric.kind != "histogram", "{line}");
            assert_eq!(current.ends_with("_total"), metric.kind == "counter", "{line}");
            let labels = parts.get(2).map_or("", |labels| labels.as_str());
            metric.labels.extend(label.captures_iter(labels).map(|found| found[1].to_owned()));
        }
    }
    metrics
}

#[test]
fn the_documentation_has_exactly_the_metrics_that_are_written() {
    let written: Vec<_> = described(&encode(&busy()))
        .into_iter()
        .map(|(name, mut metric)| {
            metric.labels.remove("le");
            (name, metric.kind, metric.labels)
        })
        .collect();
    let mut documented: Vec<_> = include_str!("../../../docs/metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let labels = cells[3].split_whitespace().map(|label| label.replace('`', "")).collect();
            (cells[1].replace('`', ""), cells[2].to_owned(), labels)
        })
        .collect();
    documented.sort();
    assert_eq!(documented, written);
}

#[test]
fn a_fresh_process_has_a_valid_scrape() {
    let text = Metrics::new(UNIX_EPOCH).encode(Scrape {
        pools: &[],
        members: &[],
        endpoints_max: 0,
        routes: &[],
        rate_limits: &[],
        mirrors: &[],
        certificates: &[],
        workers: &[],
        confirmation_awaited: false,
        memory: MemoryUse::default(),
        process: Some(ProcessUse::default()),
        to_endpoints: ConnectionsToEndpoints::default(),
        access_log_dropped: 0,
        events_dropped: 0,
    });
    assert_eq!(described(&text).len(), described(&encode(&busy())).len());
}
