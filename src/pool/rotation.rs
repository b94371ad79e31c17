//! The order in which round robin picks endpoints.

use pingora_load_balancing::Backend;

use super::candidates::{Candidates, Tier};
use super::member::Member;
use super::round_robin;
use super::tried_endpoints::TriedEndpoints;

/// Turns among the candidates, for one membership and one state of health.
pub struct Rotation {
    candidates: Candidates,
    /// One period of those that get the traffic, as the candidates' indexes.
    turns: Vec<u32>,
}

/// The endpoint that was picked.
pub(super) struct Pick<'a> {
    pub member: &'a Member,
    pub failed_open: bool,
}

impl Rotation {
    pub(super) fn new(candidates: Candidates) -> Self {
        let (first, weights) = (candidates.first(), candidates.weights());
        let turns = round_robin::period(&weights)
            .iter()
            .filter_map(|turn| first.get(*turn as usize).copied())
            .collect();
        Self { candidates, turns }
    }

    pub(super) fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// Whether there is an endpoint to pick that has not become unreachable since the rotation was made.
    pub(super) fn has_reachable(&self) -> bool {
        let is_reachable = |member: &Member| !member.endpoint.is_unreachable();
        self.candidates.failed_open()
            || self.candidates.serving() == Tier::Available && self.in_order(0).any(is_reachable)
    }

    /// The endpoint for the first attempt of a request with the position `start`.
    pub(super) fn first(&self, start: usize) -> Option<Pick<'_>> {
        let member = self.place(start, 0).and_then(Member::of)?;
        Some(Pick { member, failed_open: self.candidates.failed_open() })
    }

    /// The endpoint for another attempt of a request: an untried one, if there is one.
    ///
    /// In this order: endpoints not known to be unreachable; a few unreachable ones, because one may just have come
    /// back; tried ones that had a connection; and unhealthy ones, where the pool fails open.
    pub(super) fn another(&self, start: usize, tried: &TriedEndpoints) -> Option<Pick<'_>> {
        self.fresh(start, tried).or_else(|| {
            let mut again = self.in_order(start).filter(|member| tried.may_repeat(&member.endpoint));
            let again = if tried.any_may_repeat() { again.next() } else { None };
            let again = again.map(|member| Pick { member, failed_open: self.candidates.failed_open() });
            again.or_else(|| {
                let member = self
                    .rotated(self.candidates.unhealthy(), start)
                    .find(|one| !tried.contains(&one.endpoint))?;
                Some(Pick { member, failed_open: true })
            })
        })
    }

    /// An untried endpoint.
    pub(super) fn fresh(&self, start: usize, tried: &TriedEndpoints) -> Option<Pick<'_>> {
        let is_fresh = |member: &&Member| !tried.contains(&member.endpoint);
        let reachable = match self.candidates.serving() {
            Tier::Unreachable => None,
            _ => self.in_order(start).find(|member| !member.endpoint.is_unreachable() && is_fresh(member)),
        };
        let unreachable = || {
            let all = self.in_order(start).chain(self.rotated(self.candidates.unreachable(), start));
            tried.may_try_unreachable().then_some(all)?.find(is_fresh)
        };
        let member = reachable.or_else(unreachable)?;
        Some(Pick { member, failed_open: self.candidates.failed_open() })
    }

    fn in_order(&self, start: usize) -> impl Iterator<Item = &Member> {
        (0..self.turns.len() + self.candidates.fallback().len())
            .filter_map(move |step| self.place(start, step))
            .filter_map(Member::of)
    }

    fn rotated<'a>(&'a self, tier: &'a [u32], start: usize) -> impl Iterator<Item = &'a Member> {
        let from = start.checked_rem(tier.len()).unwrap_or_default();
        let (before, after) = tier.split_at(from);
        let backends = after.iter().chain(before).filter_map(|index| self.candidates.backend(*index));
        backends.filter_map(Member::of)
    }

    /// The `step`-th endpoint in order for a request with the position `start`.
    pub(super) fn place(&self, start: usize, step: usize) -> Option<&Backend> {
        let index = if step < self.turns.len() {
            let place = start.wrapping_add(step) % self.turns.len();
            self.turns.get(place)
        } else {
            self.candidates.fallback().get(step - self.turns.len())
        };
        self.candidates.backend(*index?)
    }

    /// Each member's share of the traffic by its weight, in the order of [`Candidates::members`].
    pub fn expected_shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.candidates.backends().len()];
        for turn in &self.turns {
            if let Some(share) = shares.get_mut(*turn as usize) {
                *share += 1.0 / self.turns.len() as f64;
            }
        }
        shares
    }
}
