//! Resolves the host names of a pool's endpoints, and keeps the last addresses found, however long ago.
//!
//! A name that stops resolving keeps its addresses, and a reload or an upgrade hands them on, so that a broken resolver
//! takes no endpoint out of service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::live_state::{KnownState, LiveName};
use super::status::NameStatus;
use super::unix_seconds;

/// How long one resolution may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Results that arrive within this time are applied together, because each change of members rebuilds the rotation, at
/// a cost that grows with the pool.
const BATCH_WINDOW: Duration = Duration::from_millis(50);

/// Host and port.
pub(super) type HostPort = (Arc<str>, u16);

#[derive(Debug, Default)]
pub(super) struct Resolver(Mutex<BTreeMap<HostPort, Resolved>>);

#[derive(Debug, Default)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    /// The last successful resolution.
    at: Option<SystemTime>,
    /// Why the last resolution failed, if it did.
    failing: Option<String>,
}

impl Resolver {
    pub fn addresses(&self, name: &HostPort) -> Vec<SocketAddr> {
        self.0.lock().get(name).map(|known| known.addresses.clone()).unwrap_or_default()
    }

    /// Takes the addresses from `known` for those of `names` that have none here.
    pub fn inherit(&self, names: impl Iterator<Item = HostPort>, known: &KnownState) {
        let mut all = self.0.lock();
        for (host, port) in names {
            if let Some((addresses, at)) = known.addresses(&host, port) {
                let name = all.entry((host, port)).or_default();
                if name.addresses.is_empty() {
                    *name = Resolved { addresses, at: Some(at), failing: None };
                }
            }
        }
    }

    /// The addresses of all names, for a successor.
    pub fn known(&self) -> Vec<LiveName> {
        let live = |((host, _), resolved): (&HostPort, &Resolved)| {
            let addresses = resolved.addresses.clone();
            Some(LiveName { host: host.to_string(), addresses, resolved: resolved.at? })
        };
        self.0.lock().iter().filter_map(live).collect()
    }

    /// Resolves all names at the same time, so that a slow one delays no other. Calls `on_change` as soon as addresses
    /// have changed.
    pub async fn resolve(
        &self,
        pool: &str,
        names: impl Iterator<Item = HostPort>,
        mut on_change: impl FnMut(),
    ) {
        let mut lookups: JoinSet<_> = names.map(|name| async move { (lookup(&name).await, name) }).collect();
        while let Some(Ok((found, name))) = lookups.join_next().await {
            let mut changed = self.remember(pool, name, found, SystemTime::now());
            let mut batch_end = std::pin::pin!(sleep(BATCH_WINDOW));
            loop {
                let next = tokio::select! {
                    next = lookups.join_next() => next,
                    () = &mut batch_end => break,
                };
                let Some(Ok((found, name))) = next else { break };
                changed |= self.remember(pool, name, found, SystemTime::now());
            }
            if changed {
                on_change();
            }
        }
    }

    /// Stores the addresses found, or keeps the old ones after a failure, and logs each change once. `true` if the
    /// addresses have changed.
    pub fn remember(
        &self,
        pool: &str,
        name: HostPort,
        found: Result<Vec<SocketAddr>, String>,
        now: SystemTime,
    ) -> bool {
        let host = &*name.0.clone();
        let mut names = self.0.lock();
        let known = names.entry(name).or_default();
        match found {
            Ok(addresses) => {
                let changed = known.addresses != addresses;
                if changed || known.failing.is_some() {
                    log::info!(pool, name = host, addresses:? = addresses; "name resolved");
                }
                *known = Resolved { addresses, at: Some(now), failing: None };
                changed
            }
            Err(reason) => {
                if known.failing.is_none() {
                    let kept = known.addresses.len();
                    log::warn!(pool, name = host, reason = &*reason, kept; "name does not resolve, keeping its last addresses");
                }
                known.failing = Some(reason);
                false
            }
        }
    }

    /// Forgets names that are not wanted.
    pub fn retain(&self, wanted: impl Fn(&HostPort) -> bool) {
        self.0.lock().retain(|name, _| wanted(name));
    }

    pub fn status(&self) -> Vec<NameStatus> {
        let names = self.0.lock();
        let status = |((host, port), resolved): (&HostPort, &Resolved)| NameStatus {
            name: format!("{host}:{port}"),
            addresses: resolved.addresses.len(),
            resolved: resolved.at.map(unix_seconds),
            failing: resolved.failing.clone(),
        };
        names.iter().map(status).collect()
    }
}

async fn lookup((host, port): &HostPort) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((&**host, *port))).await;
    let mut addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
    };
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> HostPort {
        ("app.internal".into(), 80)
    }

    #[test]
    fn a_name_that_stops_resolving_keeps_its_last_addresses() {
        let names = Resolver::default();
        let address: SocketAddr = ([10, 0, 0, 1], 80).into();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        names.remember("p", name(), Ok(vec![address]), then);
        names.remember("p", name(), Err("no such host".into()), SystemTime::now());
        assert_eq!(names.addresses(&name()), [address]);
        let status = names.status();
        assert_eq!((status[0].resolved, status[0].failing.as_deref()), (Some(7.0), Some("no such host")));
    }

    #[test]
    fn a_name_that_moves_has_its_new_addresses_only() {
        let names = Resolver::default();
        for last in [1, 2] {
            names.remember("p", name(), Ok(vec![([10, 0, 0, last], 80).into()]), SystemTime::now());
        }
        assert_eq!(names.addresses(&name()), [([10, 0, 0, 2], 80).into()]);
    }

    #[tokio::test]
    async fn names_are_really_looked_up() {
        let names = Resolver::default();
        let unknown: HostPort = ("nowhere.invalid".into(), 80);
        names.resolve("p", [("localhost".into(), 80), unknown.clone()].into_iter(), || {}).await;
        assert!(names.addresses(&("localhost".into(), 80)).iter().all(|address| address.ip().is_loopback()));
        assert!(!names.addresses(&("localhost".into(), 80)).is_empty());
        assert!(names.addresses(&unknown).is_empty());
    }
}
