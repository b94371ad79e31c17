//! Balance policies: which of the endpoints that get the traffic gets a request.
//!
//! They are pure: requests in flight are read from the endpoints; time, the request's key, and the turn, from which all
//! chance is drawn, are arguments. Every request takes a turn of the pool, whatever the policy: round robin among those
//! that a policy likes equally well.

pub(crate) mod chance;
pub mod hash;
mod least;
mod maglev;
mod response_time;
mod round_robin;
#[cfg(test)]
mod tests;

use std::time::Instant;

pub(super) use response_time::ResponseTime;

use super::candidates::Candidates;
use super::member::Member;
use super::sticky::StickyTag;
use crate::config;
use hash::Ranking;

/// What a pick depends on beside the endpoints. `CLAIMS` is false where somebody only asks: then what only one request gets
/// is left to the next one. It is known when this is compiled, so that requests do not pay for who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct PickInput<const CLAIMS: bool = true> {
    /// No other pick of the pool has the same.
    pub turn: usize,
    /// The hash of the request's key, for `balance: { hash: ... }`; `None`: it has none.
    pub key: Option<u64>,
    /// What the client's cookie says; `None`: it has none.
    pub sticky: Option<StickyTag>,
    pub may_probe: MayProbe,
    pub now: Instant,
}

/// Whether a request may find out how an ejected endpoint is whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayProbe {
    Never,
    /// Where no other does: it cannot be sent again when the endpoint fails.
    Late,
    AtOnce,
}

/// A policy for the endpoints that get the traffic now.
pub(super) enum Policy {
    RoundRobin,
    LeastRequests,
    LeastTime,
    Random,
    Hash(Ranking),
}

/// The endpoints that get the traffic now. A policy knows each by its position.
pub(super) struct Group {
    pub candidates: Candidates,
    /// One period of their turns, as positions.
    turns: Vec<u32>,
    /// None of them is in a ramp.
    is_even: bool,
}

impl Policy {
    pub fn new(balance: &config::Balance, candidates: &Candidates) -> Self {
        match balance {
            config::Balance::RoundRobin => Self::RoundRobin,
            config::Balance::LeastRequests => Self::LeastRequests,
            config::Balance::LeastTime => Self::LeastTime,
            config::Balance::Random => Self::Random,
            config::Balance::Hash(_) => Self::Hash(Ranking::new(candidates)),
        }
    }

    /// One of the group that `may` be picked. Who is in a ramp takes a part of its own turns, or keys, and no others.
    pub fn pick<'a, const CLAIMS: bool>(
        &self,
        group: &'a Group,
        input: &PickInput<CLAIMS>,
        may: impl Fn(&Member) -> bool,
    ) -> Option<&'a Member> {
        if group.is_even() {
            return self.pick_evenly(group, input, may);
        }
        let ramping = |member: &Member| member.endpoint.ramp().is_under_way(input.now);
        if let (Self::Hash(_), Some(key)) = (self, input.key) {
            let draw = |member: &Member| chance::mix(!key ^ hash::of_member(member));
            let takes = |member: &Member| {
                may(member) && (!ramping(member) || member.endpoint.ramp().takes_key(draw(member), input.now))
            };
            return self.pick_evenly(group, input, takes).or_else(|| self.pick_evenly(group, input, may));
        }
        let own =
            group.own(input.turn).and_then(|own| group.member(own)).filter(|own| ramping(own) && may(own));
        let takes =
            |member: &&Member| member.endpoint.ramp().takes_turn(input.turn, group.turns.len(), input.now);
        own.filter(takes)
            .or_else(|| self.pick_evenly(group, input, |member| may(member) && !ramping(member)))
            .or_else(|| self.pick_evenly(group, input, may))
    }

    fn pick_evenly<'a, const CLAIMS: bool>(
        &self,
        group: &'a Group,
        input: &PickInput<CLAIMS>,
        may: impl Fn(&Member) -> bool,
    ) -> Option<&'a Member> {
        let may_at = |position: usize| group.member(position).is_some_and(&may);
        let position = match (self, input.key) {
            (Self::LeastRequests, _) => least::by_requests(group, input, may_at),
            (Self::LeastTime, _) => least::by_time(group, input, may_at),
            (Self::Random, _) => Some(group.draw(chance::mix(input.turn as u64))).filter(|at| may_at(*at)),
            (Self::Hash(ranking), Some(key)) => ranking.pick(key, may_at, group, input.now),
            (Self::RoundRobin, _) | (Self::Hash(_), None) => None,
        };
        position
            .and_then(|position| group.member(position))
            .or_else(|| group.in_turn(input.turn).find(|one| may(one)))
    }
}

impl Group {
    pub fn new(candidates: Candidates) -> Self {
        let may_ramp =
            |index: &u32| candidates.member(*index).is_some_and(|member| member.endpoint.ramp().is_begun());
        let is_even = !candidates.first().iter().any(may_ramp);
        Self { turns: round_robin::period(candidates.weights()), is_even, candidates }
    }

    /// Whether none of them is in a ramp.
    pub fn is_even(&self) -> bool {
        self.is_even
    }

    pub fn len(&self) -> usize {
        self.candidates.first().len()
    }

    pub fn member(&self, position: usize) -> Option<&Member> {
        self.candidates.member(*self.candidates.first().get(position)?)
    }

    /// How much the endpoint at a position gets, relative to the others.
    pub fn weight(&self, position: usize) -> u32 {
        self.candidates.weights().get(position).copied().unwrap_or(1)
    }

    /// The position whose turn it is.
    pub fn own(&self, turn: usize) -> Option<usize> {
        let turn = self.turns.get(turn.checked_rem(self.turns.len())?)?;
        Some(*turn as usize)
    }

    /// The number of turns after which they come again.
    pub fn period(&self) -> usize {
        self.turns.len()
    }

    /// A position by chance, by the weights.
    pub fn draw(&self, bits: u64) -> usize {
        self.own(chance::below(self.turns.len(), bits)).unwrap_or_default()
    }

    /// One period of turns, from that turn on.
    pub fn in_turn(&self, turn: usize) -> impl Iterator<Item = &Member> {
        let turns = (0..self.turns.len()).filter_map(move |step| self.own(turn.wrapping_add(step)));
        turns.filter_map(|position| self.member(position))
    }

    /// Each member's share of the traffic by its weight, in the order of [`Candidates::members`].
    pub fn expected_shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.candidates.members().len()];
        let indexes = self.turns.iter().filter_map(|turn| self.candidates.first().get(*turn as usize));
        for index in indexes {
            if let Some(share) = shares.get_mut(*index as usize) {
                *share += 1.0 / self.turns.len() as f64;
            }
        }
        shares
    }
}

/// Whether the policy reads how many requests its endpoints have in flight, so that leases must count them exactly.
pub(super) fn reads_load(balance: &config::Balance) -> bool {
    match balance {
        config::Balance::RoundRobin | config::Balance::Random => false,
        config::Balance::LeastRequests | config::Balance::LeastTime | config::Balance::Hash(_) => true,
    }
}

/// The name of the policy, as the config has it.
pub(super) fn name(balance: &config::Balance) -> &'static str {
    match balance {
        config::Balance::RoundRobin => "round_robin",
        config::Balance::LeastRequests => "least_requests",
        config::Balance::LeastTime => "least_time",
        config::Balance::Random => "random",
        config::Balance::Hash(_) => "hash",
    }
}
