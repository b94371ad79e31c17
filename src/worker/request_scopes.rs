//! What the requests of one worker hold, whichever carrier they come by.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use crate::exchange::Pinned;
use crate::listener_state::Door;
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
        let (telemetry, counters) = (self.telemetry.clone(), door.counters.clone());
        let pin = Pinned::new(snapshot.clone(), listener.clone(), telemetry, counters);
        pins.push(pin.clone());
        Some(pin)
    }

    /// Lets go of what is in force no more.
    pub fn let_go(&self) {
        let snapshot = self.current.load();
        self.pins.lock().retain(|pin| pin.is_of(&snapshot));
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::{self, AccessFormat, AccessLog, LogOutput};
    use crate::telemetry::access;

    fn snapshot() -> Arc<Snapshot> {
        let text = "listeners: [{ name: a, address: '127.0.0.1:0' }]\nroutes: [{ pool: p }]\npools: { p: [127.0.0.1:1] }\n";
        Arc::new(Snapshot::build(config::parse(text, "test").expect("a valid config"), None))
    }

    /// Requests of one snapshot and listener hold the same, and once they are over nobody holds what was in force before.
    #[test]
    fn what_is_in_force_no_more_is_let_go() {
        let off = AccessLog { output: LogOutput::Off, format: AccessFormat::Json, queue: 1 };
        let log = access::AccessLog::start(&off).expect("no log");
        let telemetry = Arc::new(Telemetry::new(log, SystemTime::UNIX_EPOCH));
        let door = Door::new("a".into(), telemetry.metrics.listener(&"a".into()));
        let current = Arc::new(ArcSwap::new(snapshot()));
        let pins = Pins::new(current.clone(), telemetry);
        let (one, two) = (pins.of(&door).expect("a listener"), pins.of(&door).expect("a listener"));
        assert!(Arc::ptr_eq(&one, &two));

        let before = current.swap(snapshot());
        pins.let_go();
        assert_eq!(Arc::strong_count(&before), 2, "the requests under way have it together");
        drop((one, two));
        assert_eq!(Arc::strong_count(&before), 1);

        let after = pins.of(&door).expect("a listener");
        assert!(after.is_of(&current.load()));
        let other = Door::new("b".into(), door.counters.clone());
        assert!(pins.of(&other).is_none());
    }
}
