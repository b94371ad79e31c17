//! Ejection and return, by what requests get of a pool.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::config;
use crate::pool::tests::{no_wait, pool_config, set};
use crate::pool::{Holds, Lease, LeaseRequest, Leased, MayProbe, PickRequest, TriedEndpoints};

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

fn lease(pool: &Pool, may_probe: MayProbe, now: Instant) -> Lease {
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
        let mut lease = lease(pool, MayProbe::AtOnce, now);
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
    // One request finds out, and the next after a pause; the ejection stays the same one.
    for failed in 1..=3 {
        let due = begin + TIME + (failed - 1) * PROBE_PAUSE;
        pool.review(std::slice::from_ref(&pool), at(due));
        assert_eq!(serve(&pool, 100, due, bad)[1], 1);
        assert_eq!(serve(&pool, 100, due + PROBE_PAUSE - TICK, bad)[1], 0);
    }
    let status = &pool.status().endpoints[1];
    assert_eq!(status.ejections, 1);
    assert!(
        status.reason.ends_with("in request r1; 3 requests have found it failing since"),
        "{}",
        status.reason
    );
    // Well again: one finds out, and the ramp begins.
    let back = begin + TIME + 3 * PROBE_PAUSE;
    pool.review(std::slice::from_ref(&pool), at(back));
    assert!((1..=2).contains(&serve(&pool, 100, back, |_| false)[1]));
    assert!((11..=14).contains(&serve(&pool, 100, back + RAMP / 2, |_| false)[1]));
    assert_eq!(serve(&pool, 100, back + RAMP, |_| false)[1], 25);
    // Ejected again, it is out for twice the time.
    let second = back + RAMP;
    assert_eq!(serve(&pool, 100, second, bad)[1], 5);
    pool.review(std::slice::from_ref(&pool), at(second + 2 * TIME - TICK));
    assert_eq!(serve(&pool, 100, second + 2 * TIME - TICK, bad)[1], 0);
    pool.review(std::slice::from_ref(&pool), at(second + 2 * TIME));
    assert_eq!(serve(&pool, 100, second + 2 * TIME, bad)[1], 1);
}

#[test]
fn requests_seldom_wait_for_who_is_ejected_and_slow() {
    let (pool, begin) = (pool(2), Instant::now());
    serve(&pool, 20, begin, |index| index == 0);
    let due = begin + TIME;
    pool.review(std::slice::from_ref(&pool), at(due));
    let silence = Verdict::Failed(FailureCause::NoAnswer("response_timeout"));
    lease(&pool, MayProbe::AtOnce, due).judged(silence, Duration::from_secs(3), "r2", due);
    pool.review(std::slice::from_ref(&pool), at(due));
    let may_find_out = |after: Duration| {
        pool.review(std::slice::from_ref(&pool), at(due + after));
        lease(&pool, MayProbe::AtOnce, due + after).probes()
    };
    assert!(!may_find_out(Duration::from_secs(29)) && may_find_out(Duration::from_secs(30)));
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
fn a_request_that_can_be_sent_again_finds_out_and_any_where_none_comes() {
    let (pool, begin) = (pool(2), Instant::now());
    serve(&pool, 20, begin, |index| index == 0);
    let due = begin + TIME;
    pool.review(std::slice::from_ref(&pool), at(due));
    let probes = |may_probe, now| lease(&pool, may_probe, now).probes();
    assert!(!probes(MayProbe::Late, due) && !probes(MayProbe::Never, due) && probes(MayProbe::AtOnce, due));
    // Nothing has come of it, so another one may; but not two at a time.
    let finds_out = lease(&pool, MayProbe::AtOnce, due);
    assert!(finds_out.probes() && !probes(MayProbe::AtOnce, due));
    drop(finds_out);
    let late = due + Duration::from_secs(2);
    assert!(!probes(MayProbe::Never, late) && !probes(MayProbe::Late, late - Duration::from_millis(1)));
    // It cannot be sent again, so that its failure is an ejection more.
    let mut finds_out = lease(&pool, MayProbe::Late, late);
    assert!(finds_out.probes());
    finds_out.judged(Verdict::Failed(FailureCause::Status(503)), Duration::ZERO, "r3", late);
    pool.review(std::slice::from_ref(&pool), at(late));
    assert_eq!(pool.status().endpoints[0].ejections, 2);
    pool.review(std::slice::from_ref(&pool), at(late + 2 * TIME - TICK));
    assert!(!probes(MayProbe::AtOnce, late + 2 * TIME - TICK));
    pool.review(std::slice::from_ref(&pool), at(late + 2 * TIME));
    assert!(probes(MayProbe::AtOnce, late + 2 * TIME));
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
            lease(pool, MayProbe::AtOnce, now).judged(silence, Duration::ZERO, "r", now);
            pool.review(&pools, at(now));
        }
    }
    assert!(
        pools.iter().flat_map(|pool| pool.members()).all(|member| !member.endpoint.outliers().is_ejected())
    );
    // One answers: the others are at fault.
    let mut well = lease(&pools[0], MayProbe::AtOnce, now);
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
