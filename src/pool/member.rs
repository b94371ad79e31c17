//! An endpoint as a member of one pool.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora_load_balancing::Backend;

use super::balance::hash::{self, Maglev};
use super::check_id::CheckId;
use super::endpoint::Endpoint;
use super::sticky::{StickyPool, StickyTag, StickyTags};
use crate::config::EndpointAttributes;

/// Travels in `Backend::ext`.
#[derive(Debug, Clone)]
pub struct Member {
    pub endpoint: Arc<Endpoint>,
    /// Its place in the order of the config, because Pingora sorts its backends by address; in a membership, its
    /// index there.
    pub index: usize,
    /// The entry of the config that names it, or a source that names it.
    pub entry: usize,
    /// As they were given; the weight in force is [`Member::weight`].
    pub attributes: EndpointAttributes,
    /// What the pool's health check asks it; `None`: there is no health check.
    pub(super) check: Option<CheckId>,
}

impl Member {
    fn of(backend: &Backend) -> Option<&Self> {
        backend.ext.get()
    }

    /// The weight in force: that of the config, unless another was set by hand.
    pub fn weight(&self) -> u16 {
        self.endpoint.adjustment().weight().unwrap_or(self.attributes.weight)
    }
}

/// All members of a pool, until the next change of membership.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// In the order of the config.
    members: Box<[Member]>,
    /// The same, as Pingora wants them.
    backends: Box<[Backend]>,
    sticky: Option<StickyTags>,
    /// For `balance: hash`, made when first needed.
    table: Mutex<Option<WeightedTable>>,
}

#[derive(Debug)]
struct WeightedTable {
    /// Those that it was made by.
    weights: Box<[u16]>,
    maglev: Arc<Maglev>,
}

impl Membership {
    /// `sticky`: the cookies by which its clients are kept at their endpoints.
    pub fn new(backends: &BTreeSet<Backend>, sticky: Option<&StickyPool>) -> Self {
        let mut both: Vec<(Member, &Backend)> =
            backends.iter().filter_map(|backend| Some((Member::of(backend)?.clone(), backend))).collect();
        both.sort_by_key(|(member, _)| member.index);
        let indexed = |(index, (member, backend)): (usize, (Member, &Backend))| {
            (Member { index, ..member }, backend.clone())
        };
        let (members, backends): (Vec<_>, Vec<_>) = both.into_iter().enumerate().map(indexed).unzip();
        let sticky = sticky.map(|pool| StickyTags::new(&pool.sticky, &pool.name, &members));
        Self { members: members.into(), backends: backends.into(), sticky, table: Mutex::default() }
    }

    /// The member that a client's cookie stands for.
    pub fn stuck_to(&self, tag: StickyTag) -> Option<&Member> {
        self.member(self.sticky.as_ref()?.member(tag)?)
    }

    /// What stands for a member in cookies; `None`: clients are not kept at endpoints.
    pub fn tag_of(&self, member: &Member) -> Option<StickyTag> {
        self.sticky.as_ref()?.tag(member.index)
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn member(&self, index: u32) -> Option<&Member> {
        self.members.get(index as usize)
    }

    /// The backend of one of its members.
    pub fn backend_of(&self, member: &Member) -> Option<&Backend> {
        self.backends.get(member.index)
    }

    /// The table of a large pool that balances by hash, by the weights in force.
    pub fn maglev(&self) -> Arc<Maglev> {
        let weights: Box<[u16]> = self.members.iter().map(Member::weight).collect();
        let mut table = self.table.lock();
        match &*table {
            Some(made) if made.weights == weights => made.maglev.clone(),
            _ => {
                let maglev = Arc::new(hash::table_of(self, &weights));
                *table = Some(WeightedTable { weights, maglev: maglev.clone() });
                maglev
            }
        }
    }
}
