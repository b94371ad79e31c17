//! The health of one endpoint: a small state machine fed by probes.
//!
//! | state     | a probe passes                              | a probe fails                                  |
//! |-----------|---------------------------------------------|------------------------------------------------|
//! | checking  | healthy                                     | unhealthy                                      |
//! | healthy   | stays, the failures in a row start again    | unhealthy after `unhealthy_after` in a row     |
//! | unhealthy | healthy after `healthy_after` in a row      | stays, the passes in a row start again         |

use std::time::SystemTime;

use super::status::EndpointState;
use crate::config::HealthCheck;

/// How many probes in a row change a state.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    pub healthy_after: u32,
    pub unhealthy_after: u32,
}

impl Thresholds {
    pub fn of(check: &HealthCheck) -> Self {
        Self { healthy_after: check.healthy_after, unhealthy_after: check.unhealthy_after }
    }
}

#[derive(Debug, Clone)]
pub struct Health {
    state: EndpointState,
    /// Probes in a row that spoke against the state.
    against: u32,
    since: SystemTime,
    reason: String,
}

impl Health {
    /// Not probed yet: gets traffic only while no endpoint is known to be healthy.
    pub fn checking(now: SystemTime) -> Self {
        Self { state: EndpointState::Checking, against: 0, since: now, reason: "not probed yet".into() }
    }

    /// Of an endpoint that nobody checks.
    pub fn unchecked(now: SystemTime) -> Self {
        Self { state: EndpointState::Healthy, against: 0, since: now, reason: "no health check".into() }
    }

    pub fn state(&self) -> EndpointState {
        self.state
    }

    pub fn since(&self) -> SystemTime {
        self.since
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Takes one probe's result in; `true` if the state changed.
    pub fn record(&mut self, probe: Result<(), String>, thresholds: Thresholds, now: SystemTime) -> bool {
        let target = if probe.is_ok() { EndpointState::Healthy } else { EndpointState::Unhealthy };
        if self.state == target {
            self.against = 0;
            // The newest failure is the one worth reading.
            if let Err(reason) = probe {
                self.reason = reason;
            }
            return false;
        }
        self.against += 1;
        let needed = match self.state {
            EndpointState::Checking => 1,
            // Probes alone never make an endpoint unreachable.
            EndpointState::Healthy | EndpointState::Unreachable => thresholds.unhealthy_after,
            EndpointState::Unhealthy => thresholds.healthy_after,
        };
        if self.against < needed {
            return false;
        }
        self.reason = match probe {
            Ok(()) if needed == 1 => "a probe passed".into(),
            Ok(()) => format!("{needed} probes in a row passed"),
            Err(reason) if needed == 1 => reason,
            Err(reason) => format!("{needed} probes in a row failed, the last: {reason}"),
        };
        self.state = target;
        self.against = 0;
        self.since = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { healthy_after: 2, unhealthy_after: 3 };

    fn play(health: &mut Health, probes: &str) -> Vec<EndpointState> {
        probes
            .chars()
            .map(|probe| {
                let result = if probe == '+' { Ok(()) } else { Err("refused".into()) };
                health.record(result, THRESHOLDS, SystemTime::UNIX_EPOCH);
                health.state()
            })
            .collect()
    }

    #[test]
    fn the_first_probe_decides() {
        use EndpointState::{Healthy, Unhealthy};
        assert_eq!(play(&mut Health::checking(SystemTime::UNIX_EPOCH), "+"), [Healthy]);
        assert_eq!(play(&mut Health::checking(SystemTime::UNIX_EPOCH), "-"), [Unhealthy]);
    }

    #[test]
    fn it_takes_failures_in_a_row_to_leave_and_passes_in_a_row_to_return() {
        use EndpointState::{Healthy as H, Unhealthy as U};
        let mut health = Health::unchecked(SystemTime::UNIX_EPOCH);
        assert_eq!(play(&mut health, "--+---+-++"), [H, H, H, H, H, U, U, U, U, H]);
    }

    #[test]
    fn an_endpoint_that_fails_one_probe_in_three_stays() {
        let mut health = Health::unchecked(SystemTime::UNIX_EPOCH);
        assert!(play(&mut health, "-++-++-++-++").iter().all(|state| *state == EndpointState::Healthy));
    }

    #[test]
    fn the_reason_says_what_happened() {
        let mut health = Health::unchecked(SystemTime::UNIX_EPOCH);
        play(&mut health, "---");
        assert_eq!(health.reason(), "3 probes in a row failed, the last: refused");
        play(&mut health, "++");
        assert_eq!(health.reason(), "2 probes in a row passed");
    }
}
