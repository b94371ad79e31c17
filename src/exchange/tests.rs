//! The life of a request without a network: what is tried, how often, and what is written down.

mod authentication;
mod retries;

use super::*;
use crate::config::{self, AccessLog};
use crate::pool::Skipped;
use crate::pool::status::EndpointState;
use crate::snapshot::Snapshot;
use crate::telemetry::record::ClientAddress;
use crate::telemetry::{Telemetry, access};

const TWO: &str = "listen: 127.0.0.1:0\nendpoints: [127.0.0.1:3001, 127.0.0.1:3002]";

fn snapshot(yaml: &str) -> Arc<Snapshot> {
    let config = config::parse(yaml, "test").unwrap_or_else(|report| panic!("{report}"));
    Arc::new(Snapshot::build(config, None))
}

fn pool_of_two(extra: &str) -> Arc<Snapshot> {
    snapshot(&format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ pool: p }}]\npools:\n  p:\n    \
         endpoints: [127.0.0.1:3001, 127.0.0.1:3002]\n    health_check: off\n    {extra}\n"
    ))
}

fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> http::request::Parts {
    let mut request = http::Request::builder().method(method).uri(target).header("host", "example.com");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid request").into_parts().0
}

fn scope(snapshot: &Arc<Snapshot>) -> Arc<RequestScope> {
    let off = AccessLog::off();
    let log = access::AccessLog::start(&off, 1).expect("no log");
    let telemetry = Telemetry::new(log, SystemTime::UNIX_EPOCH);
    let listener = snapshot.listener("default").expect("there is one").clone();
    let counters = telemetry.metrics.listener(&listener.name);
    RequestScope::new(snapshot.clone(), listener, Arc::new(telemetry.worker()), counters)
}

fn begin(snapshot: &Arc<Snapshot>, head: &http::request::Parts) -> Exchange {
    let target = head.uri.to_string();
    let arrival = Arrival {
        head,
        identity: ClientIdentity::Peer(ClientAddress::inet(([192, 0, 2, 1], 4000).into())),
        tls_info: None,
        protocol: Protocol::Http11,
        target: target.as_bytes(),
        upgrade: false,
        short_of_memory: false,
        now: Instant::now(),
        time: SystemTime::now(),
    };
    Exchange::begin(scope(snapshot), arrival)
}

fn admitted(snapshot: &Arc<Snapshot>, method: &str) -> Exchange {
    let head = head(method, "/", &[]);
    let mut exchange = begin(snapshot, &head);
    exchange.admit(&head, [9].into_iter()).expect("nothing is wrong with it");
    exchange
}

fn refused(yaml: &str, head: &http::request::Parts, fields: &[usize]) -> Failure {
    let mut exchange = begin(&snapshot(yaml), head);
    exchange.admit(head, fields.iter().copied()).expect_err("something is wrong with it")
}

fn attempt(exchange: &mut Exchange) -> Arc<str> {
    match exchange.next(Instant::now()) {
        Next::Attempt => exchange.endpoint().expect("just opened").label().clone(),
        Next::Pause(_) => attempt(exchange),
        Next::Wait(..) => panic!("told to wait"),
        Next::Fail(failure) => panic!("failed: {failure:?}"),
    }
}

const FRESH: Circumstances = Circumstances { replayable: true, reused: false, response_begun: false };

fn fails(exchange: &mut Exchange, failure: Failure, circumstances: Circumstances) -> bool {
    exchange.attempt_failed(failure, None, circumstances, Instant::now())
}

fn pool_of(endpoints: usize, extra: &str) -> Arc<Snapshot> {
    let endpoints: Vec<_> = (1..=endpoints).map(|port| format!("127.0.0.1:{port}")).collect();
    snapshot(&format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ pool: p }}]\npools:\n  p:\n    \
         endpoints: [{}]\n    health_check: off\n    {extra}\n",
        endpoints.join(", ")
    ))
}

#[test]
fn a_refused_connect_moves_on_to_each_endpoint_once_whatever_the_method_and_the_limit() {
    let snapshot = pool_of(20, "retry: { limit: 2 }");
    let mut exchange = admitted(&snapshot, "POST");
    let mut tried: Vec<_> = (0..19)
        .map(|_| {
            let endpoint = attempt(&mut exchange);
            assert!(fails(&mut exchange, Failure::ConnectFailed, FRESH), "others are left");
            endpoint
        })
        .collect();
    tried.push(attempt(&mut exchange));
    assert!(!fails(&mut exchange, Failure::ConnectFailed, FRESH), "none is left");
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), 20);
    assert_eq!(exchange.finish(Some(503), 0, Instant::now()).attempts.len(), 20);
}

#[test]
fn a_refused_connect_takes_no_retry_from_other_failures() {
    let mut exchange = admitted(&pool_of(9, "retry: { limit: 2 }"), "GET");
    for failure in [Failure::EndpointReset, Failure::EndpointReset] {
        for _ in 0..2 {
            attempt(&mut exchange);
            assert!(fails(&mut exchange, Failure::ConnectFailed, FRESH));
        }
        attempt(&mut exchange);
        assert!(fails(&mut exchange, failure, FRESH));
    }
    attempt(&mut exchange);
    assert!(!fails(&mut exchange, Failure::EndpointReset, FRESH), "two retries are all");
}

/// Three connects of a second each are what a limit of two retries allows.
#[test]
fn the_time_for_connects_is_bounded() {
    const ONE_SECOND: &str = "retry: { limit: 2 }\n    timeouts: { connect: 1s }";
    let mut exchange = admitted(&pool_of(9, ONE_SECOND), "GET");
    for again in [true, true, false] {
        attempt(&mut exchange);
        assert_eq!(fails(&mut exchange, Failure::ConnectTimeout, FRESH), again);
    }
    for failure in [Failure::ConnectFailed, Failure::ResourcesShort] {
        let mut exchange = admitted(&pool_of(9, ONE_SECOND), "GET");
        for again in [true, false] {
            attempt(&mut exchange);
            let slowly = Instant::now() + Duration::from_millis(1600);
            assert_eq!(exchange.attempt_failed(failure, None, FRESH, slowly), again, "{failure:?}");
        }
    }
}

#[test]
fn a_shortage_of_this_machine_is_no_failure_of_an_endpoint() {
    let snapshot = pool_of(2, "");
    let mut exchange = admitted(&snapshot, "GET");
    for again in [true, false] {
        attempt(&mut exchange);
        assert_eq!(fails(&mut exchange, Failure::ResourcesShort, FRESH), again);
    }
    for endpoint in &snapshot.status()[0].endpoints {
        assert_eq!((endpoint.failures, endpoint.state), (0, EndpointState::Healthy));
    }
    let mut exchange = admitted(&snapshot, "GET");
    attempt(&mut exchange);
    fails(&mut exchange, Failure::ConnectFailed, FRESH);
    let states = snapshot.status()[0].endpoints.iter().map(|endpoint| endpoint.state).collect::<Vec<_>>();
    assert!(states.contains(&EndpointState::Unreachable), "{states:?}");
}

#[test]
fn where_all_refuse_the_request_waits() {
    let snapshot = pool_of(2, "when_none_healthy: { wait: 5s }");
    let mut exchange = admitted(&snapshot, "POST");
    let now = Instant::now();
    for _ in 0..2 {
        attempt(&mut exchange);
        assert!(fails(&mut exchange, Failure::ConnectFailed, FRESH));
    }
    let Next::Wait(wait, limit) = exchange.next(now) else { panic!("it waits") };
    assert_eq!(limit, Duration::from_secs(5));
    drop(wait);
    // An endpoint may be back, and the time waited so far counts.
    let later = now + Duration::from_secs(1);
    for _ in 0..2 {
        assert!(matches!(exchange.next(later), Next::Attempt));
        assert!(fails(&mut exchange, Failure::ConnectFailed, FRESH));
    }
    let Next::Wait(_, limit) = exchange.next(later) else { panic!("it waits again") };
    assert_eq!(limit, Duration::from_secs(4));
    assert_eq!(snapshot.status()[0].waiting, 1, "one place is enough");
}

/// A wait would end at once, as one endpoint can be reached, and then begin again and again.
#[test]
fn nobody_waits_for_what_this_machine_is_short_of() {
    use Failure::{ConnectFailed, ResourcesShort};
    for failures in [[ResourcesShort, ConnectFailed], [ConnectFailed, ResourcesShort]] {
        let mut exchange = admitted(&pool_of(2, "when_none_healthy: { wait: 5s }"), "GET");
        for (failure, again) in failures.into_iter().zip([true, false]) {
            attempt(&mut exchange);
            assert_eq!(fails(&mut exchange, failure, FRESH), again, "{failures:?}");
        }
    }
    // Where no endpoint can be reached, there is something to wait for.
    let snapshot = pool_of(1, "when_none_healthy: { wait: 5s }");
    let mut other = admitted(&snapshot, "GET");
    attempt(&mut other);
    fails(&mut other, ConnectFailed, FRESH);
    let mut exchange = admitted(&snapshot, "GET");
    attempt(&mut exchange);
    assert!(fails(&mut exchange, ResourcesShort, FRESH));
    assert!(matches!(exchange.next(Instant::now()), Next::Wait(..)));
}

/// However many connects time out: three of a second each, the wait, and at most three more after it.
#[test]
fn who_hangs_at_one_endpoint_after_the_other_waits_and_has_an_end() {
    let text = "retry: { limit: 2 }\n    timeouts: { connect: 1s }\n    when_none_healthy: { wait: 5s }";
    let mut exchange = admitted(&pool_of(90, text), "GET");
    let begun = Instant::now();
    let (mut now, mut first_wait) = (begun, None);
    let failure = loop {
        match exchange.next(now) {
            Next::Attempt => {
                now += Duration::from_secs(1);
                assert!(exchange.attempt_failed(Failure::ConnectTimeout, None, FRESH, now));
            }
            Next::Pause(pause) => now += pause,
            // The wait ends at once.
            Next::Wait(..) => first_wait = first_wait.or(Some(now - begun)),
            Next::Fail(failure) => break failure,
        }
    };
    assert_eq!((failure, first_wait), (Failure::WaitExpired, Some(Duration::from_secs(3))));
    assert!(now - begun <= Duration::from_secs(3 + 5 + 3), "{:?}", now - begun);
}

#[test]
fn a_request_that_waits_is_decided_anew_by_the_config_in_force() {
    let head = head("POST", "/", &[]);
    let before = none_healthy("{ wait: 5s }");
    let mut exchange = begin(&before, &head);
    exchange.admit(&head, [9].into_iter()).expect("nothing is wrong with it");
    let now = Instant::now();
    assert!(matches!(exchange.next(now), Next::Wait(..)));
    assert_eq!(before.status()[0].waiting, 1);
    let rerouted = exchange.reroute(scope(&before), &head, now);
    assert!(matches!(rerouted, Ok(None)), "nothing has changed");

    let text = "listeners: [{ address: 127.0.0.1:0 }]\nroutes: [{ name: r, pool: q }]\npools: { q: { endpoints: [127.0.0.1:1], health_check: off } }";
    let config = config::parse(text, "test").expect("a valid config");
    let after = Arc::new(Snapshot::build(config, Some(&before)));
    let later = now + Duration::from_secs(2);
    assert!(matches!(exchange.reroute(scope(&after), &head, later), Ok(Some(Admitted::Forward))));
    assert_eq!(&*attempt(&mut exchange), "127.0.0.1:1");
    exchange.connected(false, later);
    assert_eq!(before.status()[0].waiting, 0, "its place is free");
    let record = exchange.finish(Some(200), 0, later);
    assert_eq!((record.generation, record.pool), (after.generation(), Some("q")));
    assert_eq!(record.waited, Some(Duration::from_secs(2)));
}

/// A request that one pool has admitted is new to another; the same pool with another config does not refuse it.
#[test]
fn a_request_that_comes_to_another_pool_is_held_to_its_limit() {
    let head = head("GET", "/", &[]);
    for (pool, is_refused) in [("q", true), ("p", false)] {
        let before = none_healthy("{ wait: 5s }");
        let mut waits = begin(&before, &head);
        waits.admit(&head, [9].into_iter()).expect("nothing is wrong with it");
        assert!(matches!(waits.next(Instant::now()), Next::Wait(..)));
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ pool: {pool} }}]\npools:\n  {pool}:\n    \
             endpoints: [127.0.0.1:1]\n    health_check: off\n  other: [127.0.0.1:2]\n"
        );
        let config = config::parse(&text, "test").expect("a valid config");
        let after = Arc::new(Snapshot::build(config, Some(&before)));
        // Nine tenths of two connections are one.
        after.limit_pools(2, 100);
        let mut first = admitted(&after, "GET");
        attempt(&mut first);
        let rerouted = waits.reroute(scope(&after), &head, Instant::now());
        assert!(matches!(rerouted, Ok(Some(Admitted::Forward))));
        let next = waits.next(Instant::now());
        assert_eq!(matches!(next, Next::Fail(Failure::PoolFull)), is_refused, "{pool}");
        let status = &after.status()[0];
        assert_eq!((status.refused, status.endpoints[0].requests), if is_refused { (1, 1) } else { (0, 2) });
        assert_eq!(before.status()[0].waiting, u64::from(!is_refused), "until it has a connection");
    }
}

/// Limits of a route and a pool: who is beyond them waits, and is called in order of priority.
#[test]
fn beyond_a_limit_requests_wait_for_their_turn() {
    let limits = "limits: { requests: 1, queue: 2, wait: 2s }";
    for (of_route, of_pool, lack) in [(limits, "", "route"), ("", limits, "pool")] {
        let snapshot = snapshot(&format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes:\n  - pool: p\n    priority: {{ header: X-Priority }}\n    \
             {of_route}\npools:\n  p:\n    endpoints: [127.0.0.1:1]\n    health_check: off\n    {of_pool}\n"
        ));
        snapshot.limit_pools(100, 100);
        let of_priority = |priority| {
            let head = head("GET", "/", &[("x-priority", priority)]);
            let mut exchange = begin(&snapshot, &head);
            exchange.admit(&head, [9].into_iter()).expect("nothing is wrong with it");
            exchange
        };
        let now = Instant::now();
        let waits = |exchange: &mut Exchange, at: u64| match exchange.next(now + Duration::from_millis(at)) {
            Next::Wait(wait, left) => (wait, left.as_millis()),
            Next::Attempt | Next::Pause(_) => panic!("it is served"),
            Next::Fail(failure) => panic!("{failure:?}"),
        };
        let [mut first, mut low, mut high, mut other] = ["", "low", "HIGH", "whatever"].map(of_priority);
        attempt(&mut first);
        assert_eq!(waits(&mut low, 0).1, 2000);
        assert_eq!(waits(&mut low, 500).1, 1500, "it has tried again");
        assert_eq!(waits(&mut high, 600).1, 2000);
        // The queue is full: the newest of the lowest priority makes way.
        assert_eq!(waits(&mut other, 600).1, 2000);
        assert!(matches!(low.next(now + Duration::from_millis(600)), Next::Fail(Failure::Overloaded)));
        low.failed(Failure::Overloaded, None);
        let record = low.finish(Some(503), 0, now + Duration::from_millis(600));
        assert_eq!(record.waited, Some(Duration::from_millis(600)));
        assert_eq!(record.waited_for.labels().collect::<Vec<_>>(), [lack]);
        assert!(matches!(of_priority("normal").next(now), Next::Fail(Failure::QueueFull)));
        first.finish(Some(200), 0, now);
        assert_eq!(waits(&mut other, 700).1, 1900, "it is not its turn");
        attempt(&mut high);
        assert!(fails(&mut high, Failure::EndpointReset, FRESH), "a retry needs no turn");
        attempt(&mut high);
        let late = now + Duration::from_millis(2600);
        assert!(matches!(other.next(late), Next::Fail(Failure::QueueExpired)));
        drop((high, other));
        attempt(&mut of_priority(""));
        let queue = match lack {
            "route" => snapshot.route_status()[0].queue,
            _ => snapshot.status()[0].queue,
        };
        assert_eq!((queue.waiting, queue.waits, queue.full, queue.expired, queue.shed), (0, 3, 1, 1, 1));
    }
}

#[test]
fn where_nobody_may_wait_a_limit_refuses_at_once() {
    let limits = "limits: { requests: 1, wait: 0s }";
    for (of_route, of_pool, failure) in [(limits, "", Failure::RouteFull), ("", limits, Failure::PoolFull)] {
        let snapshot = snapshot(&format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes:\n  - pool: p\n    {of_route}\npools:\n  p:\n    \
             endpoints: [127.0.0.1:1]\n    health_check: off\n    {of_pool}\n"
        ));
        snapshot.limit_pools(100, 100);
        let mut first = admitted(&snapshot, "GET");
        attempt(&mut first);
        let refused = match admitted(&snapshot, "GET").next(Instant::now()) {
            Next::Fail(failure) => failure,
            _ => panic!("there is no room"),
        };
        assert_eq!(refused, failure);
        first.finish(Some(200), 0, Instant::now());
        attempt(&mut admitted(&snapshot, "GET"));
    }
}

#[test]
fn a_route_that_is_gone_is_said_to_who_waited_for_it() {
    let head = head("GET", "/a", &[]);
    let before = none_healthy("{ wait: 5s }");
    let mut exchange = begin(&before, &head);
    exchange.admit(&head, [9].into_iter()).expect("nothing is wrong with it");
    assert!(matches!(exchange.next(Instant::now()), Next::Wait(..)));
    let after = snapshot(
        "listeners: [{ address: 127.0.0.1:0 }]\nroutes: [{ match: { paths: [/b] }, pool: p }]\npools: { p: [127.0.0.1:1] }",
    );
    let rerouted = exchange.reroute(scope(&after), &head, Instant::now());
    assert!(matches!(rerouted, Err(Failure::NoRoute)), "{rerouted:?}");
    exchange.failed(Failure::NoRoute, None);
    let record = exchange.finish(Some(404), 0, Instant::now());
    assert_eq!((record.route, record.pool, record.cause), (None, None, Some("no_route")));
    assert_eq!(record.generation, after.generation());
}

#[test]
fn after_the_connect_only_idempotent_requests_are_repeated() {
    let snapshot = pool_of_two("retry: { limit: 2, on: [connect, reset, timeout] }");
    for failure in [Failure::EndpointReset, Failure::ResponseTimeout] {
        for (method, again) in
            [("GET", true), ("PUT", true), ("DELETE", true), ("POST", false), ("PATCH", false)]
        {
            let mut exchange = admitted(&snapshot, method);
            attempt(&mut exchange);
            assert_eq!(fails(&mut exchange, failure, FRESH), again, "{method} {failure:?}");
        }
    }
}

#[test]
fn nothing_is_repeated_that_cannot_be_or_that_the_client_has_seen() {
    let snapshot = pool_of_two("retry: { limit: 2 }");
    let lost = Circumstances { replayable: false, ..FRESH };
    let begun = Circumstances { response_begun: true, ..FRESH };
    for circumstances in [lost, begun] {
        let mut exchange = admitted(&snapshot, "GET");
        attempt(&mut exchange);
        assert!(!fails(&mut exchange, Failure::EndpointReset, circumstances), "{circumstances:?}");
    }
}

#[test]
fn only_what_the_config_names_is_retried() {
    for (retry, failure) in [
        ("retry: off", Failure::ConnectFailed),
        ("retry: { on: [reset] }", Failure::ConnectFailed),
        ("retry: { on: [connect] }", Failure::EndpointReset),
        ("retry: { on: [connect, reset] }", Failure::ResponseTimeout),
        ("retry: { on: [connect, reset, timeout] }", Failure::BadResponse),
    ] {
        let mut exchange = admitted(&pool_of_two(retry), "GET");
        attempt(&mut exchange);
        assert!(!fails(&mut exchange, failure, FRESH), "{retry} {failure:?}");
    }
}

#[test]
fn kept_connections_that_were_closed_cost_no_retry_and_no_failure() {
    let snapshot = pool_of_two("retry: { limit: 0, on: [reset] }");
    let stale = Circumstances { reused: true, ..FRESH };
    let mut exchange = admitted(&snapshot, "GET");
    for _ in 0..5 {
        attempt(&mut exchange);
        assert!(fails(&mut exchange, Failure::EndpointReset, stale));
    }
    assert!(snapshot.status()[0].endpoints.iter().all(|endpoint| endpoint.failures == 0));
    let mut exchange = admitted(&snapshot, "POST");
    attempt(&mut exchange);
    assert!(!fails(&mut exchange, Failure::EndpointReset, stale), "it may have been executed");
}

#[test]
fn attempts_that_cost_no_retry_have_an_end_all_the_same() {
    let snapshot = pool_of_two("retry: { limit: 2, on: [reset, 503] }");
    let stale = Circumstances { reused: true, ..FRESH };
    let mut exchange = admitted(&snapshot, "GET");
    for _ in 1..ATTEMPTS_MAX {
        attempt(&mut exchange);
        assert!(fails(&mut exchange, Failure::EndpointReset, stale));
    }
    attempt(&mut exchange);
    assert_eq!(
        exchange.response_head(503, None, FRESH, Instant::now()),
        ResponseAction::Forward,
        "it is the last one"
    );
    assert!(!fails(&mut exchange, Failure::EndpointReset, stale));
    assert_eq!(exchange.finish(Some(502), 0, Instant::now()).attempts.len(), ATTEMPTS_MAX);
}

#[test]
fn a_status_is_retried_where_the_config_says_so() {
    let snapshot = pool_of_two("retry: { limit: 1, on: [503] }");
    let mut exchange = admitted(&snapshot, "GET");
    attempt(&mut exchange);
    assert_eq!(exchange.response_head(503, None, FRESH, Instant::now()), ResponseAction::Retry);
    attempt(&mut exchange);
    assert_eq!(
        exchange.response_head(503, None, FRESH, Instant::now()),
        ResponseAction::Forward,
        "the limit is reached"
    );
    let mut exchange = admitted(&snapshot, "POST");
    attempt(&mut exchange);
    assert_eq!(
        exchange.response_head(503, None, FRESH, Instant::now()),
        ResponseAction::Forward,
        "a POST may have been executed"
    );
    let mut exchange = admitted(&snapshot, "GET");
    attempt(&mut exchange);
    assert_eq!(
        exchange.response_head(500, None, FRESH, Instant::now()),
        ResponseAction::Forward,
        "not named"
    );
}

#[test]
fn limits_refuse_before_anything_is_chosen() {
    let yaml = "listeners:\n  - address: 127.0.0.1:0\n    limits: { header_size: 100B, header_count: 2, target_size: 20B, \
                body_size: 10B }\nroutes: [{ pool: p, match: { paths: [/a] } }]\npools: { p: [127.0.0.1:3001] }";
    let plain = head("GET", "/a", &[]);
    assert_eq!(refused(yaml, &head("GET", "/a?123456789012345678", &[]), &[1]), Failure::TargetTooLong);
    assert_eq!(refused(yaml, &plain, &[101]), Failure::HeadersTooLarge);
    assert_eq!(refused(yaml, &plain, &[1, 1, 1]), Failure::HeadersTooLarge);
    assert_eq!(refused(yaml, &head("POST", "/a", &[("content-length", "11")]), &[1]), Failure::BodyTooLarge);
    assert_eq!(refused(yaml, &head("GET", "/b", &[]), &[1]), Failure::NoRoute);
    let mut nobody = plain;
    nobody.headers.remove("host");
    assert_eq!(refused(yaml, &nobody, &[1]), Failure::MissingHost);
}

#[test]
fn a_body_is_too_large_as_soon_as_it_is() {
    let yaml = "listeners: [{ address: 127.0.0.1:0, limits: { body_size: 10B } }]\nroutes: [{ pool: p }]\n\
                pools: { p: [127.0.0.1:3001] }";
    let mut exchange = admitted(&snapshot(yaml), "POST");
    assert_eq!(exchange.request_body(10), Ok(()));
    assert_eq!(exchange.request_body(1), Err(Failure::BodyTooLarge));
    exchange.request_body_again();
    assert_eq!(exchange.request_body(10), Ok(()), "a retry sends it from the beginning");
}

#[test]
fn the_host_is_what_the_pool_says() {
    for (host, expected) in
        [("preserve", None), ("endpoint", Some("127.0.0.1:300")), ("app.local", Some("app.local"))]
    {
        let mut exchange = admitted(&pool_of_two(&format!("host: {host}")), "GET");
        attempt(&mut exchange);
        let mut edits = Edits::default();
        exchange.request_edits(&head("GET", "/", &[]), std::iter::empty(), &mut edits);
        let set = edits.iter().find_map(|(name, action)| match action {
            Action::Set(value) if name == "host" => str::from_utf8(value).ok(),
            _ => None,
        });
        assert_eq!(set.map(|set| set.trim_end_matches(['1', '2'])), expected, "{host}");
    }
}

#[test]
fn nobody_healthy_is_said_at_once_or_waited_for() {
    let mut exchange = admitted(&none_healthy("{ wait: 0s }"), "GET");
    assert!(matches!(exchange.next(Instant::now()), Next::Fail(Failure::NoHealthyEndpoint)));

    let snapshot = none_healthy("{ wait: 5s, queue: 1 }");
    let mut exchange = admitted(&snapshot, "GET");
    let now = Instant::now();
    let Next::Wait(wait, limit) = exchange.next(now) else { panic!("it waits") };
    assert_eq!(limit, Duration::from_secs(5));
    let mut other = admitted(&snapshot, "GET");
    assert!(matches!(other.next(now), Next::Fail(Failure::WaitQueueFull)));
    drop(wait);
    let later = now + Duration::from_secs(5);
    assert!(matches!(exchange.next(later), Next::Fail(Failure::WaitExpired)));
    assert_eq!(exchange.finish(Some(503), 0, later).waited, Some(Duration::from_secs(5)));
}

/// A pool whose only endpoint gets no traffic: its name does not resolve.
fn none_healthy(when: &str) -> Arc<Snapshot> {
    snapshot(&format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ pool: p }}]\npools:\n  p:\n    \
         endpoints: [nowhere.invalid:80]\n    when_none_healthy: {when}\n"
    ))
}

#[test]
fn the_record_tells_the_story() {
    let snapshot = snapshot(TWO);
    let head = head("GET", "/x?y=1", &[("user-agent", "test"), ("x-request-id", "abc")]);
    let mut exchange = begin(&snapshot, &head);
    exchange.admit(&head, [9].into_iter()).expect("nothing is wrong with it");
    attempt(&mut exchange);
    exchange.connected(true, Instant::now());
    assert_eq!(exchange.response_head(200, None, FRESH, Instant::now()), ResponseAction::Forward);
    exchange.response_body(5);
    let record = exchange.finish(Some(200), 5, Instant::now());
    assert_eq!((record.status, record.bytes_out, record.cause), (200, 5, None));
    assert_eq!(
        (record.text.target(), record.text.host(), record.text.request_id()),
        ("/x?y=1", "example.com", "abc")
    );
    assert_eq!((record.route, record.pool), (Some("default"), Some("default")));
    assert_eq!(record.attempts[0].result, AttemptResult::Status(200));
    assert_eq!(record.attempts[0].connect, None, "the connection was there");
    let skipped: Vec<&Skipped> = record.skipped.iter().flat_map(|skipped| &skipped.named).collect();
    assert_eq!(skipped.len(), 2, "both have not been probed yet: {skipped:?}");
}

#[test]
fn a_client_that_leaves_before_an_answer_is_499() {
    let mut exchange = admitted(&snapshot(TWO), "GET");
    attempt(&mut exchange);
    exchange.failed(Failure::ClientGone, None);
    exchange.failed(Failure::Internal, None);
    let record = exchange.finish(None, 0, Instant::now());
    assert_eq!((record.status, record.cause), (499, Some("client_gone")), "the first cause stays");
}

#[test]
fn nothing_is_tried_when_the_time_for_the_request_is_over() {
    let snapshot = snapshot(
        "listeners: [{ address: 127.0.0.1:0 }]\nroutes: [{ pool: p, timeout: 5s }]\npools:\n  p:\n    \
         endpoints: [127.0.0.1:3001, 127.0.0.1:3002]\n    health_check: off\n    retry: { on: [connect] }\n",
    );
    let mut exchange = admitted(&snapshot, "GET");
    attempt(&mut exchange);
    assert!(fails(&mut exchange, Failure::ConnectFailed, FRESH));
    let late = Instant::now() + Duration::from_secs(6);
    assert!(matches!(exchange.next(late), Next::Fail(Failure::RequestDeadline)));
    attempt(&mut exchange);
    assert!(!fails(&mut exchange, Failure::RequestDeadline, FRESH), "it is never retried");
}

#[test]
fn a_path_is_brought_into_form_and_kept_for_the_log() {
    let snapshot = snapshot(TWO);
    for (sent, form, logged) in [
        ("/a/../b?c=..", Some("/b"), Some("/b")),
        ("/b?c=..", None, None),
        ("http://example.com/b", None, None),
        ("http://example.com/a/%62", Some("/a/b"), Some("/a/b")),
    ] {
        let head = head("GET", sent, &[]);
        let mut exchange = begin(&snapshot, &head);
        assert_eq!(exchange.normalize_path(&head).expect(sent).as_deref(), form, "{sent}");
        assert_eq!(exchange.finish(None, 0, Instant::now()).path.as_deref(), logged, "{sent}");
    }
    let head = head("GET", "/../b", &[]);
    let mut exchange = begin(&snapshot, &head);
    assert_eq!(exchange.normalize_path(&head), Err(Failure::BadRequest));
    exchange.failed(Failure::BadRequest, None);
    let detail = exchange.finish(None, 0, Instant::now()).unusual().detail.clone();
    assert_eq!(detail.as_deref(), Some("the path climbs above its root"));
}
