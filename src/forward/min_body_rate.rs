//! The minimum rate at which a client must send a body.

use std::time::{Duration, Instant};

use crate::exchange::{Failed, Failure};

/// Measures the time that a client takes for a body against a minimum rate.
#[derive(Debug, Clone, Copy)]
pub struct MinBodyRate {
    /// Bytes a second; `None`: any.
    rate: Option<u64>,
    /// How long the client has been waited for, without the current wait.
    waited: Duration,
    /// When the current wait for the client began.
    since: Option<Instant>,
}

impl MinBodyRate {
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, waited: Duration::ZERO, since: None }
    }

    /// How long the client may be waited for from `now` on: at most `pause`, and at most what is left of its total
    /// time, which is `pause` and one second for every `rate` bytes of `received`.
    pub fn wait(&mut self, now: Instant, received: u64, pause: Duration) -> Duration {
        let Some(rate) = self.rate else { return pause };
        self.stop(now);
        self.since = Some(now);
        let allowed =
            pause.saturating_add(Duration::from_millis(received.saturating_mul(1000) / rate.max(1)));
        allowed.saturating_sub(self.waited).min(pause)
    }

    /// Stops the client's time: something else is waited for.
    pub fn stop(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// The failure of a client that has been waited for too long.
    pub fn failure(&self, now: Instant, pause: Duration) -> Failed {
        let slow = self.is_slow(now, pause).then(|| "slower than limits.body_rate".to_owned());
        Failed::of_client(Failure::RequestTimeout, slow)
    }

    /// Whether the last wait ended because of the rate, not because of a pause.
    fn is_slow(&self, now: Instant, pause: Duration) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn without_a_rate_only_pauses_count() {
        let (mut rate, start) = (MinBodyRate::new(None), Instant::now());
        for second in 0..100 {
            assert_eq!(rate.wait(start + seconds(second * 9), second, PAUSE), PAUSE);
        }
    }

    #[test]
    fn a_client_has_a_pause_and_a_second_for_each_so_many_bytes() {
        let (mut rate, start) = (MinBodyRate::new(Some(100)), Instant::now());
        assert_eq!(rate.wait(start, 0, PAUSE), PAUSE);
        // 4 s are gone and 1 s was earned.
        assert_eq!(rate.wait(start + seconds(4), 100, PAUSE), seconds(7));
        assert_eq!(rate.wait(start + seconds(11), 100, PAUSE), Duration::ZERO);
        assert!(rate.is_slow(start + seconds(12), PAUSE) && !rate.is_slow(start + seconds(21), PAUSE));
        // Who is ahead may still not pause for longer.
        assert_eq!(rate.wait(start + seconds(12), 1_000_000, PAUSE), PAUSE);
    }

    #[test]
    fn time_in_which_others_are_waited_for_does_not_count() {
        let (mut rate, start) = (MinBodyRate::new(Some(100)), Instant::now());
        rate.wait(start, 0, PAUSE);
        rate.stop(start + seconds(1));
        assert_eq!(rate.wait(start + seconds(90), 0, PAUSE), seconds(9));
    }
}
