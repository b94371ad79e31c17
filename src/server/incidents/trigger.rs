//! When something has gone so wrong that the flight recorder is written by itself.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::human;

/// The time in which failures are counted, and the time before it with which they are compared.
const RECENT: usize = 5;
const BEFORE: usize = 55;

/// The fewest failures, and the least part of all requests, that are a jump.
const FAILURES_MIN: u64 = 20;
const PART_MIN: f64 = 0.1;

/// How many times the part of before.
const TIMES_MIN: f64 = 5.0;

/// So many seconds in a row a pool has an endpoint before its loss is an incident: endpoints that are dead from the
/// beginning count as available until their first probes have failed.
const AVAILABLE_MIN: u32 = 5;

/// The time from one incident to the next, where nobody asks for it.
const PAUSE: Duration = Duration::from_secs(300);

/// Requests that have ended, and those of them that failed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub ended: u64,
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Trigger {
    /// By second, the last one last.
    seconds: VecDeque<Counts>,
    /// For how many seconds in a row pools have had an endpoint.
    available: HashMap<String, u32>,
    last: Option<Instant>,
}

// === impl Trigger ===

impl Trigger {
    /// Whether something has gone wrong in the second that is over: what it is. `pools`: whether each of them has an
    /// endpoint that is available.
    pub fn second<'a>(
        &mut self,
        counts: Counts,
        pools: impl Iterator<Item = (&'a str, bool)>,
        now: Instant,
    ) -> Option<String> {
        self.seconds.push_back(counts);
        if self.seconds.len() > RECENT + BEFORE {
            self.seconds.pop_front();
        }
        let mut emptied = None;
        let mut available = HashMap::new();
        for (pool, is_available) in pools {
            let seconds = self.available.get(pool).copied().unwrap_or_default();
            if is_available {
                available.insert(pool.to_owned(), seconds.saturating_add(1));
            } else if seconds >= AVAILABLE_MIN {
                emptied = emptied.or_else(|| Some(format!("pool {pool} has no endpoint left")));
            }
        }
        self.available = available;
        let reason = emptied.or_else(|| self.jump())?;
        if self.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return None;
        }
        self.last = Some(now);
        Some(reason)
    }

    fn jump(&self) -> Option<String> {
        let recent = self.seconds.len().saturating_sub(RECENT);
        let sum = |seconds: &mut dyn Iterator<Item = &Counts>| {
            seconds.fold(Counts::default(), |sum, second| Counts {
                ended: sum.ended + second.ended,
                failed: sum.failed + second.failed,
            })
        };
        let (now, before) =
            (sum(&mut self.seconds.iter().skip(recent)), sum(&mut self.seconds.iter().take(recent)));
        let part = |counts: Counts| counts.failed as f64 / counts.ended.max(1) as f64;
        let jumps =
            now.failed >= FAILURES_MIN && part(now) >= PART_MIN && part(now) >= TIMES_MIN * part(before);
        jumps.then(|| {
            let [failed, ended, before_failed, before_ended] =
                [now.failed, now.ended, before.failed, before.ended].map(human::count);
            format!(
                "failures have jumped: {failed} of {ended} requests in {RECENT} s, {before_failed} of \
                 {before_ended} in the {BEFORE} s before"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ended: u64, failed: u64) -> Counts {
        Counts { ended, failed }
    }

    /// The reasons that these seconds give, each with its second.
    fn reasons(trigger: &mut Trigger, begin: Instant, seconds: &[(u64, u64)]) -> Vec<usize> {
        let mut found = Vec::new();
        for (at, (ended, failed)) in seconds.iter().enumerate() {
            let now = begin + Duration::from_secs(at as u64);
            let reason = trigger.second(counts(*ended, *failed), [].into_iter(), now);
            found.extend(reason.map(|_| at));
        }
        found
    }

    #[test]
    fn a_jump_of_failures_is_one_incident() {
        let begin = Instant::now();
        let seconds =
            |calm: usize, bad: (u64, u64), count: usize| [vec![(100, 1); calm], vec![bad; count]].concat();
        assert_eq!(reasons(&mut Trigger::default(), begin, &seconds(30, (100, 30), 30)), [31]);
        assert_eq!(
            reasons(&mut Trigger::default(), begin, &seconds(30, (100, 5), 30)),
            [0; 0],
            "below the part"
        );
        assert_eq!(reasons(&mut Trigger::default(), begin, &seconds(30, (3, 3), 6)), [0; 0], "too few");
        assert_eq!(
            reasons(&mut Trigger::default(), begin, &vec![(100, 50); 600]),
            [0],
            "only when it begins"
        );
        let mut twice = seconds(10, (100, 50), 10);
        twice.extend(seconds(400, (100, 50), 10));
        assert_eq!(reasons(&mut Trigger::default(), begin, &twice), [10, 420]);
    }

    #[test]
    fn a_pool_that_had_an_endpoint_and_has_none_is_an_incident() {
        let (mut trigger, begin) = (Trigger::default(), Instant::now());
        let mut at = |seconds: u64, pools: &[(&str, bool)]| {
            trigger.second(counts(0, 0), pools.iter().copied(), begin + Duration::from_secs(seconds))
        };
        for second in 0..10 {
            assert_eq!(at(second, &[("a", false), ("b", true), ("c", second > 5)]), None);
        }
        assert_eq!(
            at(10, &[("a", false), ("b", true), ("c", false)]),
            None,
            "it was there for too short a time"
        );
        assert_eq!(at(11, &[("a", false), ("b", false)]).as_deref(), Some("pool b has no endpoint left"));
        for second in 12..20 {
            assert_eq!(at(second, &[("a", true), ("b", false)]), None);
        }
        assert_eq!(at(20, &[("a", false)]), None, "too soon after the other");
        for second in 400..410 {
            assert_eq!(at(second, &[("a", true), ("b", true)]), None);
        }
        assert_eq!(at(410, &[("a", true)]), None, "a pool that is gone");
    }
}
