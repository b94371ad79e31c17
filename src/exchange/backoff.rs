//! The pauses of a request before it tries an endpoint for the second time.

use std::time::{Duration, Instant, SystemTime};

use super::Exchange;
use crate::pool::hash_of_key;
use crate::snapshot::Target;

/// How many times `retry.backoff` a pause may last.
const FACTOR_MAX: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// An attempt has failed, and no pause has followed yet.
    pub due: bool,
    /// How many pauses there have been.
    pauses: u32,
}

impl Exchange {
    /// The pause before the next attempt; `None`: there is none, as before an attempt at an untried endpoint.
    pub(super) fn pause(&mut self, target: &Target, now: Instant) -> Option<Duration> {
        if !std::mem::take(&mut self.retries.backoff.due) || target.retry.backoff.is_zero() {
            return None;
        }
        let (pool, request) = (&target.pool, self.pick_request(now));
        if pool.has_fresh(&request) || !pool.has_another(&request) {
            return None;
        }
        let pause = pause(target.retry.backoff, self.retries.backoff.pauses, self.record.text.request_id());
        self.retries.backoff.pauses += 1;
        Some(self.deadline.map_or(pause, |deadline| pause.min(deadline.saturating_duration_since(now))))
    }
}

/// Full jitter: evenly between none and the longest, drawn from the request's id, so that a simulation draws the same
/// twice.
fn pause(backoff: Duration, pauses: u32, request_id: &str) -> Duration {
    let longest = backoff * FACTOR_MAX.min(1 << pauses.min(FACTOR_MAX));
    let drawn = hash_of_key(request_id.as_bytes()).wrapping_mul(2 * u64::from(pauses) + 1);
    longest.mul_f64((drawn >> 12) as f64 / (1u64 << 52) as f64)
}

/// When the endpoint may be tried again, by its `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). `time` is
/// the time of day at `now`. `None`: at once.
pub(super) fn retry_after(value: &[u8], now: Instant, time: SystemTime) -> Option<Instant> {
    let value = str::from_utf8(value).ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(time).ok()?,
    };
    // What is too far to be reckoned is never.
    now.checked_add(wait).or(now.checked_add(Duration::from_hours(24))).filter(|until| now < *until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_over_a_span_that_doubles() {
        let backoff = Duration::from_millis(25);
        for (pauses, longest) in [(0, 25), (1, 50), (2, 100), (3, 200), (4, 250), (19, 250), (u32::MAX, 250)]
        {
            let longest = Duration::from_millis(longest);
            let all: Vec<_> = (0..1000).map(|id| pause(backoff, pauses, &format!("{id:032x}"))).collect();
            assert!(all.iter().all(|pause| *pause <= longest), "{pauses}");
            let mean = all.iter().sum::<Duration>() / 1000;
            assert!((longest.mul_f64(0.45)..longest.mul_f64(0.55)).contains(&mean), "{pauses}: {mean:?}");
        }
    }

    #[test]
    fn who_asks_to_be_left_alone_says_for_how_long() {
        let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        let wait =
            |value: &str| retry_after(value.as_bytes(), now, time).map(|until| (until - now).as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 1 "), Some(1));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        for at_once in ["0", "Sun, 06 Nov 1994 08:49:37 GMT", "", "soon", "-1", "1.5"] {
            assert_eq!(wait(at_once), None, "{at_once}");
        }
        assert!(wait(&u64::MAX.to_string()).is_some_and(|seconds| seconds > 3600));
    }
}
