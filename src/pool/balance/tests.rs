//! The policies by what requests get of them, in pools with real leases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::chance::mix;
use crate::config::{Balance, HashKey};
use crate::pool::tests::{no_wait, pool_config, set};
use crate::pool::{
    FailureCause, Holds, Lease, LeaseRequest, Leased, MayProbe, PickRequest, Pool, TriedEndpoints, Verdict,
};

fn pool(balance: Balance, weights: &[u16]) -> Arc<Pool> {
    let endpoints: Vec<_> = weights.iter().map(|weight| (*weight, false)).collect();
    let config = crate::config::Pool { balance, ..pool_config(&endpoints, no_wait()) };
    let pool = Pool::new(config, None, &Arc::default());
    (0..weights.len()).for_each(|index| set(&pool, index, true));
    pool
}

fn by_client() -> Balance {
    Balance::Hash(HashKey::Client)
}

fn lease_by(pool: &Pool, key: Option<u64>, tried: &TriedEndpoints, now: Instant) -> Option<Lease> {
    let pick = PickRequest { tried, key, sticky: None, may_probe: MayProbe::AtOnce, now };
    match pool.lease(LeaseRequest { pick, holds: Holds::Connection, admitted: false }) {
        Leased::Lease { lease, .. } => Some(lease),
        _ => None,
    }
}

fn lease(pool: &Pool) -> Lease {
    lease_by(pool, None, &TriedEndpoints::default(), Instant::now()).expect("there is an endpoint")
}

fn index(pool: &Pool, lease: &Lease) -> usize {
    let members = pool.members();
    members.iter().position(|member| Arc::ptr_eq(&member.endpoint, lease.endpoint())).expect("a member")
}

/// The index of the endpoint for a key.
fn home(pool: &Pool, key: Option<u64>) -> usize {
    let lease = lease_by(pool, key, &TriedEndpoints::default(), Instant::now());
    index(pool, &lease.expect("there is an endpoint"))
}

fn counts(pool: &Pool, leases: &[Lease]) -> Vec<usize> {
    let mut counts = vec![0; pool.members().len()];
    leases.iter().for_each(|lease| counts[index(pool, lease)] += 1);
    counts
}

#[test]
fn least_requests_fills_who_has_least() {
    let pool = pool(Balance::LeastRequests, &[1, 1, 1]);
    let held: Vec<Lease> = (0..9).map(|_| lease(&pool)).collect();
    assert_eq!(counts(&pool, &held), [3, 3, 3]);
    let (slow, others): (Vec<Lease>, Vec<Lease>) =
        held.into_iter().partition(|lease| index(&pool, lease) == 0);
    drop(others);
    for _ in 0..20 {
        assert_ne!(home(&pool, None), 0, "it has three, and others have none");
    }
    drop(slow);
    let spread: Vec<usize> = (0..6).map(|_| home(&pool, None)).collect();
    assert!((0..3).all(|one| spread.iter().filter(|other| **other == one).count() == 2), "{spread:?}");
}

#[test]
fn least_requests_follows_weights_under_load() {
    let pool = pool(Balance::LeastRequests, &[1, 3]);
    let held: Vec<Lease> = (0..80).map(|_| lease(&pool)).collect();
    let counts = counts(&pool, &held);
    assert!((19..=21).contains(&counts[0]), "{counts:?}");
}

#[test]
fn in_a_large_pool_nobody_gets_far_more_than_others() {
    let pool = pool(Balance::LeastRequests, &[1; 100]);
    let held: Vec<Lease> = (0..1_000).map(|_| lease(&pool)).collect();
    let counts = counts(&pool, &held);
    assert!(counts.iter().all(|count| (6..=14).contains(count)), "{counts:?}");
}

#[test]
fn in_a_large_pool_the_busiest_gets_nothing() {
    let pool = pool(Balance::LeastRequests, &[1; 20]);
    let busy = lease(&pool);
    for _ in 0..2_000 {
        assert_ne!(home(&pool, None), index(&pool, &busy), "two distinct ones are compared");
    }
}

#[test]
fn leases_on_all_threads_are_counted_exactly() {
    let pool = pool(Balance::LeastRequests, &[1; 4]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2_000).for_each(|_| drop((lease(&pool), lease(&pool)))));
        }
    });
    assert!(pool.members().iter().all(|member| member.endpoint.exact_in_flight() == 0));
    assert_eq!(pool.members()[0].endpoint.exact_in_flight_of_pool(), 0);
}

/// Serves `requests` in turn, ten milliseconds apart; `took` says how long an endpoint takes, and whether it fails.
fn serve(
    pool: &Pool,
    begin: Instant,
    requests: u32,
    took: impl Fn(usize) -> (Duration, bool),
) -> (Vec<usize>, Instant) {
    let (mut counts, mut now) = (vec![0; pool.members().len()], begin);
    for _ in 0..requests {
        let mut lease = lease_by(pool, None, &TriedEndpoints::default(), now).expect("there is an endpoint");
        let (time, failed) = took(index(pool, &lease));
        counts[index(pool, &lease)] += 1;
        let verdict = if failed { Verdict::Failed(FailureCause::Status(503)) } else { Verdict::Good };
        lease.judged(verdict, time, "", now + time);
        now += Duration::from_millis(10);
    }
    (counts, now)
}

#[test]
fn least_time_avoids_who_is_slow_and_finds_out_when_it_is_not() {
    let (pool, begin) = (pool(Balance::LeastTime, &[1; 3]), Instant::now());
    let ms = Duration::from_millis;
    let (counts, now) = serve(&pool, begin, 1_000, |one| (if one == 0 { ms(200) } else { ms(10) }, false));
    assert!((9..=14).contains(&counts[0]), "one a second finds out: {counts:?}");
    let (_, now) = serve(&pool, now, 500, |_| (ms(10), false));
    let (counts, _) = serve(&pool, now, 300, |_| (ms(10), false));
    assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
}

#[test]
fn least_time_is_not_drawn_to_who_fails_fast() {
    let (pool, begin) = (pool(Balance::LeastTime, &[1; 3]), Instant::now());
    let ms = Duration::from_millis;
    let (counts, _) =
        serve(&pool, begin, 1_000, |one| if one == 2 { (ms(1), true) } else { (ms(10), false) });
    assert!(counts[2] <= 14, "{counts:?}");
}

#[test]
fn random_follows_the_weights() {
    let pool = pool(Balance::Random, &[1, 2, 5]);
    let held: Vec<Lease> = (0..8_000).map(|_| lease(&pool)).collect();
    let counts = counts(&pool, &held);
    for (count, expected) in counts.iter().zip([1_000usize, 2_000, 5_000]) {
        assert!(count.abs_diff(expected) < 150, "{counts:?}");
    }
}

#[test]
fn a_key_stays_and_a_request_without_one_takes_its_turn() {
    let pool = pool(by_client(), &[1; 5]);
    assert!((0..50).all(|key| home(&pool, Some(key)) == home(&pool, Some(key))));
    let mut turns: Vec<usize> = (0..5).map(|_| home(&pool, None)).collect();
    turns.sort_unstable();
    assert_eq!(turns, [0, 1, 2, 3, 4]);
}

/// A pool of 300 has a table.
#[test]
fn only_the_keys_of_who_is_down_move_and_they_come_home() {
    for count in [5, 300] {
        let pool = pool(by_client(), &vec![1; count]);
        let of = |key| home(&pool, Some(mix(key)));
        let before: Vec<usize> = (0..2_000).map(of).collect();
        set(&pool, 2, false);
        for (key, home) in (0..).zip(&before) {
            let away = of(key);
            assert!(away != 2 && (*home == 2 || away == *home));
        }
        set(&pool, 2, true);
        assert_eq!((0..2_000).map(of).collect::<Vec<_>>(), before);
    }
}

#[test]
fn one_key_alone_does_not_overload_an_endpoint() {
    let pool = pool(by_client(), &[1; 5]);
    let (none, now) = (TriedEndpoints::default(), Instant::now());
    let held: Vec<Lease> = (0..100).filter_map(|_| lease_by(&pool, Some(77), &none, now)).collect();
    let counts = counts(&pool, &held);
    assert!(counts.iter().all(|count| *count <= 25), "{counts:?}");
}

/// Shares of an endpoint in its ramp, of what is fair, at parts of the window; `load`: requests held at a time.
fn ramp_shares(balance: Balance, load: usize) -> Vec<f64> {
    const WINDOW: Duration = Duration::from_secs(30);
    let (pool, begin) = (pool(balance, &[1; 5]), Instant::now());
    pool.members()[3].endpoint.ramp().begin(WINDOW, begin);
    pool.publish_health();
    let share = |part: u32| {
        let (now, mut held) = (begin + WINDOW * part / 100, std::collections::VecDeque::new());
        let count = (0..10_000u64).filter(|key| {
            let mut lease =
                lease_by(&pool, Some(mix(*key)), &TriedEndpoints::default(), now).expect("somebody");
            lease.judged(Verdict::Good, Duration::from_millis(10), "", now);
            let is_it = index(&pool, &lease) == 3;
            held.push_back(lease);
            held.truncate(load.max(1));
            if held.len() >= load {
                held.pop_front();
            }
            is_it
        });
        count.count() as f64 / 2_000.0
    };
    [0, 50, 100].map(share).to_vec()
}

#[test]
fn half_way_up_a_ramp_gives_half_of_the_share_whatever_the_policy() {
    let balances =
        [Balance::RoundRobin, Balance::LeastRequests, Balance::LeastTime, Balance::Random, by_client()];
    for balance in balances {
        for load in [0, 40] {
            let shares = ramp_shares(balance.clone(), load);
            assert!(shares[0] < 0.03, "{balance:?} with {load}: {shares:?}");
            assert!((0.45..=0.55).contains(&shares[1]), "{balance:?} with {load}: {shares:?}");
            assert!((0.9..=1.1).contains(&shares[2]), "{balance:?} with {load}: {shares:?}");
        }
    }
}

fn balances() -> impl Strategy<Value = Balance> {
    prop_oneof![
        Just(Balance::RoundRobin),
        Just(Balance::LeastRequests),
        Just(Balance::LeastTime),
        Just(Balance::Random),
        Just(by_client()),
    ]
}

proptest! {
    /// Nobody is picked who must not be, nobody is tried twice while another is left, and all counts end at zero.
    #[test]
    fn whatever_the_policy(
        balance in balances(),
        weights in prop::collection::vec(0u16..4, 1..14),
        down in prop::collection::vec(any::<bool>(), 14),
        keys in prop::collection::vec(prop::option::of(any::<u64>()), 1..40),
    ) {
        let pool = pool(balance, &weights);
        (0..weights.len()).filter(|index| down[*index]).for_each(|index| set(&pool, index, false));
        let up = |index: usize| weights[index] > 0 && !down[index];
        let served = (0..weights.len()).filter(|index| up(*index)).count();
        let (mut held, now) = (Vec::new(), Instant::now());
        for key in keys {
            let mut tried = TriedEndpoints::default();
            for _ in 0..served {
                let lease = lease_by(&pool, key, &tried, now).expect("one is left");
                prop_assert!(up(index(&pool, &lease)));
                prop_assert!(!tried.contains(lease.endpoint()));
                tried.add(lease.endpoint().clone());
                held.push(lease);
            }
        }
        drop(held);
        prop_assert!(pool.members().iter().all(|member| member.endpoint.exact_in_flight() == 0));
    }
}
