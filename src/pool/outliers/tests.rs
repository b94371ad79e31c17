//! Ejection and return, by what requests get of a pool.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::config;
use crate::pool::tests::{no_wait, pool_config, set};
use crate::pool::{Holds, Lease, LeaseRequest, Leased, PickRequest, TriedEndpoints};

const TIME: Duration = Duration::from_secs(10);

fn outliers() -> Outliers {
    Outliers {
        failures: Some(5),
        success_rate: Some(0.8),
        latency: None,
        min_requests: 50,
        window: Duration::from_secs(10),
        time: TIME,
        max_time: 10 * TIME,
        max_ejected: 0.5,
    }
}

fn pool(count: usize) -> Arc<Pool> {
    let config = pool_config(&vec![(1, false); count], no_wait());
    let pool = Pool::new(config::Pool { outliers: Some(outliers()), ..config }, None, &Arc::default());
    (0..count).for_each(|index| set(&pool, index, true));
    pool
}

fn at(now: Instant) -> Moment {
    Moment { now, time: SystemTime::now(), chance: 1.0 }
}

fn lease(pool: &Pool, may_probe: bool, now: Instant) -> Lease {
    let tried = TriedEndpoints::default();
    let pick = PickRequest { tried: &tried, key: None, sticky: None, may_probe, now };
    match pool.lease(LeaseRequest { pick, holds: Holds::Connection, admitted: false }) {
        Leased::Lease { lease, .. } => lease,
        other => panic!("there is an endpoint: {other:?}"),
    }
}

/// Sends requests that `fails` says fail at an endpoint, and returns how many each endpoint had.
fn serve(pool: &Arc<Pool>, requests: usize, now: Instant, fails: impl Fn(usize) -> bool) -> Vec<usize> {
    let members = pool.members();
    let mut counts = vec![0; members.len()];
    for _ in 0..requests {
        let mut lease = lease(pool, true, now);
        let index = members.iter().position(|member| Arc::ptr_eq(&member.endpoint, lease.endpoint()));
        let index = index.expect("a member");
        counts[index] += 1;
        let failed = Verdict::Failed(FailureCause::Status(503));
        lease.judged(if fails(index) { failed } else { Verdict::Good }, Duration::ZERO, "r1", now);
        drop(lease);
        pool.review(std::slice::from_ref(pool), at(now));
    }
    counts
}

#[test]
fn who_fails_is_out_for_its_time_and_longer_the_next_time() {
    let (pool, begin) = (pool(4), Instant::now());
    let bad = |index| index == 1;
    assert_eq!(serve(&pool, 100, begin, bad)[1], 5);
    let status = &pool.status().endpoints[1];
    assert_eq!((status.state, status.ejections), (EndpointState::Ejected, 1));
    assert_eq!(&*status.reason, "5 failures in a row (503: 5), the last in request r1");
    assert_eq!(serve(&pool, 100, begin + TIME - TICK, bad)[1], 0);
    // One request finds out, and it is out for twice the time.
    let second = begin + TIME;
    pool.review(std::slice::from_ref(&pool), at(second));
    assert_eq!(serve(&pool, 100, second, bad)[1], 1);
    assert_eq!(serve(&pool, 100, second + 2 * TIME - TICK, bad)[1], 0);
    // Well again: one finds out, and the ramp begins.
    let third = second + 2 * TIME;
    pool.review(std::slice::from_ref(&pool), at(third));
    assert!((1..=2).contains(&serve(&pool, 100, third, |_| false)[1]));
    assert!((11..=14).contains(&serve(&pool, 100, third + RAMP / 2, |_| false)[1]));
    assert_eq!(serve(&pool, 100, third + RAMP, |_| false)[1], 25);
}

/// What failed while it was down must not eject it at its first failure after that.
#[test]
fn who_was_away_begins_anew() {
    let (pool, now) = (pool(2), Instant::now());
    let first = pool.members()[0].endpoint.clone();
    let fails = |times: usize, now: Instant| {
        for _ in 0..times {
            let failed = Verdict::Failed(FailureCause::NoAnswer("connect_timeout"));
            first.judged(failed, Duration::ZERO, "r1");
            pool.review(std::slice::from_ref(&pool), at(now));
        }
        pool.status().endpoints[0].state
    };
    let time = SystemTime::now();
    pool.connect_failed(&first, "refused", now, time);
    assert_eq!(fails(100, now), EndpointState::Unreachable);
    let back = Duration::from_secs(10);
    pool.connected(&first, now + back, time + back);
    assert_eq!(fails(4, now + back), EndpointState::Healthy);
    assert_eq!(fails(1, now + back), EndpointState::Ejected);
}

#[test]
fn only_a_request_that_can_be_sent_again_finds_out() {
    let (pool, begin) = (pool(2), Instant::now());
    serve(&pool, 20, begin, |index| index == 0);
    pool.review(std::slice::from_ref(&pool), at(begin + TIME));
    let ejected = pool.members()[0].endpoint.clone();
    let probes = |may_probe| Arc::ptr_eq(lease(&pool, may_probe, begin + TIME).endpoint(), &ejected);
    assert!(!probes(false) && probes(true));
    // Nothing has come of it, so another one may; but not two at a time.
    let finds_out = lease(&pool, true, begin + TIME);
    assert!(Arc::ptr_eq(finds_out.endpoint(), &ejected) && !probes(true));
    drop(finds_out);
    assert!(probes(true));
}

#[test]
fn the_last_one_stays_and_half_of_many_do() {
    let now = Instant::now();
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (9, 4)] {
        let pool = pool(count);
        serve(&pool, 200, now, |index| index != 0);
        let ejected =
            pool.status().endpoints.iter().filter(|one| one.state == EndpointState::Ejected).count();
        assert_eq!(ejected, most, "of {count}");
    }
}

#[test]
fn where_nobody_answers_the_network_is_at_fault() {
    let (pools, now) = ([pool(2), pool(2)], Instant::now());
    let silence = Verdict::Failed(FailureCause::NoAnswer("response_timeout"));
    for _ in 0..20 {
        for pool in &pools {
            lease(pool, true, now).judged(silence, Duration::ZERO, "r", now);
            pool.review(&pools, at(now));
        }
    }
    assert!(
        pools.iter().flat_map(|pool| pool.members()).all(|member| !member.endpoint.outliers().is_ejected())
    );
    // One answers: the others are at fault.
    let mut well = lease(&pools[0], true, now);
    well.judged(Verdict::Good, Duration::ZERO, "r", now);
    pools[1].review(&pools, at(now));
    assert!(pools[1].members().iter().any(|member| member.endpoint.outliers().is_ejected()));
}

#[test]
fn a_config_without_outliers_takes_all_back_and_a_reload_with_them_does_not() {
    let (old, now) = (pool(3), Instant::now());
    serve(&old, 50, now, |index| index == 2);
    let config = old.config().clone();
    let with =
        Pool::new(config::Pool { slow_start: Some(TIME), ..config.clone() }, Some(&old), &Arc::default());
    with.review(std::slice::from_ref(&with), at(now));
    assert_eq!(with.status().endpoints[2].state, EndpointState::Ejected);
    let without = Pool::new(config::Pool { outliers: None, ..config }, Some(&with), &Arc::default());
    without.review(std::slice::from_ref(&without), at(now));
    assert_eq!(without.status().endpoints[2].state, EndpointState::Healthy);
}
