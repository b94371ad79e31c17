//! The last probes of one endpoint, for people.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::probe::ProbeResult;
use super::status::{ProbeOutcome, ProbeStatus};
use crate::human::unix_seconds;

/// How many are kept.
const KEPT_MAX: usize = 5;

/// The longest reason that is kept, in characters.
const REASON_MAX: usize = 200;

#[derive(Debug, Default)]
pub(super) struct RecentProbes(Mutex<VecDeque<ProbeStatus>>);

impl RecentProbes {
    pub fn add(&self, result: &ProbeResult, at: SystemTime) {
        let (result, reason) = match result {
            ProbeResult::Passed => (ProbeOutcome::Passed, None),
            ProbeResult::Failed(reason) => (ProbeOutcome::Failed, Some(reason)),
            ProbeResult::Busy => (ProbeOutcome::Busy, None),
            ProbeResult::Shortage(reason) => (ProbeOutcome::Shortage, Some(reason)),
        };
        let reason = reason.map(|reason| reason.chars().take(REASON_MAX).collect());
        let mut probes = self.0.lock();
        if probes.len() >= KEPT_MAX {
            probes.pop_front();
        }
        probes.push_back(ProbeStatus { at: unix_seconds(at), result, reason });
    }

    /// The oldest first.
    pub fn status(&self) -> Vec<ProbeStatus> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_last_few_stay() {
        let probes = RecentProbes::default();
        for second in 0..7 {
            let result = match second {
                6 => ProbeResult::Failed("x".repeat(1000)),
                _ => ProbeResult::Passed,
            };
            probes.add(&result, UNIX_EPOCH + Duration::from_secs(second));
        }
        let status = probes.status();
        let times: Vec<f64> = status.iter().map(|probe| probe.at).collect();
        assert_eq!(times, [2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((status[0].result, &status[0].reason), (ProbeOutcome::Passed, &None));
        assert_eq!(status[4].reason.as_ref().map(String::len), Some(REASON_MAX));
    }
}
