//! The ramp of an endpoint that has come back, or is new: its share grows from nothing to the whole over a time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::balance::chance;

/// The least share, so that the first request comes soon.
const SHARE_MIN: f64 = 0.01;

/// The ramp of one endpoint.
#[derive(Debug)]
pub(super) struct Ramp {
    epoch: Instant,
    /// From `epoch` to its begin and its end, in milliseconds; 0 and 0: there is none.
    began: AtomicU64,
    ends: AtomicU64,
}

impl Ramp {
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, began: AtomicU64::new(0), ends: AtomicU64::new(0) }
    }

    pub fn begin(&self, window: Duration, now: Instant) {
        let now = self.millis(now);
        self.began.store(now, Relaxed);
        self.ends.store(now + window.as_millis() as u64, Relaxed);
    }

    /// Whether it was begun, and is not yet known to be over ([`Self::end_if_over`]).
    pub fn is_begun(&self) -> bool {
        self.ends.load(Relaxed) > 0
    }

    /// Ends it if its time is over; `true` if that is news.
    pub fn end_if_over(&self, now: Instant) -> bool {
        if !self.is_begun() || self.is_under_way(now) {
            return false;
        }
        self.ends.store(0, Relaxed);
        true
    }

    pub fn is_under_way(&self, now: Instant) -> bool {
        self.millis(now) < self.ends.load(Relaxed)
    }

    /// When it ends; `None`: it is over, or there is none.
    pub fn ends(&self, now: Instant) -> Option<Instant> {
        let ends = self.epoch + Duration::from_millis(self.ends.load(Relaxed));
        (now < ends).then_some(ends)
    }

    /// The part of its share that the endpoint gets, from 0 to 1.
    pub fn share(&self, now: Instant) -> f64 {
        let (began, ends) = (self.began.load(Relaxed), self.ends.load(Relaxed));
        if ends == 0 {
            return 1.0;
        }
        let passed = self.millis(now).saturating_sub(began) as f64;
        (passed / ends.saturating_sub(began).max(1) as f64).clamp(SHARE_MIN, 1.0)
    }

    /// Whether it takes a turn that is its own: every second one at half of the ramp, evenly spread. `period` is the
    /// number of turns after which its turns come again.
    pub fn takes_turn(&self, turn: usize, period: usize, now: Instant) -> bool {
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let (round, place) = (turn / period.max(1), turn % period.max(1));
        let spread = (round as f64 * GOLDEN + chance::unit(chance::mix(place as u64))).fract();
        spread < self.share(now)
    }

    /// Whether it takes a key that is its own: as the ramp goes on, more and more of them, and none twice. `draw` depends
    /// on the key and the endpoint alone.
    pub fn takes_key(&self, draw: u64, now: Instant) -> bool {
        chance::unit(draw) < self.share(now)
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn ramp() -> (Ramp, Instant) {
        let epoch = Instant::now();
        let ramp = Ramp::new(epoch);
        assert!(!ramp.is_under_way(epoch));
        ramp.begin(WINDOW, epoch);
        (ramp, epoch)
    }

    #[test]
    fn the_share_grows_evenly_to_the_whole() {
        let (ramp, epoch) = ramp();
        assert_eq!(ramp.share(epoch), SHARE_MIN);
        assert_eq!(ramp.share(epoch + WINDOW / 2), 0.5);
        assert!(ramp.is_under_way(epoch + WINDOW / 2) && !ramp.is_under_way(epoch + WINDOW));
        assert_eq!((ramp.share(epoch + WINDOW), ramp.ends(epoch + WINDOW)), (1.0, None));
    }

    #[test]
    fn turns_are_taken_evenly() {
        let (ramp, epoch) = ramp();
        for (part, expected) in [(1, 100), (5, 500), (9, 900)] {
            let now = epoch + WINDOW * part / 10;
            for place in 0..5 {
                let taken = (0..1_000).filter(|round| ramp.takes_turn(round * 5 + place, 5, now)).count();
                assert!(taken.abs_diff(expected) <= 3, "{taken} of {expected}");
            }
        }
    }

    #[test]
    fn a_key_that_is_taken_stays_taken() {
        let (ramp, epoch) = ramp();
        for key in (0..1_000).map(chance::mix) {
            let taken = |part| ramp.takes_key(key, epoch + WINDOW * part / 10);
            assert!((1..10).all(|part| !taken(part) || taken(part + 1)));
        }
    }
}
