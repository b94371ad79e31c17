//! The live state of pools as plain data, handed to the next process at an upgrade, and to new pools at a reload.
//!
//! It is looked up by address and check, or by host, not by pool: so it survives a pool's new name.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Pool;
use super::adjustment::Adjustment;
use super::check_id::CheckId;
use super::endpoint::EndpointLoad;
use super::health::Health;
use super::sources::Found;
use crate::config::{self, EndpointAddress, EndpointAttributes};

/// The most that is handed over in all. Twenty thousand endpoints take a tenth of it.
const BYTES_MAX: usize = 64 << 20;

/// How many endpoints of a source are handed over in one piece.
const SOURCE_PART: usize = 64;

/// Read by other versions at upgrades: fields may be added, and none removed. Unknown fields are ignored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveState {
    pub names: Vec<LiveName>,
    pub sources: Vec<LiveSource>,
    pub pools: Vec<LivePool>,
    pub endpoints: Vec<LiveEndpoint>,
    pub adjustments: Vec<LiveAdjustment>,
}

/// The addresses that a host had when it was resolved last; their port does not matter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveName {
    pub host: String,
    pub addresses: Vec<SocketAddr>,
    pub resolved: SystemTime,
}

/// What a source of endpoints answered last, or a part of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveSource {
    /// As the config has it.
    pub source: String,
    pub answered: SystemTime,
    pub endpoints: Vec<LiveFound>,
}

/// An endpoint that a source named.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveFound {
    /// As the config would have it.
    pub address: String,
    #[serde(default)]
    pub authority: Option<String>,
    #[serde(default)]
    pub attributes: Option<EndpointAttributes>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LivePool {
    pub name: String,
    /// A request would find an endpoint.
    pub serves: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveEndpoint {
    pub pool: String,
    /// `10.0.0.1:3000` or `unix:/path`.
    pub address: String,
    pub health: Health,
    #[serde(default)]
    pub load: EndpointLoad,
    #[serde(default)]
    pub ejection: Option<LiveEjection>,
}

/// An ejection that is under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveEjection {
    pub count: u32,
    pub until: SystemTime,
    pub since: SystemTime,
    pub reason: String,
}

/// What has been changed of an endpoint by hand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveAdjustment {
    pub pool: String,
    pub address: String,
    pub adjustment: Adjustment,
}

/// Live state, indexed for the pools that are being made.
#[derive(Debug, Default)]
pub struct KnownState {
    names: HashMap<String, LiveName>,
    /// By source; whole answers.
    sources: HashMap<String, LiveSource>,
    /// By address.
    endpoints: HashMap<String, Vec<LiveEndpoint>>,
    /// By address.
    adjustments: HashMap<String, Vec<LiveAdjustment>>,
    /// Names of the pools that the new config has, too: only a pool of the same name inherits their counts.
    staying: HashSet<String>,
    /// Pool and address of counts that have been inherited already.
    counted: Mutex<HashSet<(String, String)>>,
}

// === impl LiveState ===

impl LiveState {
    pub fn of(pools: &[Arc<Pool>]) -> Self {
        let mut state = Self::default();
        for pool in pools {
            let name = pool.name().to_string();
            pool.sources
                .known()
                .into_iter()
                .for_each(|(source, found, at)| state.add_source(&source, &found, at));
            state.endpoints.extend(pool.members().iter().map(|member| LiveEndpoint {
                pool: name.clone(),
                address: member.endpoint.target().to_string(),
                health: member.endpoint.health(),
                load: member.endpoint.load(),
                ejection: member.endpoint.outliers().to_live(Instant::now(), SystemTime::now()),
            }));
            state.adjustments.extend(pool.table.adjusted().iter().map(|endpoint| LiveAdjustment {
                pool: name.clone(),
                address: endpoint.target().to_string(),
                adjustment: endpoint.adjustment().get(),
            }));
            state.pools.push(LivePool { name, serves: pool.serves() });
        }
        state
    }

    fn add_source(&mut self, source: &EndpointAddress, found: &[Found], answered: SystemTime) {
        if let EndpointAddress::Name { host, .. } = source {
            let addresses = found.iter().filter_map(|found| match found.address {
                EndpointAddress::Inet(address) => Some(address),
                _ => None,
            });
            let (host, addresses) = (host.to_string(), addresses.collect());
            return self.names.push(LiveName { host, addresses, resolved: answered });
        }
        let live = |found: &Found| LiveFound {
            address: found.address.to_string(),
            authority: found.authority.as_deref().map(str::to_owned),
            attributes: found.attributes.clone(),
        };
        self.sources.extend(found.chunks(SOURCE_PART).map(|part| LiveSource {
            source: source.to_string(),
            answered,
            endpoints: part.iter().map(live).collect(),
        }));
    }

    /// Splits it into parts of at most `bytes` as JSON. What exceeds `BYTES_MAX` in all is left out.
    pub fn into_parts(self, bytes: usize) -> Vec<Self> {
        let Self { names, sources, pools, endpoints, adjustments } = self;
        let mut parts = Parts { all: vec![Self::default()], part_max: bytes, room: bytes, left: BYTES_MAX };
        names.into_iter().for_each(|name| parts.add(name, |part| &mut part.names));
        sources.into_iter().for_each(|source| parts.add(source, |part| &mut part.sources));
        pools.into_iter().for_each(|pool| parts.add(pool, |part| &mut part.pools));
        adjustments.into_iter().for_each(|adjustment| parts.add(adjustment, |part| &mut part.adjustments));
        endpoints.into_iter().for_each(|endpoint| parts.add(endpoint, |part| &mut part.endpoints));
        parts.all
    }

    pub fn add(&mut self, part: Self) {
        self.names.extend(part.names);
        self.sources.extend(part.sources);
        self.pools.extend(part.pools);
        self.endpoints.extend(part.endpoints);
        self.adjustments.extend(part.adjustments);
    }
}

struct Parts {
    all: Vec<LiveState>,
    part_max: usize,
    /// Bytes left in the last part.
    room: usize,
    /// Bytes left in all.
    left: usize,
}

impl Parts {
    fn add<T: Serialize>(&mut self, item: T, list: fn(&mut LiveState) -> &mut Vec<T>) {
        /// Bytes for the names of the lists and the punctuation between them.
        const FRAME: usize = 128;
        // With a comma.
        let size = serde_json::to_vec(&item).map_or(usize::MAX, |json| json.len() + 1);
        if size.saturating_add(FRAME) > self.part_max || size > self.left {
            return;
        }
        if size.saturating_add(FRAME) > self.room {
            self.all.push(LiveState::default());
            self.room = self.part_max;
        }
        self.room -= size;
        self.left -= size;
        if let Some(part) = self.all.last_mut() {
            list(part).push(item);
        }
    }
}

// === impl KnownState ===

impl KnownState {
    /// `staying` gives the names of the pools of the new config.
    pub fn new<'a>(state: LiveState, staying: impl Iterator<Item = &'a str>) -> Self {
        let mut known = Self { staying: staying.map(str::to_owned).collect(), ..Self::default() };
        for name in state.names {
            match known.names.get(&name.host) {
                Some(other) if other.resolved >= name.resolved => {}
                _ => drop(known.names.insert(name.host.clone(), name)),
            }
        }
        for source in state.sources {
            match known.sources.get_mut(&source.source) {
                Some(part) if part.answered == source.answered => part.endpoints.extend(source.endpoints),
                Some(other) if other.answered > source.answered => {}
                _ => drop(known.sources.insert(source.source.clone(), source)),
            }
        }
        for endpoint in state.endpoints {
            known.endpoints.entry(endpoint.address.clone()).or_default().push(endpoint);
        }
        for adjustment in state.adjustments {
            known.adjustments.entry(adjustment.address.clone()).or_default().push(adjustment);
        }
        known
    }

    /// What the source answered last, and when.
    pub(super) fn found(&self, source: &EndpointAddress) -> Option<(Vec<Found>, SystemTime)> {
        if let EndpointAddress::Name { host, port } = source {
            let name = self.names.get(&**host)?;
            let authority: Arc<str> = format!("{host}:{port}").into();
            let found = |address: &SocketAddr| Found {
                address: EndpointAddress::Inet(SocketAddr::new(address.ip(), *port)),
                authority: Some(authority.clone()),
                attributes: None,
            };
            return Some((name.addresses.iter().map(found).collect(), name.resolved));
        }
        let known = self.sources.get(&source.to_string())?;
        let found = known.endpoints.iter().filter_map(|live| {
            let address = config::endpoint_address(&live.address)?;
            let authority = live.authority.as_deref().map(Into::into);
            Some(Found { address, authority, attributes: live.attributes.clone() })
        });
        Some((found.collect(), known.answered))
    }

    /// The health of the address by the same check, preferably as the pool of that name knew it.
    pub(super) fn health(&self, pool: &str, address: &str, check: CheckId) -> Option<Health> {
        let asked = self.endpoints.get(address)?.iter().filter(|known| known.health.is_by(check));
        asked.min_by_key(|known| known.pool != pool).map(|known| known.health.clone())
    }

    /// What has been changed by hand of the address in the pool of that name, or in one that is gone.
    pub(super) fn adjustment(&self, pool: &str, address: &str) -> Option<Adjustment> {
        let theirs = self.adjustments.get(address)?;
        let own = theirs.iter().find(|known| known.pool == pool);
        let gone = || theirs.iter().find(|known| !self.staying.contains(&known.pool));
        own.or_else(gone).map(|known| known.adjustment.clone())
    }

    /// The ejection of the address in the pool of that name.
    pub(super) fn ejection(&self, pool: &str, address: &str) -> Option<&LiveEjection> {
        let known = self.endpoints.get(address)?;
        known.iter().find(|known| known.pool == pool)?.ejection.as_ref()
    }

    /// The counts of the address in the pool of that name, or in one that is gone. Returned only once, so that nothing
    /// is counted twice where several pools follow one.
    pub(super) fn load(&self, pool: &str, address: &str) -> EndpointLoad {
        let theirs = self.endpoints.get(address).map_or(&[][..], Vec::as_slice);
        let own = theirs.iter().find(|known| known.pool == pool);
        let mut gone = theirs.iter().filter(|known| !self.staying.contains(&known.pool));
        let mut counted = self.counted.lock();
        let mut take = |known: &&LiveEndpoint| counted.insert((known.pool.clone(), address.to_owned()));
        own.filter(&mut take).or_else(|| gone.find(take)).map(|known| known.load).unwrap_or_default()
    }
}
