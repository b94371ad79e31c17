//! How often and when a request is tried again.

use super::*;
use crate::telemetry::record::RetryRefused;

fn responds(exchange: &mut Exchange, status: u16, after: Option<&str>) -> ResponseAction {
    exchange.response_head(status, after.map(str::as_bytes), FRESH, Instant::now())
}

fn route(snapshot: &Arc<Snapshot>, fields: &[(&str, &str)]) -> Exchange {
    let head = head("GET", "/", fields);
    let mut exchange = begin(snapshot, &head);
    exchange.admit(&head, [9].into_iter()).expect("nothing is wrong with it");
    exchange
}

fn of_route(extra: &str) -> Arc<Snapshot> {
    snapshot(&format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ pool: p, {extra} }}]\npools:\n  p:\n    \
         endpoints: [127.0.0.1:3001, 127.0.0.1:3002]\n    health_check: off\n"
    ))
}

#[test]
fn retries_are_bounded_by_the_budget_and_the_line_says_so() {
    let snapshot = pool_of_two("retry: { on: [connect, reset, 503], budget: { share: 20%, floor: 1/s } }");
    let mut refused = 0;
    for _ in 0..30 {
        let mut exchange = admitted(&snapshot, "GET");
        attempt(&mut exchange);
        if responds(&mut exchange, 503, None) == ResponseAction::Forward {
            let record = exchange.finish(Some(503), 0, Instant::now());
            assert_eq!((record.status, record.attempts.len()), (503, 1));
            assert_eq!(record.unusual().retry_refused, Some(RetryRefused::Budget));
            refused += 1;
        }
    }
    assert_eq!(refused, 20, "ten seconds of the floor are granted");
    let status = &snapshot.status()[0].retries;
    assert_eq!((status.retries, status.allowed, status.refused), (10, Some(10), 20));
    // What is bounded otherwise costs no budget.
    let mut exchange = admitted(&snapshot, "GET");
    attempt(&mut exchange);
    assert!(fails(&mut exchange, Failure::ConnectFailed, FRESH));
    attempt(&mut exchange);
    assert!(fails(&mut exchange, Failure::EndpointReset, Circumstances { reused: true, ..FRESH }));
    attempt(&mut exchange);
    assert!(!fails(&mut exchange, Failure::EndpointReset, FRESH));
    assert_eq!(exchange.record.unusual().retry_refused, Some(RetryRefused::Budget));
}

#[test]
fn without_a_budget_only_the_limit_bounds_retries() {
    let snapshot = pool_of_two("retry: { on: [503], budget: off }");
    for _ in 0..500 {
        let mut exchange = admitted(&snapshot, "GET");
        attempt(&mut exchange);
        assert_eq!(responds(&mut exchange, 503, None), ResponseAction::Retry);
    }
    assert_eq!(snapshot.status()[0].retries.allowed, None);
}

#[test]
fn a_pause_comes_only_before_an_endpoint_that_was_tried() {
    let snapshot = pool_of_two("retry: { limit: 3, on: [reset], backoff: 100ms }");
    let mut exchange = admitted(&snapshot, "GET");
    let first = attempt(&mut exchange);
    assert!(fails(&mut exchange, Failure::EndpointReset, FRESH));
    assert_ne!(attempt(&mut exchange), first, "at once");
    for longest in [100, 200] {
        assert!(fails(&mut exchange, Failure::EndpointReset, FRESH));
        let Next::Pause(pause) = exchange.next(Instant::now()) else { panic!("no pause") };
        assert!(pause <= Duration::from_millis(longest), "{pause:?}");
        attempt(&mut exchange);
    }
    assert!(!fails(&mut exchange, Failure::EndpointReset, FRESH));
}

#[test]
fn a_kept_connection_that_was_closed_costs_no_pause() {
    let snapshot = pool_of(1, "retry: { on: [reset] }");
    let mut exchange = admitted(&snapshot, "GET");
    for _ in 0..3 {
        attempt(&mut exchange);
        assert!(fails(&mut exchange, Failure::EndpointReset, Circumstances { reused: true, ..FRESH }));
    }
    attempt(&mut exchange);
}

#[test]
fn no_pause_goes_beyond_the_deadline() {
    let snapshot = pool_of(1, "retry: { on: [reset], backoff: 1h }");
    let mut exchange = admitted(&snapshot, "GET");
    exchange.deadline = Some(Instant::now() + Duration::from_millis(20));
    attempt(&mut exchange);
    assert!(fails(&mut exchange, Failure::EndpointReset, FRESH));
    let Next::Pause(pause) = exchange.next(Instant::now()) else { panic!("no pause") };
    assert!(pause <= Duration::from_millis(20));
    let late = exchange.next(Instant::now() + Duration::from_millis(20));
    assert!(matches!(late, Next::Fail(Failure::RequestDeadline)));
}

#[test]
fn who_asks_to_be_left_alone_is_not_tried_again() {
    let snapshot = pool_of_two("retry: { limit: 5, on: [reset, 503], backoff: off }");
    let mut exchange = admitted(&snapshot, "GET");
    let first = attempt(&mut exchange);
    assert_eq!(responds(&mut exchange, 503, Some("60")), ResponseAction::Retry);
    for _ in 0..3 {
        assert_ne!(attempt(&mut exchange), first);
        assert_eq!(responds(&mut exchange, 503, None), ResponseAction::Retry, "this one may be repeated");
    }
    attempt(&mut exchange);
    assert_eq!(responds(&mut exchange, 503, Some("60")), ResponseAction::Forward, "nobody is left");
    let record = exchange.finish(Some(503), 0, Instant::now());
    assert_eq!(record.unusual().retry_refused, Some(RetryRefused::RetryAfter));

    let mut exchange = admitted(&snapshot, "GET");
    let first = attempt(&mut exchange);
    assert_eq!(responds(&mut exchange, 503, Some("1")), ResponseAction::Retry);
    attempt(&mut exchange);
    assert_eq!(responds(&mut exchange, 503, Some("60")), ResponseAction::Forward);
    let later = Instant::now() + Duration::from_secs(2);
    assert!(matches!(exchange.next(later), Next::Attempt));
    assert_eq!(exchange.endpoint().expect("just opened").label(), &first, "its time is over");
}

#[test]
fn only_the_methods_that_are_named_reach_an_endpoint_twice() {
    let snapshot = pool_of_two("retry: { on: [reset], methods: [POST, GET] }");
    for (method, again) in [("POST", true), ("GET", true), ("PUT", false), ("PATCH", false), ("post", false)]
    {
        let mut exchange = admitted(&snapshot, method);
        attempt(&mut exchange);
        assert_eq!(fails(&mut exchange, Failure::EndpointReset, FRESH), again, "{method}");
    }
}

#[test]
fn a_route_may_say_otherwise_than_its_pool() {
    for (extra, failure, again) in [
        ("retry: off", Failure::ConnectFailed, false),
        ("retry: { limit: 0 }", Failure::EndpointReset, false),
        ("retry: { on: [timeout] }", Failure::ResponseTimeout, true),
        ("retry: { limit: 1 }", Failure::EndpointReset, true),
    ] {
        let mut exchange = admitted(&of_route(extra), "GET");
        attempt(&mut exchange);
        assert_eq!(fails(&mut exchange, failure, FRESH), again, "{extra}");
    }
}

#[test]
fn clients_may_ask_for_less_time_than_the_route_has() {
    let snapshot = of_route("timeout: 5s, timeout_header: X-Time");
    for (value, millis, ignored) in [
        ("250ms", 250, false),
        ("2s", 2000, false),
        (" 750 ", 750, false),
        ("0", 0, false),
        ("1m", 5000, false),
        ("99999999999", 5000, false),
        ("", 5000, true),
        ("1.5s", 5000, true),
        ("-1", 5000, true),
        ("soon", 5000, true),
        ("99999999999999999999999", 5000, true),
    ] {
        let exchange = route(&snapshot, &[("x-time", value)]);
        let left = exchange.deadline().map(|deadline| deadline - exchange.started);
        assert_eq!(left, Some(Duration::from_millis(millis)), "{value}");
        assert_eq!(exchange.record.unusual().timeout_ignored, ignored, "{value}");
    }
    let exchange = route(&snapshot, &[]);
    assert!(exchange.deadline().is_some() && !exchange.record.unusual().timeout_ignored);
    assert!(route(&of_route("timeout: off"), &[("x-time", "1s")]).deadline().is_none());
}
