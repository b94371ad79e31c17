//! Outlier detection: endpoints are judged by the answers that requests get, and ejected for a time.
//!
//! Requests note their failures at the endpoint ([`OutlierRecord`]); the pool's supervisor looks at them as soon as one
//! asks for it, and every second while something fails ([`Detector`]). Where nothing fails, nothing runs. An ejected
//! endpoint gets no request; when its time is over, one request finds out whether it answers. It comes back with a ramp,
//! or another request finds out soon: the failed one is sent to another endpoint, so that asking often costs nobody much.

mod detector;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

pub(in crate::pool) use self::detector::{Counts, Detector};
use self::detector::{Observed, TICK};
pub(in crate::pool) use self::record::{Consequence, Ejection, OutlierRecord, Phase};
pub use self::record::{FailureCause, Verdict};
use super::member::Member;
use super::status::EndpointState;
use super::{Endpoint, Pool};
use crate::config::Outliers;

/// The ramp of an endpoint that comes back from an ejection, where the pool has no `slow_start`.
const RAMP: Duration = Duration::from_secs(3);

/// After a request has found an ejected endpoint failing, another one finds out after this time, or as many times of what
/// it took: a request waits for the endpoint in at most a tenth of the time.
const PROBE_PAUSE: Duration = Duration::from_secs(2);
const PROBE_PAUSE_TIMES: u32 = 10;

/// What the endpoints of a pool need to know of its outlier detection, across reloads.
#[derive(Debug, Default)]
pub(in crate::pool) struct OutlierSettings {
    /// Failures in a row that eject; 0: any number.
    failures: AtomicU32,
    /// Times to the first byte are counted.
    pub measures_time: AtomicBool,
    /// Notified when endpoints are to be looked at.
    pub due: Notify,
}

/// When endpoints are judged. Two clocks, because one is shown to people; and chance, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Instant,
    pub time: SystemTime,
    pub chance: f64,
}

impl OutlierSettings {
    pub fn set(&self, config: Option<&Outliers>) {
        self.failures.store(config.and_then(|config| config.failures).unwrap_or(0), Relaxed);
        self.measures_time.store(config.is_some_and(|config| config.latency.is_some()), Relaxed);
        // Endpoints may be ejected that must not be any more.
        self.due.notify_one();
    }

    /// Notes how an attempt was judged.
    pub fn judged(&self, record: &OutlierRecord, verdict: Verdict, took: Duration, request: &str) {
        match record.judged(verdict, took, request, self.failures.load(Relaxed)) {
            Consequence::None => {}
            Consequence::Watch | Consequence::Judge => self.due.notify_one(),
        }
    }
}

impl Pool {
    /// Ejects outliers, takes back those whose time is over, and ends ramps. `all` are the pools of this process. Returns
    /// when to look again; `None`: as soon as something fails, or a ramp begins.
    pub fn review(&self, all: &[Arc<Pool>], moment: Moment) -> Option<Instant> {
        let members: Vec<Member> = self.members().into_iter().filter(|member| member.weight() > 0).collect();
        let mut changed = false;
        for member in &members {
            changed |= member.endpoint.ramp().end_if_over(moment.now);
        }
        changed |= match &self.config.outliers {
            None => readmit_all(&members),
            Some(config) => {
                let ended =
                    members.iter().filter(|member| self.end_ejection(config, &member.endpoint, moment));
                ended.count() > 0 || self.eject_outliers(config, &members, all, moment)
            }
        };
        if changed {
            self.publish_health();
        }
        self.next_review(&members, moment.now)
    }

    /// Returns when a review is due: something has failed, or a ramp has begun.
    pub(crate) async fn review_due(&self) {
        self.table.outlier_settings().due.notified().await;
    }

    /// Moves an ejected endpoint on when its time is over, or when a request has found out how it is.
    fn end_ejection(&self, config: &Outliers, endpoint: &Endpoint, moment: Moment) -> bool {
        let record = endpoint.outliers();
        match record.phase() {
            Phase::In => false,
            Phase::Out if record.ejection().until <= moment.now => {
                record.half_open();
                true
            }
            Phase::Out => false,
            Phase::HalfOpen => false,
            Phase::Probing if record.take_found_well() => {
                record.readmit();
                endpoint.ramp().begin(self.config.slow_start.unwrap_or(RAMP), moment.now);
                let (pool, label) = (&*self.config.name, &**endpoint.label());
                log::info!(pool, endpoint = label; "endpoint is back from its ejection");
                true
            }
            Phase::Probing if record.failures_in_row() > 0 => {
                match record.cheap_probe_took() {
                    Some(took) => self.prolong(config, endpoint, took, moment.now),
                    None => self.eject(config, endpoint, record.evidence(), moment),
                }
                true
            }
            Phase::Probing => false,
        }
    }

    fn eject_outliers(
        &self,
        config: &Outliers,
        members: &[Member],
        all: &[Arc<Pool>],
        moment: Moment,
    ) -> bool {
        let observed: Vec<Observed> = members.iter().map(observed).collect();
        let mut detector = self.detector.lock();
        let outliers = detector.judge(config, &observed, moment.now);
        if outliers.is_empty() {
            return false;
        }
        if let Some(endpoints) = all_are_silent(all) {
            detector.clear();
            if let Some(count) = self.silences.lock().due(moment.now) {
                let pool = &*self.config.name;
                log::error!(pool, endpoints, count; "no endpoint of any pool answers: probably this host's network is at fault, so none is ejected");
            }
            return false;
        }
        for outlier in outliers {
            if let Some(member) = members.get(outlier.index) {
                self.eject(config, &member.endpoint, outlier.reason, moment);
            }
        }
        true
    }

    fn eject(&self, config: &Outliers, endpoint: &Endpoint, reason: String, moment: Moment) {
        let record = endpoint.outliers();
        let last = record.ejection();
        // Who has served for long since the last time begins anew.
        let is_in_row = moment.now.saturating_duration_since(last.until) < config.max_time;
        let count = if is_in_row { last.count.saturating_add(1) } else { 1 };
        let time = record::duration(config.time, config.max_time, count, moment.chance);
        let (pool, label, seconds) = (&*self.config.name, &**endpoint.label(), time.as_secs_f64());
        log::warn!(pool, endpoint = label, reason = &*reason, seconds, count; "endpoint is ejected");
        endpoint.count_ejection();
        let until = moment.now + time;
        record.eject(Ejection { count, until, since: moment.time, reason: reason.into(), failed_probes: 0 });
    }

    /// Keeps it ejected: the request that was to find out has failed after `took`.
    fn prolong(&self, config: &Outliers, endpoint: &Endpoint, took: Duration, now: Instant) {
        let record = endpoint.outliers();
        let last = record.ejection();
        let pause = took.saturating_mul(PROBE_PAUSE_TIMES).min(config.max_time).max(PROBE_PAUSE);
        let (pool, label, reason) = (&*self.config.name, &**endpoint.label(), &*record.evidence());
        log::debug!(pool, endpoint = label, reason, seconds = pause.as_secs_f64(); "endpoint stays ejected");
        record.eject(Ejection {
            until: now + pause,
            failed_probes: last.failed_probes.saturating_add(1),
            ..last
        });
    }

    fn next_review(&self, members: &[Member], now: Instant) -> Option<Instant> {
        let records = members.iter().map(|member| member.endpoint.outliers());
        let ends =
            records.filter(|record| record.phase() == Phase::Out).map(|record| record.ejection().until);
        let tick = self.detector.lock().is_busy().then_some(now + TICK);
        let ramps = members.iter().filter_map(|member| member.endpoint.ramp().ends(now));
        ends.chain(tick).chain(ramps).min()
    }
}

/// Takes back what a pool has ejected that ejects nobody any more.
fn readmit_all(members: &[Member]) -> bool {
    let ejected =
        members.iter().map(|member| member.endpoint.outliers()).filter(|record| record.is_ejected());
    ejected.inspect(|record| record.readmit()).count() > 0
}

fn observed(member: &Member) -> Observed {
    let endpoint = &member.endpoint;
    let record = endpoint.outliers();
    let failures_in_row = record.failures_in_row();
    let ejected = record.is_ejected();
    Observed {
        label: endpoint.label().clone(),
        counts: endpoint.outlier_counts(),
        failures_in_row,
        evidence: if failures_in_row > 0 { record.evidence() } else { String::new() },
        serves: !ejected && endpoint.state() == EndpointState::Healthy,
        ejected,
    }
}

/// The number of endpoints, if there are several that requests have been sent to, and none of them answers.
fn all_are_silent(pools: &[Arc<Pool>]) -> Option<usize> {
    let members = pools.iter().flat_map(|pool| pool.members());
    let used: Vec<Member> = members.filter(|member| member.endpoint.load().requests > 0).collect();
    let silent = used.iter().all(|member| {
        let endpoint = &member.endpoint;
        endpoint.is_unreachable() || endpoint.outliers().answers_nothing()
    });
    (silent && used.len() > 1).then_some(used.len())
}
