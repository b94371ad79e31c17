//! Who gets a request: the balance policy among those that get the traffic, and what follows when those have failed.

use pingora_load_balancing::Backend;

use super::balance::{Group, PickInput, Policy};
use super::candidates::{Candidates, Tier};
use super::member::Member;
use super::tried_endpoints::TriedEndpoints;
use crate::config::Balance;

/// The candidates of one membership and one state of health, with the balance policy.
pub struct Rotation {
    group: Group,
    policy: Policy,
}

/// The endpoint that was picked.
pub(super) struct Pick<'a> {
    pub member: &'a Member,
    pub failed_open: bool,
    /// The request finds out how an ejected endpoint is.
    pub probes: bool,
}

impl Rotation {
    pub(super) fn new(candidates: Candidates, balance: &Balance) -> Self {
        Self { policy: Policy::new(balance, &candidates), group: Group::new(candidates) }
    }

    pub(super) fn candidates(&self) -> &Candidates {
        &self.group.candidates
    }

    /// Whether there is an endpoint to pick that has not become unreachable since the rotation was made.
    pub(super) fn has_reachable(&self) -> bool {
        let is_reachable = |member: &Member| !member.endpoint.is_unreachable();
        self.candidates().failed_open()
            || self.candidates().serving() == Tier::Available && self.in_order(0).any(is_reachable)
    }

    /// Whether there is an endpoint to pick.
    pub(super) fn is_serving(&self) -> bool {
        !self.candidates().first().is_empty()
    }

    /// The endpoint for the first attempt of a request.
    pub(super) fn first<const CLAIMS: bool>(&self, input: &PickInput<CLAIMS>) -> Option<Pick<'_>> {
        if let Some(member) = self.stuck_to(input) {
            return Some(self.pick(member));
        }
        if let Some(member) = self.half_open(input) {
            return Some(Pick { member, failed_open: false, probes: true });
        }
        let member = match self.policy {
            Policy::RoundRobin if self.group.is_even() => self.group.member(self.group.own(input.turn)?),
            _ => self.policy.pick(&self.group, input, |_| true),
        };
        Some(self.pick(member?))
    }

    fn pick<'a>(&self, member: &'a Member) -> Pick<'a> {
        Pick { member, failed_open: self.candidates().failed_open(), probes: false }
    }

    /// The endpoint that the client's cookie stands for.
    pub(super) fn stuck_to<const CLAIMS: bool>(&self, input: &PickInput<CLAIMS>) -> Option<&Member> {
        let member = self.candidates().stuck_to(input.sticky?)?;
        (!member.endpoint.is_unreachable()).then_some(member)
    }

    /// An ejected endpoint, if it is this request's to find out how it is.
    fn half_open<const CLAIMS: bool>(&self, input: &PickInput<CLAIMS>) -> Option<&Member> {
        if self.candidates().half_open().is_empty() {
            return None;
        }
        let half_open =
            self.candidates().half_open().iter().filter_map(|index| self.candidates().member(*index));
        let is_its = |member: &&Member| {
            let record = member.endpoint.outliers();
            !member.endpoint.is_unreachable()
                && match CLAIMS {
                    true => record.claim(input.may_probe, input.now),
                    false => record.is_free_for(input.may_probe, input.now),
                }
        };
        half_open.into_iter().find(is_its)
    }

    /// The endpoint for another attempt of a request: an untried one, if there is one.
    ///
    /// In this order: endpoints not known to be unreachable; a few unreachable ones, because one may just have come
    /// back; tried ones that had a connection; and unhealthy ones, where the pool fails open.
    pub(super) fn another<const CLAIMS: bool>(
        &self,
        input: &PickInput<CLAIMS>,
        tried: &TriedEndpoints,
    ) -> Option<Pick<'_>> {
        self.fresh(input, tried).or_else(|| {
            let may_repeat = |member: &Member| tried.may_repeat(&member.endpoint, input.now);
            let again =
                if tried.any_may_repeat(input.now) { self.preferred(input, may_repeat) } else { None };
            again.map(|member| self.pick(member)).or_else(|| {
                let member = self
                    .rotated(self.candidates().unhealthy(), input.turn)
                    .find(|one| !tried.contains(&one.endpoint))?;
                Some(Pick { member, failed_open: true, probes: false })
            })
        })
    }

    /// An untried endpoint.
    pub(super) fn fresh<const CLAIMS: bool>(
        &self,
        input: &PickInput<CLAIMS>,
        tried: &TriedEndpoints,
    ) -> Option<Pick<'_>> {
        let is_fresh = |member: &Member| !tried.contains(&member.endpoint);
        if let Some(member) = self.stuck_to(input).filter(|member| is_fresh(member)) {
            return Some(self.pick(member));
        }
        let reachable = match self.candidates().serving() {
            Tier::Unreachable => None,
            _ => self.preferred(input, |member| !member.endpoint.is_unreachable() && is_fresh(member)),
        };
        let unreachable = || {
            let down = self.rotated(self.candidates().unreachable(), input.turn);
            let mut all = tried.may_try_unreachable().then_some(self.in_order(input.turn).chain(down))?;
            all.find(|member| is_fresh(member))
        };
        Some(self.pick(reachable.or_else(unreachable)?))
    }

    /// The policy's choice, or else the first of the fallback.
    fn preferred<const CLAIMS: bool>(
        &self,
        input: &PickInput<CLAIMS>,
        may: impl Fn(&Member) -> bool,
    ) -> Option<&Member> {
        self.policy.pick(&self.group, input, &may).or_else(|| self.fallback().find(|member| may(member)))
    }

    fn fallback(&self) -> impl Iterator<Item = &Member> {
        self.candidates().fallback().iter().filter_map(|index| self.candidates().member(*index))
    }

    /// An endpoint that has room, where each may have `most` requests in flight: the one that was picked, or another that
    /// might have been picked as well.
    pub(super) fn with_room<'a, const CLAIMS: bool>(
        &'a self,
        pick: Pick<'a>,
        input: &PickInput<CLAIMS>,
        tried: &TriedEndpoints,
        most: u64,
    ) -> Option<Pick<'a>> {
        let has_room = |member: &Member| member.endpoint.exact_in_flight() < most;
        if has_room(pick.member) {
            return Some(pick);
        }
        if pick.probes && CLAIMS {
            pick.member.endpoint.outliers().give_up();
        }
        let kind = |member: &Member| (member.endpoint.is_unreachable(), tried.contains(&member.endpoint));
        let wanted = kind(pick.member);
        let may = |member: &Member| {
            has_room(member)
                && kind(member) == wanted
                && (!wanted.1 || tried.may_repeat(&member.endpoint, input.now))
        };
        let member = match tried.is_empty() {
            true => self.policy.pick(&self.group, input, may)?,
            false => self.preferred(input, may)?,
        };
        Some(Pick { failed_open: pick.failed_open, ..self.pick(member) })
    }

    /// Those that get the traffic from that turn on, and the fallback.
    fn in_order(&self, turn: usize) -> impl Iterator<Item = &Member> {
        self.group.in_turn(turn).chain(self.fallback())
    }

    fn rotated<'a>(&'a self, tier: &'a [u32], turn: usize) -> impl Iterator<Item = &'a Member> {
        let from = turn.checked_rem(tier.len()).unwrap_or_default();
        let (before, after) = tier.split_at(from);
        after.iter().chain(before).filter_map(|index| self.candidates().member(*index))
    }

    /// The `step`-th backend that Pingora is to try.
    pub(super) fn backend(&self, input: &PickInput, step: usize) -> Option<&Backend> {
        let member = match step.checked_sub(1) {
            None => self.first(input)?.member,
            Some(step) => self.in_order(input.turn).nth(step)?,
        };
        self.candidates().membership().backend_of(member)
    }

    /// The number of turns after which those of each endpoint come again.
    pub(super) fn period(&self) -> usize {
        self.group.period()
    }

    /// Each member's share of the traffic by its weight, in the order of [`Candidates::members`].
    pub fn expected_shares(&self) -> Vec<f64> {
        self.group.expected_shares()
    }
}
