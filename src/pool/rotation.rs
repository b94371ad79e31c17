//! Which endpoints may be picked now, and in which order.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use pingora_load_balancing::Backend;
use tokio::sync::Notify;

use super::check_id::CheckId;
use super::endpoint::Endpoint;
use super::round_robin;
use super::skipped::{Skipped, SkippedEndpoints};
use super::status::EndpointState;
use super::tried_endpoints::TriedEndpoints;

/// An endpoint as a member of one pool. Travels in `Backend::ext`.
#[derive(Debug, Clone)]
pub struct Member {
    pub endpoint: Arc<Endpoint>,
    /// Index in the config, because Pingora sorts its backends by address.
    pub place: usize,
    pub weight: u16,
    pub backup: bool,
    /// What the pool's health check asks it; `None`: there is no health check.
    pub(super) check: Option<CheckId>,
}

impl Member {
    pub fn of(backend: &Backend) -> Option<&Self> {
        backend.ext.get()
    }
}

/// The rotation in force, the members that it was made of, and the position reached in it.
///
/// Each change of health or members makes a new [`Rotation`]; the position is kept.
pub struct Picker {
    members: Mutex<Arc<[Backend]>>,
    rotation: ArcSwap<Rotation>,
    next: Position,
    /// Retries have a position of their own: if they moved that of first attempts, every second request could meet the
    /// same failing endpoint first.
    next_retry: Position,
    fail_open: bool,
    /// Notified when there is an endpoint to pick again, or waiting requests are to ask again.
    pub(super) available: Notify,
    /// How often waiting requests were told to ask again.
    asked_again: AtomicU64,
}

/// The position in a rotation. In a pair of cache lines of its own, because every request writes it and reads the
/// fields beside it.
#[derive(Default)]
#[repr(align(128))]
struct Position(AtomicUsize);

/// The pickers of all pools of one name that still exist: the newest, and older ones that requests hold.
///
/// Only the newest pool is probed, but requests that wait or retry in an older one need the results, too.
#[derive(Default)]
pub(super) struct Pickers {
    pickers: Mutex<Vec<Weak<Picker>>>,
    /// Notified when endpoints have changed state since the rotations were made.
    pub changed: Notify,
}

impl Pickers {
    pub fn add(&self, picker: &Arc<Picker>) {
        self.pickers.lock().push(Arc::downgrade(picker));
    }

    /// Rebuilds the rotations from the state of the endpoints.
    pub fn publish(&self) {
        self.pickers.lock().retain(|picker| {
            let picker = picker.upgrade();
            picker.iter().for_each(|picker| picker.health_changed());
            picker.is_some()
        });
    }
}

impl Default for Picker {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Picker {
    pub fn new(fail_open: bool) -> Self {
        Self {
            members: Mutex::new([].into()),
            rotation: ArcSwap::from_pointee(Rotation::new([].into(), false)),
            next: Position::default(),
            next_retry: Position::default(),
            fail_open,
            available: Notify::new(),
            asked_again: AtomicU64::new(0),
        }
    }

    pub(super) fn set_members(&self, backends: &BTreeSet<Backend>) {
        let mut members: Vec<Backend> = backends.iter().cloned().collect();
        members.sort_by_key(|backend| Member::of(backend).map_or(usize::MAX, |member| member.place));
        let mut current = self.members.lock();
        *current = members.into();
        self.publish(&current);
    }

    /// Rebuilds the rotation after a change of health.
    pub(super) fn health_changed(&self) {
        self.publish(&self.members.lock());
    }

    /// The caller holds the lock of `members`, so that an older rotation never replaces a newer one.
    fn publish(&self, members: &Arc<[Backend]>) {
        let rotation = Rotation::new(members.clone(), self.fail_open);
        let available = rotation.serving != Tier::Unreachable;
        self.rotation.store(Arc::new(rotation));
        if available {
            self.available.notify_waiters();
        }
    }

    /// The rotation in force and the next position in it, which no other request gets.
    pub(super) fn next_start(&self, retry: bool) -> (Guard<Arc<Rotation>>, usize) {
        let next = if retry { &self.next_retry } else { &self.next };
        (self.rotation.load(), next.0.fetch_add(1, Relaxed))
    }

    pub fn rotation(&self) -> Arc<Rotation> {
        self.rotation.load_full()
    }

    pub(super) fn ask_again(&self) {
        self.asked_again.fetch_add(1, SeqCst);
        self.available.notify_waiters();
    }

    pub(super) fn asked_again(&self) -> u64 {
        self.asked_again.load(SeqCst)
    }
}

/// The order in which endpoints are picked, for one membership and one state of health.
///
/// A change of health makes only the order anew; the members are shared with the previous rotation.
pub struct Rotation {
    backends: Arc<[Backend]>,
    /// One period of the endpoints that get traffic now, as indexes into `backends`.
    turns: Vec<u32>,
    /// Tried after all of `turns`: backups, and endpoints not checked yet.
    fallback: Vec<u32>,
    /// Unreachable endpoints, tried after `fallback`; empty where `turns` has them.
    unreachable: Vec<u32>,
    /// Unhealthy endpoints, tried last; empty where the pool does not fail open, or `turns` has them.
    unhealthy: Vec<u32>,
    /// Which endpoints `turns` has.
    serving: Tier,
    /// Number of endpoints that are unreachable or unhealthy.
    down: usize,
    /// Endpoints that are passed over because of their state, for the access log.
    skipped: Option<Arc<SkippedEndpoints>>,
}

/// Which endpoints a rotation's turns have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Available,
    Unreachable,
    /// Unhealthy ones, because no others are left and the pool fails open.
    FailedOpen,
}

/// The endpoint that was picked.
pub(super) struct Pick<'a> {
    pub member: &'a Member,
    pub failed_open: bool,
}

impl Rotation {
    fn new(backends: Arc<[Backend]>, fail_open: bool) -> Self {
        let mut ranks: [Vec<u32>; 4] = Default::default();
        let (mut unreachable, mut unhealthy, mut passed_over) = (Vec::new(), Vec::new(), Vec::new());
        for (index, backend) in (0..).zip(&*backends) {
            let Some(member) = Member::of(backend) else { continue };
            let state = member.endpoint.state();
            passed_over.extend(reason(state).map(|reason| (member, reason)));
            match preference(state, member.backup) {
                _ if member.weight == 0 => {}
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
        let turns = turns(&backends, &first);
        Self {
            turns,
            fallback: order.flatten().collect(),
            unreachable,
            unhealthy,
            serving,
            down,
            backends,
            skipped,
        }
    }

    /// The members, shared by all rotations of one membership.
    pub(super) fn backends(&self) -> &Arc<[Backend]> {
        &self.backends
    }

    /// Whether there is an endpoint to pick that has not become unreachable since the rotation was made.
    pub(super) fn has_reachable(&self) -> bool {
        let is_reachable = |member: &Member| !member.endpoint.is_unreachable();
        self.serving == Tier::FailedOpen || self.is_available() && self.in_order(0).any(is_reachable)
    }

    fn is_available(&self) -> bool {
        self.serving == Tier::Available
    }

    /// How many members are unreachable or unhealthy.
    pub(super) fn down(&self) -> usize {
        self.down
    }

    pub fn skipped(&self) -> Option<Arc<SkippedEndpoints>> {
        self.skipped.clone()
    }

    /// The endpoint for the first attempt of a request with the position `start`.
    pub(super) fn first(&self, start: usize) -> Option<Pick<'_>> {
        let member = self.place(start, 0).and_then(Member::of)?;
        Some(Pick { member, failed_open: self.serving == Tier::FailedOpen })
    }

    /// The endpoint for another attempt of a request: an untried one, if there is one.
    ///
    /// In this order: endpoints not known to be unreachable; a few unreachable ones, because one may just have come
    /// back; tried ones that had a connection; and unhealthy ones, where the pool fails open.
    pub(super) fn another(&self, start: usize, tried: &TriedEndpoints) -> Option<Pick<'_>> {
        self.fresh(start, tried).or_else(|| {
            let mut again = self.in_order(start).filter(|member| tried.may_repeat(&member.endpoint));
            let again = if tried.any_may_repeat() { again.next() } else { None };
            let again = again.map(|member| Pick { member, failed_open: self.serving == Tier::FailedOpen });
            again.or_else(|| {
                let member =
                    self.rotated(&self.unhealthy, start).find(|one| !tried.contains(&one.endpoint))?;
                Some(Pick { member, failed_open: true })
            })
        })
    }

    /// An untried endpoint.
    pub(super) fn fresh(&self, start: usize, tried: &TriedEndpoints) -> Option<Pick<'_>> {
        let is_fresh = |member: &&Member| !tried.contains(&member.endpoint);
        let reachable = match self.serving {
            Tier::Unreachable => None,
            _ => self.in_order(start).find(|member| !member.endpoint.is_unreachable() && is_fresh(member)),
        };
        let unreachable = || {
            let all = self.in_order(start).chain(self.rotated(&self.unreachable, start));
            tried.may_try_unreachable().then_some(all)?.find(is_fresh)
        };
        let member = reachable.or_else(unreachable)?;
        Some(Pick { member, failed_open: self.serving == Tier::FailedOpen })
    }

    fn in_order(&self, start: usize) -> impl Iterator<Item = &Member> {
        (0..self.turns.len() + self.fallback.len())
            .filter_map(move |step| self.place(start, step))
            .filter_map(Member::of)
    }

    fn rotated<'a>(&'a self, tier: &'a [u32], start: usize) -> impl Iterator<Item = &'a Member> {
        let from = start.checked_rem(tier.len()).unwrap_or_default();
        let (before, after) = tier.split_at(from);
        let backends = after.iter().chain(before).filter_map(|index| self.backends.get(*index as usize));
        backends.filter_map(Member::of)
    }

    /// The `step`-th endpoint in order for a request with the position `start`.
    pub(super) fn place(&self, start: usize, step: usize) -> Option<&Backend> {
        let index = if step < self.turns.len() {
            let place = start.wrapping_add(step) % self.turns.len();
            self.turns.get(place)
        } else {
            self.fallback.get(step - self.turns.len())
        };
        self.backends.get(*index? as usize)
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.backends.iter().filter_map(Member::of)
    }

    /// Each member's share of the traffic by its weight, in the order of [`Rotation::members`].
    pub fn expected_shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.backends.len()];
        for turn in &self.turns {
            if let Some(share) = shares.get_mut(*turn as usize) {
                *share += 1.0 / self.turns.len() as f64;
            }
        }
        shares
    }
}

/// The order of preference, lowest first; `None`: only once all of those have been tried.
fn preference(state: EndpointState, backup: bool) -> Option<usize> {
    match (state, backup) {
        (EndpointState::Healthy, false) => Some(0),
        (EndpointState::Healthy, true) => Some(1),
        (EndpointState::Checking, false) => Some(2),
        (EndpointState::Checking, true) => Some(3),
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
    }
}

fn skipped((member, reason): (&Member, &'static str)) -> Skipped {
    Skipped { endpoint: member.endpoint.label().clone(), reason }
}

fn turns(backends: &[Backend], tier: &[u32]) -> Vec<u32> {
    let weight =
        |index: &u32| backends.get(*index as usize).and_then(Member::of).map_or(0, |member| member.weight);
    let weights: Vec<u16> = tier.iter().map(weight).collect();
    round_robin::period(&weights).iter().filter_map(|turn| tier.get(*turn as usize).copied()).collect()
}
