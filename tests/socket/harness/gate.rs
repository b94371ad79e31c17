//! A gate that a scripted endpoint waits at until its test opens it.

use std::sync::{Arc, Condvar, Mutex};

use super::wait::PATIENCE;

/// Closed at first; once opened it stays open. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn closed() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        let (open, changed) = &*self.0;
        *open.lock().unwrap() = true;
        changed.notify_all();
    }

    /// Returns when the gate is open, or after [`PATIENCE`]: the test's own assertions then say what is missing.
    pub fn wait(&self) {
        let (open, changed) = &*self.0;
        let guard = open.lock().unwrap();
        drop(changed.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap());
    }
}
