use super::table::render;
use crate::admin::Status;
use crate::admin::status::{ListenerStatus, LogDropped, ProcessState};
use crate::pool::status::{
    ByHandStatus, EndpointState, EndpointStatus, MirrorStatus, PoolStatus, ProbeOutcome, ProbeStatus,
    RateLimitStatus, RetryStatus, RouteStatus, SourceStatus, WeightByHand,
};
use crate::telemetry::events::{LevelByHand, LogLevelStatus};
use crate::telemetry::metrics::request_balance::RequestBalance;
use crate::terminal::Painter;
use crate::wait_queue::QueueStatus;

const PLAIN: Painter = Painter { colours: false };

const NOW: f64 = 1_795_521_601.0;

fn endpoint(address: &str, requests: u64) -> EndpointStatus {
    EndpointStatus {
        since: NOW - 7380.0,
        reason: "probe passed".into(),
        requests,
        in_flight: 1,
        bytes_in: 1234,
        bytes_out: 34_000_000,
        share: 0.3341,
        expected_share: 1.0 / 3.0,
        checks_passed: 9,
        ..EndpointStatus::named(address)
    }
}

fn pool(name: &str, waiting: u64, endpoints: Vec<EndpointStatus>) -> PoolStatus {
    PoolStatus {
        name: name.into(),
        balance: "round_robin".into(),
        waiting,
        retries: RetryStatus { first_attempts: 100, retries: 20, allowed: Some(20), refused: 7 },
        queue: QueueStatus { waiting, waits: 40, full: 1, expired: 2, shed: 3 },
        in_flight: 3,
        most: None,
        refused: 0,
        sources: Vec::new(),
        endpoints,
    }
}

fn listener() -> ListenerStatus {
    ListenerStatus {
        name: "default".into(),
        address: "0.0.0.0:8080".into(),
        connections: 3,
        requests: RequestBalance {
            accepted: 6010,
            answered: 6000,
            refused: 4,
            client_gone: 3,
            cut: 1,
            in_flight: 2,
        },
        certificates: Vec::new(),
    }
}

fn status(pools: Vec<PoolStatus>) -> Status {
    Status {
        version: "0.1.0".into(),
        file: Some("/etc/evenkeel/evenkeel.yaml".into()),
        pid: 1234,
        generation: 3,
        confirm_seconds: None,
        started: NOW - 7384.0,
        uptime_seconds: 7384.0,
        state: ProcessState::Ready,
        listeners: vec![listener()],
        routes: vec![RouteStatus {
            name: "search".into(),
            in_flight: 9,
            most: Some(10),
            refused: 0,
            queue: QueueStatus { waiting: 2, waits: 40, full: 0, expired: 0, shed: 3 },
        }],
        mirrors: vec![MirrorStatus {
            route: "api".into(),
            pool: "shadow".into(),
            in_flight: 2,
            sent: 12_345,
            dropped: [("too_many".to_owned(), 7), ("body_too_large".to_owned(), 0)].into(),
            answered: [("2xx".to_owned(), 12_000), ("5xx".to_owned(), 40)].into(),
            failed: [("connect_failed".to_owned(), 300)].into(),
        }],
        rate_limits: vec![RateLimitStatus {
            route: "api".into(),
            limit: "client".into(),
            refused: 12,
            would_refuse: 3,
            keys: 1234,
            forgotten: 0,
        }],
        pools,
        log_dropped: LogDropped::default(),
        taps: 0,
        log_level: LogLevelStatus::default(),
        last_incident: None,
    }
}

fn mixed() -> Status {
    let down = EndpointStatus {
        state: EndpointState::Unhealthy,
        since: NOW - 12.0,
        reason: "connection refused".into(),
        failures: 12,
        share: 0.3318,
        expected_share: 0.0,
        ..endpoint("10.0.0.3:3000", 1991)
    };
    let backup = EndpointStatus { backup: true, weight: 10, ..endpoint("unix:/run/b.sock", 0) };
    status(vec![
        pool("api", 2, vec![endpoint("10.0.0.1:3000", 2005), endpoint("10.0.0.2:3000", 2004), down]),
        pool("rest", 0, vec![backup]),
    ])
}

#[test]
fn the_table_is_aligned() {
    let expected = "\
evenkeel 0.1.0 ready, pid 1234, generation 3, up 2h 03m since 2026-11-24 09:56:57 UTC
config /etc/evenkeel/evenkeel.yaml
listener default on 0.0.0.0:8080, open connections: 3
  6,010 accepted = 6,000 answered + 4 refused + 3 left by their clients + 1 cut + 2 in flight
route search, 9 of at most 10 in flight, 2 waiting, 3 shed
route api, rate limit by client, 1,234 keys, 12 refused, 3 beyond it let in
route api, mirror shadow, 12,345 sent, 2 in flight, 7 not copied (too_many), 300 failed (connect_failed), 40 answered 5xx

pool api, round_robin, 2 of 3 healthy, 2 waiting, 1 refused by the full queue, 2 waited in vain, 3 shed, 7 retries refused by the budget
   ENDPOINT       STATE         FOR  WEIGHT  REQUESTS             SHARE  IN FLIGHT     IN   OUT  FAILURES  WHY
 * 10.0.0.1:3000  healthy    2h 03m       1     2,005  33.4 % of 33.3 %          1  1.2kB  34MB         0  probe passed
   10.0.0.2:3000  healthy    2h 03m       1     2,004  33.4 % of 33.3 %          1  1.2kB  34MB         0  probe passed
   10.0.0.3:3000  unhealthy     12s       1     1,991   33.2 % of 0.0 %          1  1.2kB  34MB        12  connection refused

pool rest, round_robin, 1 of 1 healthy, 1 refused by the full queue, 2 waited in vain, 3 shed, 7 retries refused by the budget
   ENDPOINT          STATE       FOR     WEIGHT  REQUESTS             SHARE  IN FLIGHT     IN   OUT  FAILURES  WHY
   unix:/run/b.sock  healthy  2h 03m  10 backup         0  33.4 % of 33.3 %          1  1.2kB  34MB         0  probe passed

* most requests of its pool
";
    assert_eq!(render(&mixed(), PLAIN), expected);
}

#[test]
fn what_is_not_as_in_the_file_is_shown() {
    let by_hand = |until| ByHandStatus { by: "uid 0".into(), until };
    let weight_by_hand = Some(WeightByHand { file: 5, by_hand: by_hand(Some(NOW + 600.0)) });
    let endpoints = vec![
        EndpointStatus { drained: Some(by_hand(None)), ..endpoint("10.0.0.1:3000", 5) },
        EndpointStatus { weight_by_hand, ..endpoint("10.0.0.2:3000", 5) },
    ];
    let expected = "
   ENDPOINT       STATE                 FOR       WEIGHT  REQUESTS             SHARE  IN FLIGHT     IN   OUT  FAILURES  WHY
   10.0.0.1:3000  healthy, draining  2h 03m            1         5  33.4 % of 33.3 %          1  1.2kB  34MB         0  probe passed
   10.0.0.2:3000  healthy            2h 03m  1 (file: 5)         5  33.4 % of 33.3 %          1  1.2kB  34MB         0  probe passed
by hand: 10.0.0.1:3000 drained, by uid 0
by hand: 10.0.0.2:3000 weight 1 (file: 5), until 2026-11-24 12:10:01 UTC, by uid 0
";
    let shown = render(&status(vec![pool("api", 0, endpoints)]), PLAIN);
    assert!(shown.ends_with(expected), "{shown}");
}

#[test]
fn nobody_has_the_most_of_equals() {
    let equal = status(vec![pool("api", 0, vec![endpoint("a:1", 5), endpoint("b:1", 5)])]);
    let alone = status(vec![pool("api", 0, vec![endpoint("a:1", 5)])]);
    let idle = status(vec![pool("api", 0, vec![endpoint("a:1", 0), endpoint("b:1", 0)])]);
    for status in [equal, alone, idle] {
        assert!(!render(&status, PLAIN).contains('*'));
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = render(&mixed(), Painter { colours: true });
    assert!(coloured.contains("\x1b[32mready\x1b[0m") && coloured.contains("\x1b[33m2 of 3 healthy\x1b[0m"));
    assert!(coloured.contains("\x1b[31m   10.0.0.3:3000  unhealthy"));
    let codes = regex::Regex::new("\x1b\\[[0-9]+m").expect("regex");
    assert_eq!(codes.replace_all(&coloured, ""), render(&mixed(), PLAIN));
}

#[test]
fn what_the_process_says_does_not_reach_the_terminal_raw() {
    let mut status = mixed();
    status.pools[0].endpoints[0].reason = "a\nb\x1b[2J".into();
    status.pools[0].name = "x\x1b]0;title\x07".into();
    assert!(!render(&status, PLAIN).chars().any(|c| c != '\n' && crate::escape::is_hostile(c)));
}

#[test]
fn lost_log_lines_and_odd_clocks_are_shown() {
    let mut status = mixed();
    status.log_dropped = LogDropped { access: 1234, events: 0 };
    status.state = ProcessState::Draining;
    status.pools[0].endpoints[0].since = NOW + 100.0;
    let shown = render(&status, PLAIN);
    assert!(
        shown.contains("draining, pid")
            && shown.contains("log lines lost: 1,234 of the access log, 0 events")
    );
    assert!(shown.contains("10.0.0.1:3000  healthy        0s "), "{shown}");
}

#[test]
fn a_log_level_that_was_set_by_hand_is_shown() {
    let mut status = mixed();
    let by_hand = ByHandStatus { by: "uid 0".into(), until: Some(NOW) };
    let by_hand = Some(LevelByHand { file: "info".into(), by_hand });
    status.log_level = LogLevelStatus { level: "debug".into(), by_hand };
    let line = "by hand: event log's level debug (file: info), until 2026-11-24 12:00:01 UTC, by uid 0\n";
    assert!(render(&status, PLAIN).contains(line));
}

#[test]
fn sources_of_endpoints_are_shown() {
    let mut pool = pool("api", 0, vec![endpoint("10.0.0.1:3000", 1)]);
    let source = |failing: Option<&str>, answered| SourceStatus {
        source: "app.internal:80".into(),
        endpoints: 2,
        answered,
        failing: failing.map(Into::into),
    };
    let whole = status(Vec::new());
    let earlier = Some(whole.started + whole.uptime_seconds - 60.0);
    pool.sources = vec![
        source(None, None),
        source(Some("no such host"), None),
        source(None, earlier),
        source(Some("no such host"), earlier),
    ];
    let shown = render(&status(vec![pool]), PLAIN);
    for line in [
        "has not answered yet\n",
        "has never answered: no such host\n",
        "2 endpoints, answered 1m 00s ago\n",
        "2 endpoints kept, answered 1m 00s ago, fails: no such host\n",
    ] {
        assert!(shown.contains(&format!("from app.internal:80: {line}")), "{shown}");
    }
}

/// All keys of a JSON text.
fn keys(json: &serde_json::Value, found: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(object) => object.iter().for_each(|(key, value)| {
            found.push(key.clone());
            keys(value, found);
        }),
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn the_documentation_has_every_field_of_the_status() {
    let documentation = include_str!("../../../docs/admin.md");
    let mut status = Status { confirm_seconds: Some(1.0), ..mixed() };
    let by_hand = ByHandStatus { by: "uid 0".into(), until: Some(NOW) };
    status.pools[0].endpoints[0].drained = Some(by_hand.clone());
    status.pools[0].endpoints[0].weight_by_hand = Some(WeightByHand { file: 5, by_hand });
    let mut found = Vec::new();
    keys(&serde_json::to_value(&status).expect("JSON"), &mut found);
    assert!(found.len() > 30, "{found:?}");
    for key in found {
        assert!(documentation.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn what_probes_have_found_and_why_shares_differ_is_shown() {
    let probe = |age: f64, result, reason: Option<&str>| ProbeStatus {
        at: NOW - age,
        result,
        reason: reason.map(str::to_owned),
    };
    let flapping = EndpointStatus {
        probes: vec![
            probe(4.0, ProbeOutcome::Failed, Some("status 503")),
            probe(2.0, ProbeOutcome::Passed, None),
        ],
        share_cause: Some("it was ejected once".into()),
        ..endpoint("10.0.0.1:3000", 5)
    };
    let well = EndpointStatus {
        probes: vec![probe(1.0, ProbeOutcome::Passed, None)],
        ..endpoint("10.0.0.2:3000", 5)
    };
    let shown = render(&status(vec![pool("api", 0, vec![flapping, well])]), PLAIN);
    let expected = "share of 10.0.0.1:3000: it was ejected once\n\
                    probes of 10.0.0.1:3000: 2s ago passed; 4s ago failed: status 503\n";
    assert!(shown.ends_with(expected), "{shown}");
}
