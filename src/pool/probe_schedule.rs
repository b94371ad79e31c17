//! When an endpoint is probed: at its interval, and earlier while it is down, within a limit for all early probes of a
//! pool.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::Pool;
use super::endpoint::Endpoint;
use super::status::EndpointState;

/// Shortest pause between two early probes of an endpoint, from start to start.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The same for all endpoints of a pool together: at most two hundred early probes a second.
const POOL_PAUSE_MIN: Duration = Duration::from_millis(5);

/// Longest pause, where the health check's interval is not shorter.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Probes start up to this share of the interval early or late.
const JITTER: f64 = 0.1;

/// Which probe is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    /// The health check's interval is over.
    Regular,
    /// The endpoint was down and may be back.
    Early,
}

/// The pause before the next early probe of an endpoint that has been down for `away`, while `down` endpoints are.
///
/// The pause is a tenth of that time, so that an endpoint's return is found within a tenth of its absence. It does not
/// grow while requests wait.
fn pause(away: Duration, down: usize, waited_for: bool) -> Duration {
    let least = PAUSE_MIN.max(POOL_PAUSE_MIN * u32::try_from(down).unwrap_or(u32::MAX));
    if waited_for { least } else { least.max((away / 10).min(PAUSE_MAX)) }
}

/// When an endpoint is probed.
pub(crate) struct ProbeSchedule {
    /// The start of the last probe.
    last: Instant,
    /// When it went down.
    down: Option<Instant>,
}

impl ProbeSchedule {
    pub fn new(now: Instant) -> Self {
        Self { last: now, down: None }
    }

    pub fn probed_at(&mut self, started: Instant) {
        self.last = started;
    }

    /// Waits until the next probe is due: after `interval`, or earlier.
    pub async fn next(&mut self, pool: &Pool, endpoint: &Endpoint, interval: Option<Duration>) -> ProbeKind {
        loop {
            let hurry = pool.hurry.notified();
            tokio::pin!(hurry);
            hurry.as_mut().enable();
            let now = tokio::time::Instant::now().into_std();
            let Some((due, kind)) = self.due(pool, endpoint, interval, now) else {
                endpoint.reachability().changed.notified().await;
                continue;
            };
            let is_down = endpoint.state() != EndpointState::Healthy;
            tokio::select! {
                () = sleep_until(due.into()) => return kind,
                () = endpoint.reachability().changed.notified() => {}
                () = hurry, if is_down => {}
            }
        }
    }

    /// When the next probe is due, as things are; `None`: the endpoint needs none.
    pub fn due(
        &mut self,
        pool: &Pool,
        endpoint: &Endpoint,
        interval: Option<Duration>,
        now: Instant,
    ) -> Option<(Instant, ProbeKind)> {
        let regular = interval.map(|interval| (self.last + interval, ProbeKind::Regular));
        let early = self.early(pool, endpoint, now).map(|early| (early, ProbeKind::Early));
        // A regular one counts for more.
        regular.into_iter().chain(early).min_by_key(|(due, _)| *due)
    }

    /// When an early probe is due; `None`: the endpoint needs none.
    fn early(&mut self, pool: &Pool, endpoint: &Endpoint, now: Instant) -> Option<Instant> {
        let waited_for = pool.is_waited_for();
        let unhealthy = endpoint.state() == EndpointState::Unhealthy;
        if !(endpoint.reachability().is_marked() || unhealthy && waited_for) {
            self.down = None;
            return None;
        }
        let down = *self.down.get_or_insert(now);
        let pause = pause(now - down, pool.picker.rotation().candidates().down(), waited_for);
        Some(self.last.max(down) + pause)
    }
}

/// The time between two probes: `interval`, up to a tenth more or less, so that probes of many endpoints, or by many
/// proxies, do not fall into step. `chance` is from 0 to 1.
pub(crate) fn jittered(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_for_long_is_asked_less_often() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(seconds(0), 1, false), PAUSE_MIN);
        assert_eq!(pause(seconds(1), 1, false), PAUSE_MIN);
        assert_eq!(pause(seconds(20), 1, false), seconds(2));
        assert_eq!(pause(seconds(3600), 1, false), PAUSE_MAX);
        assert_eq!(pause(seconds(20), 1, true), PAUSE_MIN, "somebody waits");
    }

    #[test]
    fn all_of_them_together_have_a_limit() {
        assert_eq!(pause(Duration::ZERO, 20, true), PAUSE_MIN);
        assert_eq!(pause(Duration::ZERO, 20_000, true), Duration::from_secs(100));
        assert_eq!(pause(Duration::ZERO, usize::MAX, false), POOL_PAUSE_MIN * u32::MAX);
    }
}
