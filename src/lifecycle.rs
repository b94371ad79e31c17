//! The phase of the process and whether it is short of memory. Readiness, the admission of requests and keep-alive
//! depend on them.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting = 0,
    Ready = 1,
    /// Asked to stop: requests in flight are finished, and clients are told that their connection closes.
    Stopping = 2,
}

#[derive(Debug, Default)]
pub struct Lifecycle {
    phase: AtomicU8,
    short_of_memory: AtomicBool,
    memory_shortage: Notify,
}

impl Lifecycle {
    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }

    /// Enters [`Phase::Ready`], unless a stop came first.
    pub fn ready(&self) {
        let _ = self.phase.compare_exchange(Phase::Starting as u8, Phase::Ready as u8, SeqCst, SeqCst);
    }

    pub fn stop(&self) {
        self.phase.store(Phase::Stopping as u8, SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.phase() == Phase::Stopping
    }

    /// Whether new requests must be refused.
    pub fn is_short_of_memory(&self) -> bool {
        self.short_of_memory.load(Relaxed)
    }

    pub fn set_short_of_memory(&self, short: bool) {
        self.short_of_memory.store(short, Relaxed);
        if short {
            self.memory_shortage.notify_waiters();
        }
    }

    /// Returns when memory becomes short.
    pub async fn memory_shortage(&self) {
        self.memory_shortage.notified().await;
    }
}
