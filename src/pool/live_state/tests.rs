//! What goes on to pools of other names, and to other processes.

use std::time::Duration;

use super::*;
use crate::config::{CheckKind, EndpointAddress, EndpointAttributes, EndpointSpec};
use crate::pool::probe_schedule::ProbeKind;
use crate::pool::sources::tests::{answer, name};
use crate::pool::sources::{Answer, Found};
use crate::pool::status::EndpointState::{Checking, Healthy, Unhealthy};
use crate::pool::status::{EndpointState, PoolStatus};
use crate::pool::tests::first;
use crate::pool::tests::{equal, no_wait, picks, pool_config, set};
use crate::pool::{Picked, Pool, ProbeResult, TriedEndpoints};

fn known(pools: &[Arc<Pool>], staying: &[&str]) -> Arc<KnownState> {
    Arc::new(KnownState::new(LiveState::of(pools), staying.iter().copied()))
}

fn states(pool: &Pool) -> Vec<EndpointState> {
    pool.status().endpoints.iter().map(|endpoint| endpoint.state).collect()
}

fn requests(status: PoolStatus) -> u64 {
    status.endpoints.iter().map(|endpoint| endpoint.requests).sum()
}

/// Of the endpoints that `equal(2)` has.
fn renamed() -> crate::config::Pool {
    crate::config::Pool { name: "renamed".into(), ..pool_config(&[(1, false), (1, false)], no_wait()) }
}

fn named(host: &str, port: u16) -> crate::config::Pool {
    let address = EndpointAddress::Name { host: host.into(), port };
    let endpoints = vec![EndpointSpec { address, attributes: EndpointAttributes::default() }];
    crate::config::Pool { name: "named".into(), endpoints, ..pool_config(&[], no_wait()) }
}

#[test]
fn a_renamed_pool_goes_on_as_it_was() {
    let old = equal(2);
    picks(&old, 10);
    set(&old, 0, false);
    let new = Pool::new(renamed(), None, &known(&[old], &["renamed"]));
    assert_eq!(states(&new), [Unhealthy, Healthy]);
    assert_eq!(picks(&new, 2), "bb");
    let status = new.status();
    assert_eq!(status.endpoints[0].reason, "down");
    assert_eq!((status.endpoints[0].checks_passed, status.endpoints[0].checks_failed), (1, 1));
    assert_eq!(requests(status), 12);
}

#[test]
fn a_pool_beside_another_has_its_health_but_counts_for_itself() {
    let old = equal(2);
    picks(&old, 10);
    set(&old, 0, false);
    let new = Pool::new(renamed(), None, &known(std::slice::from_ref(&old), &["test", "renamed"]));
    assert_eq!(states(&new), [Unhealthy, Healthy]);
    assert_eq!(requests(new.status()), 0);
    set(&old, 1, false);
    assert_eq!(states(&new), [Unhealthy, Healthy], "from then on each has its own");
}

#[test]
fn what_was_counted_goes_on_once() {
    let old = equal(2);
    picks(&old, 10);
    let known = known(&[old], &["one", "two"]);
    let pools = ["one", "two"]
        .map(|name| Pool::new(crate::config::Pool { name: name.into(), ..renamed() }, None, &known));
    assert_eq!(pools.map(|pool| requests(pool.status())), [10, 0]);
}

#[test]
fn another_check_has_another_verdict() {
    let old = equal(2);
    set(&old, 0, false);
    picks(&old, 10);
    let mut asked = renamed();
    if let Some(check) = &mut asked.health_check {
        check.kind = CheckKind::Grpc { service: String::new() };
    }
    let new = Pool::new(asked, None, &known(&[old], &["renamed"]));
    assert_eq!(states(&new), [Checking, Checking]);
    assert_eq!(requests(new.status()), 10);
}

#[test]
fn how_often_a_check_runs_makes_it_no_other_check() {
    let old = equal(2);
    let mut patient = renamed();
    if let Some(check) = &mut patient.health_check {
        (check.interval, check.healthy_after, check.unhealthy_after) = (Duration::from_secs(60), 7, 7);
    }
    assert_eq!(states(&Pool::new(patient, None, &known(&[old], &["renamed"]))), [Healthy, Healthy]);
}

#[test]
fn a_host_keeps_its_addresses_in_any_pool_and_with_any_port() {
    let old = Pool::new(named("app.test", 80), None, &Arc::default());
    assert!(old.is_unresolved() && !old.serves());
    let found = answer(&[([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()]);
    old.sources.remember("named", &name(), Ok(found), Duration::MAX, SystemTime::now());
    old.find_members(Instant::now());
    let config = crate::config::Pool { name: "new".into(), ..named("app.test", 8080) };
    let new = Pool::new(config, None, &known(&[old], &["new"]));
    let labels: Vec<String> =
        new.members().iter().map(|member| member.endpoint.label().to_string()).collect();
    assert_eq!(labels, ["app.test:8080 (10.0.0.1:8080)", "app.test:8080 (10.0.0.2:8080)"]);
    assert!(!new.is_unresolved() && new.serves());
}

/// An answer is handed over in parts, and is whole again.
#[test]
fn srv_records_are_handed_over_with_their_attributes() {
    let srv = EndpointAddress::Srv("_http._tcp.api.test".into());
    let spec = EndpointSpec { address: srv.clone(), attributes: EndpointAttributes::default() };
    let config = |name: &str| crate::config::Pool {
        name: name.into(),
        endpoints: vec![spec.clone()],
        ..pool_config(&[], no_wait())
    };
    let found = |index: u16| Found {
        address: EndpointAddress::Inet(([10, 0, (index / 256) as u8, (index % 256) as u8], 80).into()),
        authority: Some(format!("host{index}.test:80").into()),
        attributes: Some(EndpointAttributes { weight: 1 + index % 7, backup: index % 2 == 1, zone: None }),
    };
    let all = Answer { found: (0..300).map(found).collect(), hold: Duration::from_secs(1) };
    let old = Pool::new(config("old"), None, &Arc::default());
    old.sources.remember("old", &srv, Ok(all.clone()), Duration::MAX, SystemTime::now());
    let state = handed_over(LiveState::of(&[old]));
    let new = Pool::new(config("new"), None, &Arc::new(KnownState::new(state, ["new"].into_iter())));
    assert_eq!(*new.sources.found(&srv), *all.found);
    let members = new.members();
    assert_eq!(members.len(), 300);
    let last = &members[299];
    assert_eq!(&**last.endpoint.label(), "host299.test:80 (10.0.1.43:80)");
    assert_eq!((last.attributes.weight, last.attributes.backup), (6, true));
}

/// What goes from one process to the next, there and back.
fn handed_over(state: LiveState) -> LiveState {
    let mut all = LiveState::default();
    for part in state.into_parts(60_000) {
        let json = serde_json::to_vec(&part).expect("JSON");
        assert!(json.len() <= 60_000, "a part of {} bytes", json.len());
        all.add(serde_json::from_slice(&json).expect("the same again"));
    }
    all
}

#[test]
fn twenty_thousand_endpoints_are_handed_over_in_parts() {
    let pool = equal(1);
    set(&pool, 0, false);
    let mut state = LiveState::of(&[pool]);
    let endpoint = state.endpoints.remove(0);
    let address = |index: u32| format!("10.0.{}.{}:3000", index / 256, index % 256);
    state
        .endpoints
        .extend((0..20_000).map(|index| LiveEndpoint { address: address(index), ..endpoint.clone() }));
    let all = handed_over(state);
    assert_eq!(all.endpoints.len(), 20_000);
    assert_eq!(all.endpoints[19_999].address, address(19_999));
    assert_eq!(all.endpoints[19_999].health.state(), Unhealthy);
    assert_eq!((all.pools.len(), all.pools[0].serves), (1, false));
}

/// Failures in a row are handed over: the next one is the third.
#[test]
fn probes_in_a_row_go_on_in_the_successor() {
    let thrice = |name: &str| {
        let mut config = crate::config::Pool { name: name.into(), ..renamed() };
        if let Some(check) = &mut config.health_check {
            check.unhealthy_after = 3;
        }
        config
    };
    let fail = |pool: &Pool| {
        let member = pool.members().swap_remove(0);
        pool.probed(
            &member,
            ProbeResult::Failed("down".into()),
            ProbeKind::Regular,
            Instant::now(),
            SystemTime::now(),
        );
    };
    let old = Pool::new(thrice("p"), None, &Arc::default());
    set(&old, 0, true);
    fail(&old);
    fail(&old);
    let state = handed_over(LiveState::of(&[old]));
    let new = Pool::new(thrice("p"), None, &Arc::new(KnownState::new(state, ["p"].into_iter())));
    assert_eq!(states(&new), [Healthy, Checking]);
    fail(&new);
    assert_eq!(states(&new), [Unhealthy, Checking]);
}

/// A later version may say more, and use other words.
#[test]
fn what_another_version_says_is_understood_as_far_as_it_goes() {
    let state: LiveState = serde_json::from_str(
        r#"{"endpoints": [{"pool": "p", "address": "10.0.0.1:80", "ejected": {"until": 7}, "health": {
            "state": "resting", "against": 0, "since": {"secs_since_epoch": 1, "nanos_since_epoch": 0},
            "reason": "it was tired", "check": 5, "mood": "good"}}], "weights": [1, 2]}"#,
    )
    .expect("it is understood");
    assert_eq!(state.endpoints[0].health.state(), Checking);
    assert_eq!(state.endpoints[0].load.requests, 0);
    assert!(state.pools.is_empty());
}

#[test]
fn what_is_lacking_is_said() {
    let unresolved = Pool::new(named("app.test", 80), None, &Arc::default());
    assert_eq!(unresolved.why_unavailable(), "pool named has no endpoint: its sources have not answered yet");
    let failed = Err("no such host".into());
    unresolved.sources.remember("named", &name(), failed, Duration::from_secs(1), SystemTime::now());
    assert_eq!(unresolved.why_unavailable(), "pool named has no endpoint: app.test:80 fails: no such host");
    let down = equal(1);
    set(&down, 0, false);
    assert!(matches!(down.pick(&first(&TriedEndpoints::default())), Picked::NoneHealthy { .. }));
    assert_eq!(down.why_unavailable(), "no endpoint of pool test is healthy: 127.0.0.1:3000: down");
}

fn drained(pool: &Pool) -> Vec<bool> {
    pool.members().iter().map(|member| member.endpoint.is_draining()).collect()
}

fn drain_first(pool: &Arc<Pool>) {
    let order = crate::pool::AdjustOrder {
        endpoint: "127.0.0.1:3000".into(),
        pools: crate::pool::PoolChoice::Sole,
        change: crate::pool::EndpointChange::Drain,
        limit: None,
        force: true,
    };
    crate::pool::adjust(std::slice::from_ref(pool), &order, "uid 0").expect("it is carried out");
}

#[test]
fn a_drain_goes_on_under_a_new_name_and_in_another_process() {
    let old = equal(2);
    drain_first(&old);
    let state = LiveState::of(std::slice::from_ref(&old));
    let mut handed = LiveState::default();
    for part in state.into_parts(2000) {
        let json = serde_json::to_string(&part).expect("JSON");
        handed.add(serde_json::from_str(&json).expect("live state"));
    }
    for name in ["test", "renamed"] {
        let known = Arc::new(KnownState::new(handed.clone(), [name].into_iter()));
        let new = Pool::new(crate::config::Pool { name: name.into(), ..renamed() }, None, &known);
        assert_eq!(drained(&new), [true, false], "{name}");
        assert_eq!(new.status().endpoints[0].drained.as_ref().map(|drained| &*drained.by), Some("uid 0"));
    }
}

#[test]
fn a_drain_in_one_pool_is_none_in_a_pool_beside_it() {
    let old = equal(2);
    drain_first(&old);
    let new = Pool::new(renamed(), None, &known(&[old], &["test", "renamed"]));
    assert_eq!(drained(&new), [false, false]);
}
