//! CoDel for a queue of requests, as in Facebook's folly: where nobody has waited for less than the target in a whole
//! interval, overload lasts, and in the next interval those are shed that have waited for more than twice the target.
//! So a burst is served whole, and what is served under overload has not waited for long.

use std::time::{Duration, Instant};

/// Targets in one interval: with the usual target of 5 ms, an interval of 100 ms.
const INTERVAL: u32 = 20;

/// Targets for which those of a higher priority are spared once one of a lower has been let in: there was enough for
/// them, whatever holds them up now. Not so for a while after some have been shed all the same.
const SPARED: u32 = 2 * INTERVAL;
const NOT_SPARED: u32 = 100 * INTERVAL;

#[derive(Debug, Default)]
pub(super) struct Codel {
    /// The end of the interval; `None`: nobody has waited yet.
    end: Option<Instant>,
    /// The shortest wait in the interval.
    least: Duration,
    overloaded: bool,
    /// Until when nobody is shed.
    spared_until: Option<Instant>,
    /// When somebody was too late last.
    last: Option<Instant>,
}

/// How long a request may have waited where overload lasts.
pub(super) fn limit(target: Duration) -> Duration {
    2 * target
}

impl Codel {
    /// Judges the next in the queue. The first of an interval is never too late.
    pub fn is_too_late(&mut self, waited: Duration, target: Duration, now: Instant) -> bool {
        match self.end {
            Some(end) if now < end => {
                self.least = self.least.min(waited);
                let is_spared = self.spared_until.is_some_and(|until| now < until);
                let is_too_late = self.overloaded && waited > limit(target) && !is_spared;
                self.last = if is_too_late { Some(now) } else { self.last };
                is_too_late
            }
            end => {
                self.overloaded = end.is_some() && self.least > target;
                self.end = Some(now + INTERVAL * target);
                self.least = waited;
                false
            }
        }
    }

    /// One of a lower priority is let in.
    pub fn spare(&mut self, target: Duration, now: Instant) {
        if self.last.is_none_or(|last| last + NOT_SPARED * target <= now) {
            self.spared_until = Some(now + SPARED * target);
        }
    }

    /// Nobody waits any more.
    pub fn emptied(&mut self) {
        self.least = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(5);

    /// How many are too late of those that are next every 10 ms, by how long they have waited.
    fn too_late(waits: impl Iterator<Item = u64>) -> Vec<usize> {
        let (mut codel, begun) = (Codel::default(), Instant::now());
        (0..)
            .zip(waits)
            .filter(|(number, waited)| {
                let now = begun + Duration::from_millis(10 * *number as u64);
                codel.is_too_late(Duration::from_millis(*waited), TARGET, now)
            })
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn a_queue_that_stands_for_an_interval_is_shed_in_the_next() {
        let late = too_late(std::iter::repeat_n(50, 30));
        assert_eq!(late, [11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
    }

    #[test]
    fn one_short_wait_in_an_interval_is_enough() {
        let waits = (0..100).map(|number| if number % 10 == 7 { 4 } else { 80 });
        assert!(too_late(waits).is_empty());
        // Those that have not waited for long are served in any case.
        assert!(too_late(std::iter::repeat_n(10, 100)).is_empty());
    }

    #[test]
    fn it_ends_an_interval_after_the_overload() {
        let waits = std::iter::repeat_n(50, 20).chain(std::iter::repeat_n(1, 10)).chain([50; 10]);
        assert_eq!(too_late(waits), [11, 12, 13, 14, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn where_others_of_a_lower_priority_are_let_in_there_is_enough() {
        let (mut codel, begun) = (Codel::default(), Instant::now());
        codel.spare(TARGET, begun);
        let late: Vec<_> = (0..120)
            .filter(|number| {
                let now = begun + Duration::from_millis(10 * number);
                codel.is_too_late(Duration::from_millis(50), TARGET, now)
            })
            .collect();
        assert_eq!(late.first(), Some(&21), "{late:?}");
        let overloaded = begun + Duration::from_millis(1200);
        codel.spare(TARGET, overloaded);
        assert!(
            !codel.is_too_late(Duration::from_millis(50), TARGET, overloaded),
            "the first of an interval"
        );
        assert!(codel.is_too_late(Duration::from_millis(50), TARGET, overloaded), "there was not enough");
    }

    #[test]
    fn a_queue_that_has_been_empty_does_not_stand() {
        let (mut codel, begun) = (Codel::default(), Instant::now());
        for number in 0..100 {
            let now = begun + Duration::from_millis(10 * number);
            assert!(!codel.is_too_late(Duration::from_millis(50), TARGET, now));
            if number % 10 == 5 {
                codel.emptied();
            }
        }
    }
}
