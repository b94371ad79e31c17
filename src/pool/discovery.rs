//! The endpoints of a pool: the addresses in the config, and those that its sources named last.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::ServiceDiscovery;

use super::check_id::CheckId;
use super::endpoint::{EndpointTable, Target};
use super::member::Member;
use super::sources::Sources;
use crate::config::{self, EndpointAddress, EndpointAttributes};

/// How deep sources may name sources: a list names SRV records, which name addresses.
const DEPTH_MAX: usize = 3;

/// Never waits, and asks no source itself: it reads the last answers in [`Sources`].
pub(super) struct Discovery {
    pool: config::Pool,
    table: Arc<EndpointTable>,
    sources: Arc<Sources>,
}

/// The members while they are collected. Of two with the same address, the first stays.
#[derive(Default)]
struct Members {
    backends: BTreeSet<Backend>,
    targets: HashSet<Target>,
}

/// An entry of the config, or of what a source has named.
struct Entry<'a> {
    /// Index in the config.
    index: usize,
    address: &'a EndpointAddress,
    /// Host and port by which a source knows it.
    authority: Option<&'a Arc<str>>,
    attributes: &'a EndpointAttributes,
}

impl Discovery {
    pub fn new(pool: config::Pool, table: Arc<EndpointTable>, sources: Arc<Sources>) -> Self {
        Self { pool, table, sources }
    }

    fn add(&self, members: &mut Members, entry: &Entry<'_>, depth: usize) {
        let Entry { index, address, authority, attributes } = *entry;
        match address {
            EndpointAddress::Inet(address) => {
                let (label, authority) = match authority {
                    Some(authority) => (format!("{authority} ({address})"), authority.clone()),
                    None => (address.to_string(), address.to_string().into()),
                };
                self.add_target(members, entry, Target::Inet(*address), &label, &authority);
            }
            EndpointAddress::Unix(path) => {
                let label = format!("unix:{}", path.display());
                self.add_target(members, entry, Target::Unix(path.clone()), &label, &"localhost".into());
            }
            _ if depth == DEPTH_MAX => {}
            source => {
                for found in &*self.sources.found(source) {
                    let own = found.attributes.clone().map(|own| own.within(attributes));
                    let attributes = own.as_ref().unwrap_or(attributes);
                    let authority = found.authority.as_ref();
                    let entry = Entry { index, address: &found.address, authority, attributes };
                    self.add(members, &entry, depth + 1);
                }
            }
        }
    }

    fn add_target(
        &self,
        members: &mut Members,
        entry: &Entry<'_>,
        target: Target,
        label: &str,
        authority: &Arc<str>,
    ) {
        if !members.targets.insert(target.clone()) {
            return;
        }
        let addr = match &target {
            Target::Inet(address) => PingoraAddr::Inet(*address),
            Target::Unix(path) => match std::os::unix::net::SocketAddr::from_pathname(path) {
                Ok(address) => PingoraAddr::Unix(address),
                Err(_) => return,
            },
        };
        let check = CheckId::of(&self.pool, authority);
        let endpoint = self.table.endpoint(label, authority, &target, check);
        let attributes = entry.attributes.clone();
        let weight = fingerprint(&attributes, label);
        let mut ext = http::Extensions::new();
        ext.insert(Member { endpoint, index: entry.index, entry: entry.index, attributes, check });
        members.backends.insert(Backend { addr, weight, ext });
    }
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut members = Members::default();
        for (index, spec) in self.pool.endpoints.iter().enumerate() {
            let (address, attributes) = (&spec.address, &spec.attributes);
            self.add(&mut members, &Entry { index, address, authority: None, attributes }, 0);
        }
        Ok((members.backends, HashMap::new()))
    }
}

/// The weight that Pingora sees: it takes members for the same whose address and weight are, so that any other
/// attribute must change the weight. Balance policies read that of the [`Member`].
fn fingerprint(attributes: &EndpointAttributes, label: &str) -> usize {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((attributes, label)) as usize
}
