//! A limit that several queues share, exact over all of them.
//!
//! Half of it is divided: each worker's queue has its part, which no other queue can take. The other half is common: a
//! queue that is busier than the rest takes from it, many at once, and gives back what it needs no more. So a worker
//! that stays within its part writes nothing that other workers write.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a queue takes at once of the common half: one part in so many of its fair share of it. So it seldom asks, and what
/// all have taken and do not use is little.
const AT_ONCE: usize = 8;

/// What no queue has at the moment. In cache lines of its own, which come in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Common {
    left: AtomicUsize,
    at_once: usize,
}

/// What one queue has of the limit, and uses of it.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    used: usize,
    /// What it has and does not use.
    free: usize,
    /// How much of both is from the common half.
    extra: usize,
}

impl Common {
    /// Divides half of a limit into so many parts, one at least; returns the size of a part, too.
    pub(super) fn divide(limit: usize, parts: usize) -> (Self, usize) {
        let parts = parts.max(1);
        let part = limit / 2 / parts;
        let left = limit - part * parts;
        let at_once = (left / (AT_ONCE * parts)).max(1);
        (Self { left: AtomicUsize::new(left), at_once }, part)
    }

    /// Takes at least so much, and more where there is more.
    fn take(&self, least: usize) -> Option<usize> {
        let amount = |left: usize| (left >= least).then(|| left.min(self.at_once.max(least)));
        let before = self.left.fetch_update(Relaxed, Relaxed, |left| Some(left - amount(left)?));
        before.ok().and_then(amount)
    }
}

impl Allowance {
    /// With so much that is its own.
    pub(super) fn new(own: usize) -> Self {
        Self { used: 0, free: own, extra: 0 }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether there is room for so much more; takes from the common half where it has to.
    pub(super) fn has_room(&mut self, amount: usize, common: &Common) -> bool {
        if amount > self.free {
            let Some(taken) = common.take(amount - self.free) else { return false };
            self.free += taken;
            self.extra += taken;
        }
        true
    }

    /// The caller has asked for room.
    pub(super) fn add(&mut self, amount: usize) {
        self.used += amount;
        self.free -= amount;
    }

    /// Gives back what was used, and to the common half what is not needed any more.
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
                let room = allowance.has_room(1, common);
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
        assert!(!one.has_room(1, &common));
        one.remove(75, &common);
        assert_eq!(fill(&mut two, &common), 75);
        assert_eq!(fill(&mut one, &common), 25);
        two.remove(75, &common);
        one.remove(25, &common);
        assert_eq!(common.left.load(Relaxed), 50);
    }

    /// What was taken for more than there is room for is not lost.
    #[test]
    fn more_than_there_is_has_no_room_and_takes_nothing() {
        let (common, part) = Common::divide(100, 1);
        let mut one = Allowance::new(part);
        assert!(!one.has_room(101, &common));
        assert!(one.has_room(100, &common));
        one.add(100);
        one.remove(100, &common);
        assert_eq!((common.left.load(Relaxed), one.used()), (50, 0));
    }
}
