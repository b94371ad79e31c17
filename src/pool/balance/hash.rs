//! `hash`: requests with the same key go to the same endpoint, on every machine that has the same endpoints.
//!
//! Up to 256 endpoints are ranked anew for each key, by weighted rendezvous hashing: when one leaves, only its keys move,
//! each to the next of its ranking. Larger pools have a table ([`Maglev`]). No endpoint takes more than its share of the
//! requests in flight times 1.25; what is beyond goes to the next of the ranking (consistent hashing with bounded loads;
//! Mirrokni, Thorup and Zadimoghaddam, arXiv:1608.01350).

use std::sync::Arc;
use std::time::Instant;

use super::Group;
use super::chance::{below, mix, unit};
pub(in crate::pool) use super::maglev::Maglev;
use crate::pool::candidates::Candidates;
use crate::pool::member::{Member, Membership};

/// The most endpoints that are ranked for each key.
const RANKED_MAX: usize = 256;

/// How many places of the table are looked at before all endpoints are ranked.
const TABLE_TRIES: u64 = 64;

/// The most requests in flight of an endpoint, relative to its share.
const BOUND: f64 = 1.25;

/// Up to here, requests in flight are not too many, whatever the share: with few requests in all, a key must not move
/// because two of its requests come together.
const FREE: u64 = 8;

/// The endpoints that get the traffic now, as keys see them.
pub(in crate::pool) struct Ranking {
    /// By position among those that get the traffic.
    seeds: Box<[Seed]>,
    /// The sum of their weights.
    weights: f64,
    /// For large pools.
    table: Option<Table>,
}

struct Seed {
    hash: u64,
    weight: f64,
}

struct Table {
    maglev: Arc<Maglev>,
    /// By index of the member, its position among those that get the traffic.
    positions: Box<[Option<u32>]>,
}

/// The hash of a key, the same in every process: FNV-1a, and a finalizer that spreads it over all bits.
pub fn of_key(key: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(key.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// An endpoint's part in rankings: of its address as the config or its name server has it.
pub(super) fn of_member(member: &Member) -> u64 {
    of_key(member.endpoint.target().to_string().as_bytes())
}

/// The rank of an endpoint for a key, lowest first: exponentially distributed with the weight as its rate, so that each
/// endpoint is first for its share of the keys (Schindelhauer and Schomaker, SPAA 2005).
fn rank(key: u64, seed: &Seed) -> f64 {
    -unit(mix(key ^ seed.hash)).ln() / seed.weight
}

impl Ranking {
    pub fn new(candidates: &Candidates) -> Self {
        let members = candidates.first().iter().filter_map(|index| candidates.member(*index));
        let seeds: Box<[Seed]> = members
            .map(|member| Seed { hash: of_member(member), weight: f64::from(member.weight()) })
            .collect();
        let table = (candidates.members().len() > RANKED_MAX).then(|| Table::new(candidates));
        Self { weights: seeds.iter().map(|seed| seed.weight).sum(), seeds, table }
    }

    /// The position of the endpoint for a key: the first of its ranking that `may` be picked, and has room.
    ///
    pub fn pick(&self, key: u64, may: impl Fn(usize) -> bool, group: &Group, now: Instant) -> Option<usize> {
        // In a ramp, an endpoint has a part of its room, too.
        let in_flight = |position| {
            let Some(Member { endpoint, .. }) = group.member(position) else { return 0 };
            (endpoint.exact_in_flight() as f64 / endpoint.ramp().share(now)) as u64
        };
        let total = group.member(0).map_or(0, |member| member.endpoint.exact_in_flight_of_pool());
        self.pick_within(key, may, in_flight, total)
    }

    /// `in_flight` gives an endpoint's requests in flight, `total` is that of all.
    fn pick_within(
        &self,
        key: u64,
        may: impl Fn(usize) -> bool,
        in_flight: impl Fn(usize) -> u64,
        total: u64,
    ) -> Option<usize> {
        let has_room = |position: usize| may(position) && in_flight(position) < self.bound(position, total);
        let of_table = self.table.as_ref().and_then(|table| table.find(key, has_room));
        // Without room anywhere, as can be for a moment, the bound gives way.
        of_table.or_else(|| self.first(key, has_room)).or_else(|| self.first(key, may))
    }

    /// The most requests that an endpoint may have in flight with the one that is coming, while all have `total`.
    fn bound(&self, position: usize, total: u64) -> u64 {
        let share = self.seeds.get(position).map_or(0.0, |seed| seed.weight / self.weights);
        ((BOUND * (total + 1) as f64 * share).ceil() as u64).max(FREE)
    }

    fn first(&self, key: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        let ranked = (0..).zip(&self.seeds).filter(|(position, _)| may(*position));
        ranked
            .map(|(position, seed)| (rank(key, seed), position))
            .reduce(|one, other| if other.0 < one.0 { other } else { one })
            .map(|(_, position)| position)
    }
}

impl Table {
    fn new(candidates: &Candidates) -> Self {
        let mut positions = vec![None; candidates.members().len()];
        for (position, index) in (0..).zip(candidates.first()) {
            if let Some(slot) = positions.get_mut(*index as usize) {
                *slot = Some(position);
            }
        }
        Self { maglev: candidates.membership().maglev(), positions: positions.into() }
    }

    /// The first place of the key's in the table whose endpoint gets the traffic, and `may` be picked.
    fn find(&self, key: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        let places = (0..TABLE_TRIES).map(|step| if step == 0 { key } else { mix(key.wrapping_add(step)) });
        places
            .filter_map(|bits| self.maglev.at(below(self.maglev.len(), bits)))
            .filter_map(|index| *self.positions.get(index as usize)?)
            .map(|position| position as usize)
            .find(|position| may(*position))
    }
}

/// The table of all members that may ever get traffic by these weights: a change of health does not change it.
pub(in crate::pool) fn table_of(membership: &Membership, weights: &[u16]) -> Maglev {
    let members = (0..).zip(membership.members()).zip(weights);
    let members = members.filter(|((_, member), weight)| !member.attributes.backup && **weight > 0);
    Maglev::new(members.map(|((index, member), weight)| (index, of_member(member), *weight)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: fn(usize) -> u64 = |_| 0;

    fn ranking(weights: &[u16]) -> Ranking {
        let seed = |(index, weight): (usize, &u16)| Seed {
            hash: of_key(format!("10.0.0.{index}:80").as_bytes()),
            weight: f64::from(*weight),
        };
        let total = weights.iter().map(|weight| f64::from(*weight)).sum();
        Ranking { seeds: weights.iter().enumerate().map(seed).collect(), weights: total, table: None }
    }

    #[test]
    fn a_key_has_the_same_hash_everywhere() {
        assert_eq!(of_key(b"user-1"), 17_396_716_259_063_309_781);
    }

    #[test]
    fn shares_follow_the_weights() {
        let (ranking, mut counts) = (ranking(&[1, 2, 5]), [0u32; 3]);
        for key in 0..80_000u64 {
            counts[ranking.pick_within(mix(key), |_| true, NONE, 0).expect("there are three")] += 1;
        }
        for (count, expected) in counts.iter().zip([10_000u32, 20_000, 50_000]) {
            assert!(count.abs_diff(expected) < expected / 20, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn only_the_keys_of_who_leaves_move(
            weights in prop::collection::vec(1u16..=8, 2..40),
            gone in any::<prop::sample::Index>(),
        ) {
            let (ranking, gone) = (ranking(&weights), gone.index(weights.len()));
            for key in (0..500).map(mix) {
                let before = ranking.pick_within(key, |_| true, NONE, 0);
                let after = ranking.pick_within(key, |position| position != gone, NONE, 0);
                prop_assert!(after != Some(gone));
                prop_assert!(before == Some(gone) || before == after);
            }
        }

        /// However skewed the keys, nobody has more than its bound.
        #[test]
        fn no_endpoint_is_overloaded(count in 2usize..20, keys in 1u64..6, requests in 1usize..600) {
            let (ranking, mut loads) = (ranking(&vec![1; count]), vec![0u64; count]);
            for request in 0..requests as u64 {
                let loads_now = loads.clone();
                let in_flight = |position: usize| loads_now[position];
                let picked = ranking.pick_within(mix(request % keys), |_| true, in_flight, request);
                loads[picked.expect("somebody")] += 1;
                let most = (BOUND * (request + 1) as f64 / count as f64).ceil() as u64;
                prop_assert!(loads.iter().all(|load| *load <= most.max(FREE)), "{:?}", loads);
            }
        }
    }
}
