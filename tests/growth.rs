//! What must not cost more, or not much more, where there are many routes, endpoints or pools. What is compared is the
//! processor time of the same work at two sizes in one run, the best of some tries each; bounds are far from what is
//! usual, and the next worse order of growth is beyond them. How much it all costs is measured by `make growth`.

#![expect(clippy::print_stdout, reason = "this is a test, and what it finds is to be seen")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use evenkeel::config::{self, Config};
use evenkeel::config_diff::ConfigDiff;
use evenkeel::pool::{ConnectFailure, MayProbe, PickRequest, Picked, TriedEndpoints};
use evenkeel::snapshot::Snapshot;

const TRIES: usize = 7;
/// Lookups and picks are too short to be timed one by one.
const REPEATED: usize = 2_000;

/// The same work at a hundred times the size: what is flat may take some times as long, because less of it is in the
/// processor's caches.
const FLAT: f64 = 8.0;
/// At ten times the size: what is proportional to it. Its square would be a hundred.
const PROPORTIONAL: f64 = 20.0;

#[track_caller]
fn grows<T>(what: &str, sizes: [usize; 2], most: f64, make: impl Fn(usize) -> T, work: impl Fn(&T)) {
    let [small, large] = sizes.map(&make);
    let best = |subject: &T| (0..TRIES).map(|_| time(|| work(subject))).min().unwrap_or_default();
    let (small, large) = (best(&small), best(&large));
    let factor = large.as_secs_f64() / small.as_secs_f64();
    println!("{what}: {small:?} of {}, {large:?} of {}: {factor:.1} times", sizes[0], sizes[1]);
    assert!(factor <= most, "{what}: {factor:.1} times from {sizes:?}, at most {most}");
}

fn time(work: impl FnOnce()) -> Duration {
    let begun = spent();
    work();
    spent() - begun
}

/// The processor time of this thread so far: what else the machine does in between does not count.
fn spent() -> Duration {
    // The kernel brings the account up to date when a thread gives way.
    std::thread::yield_now();
    let account =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps accounts of threads");
    let nanoseconds = account.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first number is time"))
}

/// Hosts, prefixes and exact paths in turns.
fn with_routes(count: usize) -> String {
    let mut text =
        "listeners: [{ address: '127.0.0.1:1' }]\npools: { pool: ['127.255.0.1:2'] }\nroutes:\n".to_owned();
    for number in 0..count {
        let rule = match number % 3 {
            0 => format!("hosts: [h{number}.example.com]"),
            1 => format!("hosts: [api.example.com], paths: [/p{number}]"),
            _ => format!("paths: [{{ exact: /e{number} }}]"),
        };
        let _ = writeln!(text, "  - {{ name: r{number}, match: {{ {rule} }}, pool: pool }}");
    }
    text
}

/// One pool; the weights are `1`, or many different ones.
fn with_endpoints(count: usize, weight: fn(usize) -> usize) -> String {
    let mut text = "listeners: [{ address: '127.0.0.1:1' }]\nroutes: [{ pool: pool }]\npools:\n  pool:\n    endpoints:\n".to_owned();
    for number in 0..count {
        let address = format!("127.0.{}.{}:3000", number / 250, 1 + number % 250);
        let _ = writeln!(text, "      - {{ address: '{address}', weight: {} }}", weight(number));
    }
    text
}

/// Each with a route of its own.
fn with_pools(count: usize) -> String {
    let mut text = "listeners: [{ address: '127.0.0.1:1' }]\nroutes:\n".to_owned();
    for number in 0..count {
        let _ =
            writeln!(text, "  - {{ name: r{number}, match: {{ paths: [/p{number}] }}, pool: p{number} }}");
    }
    text.push_str("pools:\n");
    for number in 0..count {
        let _ = writeln!(text, "  p{number}: ['127.0.{}.{}:3000']", number / 250, 1 + number % 250);
    }
    text
}

/// Each with a name and a port of its own.
fn with_listeners(count: usize) -> String {
    let mut text = "routes: [{ pool: pool }]\npools: { pool: ['127.255.0.1:2'] }\nlisteners:\n".to_owned();
    for number in 0..count {
        let _ =
            writeln!(text, "  - {{ name: l{number}, address: '127.0.{}.1:{}' }}", number / 250, 1 + number);
    }
    text
}

/// One of each route, all on one line.
fn with_tests(count: usize) -> String {
    let mut text = with_routes(count);
    text.push_str("tests: [");
    for number in 0..count {
        let url = match number % 3 {
            0 => format!("http://h{number}.example.com/"),
            1 => format!("http://api.example.com/p{number}"),
            _ => format!("http://www.example.com/e{number}"),
        };
        let _ = write!(text, "{{ request: 'GET {url}', expect: {{ route: r{number} }} }}, ");
    }
    text.push_str("]\n");
    text
}

/// Each in a listener of its own, all on one line.
fn with_unknown_keys(count: usize) -> String {
    let mut text = "routes: [{ pool: pool }]\npools: { pool: ['127.255.0.1:2'] }\nlisteners: [".to_owned();
    for number in 0..count {
        let _ = write!(text, "{{ name: l{number}, address: ':{}', \u{fc}xyz: 1 }}, ", 1 + number);
    }
    text.push_str("]\n");
    text
}

/// Every pool twice.
fn with_repeated_keys(count: usize) -> String {
    let mut text = with_pools(count);
    for number in 0..count {
        let _ = writeln!(text, "  p{number}: ['127.255.0.1:2']");
    }
    text
}

/// Each route names a pool that is not there.
fn with_unknown_pools(count: usize) -> String {
    with_pools(count).replace("pool: p", "pool: nowhere-at-all-")
}

fn parsed(text: &str) -> Config {
    config::parse(text, "test").expect("a valid config")
}

fn snapshot(text: &str) -> Snapshot {
    Snapshot::build(parsed(text), None)
}

fn request(number: usize) -> http::request::Parts {
    let uri = match number % 3 {
        0 => format!("http://h{number}.example.com/x"),
        1 => format!("http://api.example.com/p{number}/x"),
        _ => format!("http://www.example.com/e{number}"),
    };
    http::Request::get(uri).body(()).expect("a request").into_parts().0
}

#[test]
fn a_route_is_found_as_fast_among_many() {
    let make = |count| {
        let requests: Vec<_> = (0..REPEATED).map(|number| request(number * 7 % count)).collect();
        (snapshot(&with_routes(count)), requests)
    };
    grows("finding a route", [100, 10_000], FLAT, make, |(snapshot, requests)| {
        for request in requests {
            assert!(black_box(snapshot.route(request, None)).0.is_some());
        }
    });
}

fn first(tried: &TriedEndpoints) -> PickRequest<'_> {
    PickRequest { tried, key: None, sticky: None, may_probe: MayProbe::AtOnce, now: Instant::now() }
}

#[test]
fn an_endpoint_is_picked_as_fast_among_many() {
    let make = |count| snapshot(&with_endpoints(count, |number| 1 + number % 7));
    grows("picking an endpoint", [100, 10_000], FLAT, make, |snapshot| {
        (0..REPEATED)
            .for_each(|_| drop(black_box(snapshot.pools()[0].pick(&first(&TriedEndpoints::default())))));
    });
}

#[test]
fn a_request_that_all_refuse_costs_as_much_among_many() {
    let make = |count| {
        let snapshot = snapshot(&with_endpoints(count, |_| 1));
        let pool = &snapshot.pools()[0];
        pool.members().iter().for_each(|member| {
            assert!(pool.connect_failed(&member.endpoint, "refused", Instant::now(), SystemTime::now()))
        });
        pool.publish_health();
        snapshot
    };
    grows("a request that all refuse", [100, 10_000], FLAT, make, |snapshot| {
        for _ in 0..REPEATED / 10 {
            let (pool, mut tried) = (&snapshot.pools()[0], TriedEndpoints::default());
            while let Picked::Endpoint { endpoint, .. } = pool.pick(&first(&tried)) {
                tried.rule_out(&endpoint, ConnectFailure::KnownUnreachable);
                black_box(pool.has_fresh(&first(&tried)));
            }
        }
    });
}

/// A `Location` and a cookie's domain may name an endpoint, and a response may have many of them.
#[test]
fn an_endpoint_is_known_by_its_name_as_fast_among_many() {
    let make = |count| snapshot(&with_endpoints(count, |_| 1));
    grows("knowing an endpoint by its name", [100, 10_000], FLAT, make, |snapshot| {
        for number in 0..REPEATED {
            let authorities = snapshot.pools()[0].authorities();
            assert!(!black_box(authorities.has(&format!("127.1.0.{number}:3000"))));
            assert!(!black_box(authorities.has_host("www.example.com")));
        }
    });
}

#[test]
fn a_change_of_health_costs_as_much_as_the_pool_is_large() {
    let make = |count| snapshot(&with_endpoints(count, |number| 1 + number % 7));
    grows("making turns", [1_000, 10_000], PROPORTIONAL, make, |snapshot| {
        snapshot.pools()[0].publish_health();
    });
}

/// Weights that have no divisor in common make the longest turns.
#[test]
fn so_it_does_with_many_different_weights() {
    let make = |count| snapshot(&with_endpoints(count, |number| 1 + number % 97));
    grows("making turns of many weights", [300, 3_000], PROPORTIONAL, make, |snapshot| {
        snapshot.pools()[0].publish_health();
    });
}

#[test]
fn a_config_is_read_in_proportion_to_its_length() {
    for (what, text) in [
        ("reading routes", with_routes as fn(usize) -> String),
        ("reading pools", with_pools),
        ("reading endpoints", |count| with_endpoints(count, |_| 1)),
        ("reading listeners", with_listeners),
        ("reading tests", with_tests),
    ] {
        grows(what, [200, 2_000], PROPORTIONAL, text, |text| drop(black_box(parsed(text))));
    }
}

#[test]
fn what_is_wrong_with_a_config_is_said_in_proportion_to_its_length() {
    for (what, text) in [
        ("unknown keys on one line", with_unknown_keys as fn(usize) -> String),
        ("keys that are written twice", with_repeated_keys),
        ("unknown pools", with_unknown_pools),
    ] {
        grows(what, [200, 2_000], PROPORTIONAL, text, |text| {
            let report = config::parse(text, "test").expect_err("it is wrong");
            assert!(report.to_string().ends_with(" are not shown"), "{report}");
        });
    }
}

#[test]
fn a_reload_takes_in_proportion_to_what_there_is() {
    for (what, text) in [
        ("a snapshot of routes", with_routes as fn(usize) -> String),
        ("a snapshot of pools", with_pools),
        ("a snapshot of endpoints", |count| with_endpoints(count, |_| 1)),
    ] {
        let make = |count| (snapshot(&text(count)), parsed(&text(count)));
        grows(what, [300, 3_000], PROPORTIONAL, make, |(previous, config)| {
            black_box(ConfigDiff::between(previous.config(), config));
            black_box(Snapshot::build(config.clone(), Some(previous)));
        });
    }
}
