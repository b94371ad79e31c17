//! What the requests of one worker hold, whichever carrier they come by.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::door::Door;
use crate::exchange::Pinned;
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;

/// Nobody else's, so the lock is always free; it lets futures of the other carrier ask.
pub struct Pins {
    current: Arc<ArcSwap<Snapshot>>,
    telemetry: Arc<Telemetry>,
    /// Of the snapshot in force, one for each listener that has had a request.
    pins: Mutex<Vec<Arc<Pinned>>>,
}

impl Pins {
    pub fn new(current: Arc<ArcSwap<Snapshot>>, telemetry: Arc<Telemetry>) -> Self {
        Self { current, telemetry, pins: Mutex::default() }
    }

    /// The snapshot in force, for a look.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// For a request that came in by this door; `None`: its listener is not there any more.
    pub fn of(&self, door: &Door) -> Option<Arc<Pinned>> {
        let snapshot = self.current.load();
        let listener = door.in_force(&snapshot)?;
        let mut pins = self.pins.lock();
        let is_its = |pin: &&Arc<Pinned>| pin.is_of(&snapshot) && pin.listener().is(listener);
        if let Some(pin) = pins.iter().find(is_its) {
            return Some(pin.clone());
        }
        pins.retain(|pin| pin.is_of(&snapshot));
        let parts = (snapshot.clone(), listener.clone());
        let pin = Pinned::new(parts, self.telemetry.clone(), door.counters.clone());
        pins.push(pin.clone());
        Some(pin)
    }

    /// Lets go of what is in force no more.
    pub fn let_go(&self) {
        let snapshot = self.current.load();
        self.pins.lock().retain(|pin| pin.is_of(&snapshot));
    }
}
