//! How long an endpoint takes to its first byte, as `least_time` reckons: the peak EWMA of Finagle.
//!
//! A slower response counts at once; faster ones lower the average over some seconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// After this time, what was known weighs 1/e of the average. Ten seconds, as Finagle has it, keep an endpoint that has
/// recovered from its share for too long.
const DECAY: Duration = Duration::from_secs(3);

/// The least that a failure counts as: an endpoint that fails fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);

/// How long an endpoint may go without a request; then it gets one, whatever its average, so that it is found out when
/// it has recovered.
const STARVED: Duration = Duration::from_secs(1);

/// What is left of the average after a faster response of an endpoint that had starved: there is one such response a
/// second, and by `DECAY` alone its share would be back after ten seconds only.
const KEPT_AFTER_STARVING: f32 = 0.1;

#[derive(Debug)]
pub(in crate::pool) struct ResponseTime {
    epoch: Instant,
    /// The average in microseconds as an `f32` (high half), and the milliseconds from `epoch` to the last response (low
    /// half). 0: no response yet.
    average: AtomicU64,
    /// Milliseconds from `epoch` to the last request that began.
    last_request: AtomicU64,
}

impl ResponseTime {
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, average: AtomicU64::new(0), last_request: AtomicU64::new(0) }
    }

    /// A response began, `took` after its attempt.
    pub fn answered(&self, took: Duration, now: Instant) {
        self.observe(took, now);
    }

    /// An attempt failed, `took` after its begin. It never lowers the average.
    pub fn failed(&self, took: Duration, now: Instant) {
        let (average, _) = unpack(self.average.load(Relaxed));
        self.observe(took.max(FAILURE).max(Duration::from_secs_f32(average / 1e6)), now);
    }

    /// An attempt was given up, `took` after its begin. It never lowers the average.
    pub fn overtaken(&self, took: Duration, now: Instant) {
        if self.average().is_none_or(|average| average < took) {
            self.observe(took, now);
        }
    }

    fn observe(&self, took: Duration, now: Instant) {
        let (took, at) = (took.as_secs_f32() * 1e6, self.millis(now) as u32);
        let next = |packed| Some(pack(averaged(unpack(packed), took, at), at));
        let _ = self.average.fetch_update(Relaxed, Relaxed, next);
    }

    /// Notes that a request begins.
    pub fn request_begins(&self, now: Instant) {
        self.last_request.store(self.millis(now), Relaxed);
    }

    /// Whether it has had no request for long.
    pub fn is_starved(&self, now: Instant) -> bool {
        self.millis(now).saturating_sub(self.last_request.load(Relaxed)) >= STARVED.as_millis() as u64
    }

    /// Whether it is this request's to find out about an endpoint that has had none for long. Of many requests at the
    /// same time, one is told so.
    pub fn claim_starved(&self, now: Instant) -> bool {
        let last = self.last_request.load(Relaxed);
        self.is_starved(now)
            && self.last_request.compare_exchange(last, self.millis(now), Relaxed, Relaxed).is_ok()
    }

    /// The time that another request would take, as far as it can be known, beside those `in_flight`, in microseconds by
    /// weight.
    pub fn expected(&self, in_flight: u64, weight: u32) -> f64 {
        let (average, _) = unpack(self.average.load(Relaxed));
        let load = match (average > 0.0, in_flight) {
            (true, _) => f64::from(average) * (in_flight + 1) as f64,
            // One request may find out; others do not follow before there is a response.
            (false, 0) => 0.0,
            (false, _) => FAILURE.as_micros() as f64 * in_flight as f64,
        };
        load / f64::from(weight)
    }

    /// The average; `None`: no response yet.
    pub fn average(&self) -> Option<Duration> {
        let (average, _) = unpack(self.average.load(Relaxed));
        (average > 0.0).then(|| Duration::from_secs_f32(average / 1e6))
    }

    fn millis(&self, now: Instant) -> u64 {
        // Never 0, which means "never".
        now.saturating_duration_since(self.epoch).as_millis() as u64 + 1
    }
}

fn averaged((average, last): (f32, u32), took: f32, at: u32) -> f32 {
    // A nanosecond at least: 0 is "no response yet".
    let took = took.max(1e-3);
    if took >= average {
        return took;
    }
    // Responses on other threads may be noted in another order.
    let elapsed = at.wrapping_sub(last).cast_signed().max(0) as f32;
    let decayed = (-elapsed / DECAY.as_millis() as f32).exp();
    let keep = if elapsed >= STARVED.as_millis() as f32 { decayed.min(KEPT_AFTER_STARVING) } else { decayed };
    took + (average - took) * keep
}

fn pack(average: f32, at: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(at)
}

fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slow_response_counts_at_once_and_is_forgotten_in_seconds() {
        let epoch = Instant::now();
        let time = ResponseTime::new(epoch);
        assert_eq!(time.average(), None);
        time.answered(10 * MS, epoch);
        time.answered(100 * MS, epoch + MS);
        let average = time.average().expect("it has answered");
        assert!(average.abs_diff(100 * MS) < MS / 1000, "{average:?}");
        (1..=6).for_each(|step| time.answered(10 * MS, epoch + MS + step * DECAY / 6));
        let average = time.average().expect("it has answered").as_secs_f64() * 1e3;
        assert!((average - (10.0 + 90.0 / std::f64::consts::E)).abs() < 0.1, "{average}");
    }

    #[test]
    fn who_has_starved_is_believed_sooner() {
        let epoch = Instant::now();
        let time = ResponseTime::new(epoch);
        time.answered(100 * MS, epoch);
        (1..=3).for_each(|step| time.answered(10 * MS, epoch + step * STARVED));
        assert!(time.average() < Some(13 * MS), "{:?}", time.average());
    }

    #[test]
    fn a_failure_never_lowers_it() {
        let epoch = Instant::now();
        let time = ResponseTime::new(epoch);
        time.failed(MS, epoch);
        assert_eq!(time.average(), Some(FAILURE));
        time.answered(5 * FAILURE, epoch);
        time.failed(MS, epoch + 10 * DECAY);
        assert!(time.average() >= Some(5 * FAILURE - MS));
    }

    #[test]
    fn of_an_unknown_endpoint_one_request_finds_out() {
        let time = ResponseTime::new(Instant::now());
        assert_eq!(time.expected(0, 1), 0.0);
        assert!(time.expected(1, 1) >= 1e6);
    }

    #[test]
    fn who_starves_gets_one_request_a_second() {
        let epoch = Instant::now();
        let time = ResponseTime::new(epoch);
        time.request_begins(epoch);
        assert!(!time.claim_starved(epoch + STARVED / 2));
        assert!(time.claim_starved(epoch + STARVED) && !time.claim_starved(epoch + STARVED));
        assert!(time.claim_starved(epoch + 2 * STARVED));
    }
}
