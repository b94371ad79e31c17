//! Where the process is in its life; readiness and the last response of a connection depend on it.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting = 0,
    Ready = 1,
    /// Asked to stop: what runs is finished, and clients are told to go elsewhere.
    Stopping = 2,
}

#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    pub fn phase(&self) -> Phase {
        match self.0.load(SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }

    /// A stop that came first stays.
    pub fn ready(&self) {
        let _ = self.0.compare_exchange(Phase::Starting as u8, Phase::Ready as u8, SeqCst, SeqCst);
    }

    pub fn stop(&self) {
        self.0.store(Phase::Stopping as u8, SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.phase() == Phase::Stopping
    }
}
