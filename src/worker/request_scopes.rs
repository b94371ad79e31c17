//! Per-worker cache of the scopes that requests pin: (snapshot, listener) pairs, for both engines.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use crate::exchange::RequestScope;
use crate::listener_state::ListenerState;
use crate::snapshot::Snapshot;
use crate::telemetry::WorkerTelemetry;

/// The lock is never contended, because each worker has its own; Pingora's futures need the type to be `Sync`.
pub struct RequestScopes {
    current: Arc<ArcSwap<Snapshot>>,
    telemetry: Arc<WorkerTelemetry>,
    /// One for each listener that has had a request, of the snapshot in force.
    scopes: Mutex<Vec<Arc<RequestScope>>>,
}

impl RequestScopes {
    pub fn new(current: Arc<ArcSwap<Snapshot>>, telemetry: WorkerTelemetry) -> Self {
        Self { current, telemetry: Arc::new(telemetry), scopes: Mutex::default() }
    }

    /// The snapshot in force, for a brief look.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The scope for a request of this listener; `None`: the config has no such listener any more.
    pub fn of(&self, listener_state: &ListenerState) -> Option<Arc<RequestScope>> {
        let snapshot = self.current.load();
        let listener = listener_state.in_force(&snapshot)?;
        let mut scopes = self.scopes.lock();
        let is_current = |scope: &&Arc<RequestScope>| scope.is_of(&snapshot) && scope.listener().is(listener);
        if let Some(scope) = scopes.iter().find(is_current) {
            return Some(scope.clone());
        }
        scopes.retain(|scope| scope.is_of(&snapshot));
        let (telemetry, counters) = (self.telemetry.clone(), listener_state.counters.clone());
        let scope = RequestScope::new(snapshot.clone(), listener.clone(), telemetry, counters);
        scopes.push(scope.clone());
        Some(scope)
    }

    /// Drops the scopes of replaced snapshots.
    pub fn drop_replaced(&self) {
        let snapshot = self.current.load();
        self.scopes.lock().retain(|scope| scope.is_of(&snapshot));
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::{self, AccessLog};
    use crate::telemetry::{Telemetry, access};

    fn snapshot() -> Arc<Snapshot> {
        let text = "listeners: [{ name: a, address: '127.0.0.1:0' }]\nroutes: [{ pool: p }]\npools: { p: [127.0.0.1:1] }\n";
        Arc::new(Snapshot::build(config::parse(text, "test").expect("a valid config"), None))
    }

    /// Requests of one snapshot and listener share a scope, and once they are over nothing keeps a replaced snapshot.
    #[test]
    fn replaced_scopes_are_dropped() {
        let off = AccessLog::off();
        let log = access::AccessLog::start(&off, 1).expect("no log");
        let telemetry = Telemetry::new(log, SystemTime::UNIX_EPOCH);
        let listener_state = ListenerState::new("a".into(), telemetry.metrics.listener(&"a".into()));
        let current = Arc::new(ArcSwap::new(snapshot()));
        let scopes = RequestScopes::new(current.clone(), telemetry.worker());
        let (one, two) = (
            scopes.of(&listener_state).expect("a listener"),
            scopes.of(&listener_state).expect("a listener"),
        );
        assert!(Arc::ptr_eq(&one, &two));

        let before = current.swap(snapshot());
        scopes.drop_replaced();
        assert_eq!(Arc::strong_count(&before), 2, "the requests under way have it together");
        drop((one, two));
        assert_eq!(Arc::strong_count(&before), 1);

        let after = scopes.of(&listener_state).expect("a listener");
        assert!(after.is_of(&current.load()));
        let other = ListenerState::new("b".into(), listener_state.counters.clone());
        assert!(scopes.of(&other).is_none());
    }
}
