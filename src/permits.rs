//! Permits: each is the right to be one of a limited number. The number is given at each take, because a reload may
//! change it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Permits {
    taken: AtomicUsize,
    waiting: AtomicUsize,
    released: Notify,
}

/// One permit, free again when it is dropped.
#[must_use = "the permit is free again when this is dropped"]
#[derive(Debug)]
pub struct Permit(Arc<Permits>);

/// Adds one to a counter until it is dropped.
pub struct Counted<'a>(&'a AtomicUsize);

impl Permits {
    /// Takes a permit; `None` if `most` are taken.
    pub fn take(self: &Arc<Self>, most: usize) -> Option<Permit> {
        self.take_counted(most).map(|(permit, _)| permit)
    }

    /// The same, with the number of those that were taken before.
    pub fn take_counted(self: &Arc<Self>, most: usize) -> Option<(Permit, usize)> {
        let next = |taken: usize| (taken < most).then_some(taken + 1);
        let before = self.taken.fetch_update(SeqCst, SeqCst, next).ok()?;
        Some((Permit(self.clone()), before))
    }

    pub fn taken(&self) -> usize {
        self.taken.load(SeqCst)
    }

    /// Returns when a permit has become free, or after `limit`: the number of permits may change, too.
    pub async fn released(&self, limit: Duration) {
        let _waiting = Counted::new(&self.waiting);
        // The caller tries again, even after a timeout.
        let _ = tokio::time::timeout(limit, self.released.notified()).await;
    }
}

impl Permit {
    pub fn is_of(&self, permits: &Arc<Permits>) -> bool {
        Arc::ptr_eq(&self.0, permits)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
        if self.0.waiting.load(SeqCst) > 0 {
            self.0.released.notify_waiters();
        }
    }
}

impl<'a> Counted<'a> {
    pub fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, SeqCst);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_there_are_and_each_again() {
        let permits = Arc::new(Permits::default());
        let first = permits.take(2);
        let second = permits.take(2);
        assert!(first.is_some() && second.is_some());
        assert!(permits.take(2).is_none());
        assert!(permits.take_counted(3).is_some_and(|(third, before)| third.is_of(&permits) && before == 2));
        drop(first);
        assert!(permits.take(2).is_some());
        assert_eq!(permits.taken.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told() {
        let permits = Arc::new(Permits::default());
        let permit = permits.take(1);
        let begun = tokio::time::Instant::now();
        let limit = Duration::from_secs(9);
        tokio::join!(permits.released(limit), async { drop(permit) });
        assert!(begun.elapsed() < limit);
        permits.released(limit).await;
        assert_eq!(begun.elapsed(), limit);
        assert_eq!(permits.waiting.load(SeqCst), 0);
    }
}
