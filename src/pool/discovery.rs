//! Which endpoints a pool has: the addresses in the config, and those that its host names have now.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::ServiceDiscovery;

use super::endpoint::{EndpointTable, Target};
use super::names::{Name, Names};
use super::rotation::Member;
use crate::config::{self, EndpointAddress, EndpointSpec};

pub(super) struct Discovery {
    pool: Arc<str>,
    specs: Vec<EndpointSpec>,
    checked: bool,
    table: Arc<EndpointTable>,
    names: Arc<Names>,
    /// The first round looks no name up, so that a pool has what is known of it from the beginning.
    started: AtomicBool,
}

impl Discovery {
    pub fn new(spec: &config::Pool, table: Arc<EndpointTable>, names: Arc<Names>) -> Self {
        Self {
            pool: spec.name.clone(),
            specs: spec.endpoints.clone(),
            checked: spec.health_check.is_some(),
            table,
            names,
            started: AtomicBool::new(false),
        }
    }

    fn names(&self) -> impl Iterator<Item = Name> {
        self.specs.iter().filter_map(|spec| match &spec.address {
            EndpointAddress::Name { host, port } => Some((host.clone(), *port)),
            EndpointAddress::Inet(_) | EndpointAddress::Unix(_) => None,
        })
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
            self.names.resolve(&self.pool, self.names()).await;
            self.names.retain(|known| self.names().any(|name| name == *known));
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
                    for address in self.names.addresses(&(host.clone(), *port)) {
                        let label = format!("{written} ({address})");
                        backends.extend(self.backend(place, Target::Inet(address), &label, &written));
                    }
                }
            }
        }
        Ok((backends, HashMap::new()))
    }
}
