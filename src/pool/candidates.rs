//! Which endpoints of a pool may be picked now.

use std::sync::Arc;

use super::member::{Member, Membership};
use super::outliers::Phase;
use super::skipped::{Skipped, SkippedEndpoints};
use super::status::EndpointState;
use super::sticky::StickyTag;
use super::zones;

/// The members of a pool by what is known of them at one moment. Who of them is picked is the balance policy's affair.
///
/// A change of health makes only the tiers anew; the members are shared with those before.
pub struct Candidates {
    membership: Arc<Membership>,
    /// Those that get the traffic now, as indexes of members.
    first: Vec<u32>,
    /// By position in `first`, how much of it each gets relative to the others.
    weights: Vec<u32>,
    /// Tried after all of `first`: backups, and endpoints not checked yet.
    fallback: Vec<u32>,
    /// Unreachable endpoints, tried after `fallback`; empty where `first` has them.
    unreachable: Vec<u32>,
    /// Unhealthy endpoints, tried last; empty where the pool does not fail open, or `first` has them.
    unhealthy: Vec<u32>,
    /// Ejected endpoints of which one request each may find out whether they answer.
    half_open: Vec<u32>,
    /// By index, whether a member keeps the clients that a cookie has bound to it.
    keeps: Box<[bool]>,
    serving: Tier,
    /// Number of endpoints that are unreachable or unhealthy.
    down: usize,
    /// Endpoints that are passed over because of their state, for the access log.
    skipped: Option<Arc<SkippedEndpoints>>,
}

/// Which endpoints get the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    Available,
    Unreachable,
    /// Unhealthy ones, because no others are left and the pool fails open.
    FailedOpen,
}

impl Candidates {
    /// `zone`: that of this process, whose endpoints get the traffic first.
    pub fn new(membership: Arc<Membership>, fail_open: bool, zone: Option<&str>) -> Self {
        let mut ranks: [Vec<u32>; 5] = Default::default();
        let (mut unreachable, mut unhealthy, mut half_open) = (Vec::new(), Vec::new(), Vec::new());
        let mut passed_over = Vec::new();
        for (index, member) in (0..).zip(membership.members()) {
            let state = member.endpoint.state();
            if member.endpoint.is_draining() {
                passed_over.push((member, "draining"));
                continue;
            }
            passed_over.extend(reason(state).map(|reason| (member, reason)));
            if is_half_open(member) && member.weight() > 0 {
                half_open.push(index);
            }
            match preference(state, member.attributes.backup) {
                _ if member.weight() == 0 => {}
                Some(rank) => ranks.get_mut(rank).into_iter().for_each(|rank| rank.push(index)),
                None if state == EndpointState::Unreachable => unreachable.push(index),
                None => unhealthy.push(index),
            }
        }
        let down = unreachable.len() + unhealthy.len();
        if !fail_open {
            unhealthy.clear();
        }
        let skipped = SkippedEndpoints::of(passed_over.into_iter().map(skipped));
        let mut order = ranks.into_iter().filter(|rank| !rank.is_empty());
        let (first, serving) = match order.next() {
            Some(first) => (first, Tier::Available),
            None if !unreachable.is_empty() => (std::mem::take(&mut unreachable), Tier::Unreachable),
            None if !unhealthy.is_empty() => (std::mem::take(&mut unhealthy), Tier::FailedOpen),
            None => (Vec::new(), Tier::Unreachable),
        };
        let keeps = membership.members().iter().map(keeps_clients).collect();
        let is_fallback = |index: &u32| {
            membership.member(*index).is_some_and(|member| !member.endpoint.outliers().is_ejected())
        };
        let mut fallback: Vec<u32> = order.flatten().filter(is_fallback).collect();
        let mut first = first;
        let (weights, elsewhere) = own_zone_first(&membership, &mut first, zone);
        fallback.splice(..0, elsewhere);
        Self {
            membership,
            first,
            weights,
            fallback,
            unreachable,
            unhealthy,
            half_open,
            keeps,
            serving,
            down,
            skipped,
        }
    }

    /// The members, shared by all of one membership.
    pub(super) fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// In the order of the config.
    pub(super) fn members(&self) -> &[Member] {
        self.membership.members()
    }

    pub(super) fn member(&self, index: u32) -> Option<&Member> {
        self.membership.member(index)
    }

    /// Indexes of the members that get the traffic.
    pub(super) fn first(&self) -> &[u32] {
        &self.first
    }

    /// By position, how much each of those that get the traffic gets of it relative to the others.
    pub(super) fn weights(&self) -> &[u32] {
        &self.weights
    }

    pub(super) fn fallback(&self) -> &[u32] {
        &self.fallback
    }

    pub(super) fn unreachable(&self) -> &[u32] {
        &self.unreachable
    }

    pub(super) fn unhealthy(&self) -> &[u32] {
        &self.unhealthy
    }

    pub(super) fn half_open(&self) -> &[u32] {
        &self.half_open
    }

    /// The member that a client's cookie stands for, if it keeps its clients.
    pub(super) fn stuck_to(&self, tag: StickyTag) -> Option<&Member> {
        let member = self.membership.stuck_to(tag)?;
        self.keeps.get(member.index)?.then_some(member)
    }

    pub(super) fn serving(&self) -> Tier {
        self.serving
    }

    pub(super) fn failed_open(&self) -> bool {
        self.serving == Tier::FailedOpen
    }

    /// Whether one of them is neither known to be unreachable, nor unhealthy in a pool that does not fail open.
    pub(super) fn any_available(&self) -> bool {
        self.serving != Tier::Unreachable
    }

    /// How many members are unreachable or unhealthy.
    pub(super) fn down(&self) -> usize {
        self.down
    }

    pub(super) fn skipped(&self) -> Option<Arc<SkippedEndpoints>> {
        self.skipped.clone()
    }
}

/// The weights of `first`, with the own zone first; removes those that get nothing for that reason, and returns them.
fn own_zone_first(membership: &Membership, first: &mut Vec<u32>, zone: Option<&str>) -> (Vec<u32>, Vec<u32>) {
    let weight = |index: &u32| membership.member(*index).map_or(0, |member| u32::from(member.weight()));
    let is_own = |index: &u32| {
        zone.is_some()
            && membership.member(*index).is_some_and(|member| member.attributes.zone.as_deref() == zone)
    };
    let sum = |weights: &mut dyn Iterator<Item = u32>| weights.map(u64::from).sum();
    let own = sum(&mut first.iter().filter(|index| is_own(index)).map(weight));
    let Some(factors) = zones::factors(own, sum(&mut first.iter().map(weight))) else {
        return (first.iter().map(weight).collect(), Vec::new());
    };
    let elsewhere = match factors.others {
        None => first.extract_if(.., |index| !is_own(index)).collect(),
        Some(_) => Vec::new(),
    };
    let factor = |index: &u32| if is_own(index) { factors.own } else { factors.others.unwrap_or(0) };
    (first.iter().map(|index| weight(index) * factor(index)).collect(), elsewhere)
}

/// Whether clients go on to be sent to it: also while it drains.
fn keeps_clients(member: &Member) -> bool {
    let is_well = matches!(member.endpoint.state(), EndpointState::Healthy | EndpointState::Checking);
    is_well && member.weight() > 0
}

fn is_half_open(member: &Member) -> bool {
    let is_open = matches!(member.endpoint.outliers().phase(), Phase::HalfOpen | Phase::Probing);
    is_open && member.endpoint.state() == EndpointState::Ejected
}

/// The order of preference, lowest first; `None`: only once all of those have been tried.
pub(super) fn preference(state: EndpointState, backup: bool) -> Option<usize> {
    match (state, backup) {
        (EndpointState::Healthy, false) => Some(0),
        (EndpointState::Healthy, true) => Some(1),
        (EndpointState::Checking, false) => Some(2),
        (EndpointState::Checking, true) => Some(3),
        // Never beside others, but better than those that do not answer at all.
        (EndpointState::Ejected, _) => Some(4),
        (EndpointState::Unreachable | EndpointState::Unhealthy, _) => None,
    }
}

/// Why an endpoint is passed over; `None`: it is not.
fn reason(state: EndpointState) -> Option<&'static str> {
    match state {
        EndpointState::Healthy => None,
        EndpointState::Checking => Some("checking"),
        EndpointState::Unreachable => Some("unreachable"),
        EndpointState::Unhealthy => Some("unhealthy"),
        EndpointState::Ejected => Some("ejected"),
    }
}

fn skipped((member, reason): (&Member, &'static str)) -> Skipped {
    Skipped { endpoint: member.endpoint.label().clone(), reason }
}
