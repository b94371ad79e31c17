//! Which endpoints a pool has: the addresses in the config, and those that its host names have now.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::ServiceDiscovery;
use tokio::task::JoinSet;

use super::endpoint::{EndpointTable, Target};
use super::rotation::Member;
use crate::config::{self, EndpointAddress, EndpointSpec};

/// How long one resolution of a name may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// Host and port.
type Name = (Arc<str>, u16);

pub(super) struct Discovery {
    pool: Arc<str>,
    specs: Vec<EndpointSpec>,
    checked: bool,
    table: Arc<EndpointTable>,
    /// The last addresses of each name: a name that stops resolving keeps them.
    resolved: Mutex<HashMap<Name, Resolved>>,
    /// The first round takes no name up, so that a pool has its plain addresses from the beginning.
    started: AtomicBool,
}

#[derive(Default, Clone)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    /// Said already that it fails, so that the log has one line for each change.
    failing: bool,
}

impl Discovery {
    pub fn new(spec: &config::Pool, table: Arc<EndpointTable>) -> Self {
        Self {
            pool: spec.name.clone(),
            specs: spec.endpoints.clone(),
            checked: spec.health_check.is_some(),
            table,
            resolved: Mutex::default(),
            started: AtomicBool::new(false),
        }
    }

    /// Looks all names up at the same time, so that one slow name delays no other.
    async fn resolve(&self) {
        let mut lookups = JoinSet::new();
        for spec in &self.specs {
            if let EndpointAddress::Name { host, port } = &spec.address {
                let name = (host.clone(), *port);
                lookups.spawn(async move { (name.clone(), lookup(&name).await) });
            }
        }
        while let Some(Ok((name, found))) = lookups.join_next().await {
            self.remember(name, found);
        }
    }

    /// Keeps what was found, or what had been found before; each change is said once.
    fn remember(&self, name: Name, found: Result<Vec<SocketAddr>, String>) {
        let (pool, host) = (&*self.pool, name.0.clone());
        let host = &*host;
        let mut resolved = self.resolved.lock();
        let known = resolved.entry(name).or_default();
        match found {
            Ok(addresses) => {
                if known.addresses != addresses || known.failing {
                    log::info!(pool, name = host, addresses:? = addresses; "name resolved");
                }
                *known = Resolved { addresses, failing: false };
            }
            Err(reason) => {
                if !known.failing {
                    let kept = known.addresses.len();
                    log::warn!(pool, name = host, reason, kept; "name does not resolve, keeping the last addresses");
                }
                known.failing = true;
            }
        }
    }

    fn addresses(&self, name: &Name) -> Vec<SocketAddr> {
        self.resolved.lock().get(name).map(|known| known.addresses.clone()).unwrap_or_default()
    }

    fn backend(&self, place: usize, target: Target, label: &str, written: &Arc<str>) -> Option<Backend> {
        let spec = self.specs.get(place)?;
        let addr = match &target {
            Target::Inet(address) => PingoraAddr::Inet(*address),
            Target::Unix(path) => {
                PingoraAddr::Unix(std::os::unix::net::SocketAddr::from_pathname(path).ok()?)
            }
        };
        let endpoint = self.table.endpoint(label, written, &target, self.checked);
        let member = Member { endpoint, place, weight: spec.weight, backup: spec.backup };
        let mut ext = http::Extensions::new();
        ext.insert(member);
        Some(Backend { addr, weight: usize::from(spec.weight), ext })
    }
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        if self.started.swap(true, Relaxed) {
            self.resolve().await;
        }
        let mut backends = BTreeSet::new();
        for (place, spec) in self.specs.iter().enumerate() {
            match &spec.address {
                EndpointAddress::Inet(address) => {
                    let written: Arc<str> = address.to_string().into();
                    backends.extend(self.backend(place, Target::Inet(*address), &written, &written));
                }
                EndpointAddress::Unix(path) => {
                    let label = format!("unix:{}", path.display());
                    let written: Arc<str> = "localhost".into();
                    backends.extend(self.backend(place, Target::Unix(path.clone()), &label, &written));
                }
                EndpointAddress::Name { host, port } => {
                    let written: Arc<str> = format!("{host}:{port}").into();
                    for address in self.addresses(&(host.clone(), *port)) {
                        let label = format!("{written} ({address})");
                        backends.extend(self.backend(place, Target::Inet(address), &label, &written));
                    }
                }
            }
        }
        Ok((backends, HashMap::new()))
    }
}

async fn lookup((host, port): &Name) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((&**host, *port))).await;
    let mut addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", RESOLVE_LIMIT.as_secs())),
    };
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
}
