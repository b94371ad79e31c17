//! What is done before a config comes into force, so that its endpoints are known by then; and what is said of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::changes::{Changes, Item};
use crate::pool::status::EndpointState;
use crate::pool::{Member, Pool};
use crate::snapshot::Snapshot;

/// How long a reload waits in all: it must not hang, nor keep a stop waiting, because a resolver or an endpoint does.
const LIMIT: Duration = Duration::from_secs(2);

/// Of that, for names, so that something is left for probes.
const NAMES_LIMIT: Duration = Duration::from_secs(1);

/// Resolves the names of these pools, and probes their endpoints that never were: a dead one gets no request. What is
/// left over is for the supervisor, as at every start.
pub async fn make_ready(pools: &[Arc<Pool>]) {
    let _ = timeout(LIMIT, async {
        resolve_names(pools).await;
        probe_new(pools).await;
    })
    .await;
}

async fn resolve_names(pools: &[Arc<Pool>]) {
    let mut lookups = JoinSet::new();
    for pool in pools {
        let pool = pool.clone();
        lookups.spawn(async move { pool.discover().await });
    }
    let _ = timeout(NAMES_LIMIT, lookups.join_all()).await;
}

async fn probe_new(pools: &[Arc<Pool>]) {
    let mut probes = JoinSet::new();
    for pool in pools {
        for member in pool.members() {
            if member.endpoint.state() == EndpointState::Checking {
                let pool = pool.clone();
                probes.spawn(async move { pool.probe_first(&member).await });
            }
        }
    }
    probes.join_all().await;
}

/// Says of new endpoints what the first probe has found, and of those that go what they still have to do.
pub fn remark(changes: &mut Changes, previous: &Snapshot, next: &Snapshot) {
    for item in &mut changes.endpoints.added {
        if let Some(remark) = arrival(next, item) {
            item.remark(&remark);
        }
    }
    remark_departures(changes, previous);
}

/// Says of the endpoints that go what they still have to do.
pub fn remark_departures(changes: &mut Changes, previous: &Snapshot) {
    for item in &mut changes.endpoints.removed {
        let members = members(previous, item);
        match members.iter().map(|member| member.endpoint.load().in_flight).sum::<u64>() {
            0 => {}
            1 => item.remark("drains: 1 request"),
            in_flight => item.remark(&format!("drains: {in_flight} requests")),
        }
    }
}

fn arrival(next: &Snapshot, item: &Item) -> Option<String> {
    let members = members(next, item);
    let Some(first) = members.first() else { return Some("does not resolve yet".to_owned()) };
    pool_of(next, item)?.spec().health_check.as_ref()?;
    // The worst of a name's addresses is worth the line.
    let rank = |member: &&Member| match member.endpoint.state() {
        EndpointState::Unhealthy => 0,
        EndpointState::Checking => 1,
        EndpointState::Healthy => 2,
    };
    let health = members.iter().min_by_key(rank).unwrap_or(first).endpoint.health();
    match health.state() {
        EndpointState::Healthy => Some(format!("healthy: {}", health.reason())),
        EndpointState::Unhealthy => Some(format!("unhealthy: {}", health.reason())),
        EndpointState::Checking => Some(health.reason().to_owned()),
    }
}

/// What probes have found, by the place of the endpoint among those that come.
type Found = Vec<Option<Result<(), String>>>;

/// Probes the endpoints that a config would bring, and says what was found. `next` shares nothing with what runs.
pub async fn try_arrivals(changes: &mut Changes, next: &Snapshot) {
    let arrivals = &changes.endpoints.added;
    let mut found: Found = vec![None; arrivals.len()];
    let _ = timeout(LIMIT, async {
        let has_some =
            |pool: &&Arc<Pool>| arrivals.iter().any(|item| item.pool.as_deref() == Some(&**pool.name()));
        resolve_names(&next.pools().iter().filter(has_some).cloned().collect::<Vec<_>>()).await;
        probe_once(arrivals, next, &mut found).await;
    })
    .await;
    for (item, found) in changes.endpoints.added.iter_mut().zip(found) {
        let is_checked = pool_of(next, item).is_some_and(|pool| pool.spec().health_check.is_some());
        match found {
            Some(Ok(())) => item.remark("a probe passed"),
            Some(Err(reason)) => item.remark(&format!("a probe failed: {reason}")),
            None if members(next, item).is_empty() => item.remark("does not resolve"),
            None if is_checked => item.remark("no probe was answered in time"),
            None => {}
        }
    }
}

async fn probe_once(arrivals: &[Item], next: &Snapshot, found: &mut Found) {
    let mut probes = JoinSet::new();
    for (index, item) in arrivals.iter().enumerate() {
        let Some(pool) = pool_of(next, item) else { continue };
        for member in members(next, item) {
            let pool = pool.clone();
            probes.spawn(async move { (index, pool.probe_once(&member).await) });
        }
    }
    while let Some(probed) = probes.join_next().await {
        // Where a name has several addresses, one that fails is worth the line.
        if let Ok((index, Some(result))) = probed
            && let Some(slot) = found.get_mut(index)
            && !matches!(slot, Some(Err(_)))
        {
            *slot = Some(result);
        }
    }
}

fn pool_of<'a>(snapshot: &'a Snapshot, item: &Item) -> Option<&'a Arc<Pool>> {
    snapshot.pool(item.pool.as_deref()?)
}

/// The endpoints that an item of the changes stands for: a name has one for each of its addresses.
fn members(snapshot: &Snapshot, item: &Item) -> Vec<Member> {
    let is_it = |member: &Member| {
        let label = &**member.endpoint.label();
        label == item.name || label.strip_prefix(&*item.name).is_some_and(|rest| rest.starts_with(" ("))
    };
    pool_of(snapshot, item).map(|pool| pool.members().into_iter().filter(is_it).collect()).unwrap_or_default()
}
