//! Puts the writer to sleep and wakes it, by one atomic state. Threads that log read the state, and write it only to
//! wake the writer; no lock is involved.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Instant;

/// In its own cache lines, because every thread that logs reads it.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Signal {
    state: AtomicU8,
    /// The writer's thread, set at its first sleep.
    thread: OnceLock<Thread>,
}

/// The writer is awake, and looks for work before it sleeps again.
const AWAKE: u8 = 0;

/// How the writer sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleep {
    /// Until there is much work.
    Resting = 1,
    /// Until there is any work.
    Idle = 2,
}

impl Signal {
    /// Tells the writer of work, much or little. The caller has added the work under the lock that the writer takes to
    /// look for it.
    pub(super) fn notify(&self, much: bool) {
        let state = self.state.load(SeqCst);
        if state == Sleep::Idle as u8 || much && state == Sleep::Resting as u8 {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if self.state.swap(AWAKE, SeqCst) != AWAKE
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// For the writer: sleeps until it is woken, or until `until`, which returns `false`.
    ///
    /// `is_needed` says whether there is a reason not to sleep. It is called after `state` announces the sleep, and
    /// takes the locks under which work is added: it sees work that was added before, and whoever adds work later sees
    /// the state.
    pub(super) fn sleep(&self, how: Sleep, until: Option<Instant>, is_needed: impl FnOnce() -> bool) -> bool {
        self.thread.get_or_init(thread::current);
        self.state.store(how as u8, SeqCst);
        if is_needed() {
            self.state.store(AWAKE, SeqCst);
            return true;
        }
        while self.state.load(SeqCst) == how as u8 {
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => {
                    self.state.store(AWAKE, SeqCst);
                    return false;
                }
                Some(left) => thread::park_timeout(left),
            }
        }
        true
    }

    #[cfg(test)]
    pub(super) fn is_resting(&self) -> bool {
        self.state.load(SeqCst) == Sleep::Resting as u8
    }
}
