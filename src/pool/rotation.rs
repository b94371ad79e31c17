//! Who may be picked now, and whose turn it is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use pingora_load_balancing::Backend;
use tokio::sync::Notify;

use super::endpoint::Endpoint;
use super::round_robin;
use super::status::EndpointState;
use crate::telemetry::record::{Skipped, SkippedEndpoints};

/// An endpoint as a member of one pool. Travels in `Backend::ext`.
#[derive(Debug, Clone)]
pub struct Member {
    pub endpoint: Arc<Endpoint>,
    /// Place in the config: Pingora keeps its backends sorted by address.
    pub place: usize,
    pub weight: u16,
    pub backup: bool,
}

impl Member {
    pub fn of(backend: &Backend) -> Option<&Self> {
        backend.ext.get()
    }
}

/// The turns in force, and what they were made of.
///
/// Health changes and membership changes make a new [`Rotation`]; the place reached goes on from one to the next.
pub struct Turns {
    members: Mutex<Arc<[Backend]>>,
    rotation: ArcSwap<Rotation>,
    next: AtomicUsize,
    /// Retries have turns of their own: if they took those of first attempts, every second request could meet the same
    /// failing endpoint first.
    next_retry: AtomicUsize,
    fail_open: bool,
    /// Notified when there is somebody to pick again.
    pub(super) available: Notify,
}

/// The turns of all pools of one name, from reload to reload, that still serve a request.
///
/// Only the newest pool is probed; requests that wait or retry in an older one must hear of it all the same.
#[derive(Default)]
pub(super) struct Generations(Mutex<Vec<Weak<Turns>>>);

impl Generations {
    pub fn add(&self, turns: &Arc<Turns>) {
        self.0.lock().push(Arc::downgrade(turns));
    }

    /// The health of an endpoint has changed.
    pub fn health_changed(&self) {
        self.0.lock().retain(|turns| {
            let turns = turns.upgrade();
            turns.iter().for_each(|turns| turns.health_changed());
            turns.is_some()
        });
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Turns {
    pub fn new(fail_open: bool) -> Self {
        Self {
            members: Mutex::new([].into()),
            rotation: ArcSwap::from_pointee(Rotation::new([].into(), false)),
            next: AtomicUsize::new(0),
            next_retry: AtomicUsize::new(0),
            fail_open,
            available: Notify::new(),
        }
    }

    pub(super) fn set_members(&self, backends: &BTreeSet<Backend>) {
        let mut members: Vec<Backend> = backends.iter().cloned().collect();
        members.sort_by_key(|backend| Member::of(backend).map_or(usize::MAX, |member| member.place));
        let mut current = self.members.lock();
        *current = members.into();
        self.publish(&current);
    }

    /// An endpoint's health has changed.
    pub(super) fn health_changed(&self) {
        self.publish(&self.members.lock());
    }

    /// The caller holds the lock of `members`, so that an older view never replaces a newer one.
    fn publish(&self, members: &Arc<[Backend]>) {
        let rotation = Rotation::new(members.clone(), self.fail_open);
        let available = !rotation.is_empty();
        self.rotation.store(Arc::new(rotation));
        if available {
            self.available.notify_waiters();
        }
    }

    /// The rotation in force and a place in it that nobody else gets.
    pub(super) fn look(&self, retry: bool) -> (Guard<Arc<Rotation>>, usize) {
        let next = if retry { &self.next_retry } else { &self.next };
        (self.rotation.load(), next.fetch_add(1, Relaxed))
    }

    pub fn rotation(&self) -> Arc<Rotation> {
        self.rotation.load_full()
    }
}

/// The order in which endpoints are picked, for one membership and one state of health.
///
/// The members are shared by those that follow one another: a change of health makes only the order anew.
pub struct Rotation {
    backends: Arc<[Backend]>,
    /// One period of turns among those who get traffic now, as indexes into `backends`.
    turns: Vec<u32>,
    /// Who is tried once all of those have been.
    then: Vec<u32>,
    /// Nobody was healthy, and those who are not are tried all the same.
    failed_open: bool,
    /// Who is passed over because of health, ready for the access log.
    skipped: Option<Arc<SkippedEndpoints>>,
}

impl Rotation {
    fn new(backends: Arc<[Backend]>, fail_open: bool) -> Self {
        let mut tiers: [Vec<u32>; 4] = Default::default();
        let (mut last, mut passed_over) = (Vec::new(), Vec::new());
        for (index, backend) in (0..).zip(&*backends) {
            let Some(member) = Member::of(backend) else { continue };
            let state = member.endpoint.state();
            passed_over.extend(reason(state).map(|reason| (member, reason)));
            match tier(state, member.backup) {
                _ if member.weight == 0 => {}
                Some(tier) => tiers.get_mut(tier).into_iter().for_each(|tier| tier.push(index)),
                None => last.push(index),
            }
        }
        let skipped = SkippedEndpoints::of(passed_over.into_iter().map(skipped));
        let [healthy, healthy_backups, checking, checking_backups] = tiers;
        let mut order = [healthy, healthy_backups, checking, checking_backups]
            .into_iter()
            .filter(|tier| !tier.is_empty());
        let first = order.next();
        let failed_open = first.is_none() && fail_open && !last.is_empty();
        let first = first.or(failed_open.then_some(last)).unwrap_or_default();
        Self {
            turns: turns(&backends, &first),
            then: order.flatten().collect(),
            backends,
            failed_open,
            skipped,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub fn failed_open(&self) -> bool {
        self.failed_open
    }

    pub fn skipped(&self) -> Option<Arc<SkippedEndpoints>> {
        self.skipped.clone()
    }

    /// Whose turn it is for a request that has taken the place `start`: somebody not in `tried`, if there is one.
    pub(super) fn pick(&self, start: usize, tried: &[Arc<Endpoint>]) -> Option<&Member> {
        let mut members = (0..self.turns.len() + self.then.len())
            .filter_map(|step| self.place(start, step))
            .filter_map(Member::of);
        if tried.is_empty() {
            return members.next();
        }
        let fresh = |member: &&Member| !tried.iter().any(|tried| Arc::ptr_eq(tried, &member.endpoint));
        members.clone().find(fresh).or_else(|| members.next())
    }

    /// Who a request that has taken the place `start` tries in its `step`-th step.
    pub(super) fn place(&self, start: usize, step: usize) -> Option<&Backend> {
        let index = if step < self.turns.len() {
            let place = start.wrapping_add(step) % self.turns.len();
            self.turns.get(place)
        } else {
            self.then.get(step - self.turns.len())
        };
        self.backends.get(*index? as usize)
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.backends.iter().filter_map(Member::of)
    }

    /// The share of the traffic that each member's weight gives it now, in the order of [`Rotation::members`].
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

/// Who comes first: lower is earlier; `None`: only when open failure is asked for.
fn tier(state: EndpointState, backup: bool) -> Option<usize> {
    match (state, backup) {
        (EndpointState::Healthy, false) => Some(0),
        (EndpointState::Healthy, true) => Some(1),
        (EndpointState::Checking, false) => Some(2),
        (EndpointState::Checking, true) => Some(3),
        (EndpointState::Unhealthy, _) => None,
    }
}

/// Why an endpoint is passed over.
fn reason(state: EndpointState) -> Option<&'static str> {
    match state {
        EndpointState::Healthy => None,
        EndpointState::Checking => Some("checking"),
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
