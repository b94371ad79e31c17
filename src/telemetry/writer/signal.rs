//! How the writer sleeps, and how those who log wake it: by a word that they read, and write only to wake it. Nobody waits
//! for a lock here.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Instant;

/// In cache lines of its own, because everybody who logs reads it.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Signal {
    state: AtomicU8,
    /// The writer, once it has slept.
    thread: OnceLock<Thread>,
}

/// It looks for something to do before it sleeps.
const AWAKE: u8 = 0;

/// How the writer sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleep {
    /// Until there is much to do.
    Resting = 1,
    /// Until there is something to do.
    Idle = 2,
}

impl Signal {
    /// There is something to do, much or little. The caller has taken the lock that the writer takes to look for it.
    pub(super) fn tell(&self, much: bool) {
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

    /// For the writer: sleeps until it is woken; `false`: nobody has, until then.
    ///
    /// `is_needed` looks whether there is a reason not to sleep. It is asked once the sleep is announced, and takes the
    /// locks beneath which reasons arise: who was there before is seen, and who comes later sees what was announced.
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
