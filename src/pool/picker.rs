//! The rotations in force, and the positions that requests have reached in them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use pingora_load_balancing::Backend;
use tokio::sync::Notify;

use super::candidates::Candidates;
use super::member::Membership;
use super::rotation::Rotation;
use super::sticky::StickyPool;
use crate::config::{self, Balance, WhenNoneHealthy};
use crate::wait_queue::WaitQueue;

/// The rotation in force, the members that it was made of, and the position reached in it.
///
/// Each change of health or members makes a new [`Rotation`]; the position is kept.
pub struct Picker {
    settings: PickSettings,
    members: Mutex<Arc<Membership>>,
    rotation: ArcSwap<Rotation>,
    next: Position,
    /// Retries have a position of their own: if they moved that of first attempts, every second request could meet the
    /// same failing endpoint first.
    next_retry: Position,
    /// Called when there is an endpoint to pick again.
    queue: Arc<WaitQueue>,
}

/// What a pool's config says of picking.
#[derive(Debug)]
pub(super) struct PickSettings {
    pub balance: Balance,
    /// The zone of this process, whose endpoints come first.
    pub zone: Option<Box<str>>,
    pub sticky: Option<StickyPool>,
    pub fail_open: bool,
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

impl PickSettings {
    pub fn of(pool: &config::Pool) -> Self {
        Self {
            balance: pool.balance.clone(),
            zone: pool.zone.clone(),
            sticky: pool.sticky.clone().map(|sticky| StickyPool { sticky, name: pool.name.clone() }),
            fail_open: pool.when_none_healthy == WhenNoneHealthy::FailOpen,
        }
    }
}

impl Default for PickSettings {
    fn default() -> Self {
        Self { balance: Balance::RoundRobin, zone: None, sticky: None, fail_open: false }
    }
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

impl Picker {
    pub(super) fn new(settings: PickSettings, queue: Arc<WaitQueue>) -> Self {
        let nobody = Candidates::new(Arc::default(), false, None);
        Self {
            members: Mutex::default(),
            rotation: ArcSwap::from_pointee(Rotation::new(nobody, &settings.balance)),
            settings,
            next: Position::default(),
            next_retry: Position::default(),
            queue,
        }
    }

    pub(super) fn set_members(&self, backends: &BTreeSet<Backend>) {
        let mut current = self.members.lock();
        *current = Arc::new(Membership::new(backends, self.settings.sticky.as_ref()));
        self.publish(&current);
    }

    /// Rebuilds the rotation after a change of health.
    pub(super) fn health_changed(&self) {
        self.publish(&self.members.lock());
    }

    /// The caller holds the lock of `members`, so that an older rotation never replaces a newer one.
    fn publish(&self, members: &Arc<Membership>) {
        let candidates =
            Candidates::new(members.clone(), self.settings.fail_open, self.settings.zone.as_deref());
        let any = candidates.any_available();
        self.rotation.store(Arc::new(Rotation::new(candidates, &self.settings.balance)));
        if any {
            self.queue.call_next();
        }
    }

    /// The rotation in force and the next turn in it, which no other request gets.
    pub(super) fn next_turn(&self, retry: bool) -> (Guard<Arc<Rotation>>, usize) {
        let next = if retry { &self.next_retry } else { &self.next };
        (self.rotation.load(), next.0.fetch_add(1, Relaxed))
    }

    /// The turn that the next first attempt gets.
    pub(super) fn peek_turn(&self) -> usize {
        self.next.0.load(Relaxed)
    }

    pub fn rotation(&self) -> Arc<Rotation> {
        self.rotation.load_full()
    }
}
