//! The health of one endpoint: a small state machine fed by probes.
//!
//! | state     | a probe passes                              | a probe fails                                  |
//! |-----------|---------------------------------------------|------------------------------------------------|
//! | checking  | healthy                                     | unhealthy after `unhealthy_after` in a row     |
//! | healthy   | stays, the failures in a row start again    | unhealthy after `unhealthy_after` in a row     |
//! | unhealthy | healthy after `healthy_after` in a row      | stays, the passes in a row start again         |
//!
//! One failed probe decides nothing, as it may have failed by chance. An endpoint that is `checking` is probed again at
//! once until there is a verdict (`supervisor`), and meanwhile gets traffic only where no endpoint is healthy.
//!
//! When the check itself changes, the state stays until probes of the new check contradict it. An unhealthy endpoint is
//! healthy with the first pass of the new check, so that a reload repairs a check that was wrong.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::check_id::CheckId;
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

/// Handed from process to process at upgrades: fields may be added with a default, and none removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Health {
    state: EndpointState,
    /// Probes in a row that contradict the state.
    against: u32,
    since: SystemTime,
    reason: String,
    /// The check whose probes were recorded last; `None`: none were.
    #[serde(default)]
    check: Option<CheckId>,
}

impl Health {
    /// Not probed yet: gets traffic only while no endpoint is known to be healthy.
    pub fn checking(now: SystemTime) -> Self {
        let reason = "not probed yet".into();
        Self { state: EndpointState::Checking, against: 0, since: now, reason, check: None }
    }

    /// Without a health check.
    pub fn unchecked(now: SystemTime) -> Self {
        let reason = "no health check".into();
        Self { state: EndpointState::Healthy, against: 0, since: now, reason, check: None }
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

    /// Whether the last recorded probe was of this check.
    pub fn is_by(&self, check: CheckId) -> bool {
        self.check == Some(check)
    }

    /// Whether probes of this check have come to a verdict.
    pub fn is_decided_by(&self, check: CheckId) -> bool {
        self.is_by(check) && self.state != EndpointState::Checking
    }

    /// Records the result of one probe of `check`; `true` if the state changed.
    pub fn record(
        &mut self,
        probe: Result<(), String>,
        check: CheckId,
        thresholds: Thresholds,
        now: SystemTime,
    ) -> bool {
        let first = self.check.replace(check) != Some(check);
        if first {
            self.against = 0;
        }
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
        let needed = match (self.state, &probe) {
            (EndpointState::Checking, Ok(())) => 1,
            (EndpointState::Unhealthy, _) if first => 1,
            (EndpointState::Unhealthy, _) => thresholds.healthy_after,
            // Probes alone never make an endpoint unreachable, and never eject one.
            _ => thresholds.unhealthy_after,
        };
        if self.against < needed {
            if self.state == EndpointState::Checking
                && let Err(reason) = probe
            {
                self.reason = format!("{} of {needed} probes failed, the last: {reason}", self.against);
            }
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
        play_with(health, CheckId::numbered(1), probes)
    }

    fn play_with(health: &mut Health, check: CheckId, probes: &str) -> Vec<EndpointState> {
        probes
            .chars()
            .map(|probe| {
                let result = if probe == '+' { Ok(()) } else { Err("refused".into()) };
                health.record(result, check, THRESHOLDS, SystemTime::UNIX_EPOCH);
                health.state()
            })
            .collect()
    }

    #[test]
    fn one_pass_makes_a_new_endpoint_healthy_and_one_failure_decides_nothing() {
        use EndpointState::{Checking as C, Healthy as H, Unhealthy as U};
        let new = || Health::checking(SystemTime::UNIX_EPOCH);
        assert_eq!(play(&mut new(), "+"), [H]);
        assert_eq!(play(&mut new(), "-+-"), [C, H, H]);
        assert_eq!(play(&mut new(), "---+"), [C, C, U, U]);
        let mut health = new();
        play(&mut health, "--");
        assert_eq!(health.reason(), "2 of 3 probes failed, the last: refused");
    }

    #[test]
    fn the_first_probe_of_another_check_repairs_but_does_not_condemn() {
        use EndpointState::{Healthy as H, Unhealthy as U};
        let mut health = Health::unchecked(SystemTime::UNIX_EPOCH);
        play(&mut health, "---");
        assert_eq!(play_with(&mut health, CheckId::numbered(2), "+"), [H]);
        play(&mut health, "--");
        assert_eq!(play_with(&mut health, CheckId::numbered(2), "--+--"), [H; 5]);
        play(&mut health, "---");
        assert_eq!(play_with(&mut health, CheckId::numbered(2), "-++"), [U, U, H]);
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
