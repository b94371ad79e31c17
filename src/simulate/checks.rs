//! The health checks of the simulated pool, on the virtual clock: when the schedule of a real check says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::CheckKind;
use crate::pool::{Member, Pool, ProbeKind, ProbeResult, ProbeSchedule, UNDECIDED_INTERVAL, jittered};

/// The check of one member.
pub struct Check {
    pub member: Member,
    schedule: ProbeSchedule,
    interval: Option<Duration>,
    /// What is planned now: plans with other numbers are void.
    plan: u64,
    /// The next probe comes soon, whatever the schedule says: there is no verdict yet.
    again: bool,
    /// The probe under way.
    probe: Option<ProbeUnderWay>,
}

#[derive(Debug, Clone, Copy)]
struct ProbeUnderWay {
    began: Instant,
    kind: ProbeKind,
}

/// A probe that is due at a time.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub due: Instant,
    pub kind: ProbeKind,
    pub number: u64,
}

/// The answer to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeAnswer {
    Refused,
    /// A connection is open: all that a check by TCP wants.
    Connected,
    Status(u16),
    Silence,
}

impl Check {
    /// `chance`, from 0 to 1, spreads the first probes of a pool.
    pub fn new(pool: &Pool, member: Member, now: Instant, chance: f64) -> Self {
        let interval = pool.config().health_check.as_ref().map(|spec| spec.interval.mul_f64(chance));
        Self { member, schedule: ProbeSchedule::new(now), interval, plan: 0, again: false, probe: None }
    }

    /// Plans the next probe, in place of the one that was planned.
    pub fn plan(&mut self, pool: &Pool, now: Instant) -> Option<Plan> {
        if self.again || self.probe.is_some() {
            return None;
        }
        self.plan += 1;
        let (due, kind) = self.schedule.due(pool, &self.member.endpoint, self.interval, now)?;
        Some(Plan { due: due.max(now), kind, number: self.plan })
    }

    /// Begins the planned probe; `false`: the plan is void.
    pub fn begin(&mut self, kind: ProbeKind, number: u64, now: Instant) -> bool {
        let begins = self.plan == number && self.probe.is_none();
        if begins {
            self.again = false;
            self.probe = Some(ProbeUnderWay { began: now, kind });
        }
        begins
    }

    /// Whether the probe of that number is under way.
    pub fn awaits(&self, number: u64) -> bool {
        self.plan == number && self.probe.is_some()
    }

    /// Ends the probe under way: returns when it began.
    pub fn end(&mut self) -> Option<(Instant, ProbeKind)> {
        let ProbeUnderWay { began, kind } = self.probe.take()?;
        Some((began, kind))
    }

    /// The probe that began then is judged: plans the next one.
    pub fn judged(
        &mut self,
        pool: &Pool,
        failed: bool,
        began: Instant,
        now: Instant,
        chance: f64,
    ) -> Option<Plan> {
        if failed && pool.is_undecided(&self.member) {
            self.plan += 1;
            self.again = true;
            let due = (began + UNDECIDED_INTERVAL).max(now);
            return Some(Plan { due, kind: ProbeKind::Regular, number: self.plan });
        }
        self.schedule.probed_at(began);
        self.interval = pool.config().health_check.as_ref().map(|spec| jittered(spec.interval, chance));
        self.plan(pool, now)
    }
}

/// Whether the pool's probes are requests, which a worker of the endpoint answers.
pub fn asks(pool: &Arc<Pool>) -> bool {
    let kind = pool.config().health_check.as_ref().map(|spec| &spec.kind);
    matches!(kind, Some(CheckKind::Http { .. } | CheckKind::Grpc { .. }))
}

/// The most time of a probe.
pub fn timeout(pool: &Pool) -> Duration {
    pool.config().health_check.as_ref().map_or(pool.config().timeouts.connect, |spec| spec.timeout)
}

/// What an answer says to the pool's health check.
pub fn judge(pool: &Pool, answer: ProbeAnswer) -> ProbeResult {
    let kind = pool.config().health_check.as_ref().map(|spec| &spec.kind);
    match (answer, kind) {
        (ProbeAnswer::Refused, _) => ProbeResult::Failed("connection refused".to_owned()),
        (ProbeAnswer::Silence, _) => ProbeResult::Failed(format!("no answer within {:?}", timeout(pool))),
        (ProbeAnswer::Status(status), Some(CheckKind::Http { expect, .. }))
            if !expect.iter().any(|range| range.contains(&status)) =>
        {
            ProbeResult::Failed(format!("status {status} is not expected"))
        }
        (ProbeAnswer::Status(status), Some(CheckKind::Grpc { .. })) if status != 200 => {
            ProbeResult::Failed(format!("status {status} is not expected"))
        }
        (ProbeAnswer::Connected | ProbeAnswer::Status(_), _) => ProbeResult::Passed,
    }
}
