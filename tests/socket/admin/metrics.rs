//! The metrics: their names, their form, and that they count what happened.

use std::collections::HashSet;

use crate::harness::{Endpoint, Proxy, load, nobody_listens};

/// Every name that others may build upon.
const NAMES: [&str; 8] = [
    "evenkeel_requests_total",
    "evenkeel_request_duration_seconds",
    "evenkeel_endpoint_up",
    "evenkeel_health_checks_total",
    "evenkeel_retries_total",
    "evenkeel_log_dropped_total",
    "evenkeel_config_last_reload_successful",
    "evenkeel_build_info",
];

#[test]
fn every_promised_name_is_there_from_the_start() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).health_check("type: tcp, interval: 200ms, timeout: 1s").start();
    proxy.get("/").expect(200);
    let metrics = proxy.metrics();
    for name in NAMES {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "no {name} in:\n{metrics}");
        assert!(metrics.contains(&format!("# HELP {name} ")), "no help for {name}");
    }
    assert_eq!(proxy.metric("evenkeel_build_info", &["version="]) as u64, 1);
    assert_eq!(proxy.metric("evenkeel_config_last_reload_successful", &[]) as u64, 1);
    assert_eq!(proxy.metric("evenkeel_log_dropped_total", &[]) as u64, 0);
}

/// After so many requests the counters say so, by status class, and the histogram has as many observations.
#[test]
fn requests_are_counted() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/missing" => exchange.status("404 Not Found", "", ""),
        _ => exchange.answer("a"),
    });
    let proxy = Proxy::to([&endpoint]).start();
    load(&proxy.address(), 2, 50);
    for _ in 0..7 {
        proxy.get("/missing").expect(404);
    }
    proxy.records_of("/missing", 7);
    proxy.records_of("/load", 100);
    assert_eq!(proxy.metric("evenkeel_requests_total", &[]) as u64, 107);
    assert_eq!(proxy.metric("evenkeel_requests_total", &["\"default\"", "\"2"]) as u64, 100);
    assert_eq!(proxy.metric("evenkeel_requests_total", &["\"4"]) as u64, 7);
    assert_eq!(proxy.metric("evenkeel_request_duration_seconds_count", &[]) as u64, 107);
    assert!(proxy.metric("evenkeel_request_duration_seconds_sum", &[]) > 0.0);
}

/// An endpoint is up or it is not, and its probes are counted by how they ended.
#[test]
fn endpoints_are_up_or_down() {
    let well = Endpoint::named("well");
    let dead = nobody_listens();
    let proxy = Proxy::to([&well, &dead])
        .health_check("type: tcp, interval: 100ms, timeout: 500ms, healthy_after: 1, unhealthy_after: 1")
        .start();
    proxy.wait_until(well.address(), "healthy");
    proxy.wait_until(dead.address(), "unhealthy");
    assert_eq!(proxy.metric("evenkeel_endpoint_up", &[well.address()]) as u64, 1);
    assert_eq!(proxy.metric("evenkeel_endpoint_up", &[dead.address()]) as u64, 0);
    assert!(
        proxy
            .metrics()
            .lines()
            .any(|line| { line.starts_with("evenkeel_endpoint_up{") && line.contains(dead.address()) })
    );
    assert!(proxy.metric("evenkeel_health_checks_total", &[]) >= 2.0);
}

/// Labels are bounded: what a client makes up (methods, paths, hosts) does not become a series.
#[test]
fn clients_cannot_make_series() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.get("/first").expect(200);
    let series = || proxy.metrics().lines().filter(|line| !line.starts_with('#')).count();
    proxy.client().request("MADEUP0", "/path/0", "").expect(200);
    proxy.record("/path/0");
    let before = series();
    for n in 1..30 {
        let mut client = proxy.client();
        client.send(format!("MADEUP{n} /path/{n} HTTP/1.1\r\nHost: host{n}.example\r\n\r\n"));
        client.response().expect(200);
    }
    for n in 1..30 {
        proxy.record(&format!("/path/{n}"));
    }
    assert_eq!(series(), before);
}

/// The text can be read by what reads such texts: every sample's family has a type, no series comes twice.
#[test]
fn the_text_is_well_formed() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).start();
    load(&proxy.address(), 2, 10);
    let metrics = proxy.metrics();
    let types: HashSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut series = HashSet::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (sample, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(sample), "{sample} comes twice");
        let name = sample.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let known = types.contains(name) || family.is_some_and(|family| types.contains(family));
        assert!(known, "{name} has no type");
        assert!(name.starts_with("evenkeel_") || name.starts_with("process_"), "{name}");
    }
}

/// What came of the attempts at an endpoint is told by endpoint, from 0 on; and what goes both ways by route.
#[test]
fn attempts_are_told_by_endpoint() {
    let well = Endpoint::scripted("well", |exchange| match exchange.target() {
        "/broken" => exchange.status("503 Service Unavailable", "", ""),
        _ => exchange.answer("four"),
    });
    let dead = nobody_listens();
    let proxy = Proxy::to([&well, &dead]).start();
    let metric = |name: &str, labels: &[&str]| proxy.metric(name, labels) as u64;
    let before = proxy.metrics();
    for line in [
        format!(r#"evenkeel_endpoint_responses_total{{pool="default",endpoint="{}",status="5xx"}} 0"#, well.address()),
        format!(r#"evenkeel_endpoint_state_changes_total{{pool="default",endpoint="{}",state="unreachable"}} 0"#, dead.address()),
        r#"evenkeel_requests_total{listener="default",route="default",pool="default",method="GET",status="5xx"} 0"#
            .to_owned(),
    ] {
        assert!(before.lines().any(|found| found == line), "no line {line} in:\n{before}");
    }
    for _ in 0..4 {
        assert_eq!(proxy.get("/").expect(200).text(), "four");
    }
    proxy.get("/broken").expect(503);
    proxy.client().upload("POST", "/upload", b"sixsix").expect(200);
    proxy.records_of("/", 4);
    proxy.record("/broken");
    proxy.record("/upload");
    let well = well.address();
    assert_eq!(metric("evenkeel_endpoint_responses_total", &[well, "\"2xx\""]), 5);
    assert_eq!(metric("evenkeel_endpoint_responses_total", &[well, "\"5xx\""]), 1);
    assert_eq!(metric("evenkeel_endpoint_first_byte_duration_seconds_count", &[well]), 6);
    assert!(metric("evenkeel_endpoint_connect_duration_seconds_count", &[well]) >= 1);
    assert!(metric("evenkeel_endpoint_open_connections", &[well]) >= 1);
    assert_eq!(metric("evenkeel_endpoint_open_connections", &[dead.address()]), 0);
    assert_eq!(metric("evenkeel_endpoint_retries_total", &[dead.address(), "connect_failed"]), 1);
    assert_eq!(metric("evenkeel_endpoint_state_changes_total", &[dead.address(), "unreachable"]), 1);
    assert_eq!(metric("evenkeel_request_bytes_total", &["\"default\""]), 6);
    assert_eq!(metric("evenkeel_response_bytes_total", &["\"default\""]), 20);
    assert_eq!(metric("evenkeel_endpoints_without_series", &[]), 0);
    assert!(metric("process_open_fds", &[]) > 3 && metric("process_threads", &[]) > 1);
}

/// The metrics of many endpoints are bounded, and what is left out is said.
#[test]
fn endpoints_beyond_the_limit_have_their_state_only() {
    let [first, second] = ["first", "second"].map(Endpoint::named);
    let proxy = Proxy::to([&first, &second]);
    let socket = proxy.folder().join("admin.sock");
    let proxy = proxy.admin(&format!("listen: 'unix:{}', metrics_endpoints: 1", socket.display())).start();
    let metrics = proxy.metrics();
    let has = |name: &str, endpoint: &Endpoint| {
        metrics.lines().any(|line| line.starts_with(name) && line.contains(endpoint.address()))
    };
    assert!(has("evenkeel_endpoint_responses_total", &first));
    assert!(!has("evenkeel_endpoint_responses_total", &second));
    assert!(has("evenkeel_endpoint_up", &second) && has("evenkeel_endpoint_open_connections", &second));
    assert_eq!(proxy.metric("evenkeel_endpoints_without_series", &[]) as u64, 1);
}
