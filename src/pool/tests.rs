//! The pool as a request sees it: which endpoint is picked, how evenly, and what happens when none can be.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use proptest::prelude::*;

use super::status::EndpointState;
use super::*;
use crate::config::{
    Balance, CheckKind, EndpointAddress, EndpointAttributes, EndpointConnections, EndpointProtocol,
    EndpointSpec, EndpointTimeouts, HealthCheck, HostHeader, PoolLimits, QueueLimits, RequestLimit, Resolve,
    Retry, RetryOn, WhenNoneHealthy,
};
use crate::wait_queue::{Place, Priority, WaitsFor};

pub(super) fn pool_config(endpoints: &[(u16, bool)], when_none_healthy: WhenNoneHealthy) -> config::Pool {
    let second = Duration::from_secs(1);
    let endpoints = (1u16..).zip(endpoints).map(|(index, (weight, backup))| EndpointSpec {
        address: EndpointAddress::Inet(([127, 0, (index >> 8) as u8, index as u8], 3000).into()),
        attributes: EndpointAttributes { weight: *weight, backup: *backup, zone: None },
    });
    config::Pool {
        protocol: EndpointProtocol::Http11,
        tls: None,
        name: "test".into(),
        balance: Balance::RoundRobin,
        zone: None,
        endpoints: endpoints.collect(),
        health_check: Some(HealthCheck {
            kind: CheckKind::Tcp,
            interval: second,
            timeout: second,
            healthy_after: 1,
            unhealthy_after: 1,
        }),
        sticky: None,
        outliers: None,
        slow_start: None,
        when_none_healthy,
        timeouts: EndpointTimeouts {
            connect: second,
            response: second,
            idle: second,
            write: second,
            keep_alive: second,
            tunnel: second,
        },
        connections: EndpointConnections { idle: 1, age: None, streams: 100 },
        limits: PoolLimits {
            requests: RequestLimit::Auto,
            endpoint_requests: None,
            endpoint_connections: None,
            queue: QueueLimits { length: 1, wait: second, shed: None },
        },
        retry: Retry {
            limit: 2,
            on: RetryOn { connect: true, reset: true, timeout: false, statuses: Vec::new() },
            methods: Vec::new(),
            attempt_timeout: None,
            backoff: Duration::ZERO,
            budget: None,
            hedge: None,
        },
        host: HostHeader::Preserve,
        resolve: Resolve { interval: second, servers: Vec::new() },
    }
}

pub(super) fn no_wait() -> WhenNoneHealthy {
    WhenNoneHealthy::Wait { limit: Duration::ZERO, queue: 0 }
}

/// A pool of one endpoint that is unhealthy, where one request may wait.
fn waited_for() -> Arc<Pool> {
    let wait = WhenNoneHealthy::Wait { limit: Duration::from_secs(30), queue: 1 };
    let pool = Pool::new(pool_config(&[(1, false)], wait), None, &Arc::default());
    set(&pool, 0, false);
    pool
}

/// A place in the queue of those that wait for an endpoint.
fn queue(pool: &Pool) -> Option<Place> {
    let mut place = None;
    pool.enter_queue(&mut place, Priority::Normal, WaitsFor::HealthyEndpoint, Instant::now());
    place
}

/// A pool of endpoints `a`, `b`, `c` and so on, all probed and healthy.
pub(super) fn healthy(endpoints: &[(u16, bool)]) -> Arc<Pool> {
    let pool = Pool::new(pool_config(endpoints, no_wait()), None, &Arc::default());
    for index in 0..endpoints.len() {
        set(&pool, index, true);
    }
    pool
}

pub(super) fn equal(count: usize) -> Arc<Pool> {
    healthy(&vec![(1, false); count])
}

pub(super) fn set(pool: &Pool, index: usize, up: bool) {
    let member = pool.members().swap_remove(index);
    let finding = if up { ProbeResult::Passed } else { ProbeResult::Failed("down".into()) };
    pool.probed(&member, finding, ProbeKind::Regular, Instant::now(), SystemTime::now());
    pool.publish_health();
}

/// A pick that depends on what was tried alone.
pub(super) fn first(tried: &TriedEndpoints) -> PickRequest<'_> {
    PickRequest { tried, key: None, sticky: None, may_probe: MayProbe::AtOnce, now: Instant::now() }
}

fn letter(pool: &Pool, endpoint: &Arc<Endpoint>) -> char {
    let index = pool.members().iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint));
    index.map_or('?', |index| char::from(b'a' + index as u8))
}

/// The endpoint that one request takes, as a letter; '-' when there is none.
fn pick(pool: &Pool) -> char {
    match pool.pick(&first(&TriedEndpoints::default())) {
        Picked::Endpoint { endpoint, .. } => {
            drop(Lease::within_limit(endpoint.clone(), Holds::Connection));
            letter(pool, &endpoint)
        }
        Picked::NoneHealthy { .. } | Picked::Full => '-',
    }
}

pub(super) fn picks(pool: &Pool, count: usize) -> String {
    (0..count).map(|_| pick(pool)).collect()
}

fn counts(picked: &str) -> BTreeMap<char, usize> {
    picked.chars().fold(BTreeMap::new(), |mut counts, letter| {
        *counts.entry(letter).or_default() += 1;
        counts
    })
}

#[test]
fn weights_are_smooth_in_the_order_of_the_file() {
    assert_eq!(picks(&healthy(&[(5, false), (1, false), (1, false)]), 7), "aabacaa");
}

#[test]
fn many_threads_share_one_exact_round() {
    let pool = equal(3);
    let picked: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| picks(&pool, 750))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(counts(&picked.concat()), BTreeMap::from([('a', 2000), ('b', 2000), ('c', 2000)]));
}

#[test]
fn many_threads_keep_no_more_idle_connections_than_they_may() {
    let pool = equal(1);
    let endpoint = pool.members().swap_remove(0).endpoint;
    for most in 1..200 {
        let owners: Vec<IdleConnections> = std::thread::scope(|scope| {
            let keep = || {
                let mut idle = IdleConnections::of(endpoint.clone());
                while idle.add_within(most) {}
                idle
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(keep)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(endpoint.load().idle_connections, most);
        drop(owners);
        assert_eq!(endpoint.load().idle_connections, 0);
    }
}

#[test]
fn a_worker_that_keeps_a_connection_again_asks_nobody() {
    const MOST: u64 = 40;
    let pool = equal(1);
    pool.in_flight_limit().set(MaxRequests::default(), 2);
    let endpoint = pool.members().swap_remove(0).endpoint;
    let [mut one, mut other] = [(); 2].map(|()| IdleConnections::of_worker(endpoint.clone()));
    assert!(one.add_within(MOST));
    one.remove(1);
    while other.add_within(MOST) {}
    assert_eq!(endpoint.load().idle_connections, 35, "five permits are the other one's, used or not");
    assert!((0..5).all(|_| one.add_within(MOST)) && !one.add_within(MOST));
    one.remove(5);
    assert!(!other.add_within(MOST), "they are still its own");
    one.give_back_unused();
    assert!((0..5).all(|_| other.add_within(MOST)) && !one.add_within(MOST));
    // A reload has lowered the limit.
    other.remove(1);
    assert!(!other.add_within(39) && one.add_within(MOST));
    drop((one, other));
    assert_eq!(endpoint.load().idle_connections, 0);
}

#[test]
fn an_unhealthy_endpoint_gets_nothing_and_its_share_back_when_it_returns() {
    let pool = equal(3);
    set(&pool, 1, false);
    assert_eq!(counts(&picks(&pool, 10)), BTreeMap::from([('a', 5), ('c', 5)]));
    set(&pool, 1, true);
    assert_eq!(counts(&picks(&pool, 9)), BTreeMap::from([('a', 3), ('b', 3), ('c', 3)]));
}

#[test]
fn backups_wait_until_no_other_is_healthy() {
    let pool = healthy(&[(1, false), (1, true)]);
    assert_eq!(picks(&pool, 3), "aaa");
    set(&pool, 0, false);
    assert_eq!(picks(&pool, 3), "bbb");
    set(&pool, 0, true);
    assert_eq!(picks(&pool, 3), "aaa");
}

#[test]
fn an_endpoint_that_has_not_been_probed_gets_nothing_while_another_is_healthy() {
    let pool = Pool::new(pool_config(&[(1, false), (1, false)], no_wait()), None, &Arc::default());
    assert_eq!(
        counts(&picks(&pool, 4)),
        BTreeMap::from([('a', 2), ('b', 2)]),
        "nobody is known to be better"
    );
    set(&pool, 1, true);
    assert_eq!(picks(&pool, 4), "bbbb");
}

#[test]
fn weight_0_gets_nothing_not_even_as_the_last() {
    let pool = healthy(&[(0, false), (1, false)]);
    assert_eq!(picks(&pool, 3), "bbb");
    set(&pool, 1, false);
    assert_eq!(pick(&pool), '-');
}

#[test]
fn a_retry_takes_another_endpoint_as_long_as_one_is_left() {
    let pool = healthy(&[(5, false), (1, false), (1, true)]);
    let mut tried = TriedEndpoints::default();
    let mut letters = Vec::new();
    for _ in 0..4 {
        let Picked::Endpoint { endpoint, .. } = pool.pick(&first(&tried)) else {
            panic!("there is always one")
        };
        letters.push(letter(&pool, &endpoint));
        tried.add(endpoint);
    }
    let mut first = letters.clone();
    first.truncate(3);
    first.sort_unstable();
    assert_eq!(first, ['a', 'b', 'c'], "all three before any twice, the backup among them: {letters:?}");
}

fn refuse(pool: &Pool, index: usize) -> bool {
    pool.connect_failed(
        &pool.members().swap_remove(index).endpoint,
        "refused",
        Instant::now(),
        SystemTime::now(),
    )
}

fn connected(pool: &Pool, index: usize) {
    pool.connected(&pool.members().swap_remove(index).endpoint, Instant::now(), SystemTime::now());
}

/// All endpoints that one request tries where each refuses.
fn tries(pool: &Pool) -> String {
    let mut tried = TriedEndpoints::default();
    let next = |_| {
        let Picked::Endpoint { endpoint, .. } = pool.pick(&first(&tried)) else { return None };
        let is_news = pool.connect_failed(&endpoint, "refused", Instant::now(), SystemTime::now());
        tried.rule_out(
            &endpoint,
            if is_news { ConnectFailure::Unreachable } else { ConnectFailure::KnownUnreachable },
        );
        Some(letter(pool, &endpoint))
    };
    (0..1000).map_while(next).collect()
}

#[test]
fn who_refuses_one_is_passed_over_by_the_others_and_comes_back_with_a_connection() {
    let pool = equal(3);
    assert!(refuse(&pool, 1) && !refuse(&pool, 1), "it is news once");
    pool.publish_health();
    assert_eq!(counts(&picks(&pool, 10)), BTreeMap::from([('a', 5), ('c', 5)]));
    let status = &pool.status().endpoints[1];
    assert_eq!((status.state, &*status.reason), (EndpointState::Unreachable, "refused"));
    let Picked::Endpoint { skipped: Some(skipped), .. } = pool.pick(&first(&TriedEndpoints::default()))
    else {
        panic!("one was passed over")
    };
    assert_eq!(skipped.named[0].reason, "unreachable");
    connected(&pool, 1);
    pool.publish_health();
    assert_eq!(counts(&picks(&pool, 9)), BTreeMap::from([('a', 3), ('b', 3), ('c', 3)]));
}

/// Whoever has read a state in a status may count on it, even if the rotation was about to be rebuilt.
#[test]
fn a_state_that_is_shown_is_in_force() {
    let pool = equal(2);
    assert!(refuse(&pool, 0));
    assert_eq!(pool.status().endpoints[0].state, EndpointState::Unreachable);
    assert_eq!(picks(&pool, 4), "bbbb");
    connected(&pool, 0);
    let shown = pool.status();
    assert_eq!((shown.endpoints[0].state, shown.endpoints[0].expected_share), (EndpointState::Healthy, 0.5));
    assert_eq!(counts(&picks(&pool, 4)), BTreeMap::from([('a', 2), ('b', 2)]));
}

/// Even before the rotation is rebuilt, as a retry looks at the endpoints themselves.
#[test]
fn a_retry_passes_over_at_once_who_refused_another() {
    let pool = equal(4);
    (0..3).for_each(|index| assert!(refuse(&pool, index)));
    let mut tried = TriedEndpoints::default();
    tried.rule_out(&pool.members()[0].endpoint, ConnectFailure::Unreachable);
    for _ in 0..5 {
        let Picked::Endpoint { endpoint, .. } = pool.pick(&first(&tried)) else { panic!("one is left") };
        assert_eq!(letter(&pool, &endpoint), 'd');
    }
}

#[test]
fn who_is_unreachable_is_tried_once_nobody_else_is_left() {
    let pool = healthy(&[(1, false), (1, false), (1, true)]);
    refuse(&pool, 0);
    pool.publish_health();
    let all = tries(&pool);
    assert_eq!((all.len(), &all[2..]), (3, "a"), "the backup before it, and each once: {all}");
    pool.publish_health();
    assert!(!pool.picker.rotation().has_reachable());
    let again = tries(&pool);
    assert_eq!(counts(&again), counts("abc"), "all of them once more: {again}");
}

#[test]
fn of_thousands_that_are_unreachable_a_request_tries_a_few() {
    let pool = equal(150);
    (0..150).for_each(|index| assert!(refuse(&pool, index)));
    pool.publish_health();
    assert_eq!(tries(&pool).chars().count(), 16);
}

#[test]
fn an_early_probe_that_fails_does_not_make_an_endpoint_unhealthy() {
    let pool = equal(1);
    let member = pool.members().swap_remove(0);
    let endpoint = &member.endpoint;
    refuse(&pool, 0);
    pool.probed(
        &member,
        ProbeResult::Failed("refused".into()),
        ProbeKind::Early,
        Instant::now(),
        SystemTime::now(),
    );
    assert_eq!(endpoint.state(), EndpointState::Unreachable);
    pool.probed(&member, ProbeResult::Passed, ProbeKind::Early, Instant::now(), SystemTime::now());
    assert_eq!(endpoint.state(), EndpointState::Healthy);
    for finding in [ProbeResult::Busy, ProbeResult::Shortage("no port".into())] {
        pool.probed(&member, finding, ProbeKind::Regular, Instant::now(), SystemTime::now());
        assert_eq!(endpoint.state(), EndpointState::Healthy);
    }
    pool.probed(
        &member,
        ProbeResult::Failed("refused".into()),
        ProbeKind::Regular,
        Instant::now(),
        SystemTime::now(),
    );
    assert_eq!(endpoint.state(), EndpointState::Unhealthy);
}

/// An endpoint whose backlog is full is busy, unless no request can connect either.
#[tokio::test(start_paused = true)]
async fn a_probe_that_cannot_connect_where_requests_can_says_nothing() {
    use socket2::{Domain, SockAddr, Socket, Type};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("busy.sock");
    let address = SockAddr::unix(&path).expect("a short path");
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.bind(&address).expect("a free path");
    listener.listen(0).expect("it is bound");
    let fill = |_| {
        let socket = socket();
        socket.set_nonblocking(true).expect("an option");
        socket.connect(&address).ok().map(|()| socket)
    };
    let held: Vec<Socket> = (0..100).map_while(fill).collect();
    assert!((1..100).contains(&held.len()));

    let mut config = pool_config(&[(1, false)], no_wait());
    config.endpoints[0].address = EndpointAddress::Unix(path);
    let pool = Pool::new(config, None, &Arc::default());
    let member = pool.members().swap_remove(0);
    let silent = ProbeResult::Failed("no connection within 1s".into());
    assert_eq!(pool.probe_once(&member).await, Some(silent));
    let (found, ()) = tokio::join!(pool.probe_once(&member), async { connected(&pool, 0) });
    assert_eq!(found, Some(ProbeResult::Busy));
    // It passes once the backlog has room.
    let (found, ()) = tokio::join!(pool.probe_once(&member), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        listener.set_nonblocking(true).expect("an option");
        while listener.accept().is_ok() {}
    });
    assert_eq!(found, Some(ProbeResult::Passed));
}

/// The same over TCP, where the kernel drops what does not fit the backlog.
#[tokio::test(start_paused = true)]
async fn an_http_probe_that_cannot_connect_where_requests_can_says_nothing() {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(0).expect("it is bound");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let held: Vec<_> = (0..100).map_while(connect).collect();
    assert!((1..100).contains(&held.len()));

    let mut config = pool_config(&[(1, false)], no_wait());
    config.endpoints[0].address = EndpointAddress::Inet(address);
    let check = config.health_check.as_mut().expect("there is one");
    check.kind = CheckKind::Http { path: "/".into(), host: None, expect: vec![200..=200], headers: vec![] };
    let pool = Pool::new(config, None, &Arc::default());
    let member = pool.members().swap_remove(0);
    let silent = ProbeResult::Failed("no answer within 1s".into());
    assert_eq!(pool.probe_once(&member).await, Some(silent));
    let (found, ()) = tokio::join!(pool.probe_once(&member), async { connected(&pool, 0) });
    assert_eq!(found, Some(ProbeResult::Busy));
}

#[tokio::test(start_paused = true)]
async fn who_is_down_is_probed_early_and_sooner_where_requests_wait() {
    use super::probe_schedule::ProbeSchedule;
    let pool = equal(1);
    let endpoint = pool.members().swap_remove(0).endpoint;
    let interval = Some(Duration::from_secs(60));
    let (mut schedule, started) =
        (ProbeSchedule::new(tokio::time::Instant::now().into_std()), tokio::time::Instant::now());
    refuse(&pool, 0);
    assert_eq!(schedule.next(&pool, &endpoint, interval).await, ProbeKind::Early);
    assert_eq!(started.elapsed().as_millis() / 10, 10);
    connected(&pool, 0);
    schedule.probed_at(started.into_std());
    assert_eq!(schedule.next(&pool, &endpoint, interval).await, ProbeKind::Regular);
    assert_eq!(started.elapsed().as_secs(), 60);

    let pool = waited_for();
    let endpoint = pool.members().swap_remove(0).endpoint;
    let (mut schedule, started) =
        (ProbeSchedule::new(tokio::time::Instant::now().into_std()), tokio::time::Instant::now());
    let wait = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue(&pool).expect("there is room")
    };
    let (place, due) = tokio::join!(wait, schedule.next(&pool, &endpoint, interval));
    assert_eq!((due, started.elapsed().as_millis() / 10), (ProbeKind::Early, 110));
    drop(place);
}

/// Whether the wait is over once `happens` has happened, and not before.
async fn is_ended_by(wait: Wait, happens: impl FnOnce()) -> bool {
    let is_over = |limit| tokio::time::timeout(limit, wait.over());
    let before = is_over(Duration::from_millis(10)).await.is_ok();
    let happens = async {
        tokio::task::yield_now().await;
        happens();
    };
    let (after, ()) = tokio::join!(is_over(Duration::from_secs(5)), happens);
    !before && after.is_ok()
}

#[tokio::test]
async fn another_config_wakes_those_who_wait() {
    let pool = waited_for();
    let place = queue(&pool).expect("there is room");
    assert!(is_ended_by(Wait::for_endpoint(&place, pool.clone()), || pool.ask_again()).await);
    pool.ask_again();
    Wait::for_endpoint(&place, pool.clone()).over().await;
}

#[test]
fn fail_open_tries_those_that_are_not_healthy_and_says_so() {
    let pool =
        Pool::new(pool_config(&[(1, false), (1, false)], WhenNoneHealthy::FailOpen), None, &Arc::default());
    set(&pool, 0, false);
    set(&pool, 1, false);
    for _ in 0..2 {
        let Picked::Endpoint { failed_open, .. } = pool.pick(&first(&TriedEndpoints::default())) else {
            panic!("fail_open picks")
        };
        assert!(failed_open);
    }
    set(&pool, 0, true);
    let Picked::Endpoint { failed_open, .. } = pool.pick(&first(&TriedEndpoints::default())) else {
        panic!("one is healthy")
    };
    assert!(!failed_open);
}

#[test]
fn who_is_refused_for_the_limit_counts_nowhere() {
    let pool = equal(1);
    pool.in_flight_limit().set(MaxRequests { all: Some(1), of_connections: None }, 1);
    let endpoint = pool.members().swap_remove(0).endpoint;
    let lease = Lease::within_limit(endpoint.clone(), Holds::Stream).expect("it is the first");
    assert!(Lease::within_limit(endpoint.clone(), Holds::Stream).is_none());
    assert_eq!((endpoint.load().requests, pool.in_flight_limit().in_flight()), (1, 1));
    drop(Lease::beyond_limit(endpoint.clone(), Holds::Stream));
    drop(lease);
    assert_eq!((endpoint.load().requests, pool.in_flight_limit().in_flight()), (2, 0));
}

#[test]
fn a_lease_counts_in_flight_until_it_is_dropped() {
    let pool = equal(1);
    let Picked::Endpoint { endpoint, .. } = pool.pick(&first(&TriedEndpoints::default())) else {
        panic!("one is healthy")
    };
    let lease = Lease::within_limit(endpoint.clone(), Holds::Connection).expect("there is no limit");
    assert_eq!((endpoint.load().requests, endpoint.load().in_flight), (1, 1));
    drop(lease);
    assert_eq!((endpoint.load().requests, endpoint.load().in_flight), (1, 0));
}

#[tokio::test]
async fn the_passing_probe_itself_wakes_those_who_wait() {
    let pool = waited_for();
    let place = queue(&pool).expect("there is room");
    assert!(queue(&pool).is_none());
    assert_eq!(pool.status().waiting, 1);
    assert!(is_ended_by(Wait::for_endpoint(&place, pool.clone()), || set(&pool, 0, true)).await);
    drop(place);
    assert_eq!(pool.status().waiting, 0);
}

/// A reload makes a new pool, and only that is probed from then on.
#[tokio::test]
async fn those_who_wait_in_a_pool_that_a_reload_replaced_are_woken_too() {
    let old = waited_for();
    let place = queue(&old).expect("there is room");
    let wait = old.config().when_none_healthy.clone();
    let new = Pool::new(pool_config(&[(2, false), (1, false)], wait), Some(&old), &Arc::default());
    assert!(is_ended_by(Wait::for_endpoint(&place, old.clone()), || set(&new, 0, true)).await);
    assert_eq!(pick(&old), 'a');
}

#[test]
fn a_successor_keeps_the_live_state_of_the_endpoints_that_stay() {
    let old = equal(2);
    set(&old, 0, false);
    let Picked::Endpoint { endpoint, .. } = old.pick(&first(&TriedEndpoints::default())) else {
        panic!("one is healthy")
    };
    drop(Lease::within_limit(endpoint, Holds::Connection));
    let new =
        Pool::new(pool_config(&[(3, false), (1, false), (1, false)], no_wait()), Some(&old), &Arc::default());
    let status = new.status();
    let states: Vec<_> = status.endpoints.iter().map(|endpoint| endpoint.state).collect();
    use EndpointState::{Checking, Healthy, Unhealthy};
    assert_eq!(states, [Unhealthy, Healthy, Checking]);
    assert_eq!(status.endpoints.iter().map(|endpoint| endpoint.requests).sum::<u64>(), 1);
}

#[test]
fn status_compares_the_share_with_the_expected_one() {
    let pool = healthy(&[(3, false), (1, false)]);
    picks(&pool, 8);
    let status = pool.status();
    let shares: Vec<_> =
        status.endpoints.iter().map(|endpoint| (endpoint.share, endpoint.expected_share)).collect();
    assert_eq!(shares, [(0.75, 0.75), (0.25, 0.25)]);
}

proptest! {
    /// Between two changes of health, the counts of endpoints with equal weights differ by at most one.
    #[test]
    fn between_health_changes_counts_differ_by_at_most_one(
        count in 1usize..8,
        changes in prop::collection::vec((0usize..8, any::<bool>(), 0usize..40), 1..12),
    ) {
        let pool = equal(count);
        for (index, up, requests) in changes {
            set(&pool, index % count, up);
            let healthy: Vec<char> = (b'a'..).map(char::from).zip(pool.members())
                .filter(|(_, member)| member.endpoint.state() == EndpointState::Healthy)
                .map(|(letter, _)| letter)
                .collect();
            let counts = counts(&picks(&pool, requests));
            if healthy.is_empty() {
                prop_assert!(counts.keys().all(|letter| *letter == '-'));
                continue;
            }
            prop_assert!(counts.keys().all(|letter| healthy.contains(letter)), "{counts:?} of {healthy:?}");
            let of = |letter: &char| counts.get(letter).copied().unwrap_or(0);
            let (least, most) = (healthy.iter().map(of).min(), healthy.iter().map(of).max());
            prop_assert!(most <= least.map(|least| least + 1), "{counts:?}");
        }
    }

    /// The order of the config does not change the shares.
    #[test]
    fn shares_follow_weights_in_any_order(mut weights in prop::collection::vec(1u16..=9, 1..7), turn in 0usize..7) {
        let turn = turn % weights.len();
        weights.rotate_left(turn);
        let endpoints: Vec<_> = weights.iter().map(|weight| (*weight, false)).collect();
        let pool = healthy(&endpoints);
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let counts = counts(&picks(&pool, total * 3));
        for (letter, weight) in (b'a'..).map(char::from).zip(&weights) {
            prop_assert_eq!(counts.get(&letter).copied().unwrap_or(0), usize::from(*weight) * 3);
        }
    }
}

/// Nanoseconds of one pick: from the rotation, through the `BackendSelection` for Pingora, and through Pingora's
/// `LoadBalancer` around that. `make growth` runs it, in the release build.
#[test]
#[ignore = "it measures, and judges nothing"]
fn what_a_pick_costs() {
    const PICKS: u32 = 200_000;
    let best = |pick: &dyn Fn()| {
        let run = |_| {
            let started = Instant::now();
            (0..PICKS).for_each(|_| pick());
            started.elapsed().as_secs_f64() * 1e9 / f64::from(PICKS)
        };
        (0..9).map(run).fold(f64::INFINITY, f64::min)
    };
    for count in [3, 100, 200] {
        let pool = equal(count);
        let selector =
            Arc::new(Selection::build_with_config(&pool.balancer.backends().get_backend(), &pool.picker));
        let turns = best(&|| drop(black_box(pool.pick(&first(&TriedEndpoints::default())))));
        let selection = best(&|| assert!(black_box(selector.iter(b"").next()).is_some()));
        let balancer =
            best(&|| assert!(black_box(pool.balancer.select_with(b"", 256, |_, ready| ready)).is_some()));
        println!("picks: {count} {turns:.1} {selection:.1} {balancer:.1}");
    }
}
