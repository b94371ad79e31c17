//! A limit that several queues share, exact over all of them.
//!
//! Half of the limit is divided: each worker's queue has a part that no other queue can take. The other half is common:
//! a busy queue takes from it in large steps, and returns what it no longer needs. So a worker that stays within its
//! part writes no memory that other workers write.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A queue takes 1/8 of its fair share of the common half at a time: large enough to take seldom, small enough that
/// little is taken without being used.
const AT_ONCE: usize = 8;

/// The common half: what no queue has taken of it. In its own cache lines, which processors fetch in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Common {
    left: AtomicUsize,
    at_once: usize,
}

/// One queue's part of the limit, and how much of it is used.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    used: usize,
    free: usize,
    /// How much of `used + free` is from the common half.
    extra: usize,
}

impl Common {
    /// Divides half of `limit` into `parts`, at least one. Returns the common half and the size of a part.
    pub(super) fn divide(limit: usize, parts: usize) -> (Self, usize) {
        let parts = parts.max(1);
        let part = limit / 2 / parts;
        let left = limit - part * parts;
        let at_once = (left / (AT_ONCE * parts)).max(1);
        (Self { left: AtomicUsize::new(left), at_once }, part)
    }

    /// Takes `least`, or up to `at_once` where that is more; `None`: less than `least` is left.
    fn take(&self, least: usize) -> Option<usize> {
        let amount = |left: usize| (left >= least).then(|| left.min(self.at_once.max(least)));
        let before = self.left.fetch_update(Relaxed, Relaxed, |left| Some(left - amount(left)?));
        before.ok().and_then(amount)
    }
}

impl Allowance {
    /// An allowance with a part of `own`.
    pub(super) fn new(own: usize) -> Self {
        Self { used: 0, free: own, extra: 0 }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether there is room for `amount` more; takes from the common half if needed.
    pub(super) fn reserve(&mut self, amount: usize, common: &Common) -> bool {
        if amount > self.free {
            let Some(taken) = common.take(amount - self.free) else { return false };
            self.free += taken;
            self.extra += taken;
        }
        true
    }

    /// Uses `amount`, for which [`Allowance::reserve`] has found room.
    pub(super) fn add(&mut self, amount: usize) {
        self.used += amount;
        self.free -= amount;
    }

    /// Frees `amount`, and returns to the common half what is no longer needed.
    pub(super) fn remove(&mut self, amount: usize, common: &Common) {
        self.used -= amount;
        self.free += amount;
        let surplus = self.extra.min(self.free);
        if surplus > 0 {
            self.free -= surplus;
            self.extra -= surplus;
            common.left.fetch_add(surplus, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds one by one until there is no room.
    fn fill(allowance: &mut Allowance, common: &Common) -> usize {
        (0..)
            .take_while(|_| {
                let room = allowance.reserve(1, common);
                allowance.add(usize::from(room));
                room
            })
            .count()
    }

    #[test]
    fn one_queue_has_its_part_and_the_common_half_and_leaves_the_others_theirs() {
        for (limit, parts) in [(8192, 4), (100, 3), (7, 2), (1, 1), (1, 16), (5, 0)] {
            let (common, part) = Common::divide(limit, parts);
            let mut queues: Vec<_> = (0..parts.max(1)).map(|_| Allowance::new(part)).collect();
            let (first, others) = queues.split_first_mut().expect("one at least");
            assert_eq!(fill(first, &common), limit - part * others.len(), "{limit} in {parts}");
            for other in others {
                assert_eq!(fill(other, &common), part, "{limit} in {parts}");
            }
        }
    }

    #[test]
    fn what_is_given_back_others_may_have() {
        let (common, part) = Common::divide(100, 2);
        let (mut one, mut two) = (Allowance::new(part), Allowance::new(part));
        assert_eq!(fill(&mut one, &common), 75);
        assert!(!one.reserve(1, &common));
        one.remove(75, &common);
        assert_eq!(fill(&mut two, &common), 75);
        assert_eq!(fill(&mut one, &common), 25);
        two.remove(75, &common);
        one.remove(25, &common);
        assert_eq!(common.left.load(Relaxed), 50);
    }

    #[test]
    fn more_than_there_is_has_no_room_and_takes_nothing() {
        let (common, part) = Common::divide(100, 1);
        let mut one = Allowance::new(part);
        assert!(!one.reserve(101, &common));
        assert!(one.reserve(100, &common));
        one.add(100);
        one.remove(100, &common);
        assert_eq!((common.left.load(Relaxed), one.used()), (50, 0));
    }
}
