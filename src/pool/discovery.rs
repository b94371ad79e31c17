//! The endpoints of a pool: the addresses in the config, and those that its host names resolved to last.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::ServiceDiscovery;

use super::check_id::CheckId;
use super::endpoint::{EndpointTable, Target};
use super::member::Member;
use super::resolver::Resolver;
use crate::config::{self, EndpointAddress};

/// Never waits, and resolves no names itself: it reads the last results of [`Resolver`].
pub(super) struct Discovery {
    pool: config::Pool,
    table: Arc<EndpointTable>,
    resolver: Arc<Resolver>,
}

impl Discovery {
    pub fn new(pool: config::Pool, table: Arc<EndpointTable>, resolver: Arc<Resolver>) -> Self {
        Self { pool, table, resolver }
    }

    fn backend(&self, index: usize, target: Target, label: &str, authority: &Arc<str>) -> Option<Backend> {
        let spec = self.pool.endpoints.get(index)?;
        let addr = match &target {
            Target::Inet(address) => PingoraAddr::Inet(*address),
            Target::Unix(path) => {
                PingoraAddr::Unix(std::os::unix::net::SocketAddr::from_pathname(path).ok()?)
            }
        };
        let check = CheckId::of(&self.pool, authority);
        let endpoint = self.table.endpoint(label, authority, &target, check);
        let member = Member { endpoint, index, attributes: spec.attributes.clone(), check };
        let mut ext = http::Extensions::new();
        ext.insert(member);
        Some(Backend { addr, weight: usize::from(spec.attributes.weight), ext })
    }
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::new();
        for (index, spec) in self.pool.endpoints.iter().enumerate() {
            match &spec.address {
                EndpointAddress::Inet(address) => {
                    let authority: Arc<str> = address.to_string().into();
                    backends.extend(self.backend(index, Target::Inet(*address), &authority, &authority));
                }
                EndpointAddress::Unix(path) => {
                    let label = format!("unix:{}", path.display());
                    let authority: Arc<str> = "localhost".into();
                    backends.extend(self.backend(index, Target::Unix(path.clone()), &label, &authority));
                }
                EndpointAddress::Name { host, port } => {
                    let authority: Arc<str> = format!("{host}:{port}").into();
                    for address in self.resolver.addresses(&(host.clone(), *port)) {
                        let label = format!("{authority} ({address})");
                        backends.extend(self.backend(index, Target::Inet(address), &label, &authority));
                    }
                }
            }
        }
        Ok((backends, HashMap::new()))
    }
}
