//! Notes that the running process adds to a config diff: probe results of added endpoints, and requests in flight of
//! removed ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::warm_up::{self, LIMIT};
use crate::config_diff::{ConfigDiff, DiffItem};
use crate::pool::status::EndpointState;
use crate::pool::{HealthStatus, Member, Pool, ProbeResult};
use crate::snapshot::Snapshot;

/// The endpoints of a snapshot, by pool and by the address that the config writes.
struct CurrentEndpoints {
    /// A source has one member for each endpoint that it names.
    members: HashMap<String, Vec<(Arc<Pool>, Member)>>,
    /// Sources that have named none yet.
    silent: HashSet<String>,
}

/// The probe results, by the index of the added endpoint.
type ArrivalProbes = Vec<Option<Result<(), String>>>;

/// Adds the notes for a config that has come into force.
pub fn add(diff: &mut ConfigDiff, previous: &Snapshot, next: &Snapshot) {
    let current = CurrentEndpoints::of(next);
    for item in &mut diff.endpoints.added {
        if let Some(note) = current.arrival(item) {
            item.add_note(&note);
        }
    }
    add_departures(diff, previous);
}

/// Adds the notes for removed endpoints.
pub fn add_departures(diff: &mut ConfigDiff, previous: &Snapshot) {
    let current = CurrentEndpoints::of(previous);
    for item in &mut diff.endpoints.removed {
        let members = current.members(item);
        match members.iter().map(|(_, member)| member.endpoint.load().in_flight).sum::<u64>() {
            0 => {}
            1 => item.add_note("drains: 1 request"),
            in_flight => item.add_note(&format!("drains: {in_flight} requests")),
        }
    }
}

/// Probes the added endpoints of a planned config, and notes the results. `next` shares no state with the running
/// pools.
pub async fn try_arrivals(diff: &mut ConfigDiff, next: &Snapshot) {
    let arrivals = &mut diff.endpoints.added;
    let mut found: ArrivalProbes = vec![None; arrivals.len()];
    let pools: HashSet<&str> = arrivals.iter().filter_map(|item| item.pool.as_deref()).collect();
    let pools: Vec<_> = next.pools().iter().filter(|pool| pools.contains(&**pool.name())).cloned().collect();
    let _ = timeout(LIMIT, async {
        warm_up::resolve_names(&pools).await;
        probe_once(&CurrentEndpoints::of(next), arrivals, &mut found).await;
    })
    .await;
    let current = CurrentEndpoints::of(next);
    for (item, found) in arrivals.iter_mut().zip(found) {
        match found {
            Some(Ok(())) => item.add_note("a probe passed"),
            Some(Err(reason)) => item.add_note(&format!("a probe failed: {reason}")),
            None if current.is_silent(item) => item.add_note("names no endpoint"),
            None if current.is_checked(item) => item.add_note("no probe was answered in time"),
            None => {}
        }
    }
}

async fn probe_once(current: &CurrentEndpoints, arrivals: &[DiffItem], found: &mut ArrivalProbes) {
    let mut probes = JoinSet::new();
    for (index, item) in arrivals.iter().enumerate() {
        for (pool, member) in current.members(item) {
            let (pool, member) = (pool.clone(), member.clone());
            probes
                .spawn(async move { (index, pool.probe_once(&member).await.and_then(ProbeResult::verdict)) });
        }
    }
    while let Some(probed) = probes.join_next().await {
        // Of several endpoints of a source, one that fails is noted.
        if let Ok((index, Some(result))) = probed
            && let Some(slot) = found.get_mut(index)
            && !matches!(slot, Some(Err(_)))
        {
            *slot = Some(result);
        }
    }
}

// === impl CurrentEndpoints ===

impl CurrentEndpoints {
    fn of(snapshot: &Snapshot) -> Self {
        let mut current = Self { members: HashMap::new(), silent: HashSet::new() };
        for pool in snapshot.pools() {
            let specs = &pool.config().endpoints;
            let sources = specs.iter().map(|spec| &spec.address).filter(|address| address.is_source());
            current.silent.extend(sources.map(|source| key(pool.name(), &source.to_string())));
            for member in pool.members() {
                let Some(spec) = specs.get(member.entry) else { continue };
                let key = key(pool.name(), &spec.address.to_string());
                current.silent.remove(&key);
                current.members.entry(key).or_default().push((pool.clone(), member));
            }
        }
        current
    }

    fn members(&self, item: &DiffItem) -> &[(Arc<Pool>, Member)] {
        self.members.get(&key_of(item)).map_or(&[], Vec::as_slice)
    }

    fn is_silent(&self, item: &DiffItem) -> bool {
        self.silent.contains(&key_of(item))
    }

    fn is_checked(&self, item: &DiffItem) -> bool {
        self.members(item).iter().any(|(pool, _)| pool.config().health_check.is_some())
    }

    fn arrival(&self, item: &DiffItem) -> Option<String> {
        if self.is_silent(item) {
            return Some("names no endpoint yet".to_owned());
        }
        if !self.is_checked(item) {
            return None;
        }
        // Of several endpoints of a source, the worst is noted.
        let rank = |member: &&Member| match member.endpoint.state() {
            EndpointState::Unhealthy => 0,
            EndpointState::Unreachable => 1,
            EndpointState::Ejected => 2,
            EndpointState::Checking => 3,
            EndpointState::Healthy => 4,
        };
        let worst = self.members(item).iter().map(|(_, member)| member).min_by_key(rank)?;
        let HealthStatus { state, reason, .. } = worst.endpoint.health_status();
        Some(match state {
            EndpointState::Healthy => format!("healthy: {reason}"),
            EndpointState::Unhealthy => format!("unhealthy: {reason}"),
            EndpointState::Unreachable => format!("unreachable: {reason}"),
            EndpointState::Ejected => format!("ejected: {reason}"),
            EndpointState::Checking => reason.to_string(),
        })
    }
}

/// A map key. Unambiguous, because names of pools have no spaces.
fn key(pool: &str, address: &str) -> String {
    format!("{pool} {address}")
}

fn key_of(item: &DiffItem) -> String {
    key(item.pool.as_deref().unwrap_or_default(), &item.name)
}
