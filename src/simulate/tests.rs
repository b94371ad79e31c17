//! Scenarios of `docs/balance.md`'s kind: five endpoints with four workers each and 10 ms, at 60 % of what they serve.

use std::time::Duration;

use super::report::{PeriodReport, Report};
use super::scenario::{self, Fault, Load, RequestForm, Scenario};
use super::{ScenarioError, run};
use crate::config;

fn pool(settings: &str) -> String {
    let addresses: Vec<String> = (1..=5).map(|host| format!("10.0.0.{host}:80")).collect();
    format!(
        "listeners: [{{ name: a, address: '127.0.0.1:0' }}]\nroutes: [{{ name: all, pool: p }}]\npools:\n  p: {{ endpoints: [{}], {settings} }}\n",
        addresses.join(", ")
    )
}

fn scenario(seconds: u64, faults: Vec<Fault>) -> Scenario {
    Scenario {
        load: Load::Rate(1_200.0),
        time: Duration::from_secs(seconds),
        service: vec![],
        workers: vec![],
        constant: false,
        faults,
        request: RequestForm { method: "GET".into(), url: "http://shop.example/".into(), fields: vec![] },
        users: 100,
        seed: 1,
    }
}

fn simulate(settings: &str, scenario: &Scenario) -> Report {
    let config = config::parse(&pool(settings), "test").unwrap_or_else(|report| panic!("{report}"));
    run(config, scenario).unwrap_or_else(|error| panic!("{error}"))
}

fn fault(fault: Result<Fault, String>) -> Vec<Fault> {
    vec![fault.expect("it is right")]
}

/// The greatest of the periods' p99 in these seconds.
fn worst_p99(report: &Report, from: f64, to: f64) -> f64 {
    let periods = report.timeline.periods.iter().filter(|period| (from..to).contains(&period.seconds));
    periods.filter_map(|period| period.p99_ms).fold(0.0, f64::max)
}

fn share_of_first(report: &Report, from: f64, to: f64) -> f64 {
    let periods: Vec<&PeriodReport> =
        report.timeline.periods.iter().filter(|period| (from..to).contains(&period.seconds)).collect();
    periods.iter().map(|period| period.shares[0]).sum::<f64>() / periods.len() as f64
}

fn events(report: &Report) -> Vec<String> {
    report
        .events
        .iter()
        .map(|event| format!("{:.1} {} {}", event.seconds, event.endpoint, event.what))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_and_another_one_does_not() {
    let json = |seed| {
        let mut faults = fault(scenario::slow("0.1:=10x@1s+2s"));
        faults.extend(fault(scenario::fail("0.2:=503:90%@1s+1s")));
        faults.extend(fault(scenario::kill("0.3:@3s+1s")));
        let settings = "balance: least_time, slow_start: 2s, outliers: { time: 1s }, retry: { on: [connect, 503], limit: 3, backoff: 20ms }";
        let report = simulate(settings, &Scenario { seed, ..scenario(6, faults) });
        assert!(report.events.iter().any(|event| event.what.starts_with("ejected: ")), "{:?}", report.events);
        serde_json::to_string(&report).expect("it is a report")
    };
    let first = json(1);
    assert_eq!(first, json(1));
    assert_ne!(first, json(2));
}

#[test]
fn round_robin_gives_each_the_same() {
    let report = simulate("balance: round_robin", &scenario(5, vec![]));
    let requests: Vec<u64> = report.endpoints.iter().map(|endpoint| endpoint.requests).collect();
    assert!(requests.iter().max().expect("five") - requests.iter().min().expect("five") <= 1, "{requests:?}");
    assert_eq!((report.totals.errors, report.totals.retries), (0, 0));
    assert!((5_500..6_500).contains(&report.totals.requests));
    // M/M/4 at 60 %: 10 ms of work, and little more.
    let p50 = report.totals.p50_ms.expect("there are requests");
    assert!((7.0..11.0).contains(&p50), "{p50}");
}

#[test]
fn one_slow_endpoint_is_felt_by_round_robin_and_not_by_least_requests() {
    let slow = || fault(scenario::slow("0.1:=10x@2s+10s"));
    let by = |balance: &str| simulate(&format!("balance: {balance}, outliers: off"), &scenario(14, slow()));
    let [even, least, time] = ["round_robin", "least_requests", "least_time"].map(by);
    let p99 = |report: &Report| worst_p99(report, 4.0, 12.0);
    assert!(p99(&even) > 5_000.0, "{}", p99(&even));
    assert!(p99(&least) < 300.0, "{}", p99(&least));
    assert!(p99(&time) < 200.0, "{}", p99(&time));
    assert!(share_of_first(&least, 4.0, 12.0) < 0.05);
    assert!(share_of_first(&time, 4.0, 12.0) < 0.02);
}

/// Those who meet the slow one get their answer elsewhere; the load that this adds is its share.
#[test]
fn a_second_attempt_cuts_the_tail() {
    let by = |retry: &str| {
        let slow = fault(scenario::slow("0.1:=5x@2s+10s"));
        simulate(&format!("balance: random, outliers: off, retry: {{ {retry} }}"), &scenario(14, slow))
    };
    let hedged = "hedge: { after: 40ms, share: 30% }";
    let [alone, hedged] = ["hedge: off", hedged].map(by);
    let p99 = |report: &Report| worst_p99(report, 4.0, 12.0);
    assert!(p99(&hedged) < p99(&alone) / 3.0, "{} {}", p99(&hedged), p99(&alone));
    assert_eq!((hedged.totals.errors, hedged.totals.retries), (0, 0));
    let attempts = |report: &Report| report.endpoints.iter().map(|endpoint| endpoint.requests).sum::<u64>();
    assert_eq!(attempts(&alone), alone.totals.requests);
    let more = attempts(&hedged) as f64 / hedged.totals.requests as f64;
    assert!((1.05..1.30).contains(&more), "{more}");
    // The p95 of all is that of the slow one, which is met by a fifth.
    let of_two_percent = by("hedge: p95");
    let more = attempts(&of_two_percent) as f64 / of_two_percent.totals.requests as f64;
    assert!((1.0..1.021).contains(&more), "{more}");
}

#[test]
fn one_that_fails_at_once_is_ejected_after_a_handful_of_errors() {
    let fails = || fault(scenario::fail("0.1:=503@2s+10s"));
    let with = |outliers: &str| {
        simulate(
            &format!("balance: least_requests, outliers: {outliers}, retry: off"),
            &scenario(14, fails()),
        )
    };
    let (without, with) = (with("off"), with("{ failures: 5 }"));
    assert!(without.totals.errors > 5_000, "{}", without.totals.errors);
    assert!((5..=20).contains(&with.totals.errors), "{}", with.totals.errors);
    assert!(with.endpoints[0].ejections >= 1);
    let ejected = |event: &String| event.contains("10.0.0.1:80 ejected: 5 failures in a row (503: 5)");
    assert!(events(&with).iter().any(ejected), "{:?}", events(&with));
}

#[test]
fn one_that_is_killed_costs_nothing_and_comes_back() {
    let kill = fault(scenario::kill("0.1:@2s+4s"));
    let report = simulate("balance: round_robin, health_check: { interval: 1s }", &scenario(12, kill));
    assert_eq!(report.totals.errors, 0, "{:?}", report.causes);
    assert!(report.totals.retries > 0);
    let events = events(&report);
    let has = |what: &str| events.iter().any(|event| event.contains(what));
    assert!(has("2.0 10.0.0.1:80 unreachable: connection refused"), "{events:?}");
    assert!(has("6.0 10.0.0.1:80 is started again") && has("10.0.0.1:80 healthy"), "{events:?}");
    assert_eq!(share_of_first(&report, 3.0, 5.0), 0.0);
    assert!((share_of_first(&report, 10.0, 12.0) - 0.2).abs() < 0.01);
}

#[test]
fn a_stopped_one_holds_what_it_has_until_the_timeout() {
    let stop = fault(scenario::stop("0.1:@2s+5s"));
    let settings = "balance: least_requests, timeouts: { response: 1s }, retry: { on: [timeout] }";
    let report = simulate(settings, &scenario(10, stop));
    assert_eq!(report.totals.errors, 0, "{:?}", report.causes);
    assert!(worst_p99(&report, 2.0, 3.0) >= 1_000.0);
    assert!(report.endpoints[0].errors > 0 && report.totals.retries > 0);
}

#[test]
fn requests_wait_at_a_limit_and_are_served_in_time() {
    let settings = "balance: least_requests, limits: { requests: 20, wait: 1s, queue: 1000 }";
    let overload = |rate| simulate(settings, &Scenario { load: Load::Rate(rate), ..scenario(5, vec![]) });
    let usual = overload(1_200.0);
    assert!(usual.totals.errors == 0 && usual.totals.waited > 0, "{:?}", usual.causes);
    assert!(usual.endpoints.iter().map(|endpoint| endpoint.in_flight_most).max() <= Some(20));
    let twice = overload(4_000.0);
    let served = twice.totals.requests - twice.totals.errors;
    assert!(served as f64 > 0.9 * 2_000.0 * 5.0, "{served} of {}: {:?}", twice.totals.requests, twice.causes);
    assert!(twice.rows.periods.iter().any(|period| period.waiting > 10));
}

#[test]
fn all_of_them_down_is_an_error_that_says_so() {
    let kill = fault(scenario::kill("all@1s+1s"));
    let report = simulate("when_none_healthy: { wait: 0s }", &scenario(4, kill));
    assert!(report.totals.errors > 0);
    let known = ["no_healthy_endpoint", "connect_failed"];
    assert!(report.causes.iter().all(|cause| known.contains(&&*cause.cause)), "{:?}", report.causes);
    let kill = fault(scenario::kill("all@1s+1s"));
    let patient = simulate("when_none_healthy: { wait: 5s, queue: 5000 }", &scenario(4, kill));
    assert_eq!(patient.totals.errors, 0, "{:?}", patient.causes);
    assert!(patient.totals.waited > 500);
}

#[test]
fn keys_are_those_of_the_clients() {
    let settings = "balance: { hash: { header: x-user } }";
    let request = RequestForm { fields: vec!["x-user: {user}".into()], ..scenario(5, vec![]).request };
    let by = |users| {
        let report = simulate(settings, &Scenario { users, request: request.clone(), ..scenario(5, vec![]) });
        report.endpoints.iter().filter(|endpoint| endpoint.requests > 0).count()
    };
    assert_eq!(by(1_000), 5);
    let one =
        simulate(settings, &Scenario { users: 1, load: Load::Rate(10.0), request, ..scenario(5, vec![]) });
    assert!(one.endpoints.iter().any(|endpoint| endpoint.share > 0.9), "{:?}", one.endpoints);
}

#[test]
fn clients_that_wait_for_their_responses_ask_no_more_than_is_served() {
    let report =
        simulate("balance: least_requests", &Scenario { load: Load::Clients(20), ..scenario(5, vec![]) });
    assert!((9_500..10_500).contains(&report.totals.requests), "{}", report.totals.requests);
    assert!(report.totals.p99_ms.is_some_and(|p99| p99 < 100.0));
}

#[test]
fn what_cannot_be_simulated_is_refused_with_a_remedy() {
    let refused = |yaml: &str, scenario: &Scenario| {
        let config = config::parse(yaml, "test").unwrap_or_else(|report| panic!("{report}"));
        run(config, scenario).expect_err("it cannot be simulated").to_string()
    };
    let unknown = scenario(5, fault(scenario::kill("10.0.0.9:80")));
    assert!(refused(&pool(""), &unknown).contains("it has: 10.0.0.1:80, "));
    let many = Scenario { load: Load::Rate(1e9), ..scenario(5, vec![]) };
    assert!(refused(&pool(""), &many).contains("simulate less with --rate"));
    let elsewhere = pool("").replace("pool: p", "pool: p, match: { hosts: [other.example] }");
    let said = refused(&elsewhere, &scenario(5, vec![]));
    assert!(said.contains("no_route") && said.contains("--url"), "{said}");
    let mut broken = scenario(5, vec![]);
    broken.request.method = "GET GET".into();
    assert!(refused(&pool(""), &broken).contains("is no request"));
    let named = pool("").replace("10.0.0.1:80, ", "").replace(":80", "");
    let names = named.replace("10.0.0.", "'name.invalid:8").replace(", 'n", "', 'n").replace("5]", "5']");
    let said = refused(&names, &scenario(5, vec![]));
    assert!(said.contains("put addresses in the place"), "{said}");
    assert!(matches!(
        run(
            config::parse(&pool(""), "test").expect("it is right"),
            &scenario(5, fault(scenario::kill("all@9s")))
        ),
        Err(ScenarioError::AfterEnd { .. })
    ));
}
