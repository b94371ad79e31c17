//! Logs by line, and what configs make of them.

use super::*;
use crate::config;

const CONFIG: &str = "
listeners: [{ address: \":80\", trusted_proxies: [10.0.0.0/8], limits: { body_size: 1KiB } }]
routes:
  - { name: web, pool: w }
  - { name: api, match: { hosts: [api.example.com], paths: [/v1] }, pool: a, rewrite: { strip_prefix: /v1 } }
  - { name: new, match: { paths: [/new], headers: { X-Version: \"2\" } }, pool: a }
  - { name: old, match: { paths: [/old] }, redirect: \"/new{path}\" }
  - { name: admin, match: { paths: [/admin] }, allow: [192.0.2.0/24], pool: w }
  - { name: slow, match: { paths: [/slow] }, rate_limit: { rate: 1/s, burst: 2 }, pool: w }
  - { name: shut, match: { paths: [/shut] }, auth: { basic: users }, pool: w }
pools: { w: [10.0.0.1:80], a: [10.0.0.2:80] }
";

/// A line of a request that went to `web` at 192.0.2.1, with what `rest` has beside that, or in its place.
fn line(target: &str, rest: &str) -> String {
    let usual = [
        ("listener", "default"),
        ("client", "192.0.2.1:5000"),
        ("method", "GET"),
        ("host", "example.com"),
        ("protocol", "HTTP/1.1"),
        ("route", "web"),
        ("pool", "w"),
    ];
    let is_other = |name: &str| rest.contains(&format!("\"{name}\":"));
    let usual: String = (usual.iter().filter(|(name, _)| !is_other(name)))
        .map(|(name, value)| format!("\"{name}\":\"{value}\","))
        .collect();
    let time = if is_other("time") { "" } else { "\"time\":\"2026-11-24T12:00:01.000001Z\"," };
    let status = if is_other("status") { "" } else { ",\"status\":200" };
    let rest = if rest.is_empty() { String::new() } else { format!(",{rest}") };
    let target = if is_other("target") { String::new() } else { format!("\"target\":\"{target}\",") };
    format!("{{{time}{usual}{target}\"tls\":\"\"{status}{rest}}}\n")
}

fn judged(yaml: &str, log: &str) -> Report {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(
        folder.path().join("users"),
        "ann:$2y$04$6jTmaRmS7MSEqGiOu.0ry.RNeTV47SDHyEcvpVpSJZ7vKXeVAvJHq\n",
    )
    .expect("the folder is ours");
    let file = folder.path().join("evenkeel.yaml");
    let yaml = yaml.replace("basic: users", &format!("basic: {}/users", folder.path().display()));
    std::fs::write(&file, yaml).expect("the folder is ours");
    let config = config::load(&file).unwrap_or_else(|error| panic!("{error}")).config;
    run(config, None, log.as_bytes(), |_| {}).expect("memory can be read")
}

/// `was -> now` of each group, as JSON without the route and pool of what was.
fn changes(report: &Report) -> Vec<String> {
    let text = |fate: &report::Fate| {
        let of = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        format!("{} {} {:?}", of(&fate.route), of(&fate.pool), fate.act)
    };
    let all = report.groups.iter().map(|group| {
        let marks = [(group.path, " path"), (group.unsure, " unsure")];
        let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
        format!("{} -> {}{marks}", text(&group.was), text(&group.now))
    });
    all.collect()
}

#[test]
fn what_the_same_config_did_it_would_do_again() {
    let log = [
        line("/", ""),
        line("/v1/x", r#""host":"api.example.com","route":"api","pool":"a","rewritten":"/x""#),
        line(
            "/v1/x?a=b",
            r#""host":"API.example.com:80","route":"api","pool":"a","rewritten":"/x","status":503,"cause":"no_healthy_endpoint""#,
        ),
        line("/new", r#""route":"new","pool":"a""#),
        line("/new", ""),
        line("/old", r#""route":"old","pool":"","action":"redirect","status":308"#),
        line("/admin", r#""route":"admin""#),
        line(
            "/admin",
            r#""client":"198.51.100.1:1","route":"admin","status":403,"cause":"denied","refused_by":"route allow""#,
        ),
        line("/admin", r#""client":"192.0.2.1","peer":"10.1.1.1:7","route":"admin""#),
        line("/../x", r#""route":"","pool":"","status":400,"cause":"bad_request""#),
        line("/x\\\\xfc", r#""route":"","pool":"","status":400,"cause":"bad_request""#),
        line("/", r#""host":"","route":"","pool":"","status":400,"cause":"missing_host""#),
        line("/", r#""host":"","protocol":"HTTP/1.0""#),
        line("/", r#""protocol":"HTTP/2.0""#),
        line("/", r#""bytes_in":1024,"method":"POST""#),
        line("/shut", r#""route":"shut","auth":"basic","auth_verdict":"passed""#),
        line(
            "/shut",
            r#""route":"shut","auth":"basic","auth_verdict":"missing","status":401,"cause":"unauthorized""#,
        ),
    ];
    let report = judged(CONFIG, &log.concat());
    assert_eq!(changes(&report), <[&str; 0]>::default());
    assert_eq!((report.lines, report.same, report.different), (17, 17, 0));
    assert!(report.not_judged.is_empty() && report.unreadable.is_none(), "{report:?}");
}

#[test]
fn what_another_config_did_is_compared() {
    for (line, expected) in [
        (
            line("/v1", r#""host":"api.example.com""#),
            r#"web w Forwarded { status: Some("2xx") } -> api a Forwarded { status: None }"#,
        ),
        (
            line("/v1/x", r#""host":"api.example.com","route":"api","pool":"a""#),
            r#"api a Forwarded { status: Some("2xx") } -> api a Forwarded { status: None } path"#,
        ),
        (
            line("/admin", r#""route":"admin","client":"198.51.100.1:1","status":304"#),
            r#"admin w Forwarded { status: Some("3xx") } -> admin - Refused { cause: "denied", status: 403, by: Some("route allow") }"#,
        ),
        (
            line("/", r#""bytes_in":1025,"method":"POST","status":500"#),
            r#"web w Forwarded { status: Some("5xx") } -> web - Refused { cause: "body_too_large", status: 413, by: None }"#,
        ),
        (
            line("/old", r#""route":"old""#),
            r#"old w Forwarded { status: Some("2xx") } -> old - Answered { action: "redirect", status: 308 }"#,
        ),
        (
            line("/", r#""route":"","pool":"","status":404,"cause":"no_route""#),
            r#"- - Refused { cause: "no_route", status: 404, by: None } -> web w Forwarded { status: None }"#,
        ),
        (
            line("/shut", r#""route":"shut""#),
            r#"shut w Forwarded { status: Some("2xx") } -> shut - Asked { auth: "basic" }"#,
        ),
        (
            line("/", r#""listener":"gone""#),
            r#"web w Forwarded { status: Some("2xx") } -> - - NoListener { listener: "gone" }"#,
        ),
        (
            line("/new", r#""route":"newer","pool":"a""#),
            r#"newer a Forwarded { status: Some("2xx") } -> web w Forwarded { status: None } unsure"#,
        ),
    ] {
        assert_eq!(changes(&judged(CONFIG, &line)), [expected], "{line}");
    }
}

/// In the order and at the times of the log, on however many threads.
#[test]
fn rate_limits_count_by_the_times_of_the_log() {
    let at = |second: u32, client: u32| {
        let time = format!("2026-11-24T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
        line("/slow", &format!(r#""route":"slow","client":"192.0.2.{client}:5000","time":"{time}""#))
    };
    let report = judged(CONFIG, &[at(0, 1), at(0, 1), at(0, 1), at(0, 2), at(1, 1), at(1, 1)].concat());
    let refused = r#"slow w Forwarded { status: Some("2xx") } -> slow - Refused { cause: "rate_limited", status: 429, by: Some("client") }"#;
    assert_eq!(changes(&report), [refused]);
    assert_eq!((report.groups[0].requests, report.groups[0].example.line), (2, 3));
    let many: String = (0..20_000).map(|second| at(second, 1)).collect();
    assert!(many.len() > 3 << 20, "it must be several pieces");
    assert_eq!(judged(CONFIG, &many).different, 0);
}

#[test]
fn what_cannot_be_judged_is_said() {
    let log = [
        line("/", r#""route":"","pool":"","method":"","target":"","status":408,"cause":"request_timeout""#),
        line("/", r#""route":"","pool":"","status":421,"cause":"misdirected""#),
        line("/", r#""route":"","pool":"","status":431,"cause":"headers_too_large""#),
        line("/", r#""status":413,"cause":"body_too_large""#),
        line("/shut", r#""route":"shut","status":499,"cause":"client_gone""#),
        "nonsense\n".to_owned(),
        "\n".to_owned(),
        line("/new", ""),
        "{\"more\": 1".to_owned(),
    ];
    let report = judged(CONFIG, &log.concat());
    let mut reasons: Vec<_> = report.not_judged.iter().map(|other| (other.requests, other.reason)).collect();
    reasons.sort_unstable();
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert_eq!(reasons.iter().map(|(requests, _)| requests).sum::<u64>(), 5);
    let unreadable = report.unreadable.expect("two lines are");
    assert_eq!((unreadable.lines, unreadable.line), (2, 6));
    assert_eq!(report.headers_absent.into_iter().collect::<Vec<_>>(), [("x-version".to_owned(), 1)]);
    assert_eq!((report.lines, report.same, report.different), (8, 1, 0));
}

#[test]
fn a_combined_log_tells_where_its_requests_would_go() {
    let log = r#"
192.0.2.1 - - [24/Nov/2026:12:00:01 +0000] "GET /v1/x HTTP/1.1" 200 12 "-" "curl/8.5"
192.0.2.1 - - [24/Nov/2026:12:00:01 +0000] "GET /x HTTP/1.1" 404 12 "-" "curl/8.5"
192.0.2.1 - - [24/Nov/2026:12:00:01 +0000] "GET /old HTTP/1.1" 308 12 "-" "curl/8.5"
192.0.2.1 - - [24/Nov/2026:12:00:01 +0000] "GET /old/x HTTP/1.1" 200 12 "-" "curl/8.5"
198.51.100.1 - - [24/Nov/2026:12:00:01 +0000] "GET /admin HTTP/1.1" 403 12 "-" "curl/8.5"
"#;
    let config =
        || config::parse(&CONFIG.replace("auth: { basic: users }, ", ""), "t.yaml").expect("a config");
    let report = run(config(), Some("api.example.com"), log.as_bytes(), |_| {}).expect("memory");
    let redirect = r#"- - Status { status: 200 } -> old - Answered { action: "redirect", status: 308 }"#;
    assert_eq!(changes(&report), [redirect]);
    assert_eq!((report.same, report.tells_no_decision, report.groups[0].example.line), (4, 5, 5));
    let destinations: Vec<_> = (report.destinations.iter())
        .map(|to| (&*to.route, to.pool.as_deref().unwrap_or("-"), to.requests))
        .collect();
    assert_eq!(destinations, [("old", "-", 2), ("admin", "-", 1), ("api", "a", 1), ("web", "w", 1)]);
    let report = run(config(), None, log.as_bytes(), |_| {}).expect("memory");
    assert_eq!((report.not_judged[0].requests, report.different), (5, 0));
}
