//! Which endpoints orders find, what they refuse, and who is picked after them.

use std::time::SystemTime;

use super::*;
use crate::config::{self, EndpointAddress};
use crate::pool::adjustment::EndpointChange::{Drain, ResetWeight, Undrain, Weight};
use crate::pool::endpoint::Target;
use crate::pool::live_state::{KnownState, LiveName, LiveState};
use crate::pool::tests::{equal, healthy, no_wait, picks, pool_config, set};
use crate::pool::{Holds, Lease, LeaseOutcome, MayProbe, PickRequest, Picked, TriedEndpoints};

const A: &str = "127.0.0.1:3000";
const B: &str = "127.0.0.2:3000";

fn order(endpoint: &str, change: EndpointChange) -> AdjustOrder {
    let (pools, limit, force) = (PoolChoice::Sole, None, false);
    AdjustOrder { endpoint: endpoint.into(), pools, change, limit, force }
}

fn change(pool: &Arc<Pool>, endpoint: &str, change: EndpointChange) -> Result<Vec<Adjusted>, AdjustError> {
    adjust(std::slice::from_ref(pool), &order(endpoint, change), "uid 0")
}

fn done(pool: &Arc<Pool>, endpoint: &str, wanted: EndpointChange) -> Adjusted {
    change(pool, endpoint, wanted).expect("it is carried out").swap_remove(0)
}

fn refusal(result: Result<Vec<Adjusted>, AdjustError>) -> String {
    result.expect_err("it is refused").to_string()
}

fn named(name: &str, endpoints: &[(u16, bool)]) -> Arc<Pool> {
    let config = config::Pool { name: name.into(), ..pool_config(endpoints, no_wait()) };
    Pool::new(config, None, &Arc::default())
}

fn picked(pool: &Pool) -> Picked {
    picked_by(pool, None)
}

fn picked_by(pool: &Pool, key: Option<u64>) -> Picked {
    pool.pick(&PickRequest {
        tried: &TriedEndpoints::default(),
        key,
        sticky: None,
        may_probe: MayProbe::Never,
        now: std::time::Instant::now(),
    })
}

#[test]
fn a_drained_endpoint_is_passed_over_and_what_it_has_goes_on() {
    let pool = equal(2);
    let Picked::Endpoint { endpoint, .. } = picked(&pool) else { panic!("one is there") };
    let lease = Lease::within_limit(endpoint, Holds::Connection).expect("there is no limit");
    let adjusted = done(&pool, A, Drain);
    assert_eq!((adjusted.changed, adjusted.others_that_can_serve), (true, 1));
    assert_eq!(
        adjusted.endpoint.drained.map(|drained| (drained.by, drained.until)),
        Some(("uid 0".into(), None))
    );
    assert_eq!((adjusted.endpoint.in_flight, adjusted.endpoint.expected_share), (1, 0.0));
    assert_eq!(picks(&pool, 4), "bbbb");
    let Picked::Endpoint { skipped: Some(skipped), .. } = picked(&pool) else { panic!("one is skipped") };
    assert_eq!((&*skipped.named[0].endpoint, skipped.named[0].reason), (A, "draining"));
    lease.end(LeaseOutcome::Answered);
    assert!(done(&pool, A, Undrain).changed);
    assert_eq!(picks(&pool, 20).matches('a').count(), 10);
    assert!(!done(&pool, A, Undrain).changed, "it is done already");
}

#[test]
fn a_drained_endpoint_is_no_last_resort() {
    let pool = equal(2);
    done(&pool, A, Drain);
    set(&pool, 1, false);
    assert_eq!(picks(&pool, 2), "--");
    assert!(pool.why_unavailable().contains("127.0.0.2:3000: down"), "{}", pool.why_unavailable());
    done(&pool, B, Drain);
    assert_eq!(
        pool.why_unavailable(),
        "every endpoint of pool test is drained by hand: see `evenkeel undrain`"
    );
    done(&pool, A, Undrain);
    assert_eq!(picks(&pool, 2), "aa");
}

#[test]
fn a_weight_by_hand_is_in_force_at_once() {
    let pool = healthy(&[(5, false), (1, false)]);
    let adjusted = done(&pool, A, Weight(1));
    assert_eq!((adjusted.endpoint.weight, adjusted.endpoint.expected_share), (1, 0.5));
    assert_eq!(adjusted.endpoint.weight_by_hand.map(|weight| weight.file), Some(5));
    assert_eq!(picks(&pool, 20).matches('a').count(), 10);
    done(&pool, A, Weight(256));
    assert_eq!(picks(&pool, 257).matches('b').count(), 1);
    done(&pool, A, Weight(0));
    assert_eq!(picks(&pool, 3), "bbb");
    let reset = done(&pool, A, ResetWeight);
    assert_eq!((reset.endpoint.weight, reset.endpoint.weight_by_hand), (5, None));
    assert_eq!(picks(&pool, 6).matches('a').count(), 5);
}

/// Also where the policy keeps a table of all members.
#[test]
fn a_weight_by_hand_is_in_force_for_hash() {
    for (count, weight, share) in [(2, 3, 0.75), (300, 256, 256.0 / 555.0)] {
        let balance = config::Balance::Hash(config::HashKey::Client);
        let pool = config::Pool { balance, ..pool_config(&vec![(1, false); count], no_wait()) };
        let pool = Pool::new(pool, None, &Arc::default());
        (0..count).for_each(|index| set(&pool, index, true));
        let share_of_first = || {
            let keys = (0..2_000u32).map(|key| crate::pool::hash_of_key(&key.to_le_bytes()));
            let is_first = |key| match picked_by(&pool, Some(key)) {
                Picked::Endpoint { endpoint, .. } => Arc::ptr_eq(&endpoint, &pool.members()[0].endpoint),
                Picked::NoneHealthy { .. } | Picked::Full => false,
            };
            keys.filter(|key| is_first(*key)).count() as f64 / 2_000.0
        };
        let before = share_of_first();
        done(&pool, A, Weight(weight));
        assert!((share_of_first() - share).abs() < 0.06, "{} of {count}", share_of_first());
        done(&pool, A, ResetWeight);
        assert!((share_of_first() - before).abs() < f64::EPSILON, "as it was");
    }
}

#[test]
fn the_last_that_can_serve_stays_unless_it_is_forced() {
    let pool = equal(2);
    done(&pool, A, Drain);
    for wanted in [Drain, Weight(0)] {
        let refusal = refusal(change(&pool, B, wanted));
        assert_eq!(
            refusal,
            "127.0.0.2:3000 is the last endpoint of pool test that can serve: without it, requests would be answered 503; --force does it all the same"
        );
    }
    done(&pool, B, Weight(7));
    assert_eq!(picks(&pool, 2), "bb");
    let forced = AdjustOrder { force: true, ..order(B, Drain) };
    let adjusted = adjust(std::slice::from_ref(&pool), &forced, "uid 0").expect("it is forced");
    assert_eq!(adjusted[0].others_that_can_serve, 0);
    assert_eq!(picks(&pool, 2), "--");
}

#[test]
fn one_that_cannot_serve_may_go_and_a_backup_counts() {
    let pool = healthy(&[(1, false), (1, false), (1, true)]);
    set(&pool, 0, false);
    done(&pool, A, Drain);
    done(&pool, B, Drain);
    assert_eq!(picks(&pool, 2), "cc");
    set(&pool, 2, false);
    done(&pool, "127.0.0.3:3000", Drain);
}

#[test]
fn a_weight_of_the_file_that_is_zero_takes_the_last_one_too() {
    let pool = healthy(&[(0, false), (1, false)]);
    done(&pool, A, Weight(1));
    done(&pool, B, Drain);
    assert!(refusal(change(&pool, A, ResetWeight)).contains("is the last endpoint"));
}

#[test]
fn what_would_happen_is_as_the_pool_says() {
    let with = |when| {
        let pool = Pool::new(pool_config(&[(1, false), (1, false)], when), None, &Arc::default());
        [0, 1].iter().for_each(|index| set(&pool, *index, *index == 0));
        refusal(change(&pool, A, Drain))
    };
    assert!(with(WhenNoneHealthy::FailOpen).contains("requests would be sent to endpoints that are down;"));
    let held = with(WhenNoneHealthy::Wait { limit: Duration::from_secs(5), queue: 10 });
    assert!(held.contains("requests would be held for 5s at most, and then answered 503;"), "{held}");
}

#[test]
fn an_endpoint_in_several_pools_needs_a_choice() {
    let pools = [named("api", &[(1, false), (1, false)]), named("web", &[(1, false), (1, false)])];
    let text = refusal(adjust(&pools, &order(A, Drain), "uid 0"));
    assert_eq!(text, "127.0.0.1:3000 is in the pools api, web: name one with --pool, or say --all-pools");
    let is_drained = || pools.each_ref().map(|pool| pool.members()[0].endpoint.is_draining());
    assert_eq!(is_drained(), [false, false]);
    let in_web = AdjustOrder { pools: PoolChoice::Named("web".into()), ..order(A, Drain) };
    assert_eq!(adjust(&pools, &in_web, "uid 0").expect("it is there")[0].pool, "web");
    assert_eq!(is_drained(), [false, true]);
    let in_all = AdjustOrder { pools: PoolChoice::All, ..order(A, Drain) };
    assert_eq!(adjust(&pools, &in_all, "uid 0").expect("it is there").len(), 2);
    assert_eq!(is_drained(), [true, true]);
    let no_pool = AdjustOrder { pools: PoolChoice::Named("wbe".into()), ..order(A, Drain) };
    assert_eq!(refusal(adjust(&pools, &no_pool, "uid 0")), "there is no pool wbe: did you mean `web`?");
}

/// One that is the last in one of the pools stays in all.
#[test]
fn an_order_for_all_pools_is_carried_out_in_all_or_none() {
    let pools = [named("api", &[(1, false), (1, false)]), named("web", &[(1, false)])];
    let in_all = AdjustOrder { pools: PoolChoice::All, ..order(A, Drain) };
    assert!(refusal(adjust(&pools, &in_all, "uid 0")).contains("of pool web"));
    assert!(!pools[0].members()[0].endpoint.is_draining());
}

#[test]
fn an_unknown_endpoint_is_answered_with_near_ones() {
    let pool = equal(20);
    let text = refusal(change(&pool, "127.0.0.12:300", Drain));
    assert!(
        text.starts_with("no endpoint 127.0.0.12:300 in any pool: the nearest of 20 are 127.0.0.12:3000, "),
        "{text}"
    );
    let text = refusal(change(&equal(2), "a", Drain));
    assert_eq!(text, format!("no endpoint a in any pool: there are {A}, {B}"));
    assert_eq!(
        refusal(adjust(&[], &order(A, Drain), "")),
        format!("no endpoint {A} in any pool: there are none now")
    );
}

#[test]
fn addresses_are_compared_as_addresses_and_names_by_their_one_address() {
    let table = crate::pool::EndpointTable::new(std::time::Instant::now());
    let endpoint = |label: &str, authority: &str, address: &str| {
        let address = address.parse().expect("an address");
        table.endpoint(label, &authority.into(), &Target::Inet(address), None)
    };
    let plain = endpoint("[::1]:3000", "[::1]:3000", "[::1]:3000");
    assert!(plain.is_named("[0:0::1]:3000") && !plain.is_named("[::1]:3001"));
    let named = endpoint("app:3000 (10.0.0.1:3000)", "app:3000", "10.0.0.1:3000");
    for name in ["app:3000 (10.0.0.1:3000)", "app:3000", "10.0.0.1:3000"] {
        assert!(named.is_named(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_by_time_is_published() {
    let pool = healthy(&[(1, false), (1, false)]);
    let watched = pool.clone();
    let ends = tokio::spawn(async move { watched.end_adjustments().await });
    let limited = |change, seconds| {
        let limited = AdjustOrder { limit: Some(Duration::from_secs(seconds)), ..order(A, change) };
        adjust(std::slice::from_ref(&pool), &limited, "uid 0").expect("it is carried out");
    };
    limited(Drain, 60);
    tokio::time::sleep(Duration::from_secs(1)).await;
    limited(Weight(3), 10);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((picks(&pool, 2), pool.members()[0].weight()), ("bb".into(), 3));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((picks(&pool, 2), pool.members()[0].weight()), ("bb".into(), 1));
    tokio::time::sleep(Duration::from_secs(49)).await;
    assert_eq!(picks(&pool, 20).matches('a').count(), 10);
    ends.abort();
}

#[test]
fn a_pool_that_a_reload_changes_keeps_what_was_changed_by_hand() {
    let pool = equal(2);
    done(&pool, A, Drain);
    done(&pool, B, Weight(9));
    let mut config = pool.config().clone();
    config.endpoints[1].attributes.weight = 4;
    let next = Pool::new(config, Some(&pool), &Arc::default());
    assert_eq!(picks(&next, 2), "bb");
    let status = next.status().endpoints.swap_remove(1);
    assert_eq!((status.weight, status.weight_by_hand.map(|weight| weight.file)), (9, Some(4)));
}

/// Some resolvers give a few of many addresses at a time.
#[tokio::test]
async fn an_address_that_a_name_has_now_and_then_stays_drained() {
    const GONE: &str = "127.9.9.9:80";
    let address = EndpointAddress::Name { host: "localhost".into(), port: 80 };
    let endpoints = vec![config::EndpointSpec { address, attributes: config::EndpointAttributes::default() }];
    let config = config::Pool { endpoints, ..pool_config(&[], no_wait()) };
    let resolved = |address: &str| {
        let addresses = vec![address.parse().expect("an address")];
        let name = LiveName { host: "localhost".into(), addresses, resolved: SystemTime::now() };
        let state = LiveState { names: vec![name], ..LiveState::default() };
        Arc::new(KnownState::new(state, std::iter::empty()))
    };
    let pool = Pool::new(config.clone(), None, &resolved(GONE));
    let forced = AdjustOrder { force: true, ..order("localhost:80", Drain) };
    adjust(std::slice::from_ref(&pool), &forced, "uid 0").expect("it has that address");
    pool.discover(|| {}).await;
    pool.forget_gone();
    assert!(pool.members().iter().all(|member| !member.endpoint.is_draining()), "others have the name");
    assert_eq!(pool.table.adjusted().len(), 1);
    let mut config = config;
    config.endpoints.truncate(0);
    Pool::new(config, Some(&pool), &Arc::default()).forget_gone();
    assert_eq!(pool.table.adjusted().len(), 0, "the config does not have the name any more");
}
