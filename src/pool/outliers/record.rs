//! What is known of one endpoint's answers, and whether it is ejected for them. Requests write here only when one fails, or
//! the first time one succeeds after that.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::pool::balance::MayProbe;
use crate::pool::live_state::LiveEjection;

/// How long an endpoint waits for a request that can be sent again; then any request finds out.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many different causes of failures in a row are told apart.
const CAUSES_MAX: usize = 4;

/// How an attempt was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// An answer whose end says whether it is a good one: a gRPC call's.
    Begun,
    /// It counts against the endpoint's rate of success, and for nothing else: 429.
    Throttled,
    Failed(FailureCause),
}

/// Why an attempt counts as a failure of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCause {
    Status(u16),
    /// The status of a gRPC call.
    GrpcStatus(u16),
    /// No answer, or none that is whole: the label of the failure.
    NoAnswer(&'static str),
}

/// What an endpoint's failures ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pool) enum Consequence {
    None,
    /// The first failure after a success.
    Watch,
    /// An ejection is due, or the answer of the request that was let in to find out is there.
    Judge,
}

#[derive(Debug, Default)]
pub(in crate::pool) struct OutlierRecord {
    failures_in_row: AtomicU32,
    phase: AtomicU8,
    failures: Mutex<Failures>,
    ejection: Mutex<Ejection>,
    /// A request has found out, and its answer is not judged yet.
    found_well: AtomicBool,
    /// The request that finds out cannot be sent again.
    is_costly: AtomicBool,
}

/// The failures since the last success.
#[derive(Debug, Default)]
struct Failures {
    causes: SmallVec<[(FailureCause, u32); CAUSES_MAX]>,
    last_request: Box<str>,
    /// How long the last one took.
    last_took: Duration,
}

/// The ejection under way, or the last one.
#[derive(Debug, Clone)]
pub(in crate::pool) struct Ejection {
    /// How often in a row.
    pub count: u32,
    pub until: Instant,
    pub since: SystemTime,
    pub reason: Box<str>,
    /// The requests that have found out that it still fails.
    pub failed_probes: u32,
}

/// Whether the endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::pool) enum Phase {
    In = 0,
    /// Ejected: it gets no request.
    Out = 1,
    /// Its time is over: one request may find out.
    HalfOpen = 2,
    /// A request is finding out.
    Probing = 3,
}

impl OutlierRecord {
    /// An attempt was judged. `limit`: failures in a row that eject; 0: any number.
    pub fn judged(&self, verdict: Verdict, took: Duration, request: &str, limit: u32) -> Consequence {
        match verdict {
            Verdict::Good => {
                if self.failures_in_row.load(Relaxed) != 0 {
                    self.failures_in_row.store(0, Relaxed);
                }
                self.has_answered()
            }
            Verdict::Begun => self.has_answered(),
            Verdict::Throttled => Consequence::None,
            Verdict::Failed(cause) => self.failed(cause, took, request, limit),
        }
    }

    fn has_answered(&self) -> Consequence {
        if self.phase() != Phase::Probing {
            return Consequence::None;
        }
        self.found_well.store(true, Relaxed);
        Consequence::Judge
    }

    #[cold]
    fn failed(&self, cause: FailureCause, took: Duration, request: &str, limit: u32) -> Consequence {
        let mut failures = self.failures.lock();
        let before = self.failures_in_row.fetch_add(1, Relaxed);
        if before == 0 {
            failures.causes.clear();
        }
        if let Some((_, count)) = failures.causes.iter_mut().find(|(known, _)| *known == cause) {
            *count += 1;
        } else if failures.causes.len() < CAUSES_MAX {
            failures.causes.push((cause, 1));
        }
        (failures.last_request, failures.last_took) = (request.into(), took);
        let is_probe = self.phase() == Phase::Probing;
        match before {
            _ if is_probe || limit > 0 && before + 1 >= limit => Consequence::Judge,
            0 => Consequence::Watch,
            _ => Consequence::None,
        }
    }

    /// The failures so far count no more: the endpoint was away, and is back.
    pub fn forget_failures(&self) {
        self.failures_in_row.store(0, Relaxed);
    }

    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row.load(Relaxed)
    }

    /// Whether all its last failures were that it did not answer at all.
    pub fn answers_nothing(&self) -> bool {
        let failures = self.failures.lock();
        let is_silent = |cause: &FailureCause| matches!(cause, FailureCause::NoAnswer(_));
        self.failures_in_row() > 0 && failures.causes.iter().all(|(cause, _)| is_silent(cause))
    }

    /// `5 failures in a row (503: 4, endpoint_reset: 1), the last in request 4bf92f35`.
    pub fn evidence(&self) -> String {
        let failures = self.failures.lock();
        let causes: Vec<String> =
            failures.causes.iter().map(|(cause, count)| format!("{cause}: {count}")).collect();
        format!(
            "{} failures in a row ({}), the last in request {}",
            self.failures_in_row(),
            causes.join(", "),
            failures.last_request,
        )
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::In,
            1 => Phase::Out,
            2 => Phase::HalfOpen,
            _ => Phase::Probing,
        }
    }

    pub fn is_ejected(&self) -> bool {
        self.phase() != Phase::In
    }

    pub fn ejection(&self) -> Ejection {
        self.ejection.lock().clone()
    }

    /// The seconds until its time is over; `None`: it is not ejected.
    pub fn seconds_left(&self, now: Instant) -> Option<f64> {
        let left = || self.ejection.lock().until.saturating_duration_since(now).as_secs_f64();
        self.is_ejected().then(left)
    }

    /// Whether a request has found the endpoint well; only once.
    pub fn take_found_well(&self) -> bool {
        self.found_well.swap(false, Relaxed)
    }

    /// Ejects it until `until`, for the `count`-th time in a row.
    pub fn eject(&self, ejection: Ejection) {
        self.failures_in_row.store(0, Relaxed);
        *self.ejection.lock() = ejection;
        self.phase.store(Phase::Out as u8, Relaxed);
    }

    /// The ejection under way, for a successor.
    pub fn to_live(&self, now: Instant, time: SystemTime) -> Option<LiveEjection> {
        let Ejection { count, until, since, reason, .. } = self.is_ejected().then(|| self.ejection())?;
        let until = time + until.saturating_duration_since(now);
        Some(LiveEjection { count, until, since, reason: reason.into() })
    }

    /// Goes on with an ejection of another process or pool.
    pub fn inherit(&self, live: &LiveEjection, now: Instant, time: SystemTime) {
        let left = live.until.duration_since(time).unwrap_or_default();
        let reason = live.reason.as_str().into();
        let (count, until, since) = (live.count, now + left, live.since);
        self.eject(Ejection { count, until, since, reason, failed_probes: 0 });
    }

    /// Its time is over.
    pub fn half_open(&self) {
        self.failures_in_row.store(0, Relaxed);
        self.phase.store(Phase::HalfOpen as u8, Relaxed);
    }

    /// Takes it back.
    pub fn readmit(&self) {
        self.phase.store(Phase::In as u8, Relaxed);
    }

    /// For a request: whether it is the one that finds out. It must say how that ended, or [`Self::give_up`].
    pub fn claim(&self, may: MayProbe, now: Instant) -> bool {
        let (from, to) = (Phase::HalfOpen as u8, Phase::Probing as u8);
        let is_claimed =
            self.is_free_for(may, now) && self.phase.compare_exchange(from, to, Relaxed, Relaxed).is_ok();
        if is_claimed {
            self.is_costly.store(may == MayProbe::Late, Relaxed);
        }
        is_claimed
    }

    /// For somebody who only asks: whether a request would be the one that finds out.
    pub fn is_free_for(&self, may: MayProbe, now: Instant) -> bool {
        self.phase() == Phase::HalfOpen && self.may_now(may, now)
    }

    fn may_now(&self, may: MayProbe, now: Instant) -> bool {
        match may {
            MayProbe::Never => false,
            MayProbe::Late => now >= self.ejection.lock().until + PATIENCE,
            MayProbe::AtOnce => true,
        }
    }

    /// How long the failed request that was to find out took; `None`: it could not be sent again.
    pub fn cheap_probe_took(&self) -> Option<Duration> {
        (!self.is_costly.load(Relaxed)).then(|| self.failures.lock().last_took)
    }

    /// The request that was to find out has found nothing: another one may.
    pub fn give_up(&self) {
        let (from, to) = (Phase::Probing as u8, Phase::HalfOpen as u8);
        let _ = self.phase.compare_exchange(from, to, Relaxed, Relaxed);
    }
}

impl Ejection {
    /// Why it is ejected, and that it still must be.
    pub fn evidence(&self) -> String {
        match self.failed_probes {
            0 => self.reason.to_string(),
            1 => format!("{}; a request has found it failing since", self.reason),
            count => format!("{}; {count} requests have found it failing since", self.reason),
        }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        let (until, since) = (Instant::now(), SystemTime::UNIX_EPOCH);
        Self { count: 0, until, since, reason: Box::default(), failed_probes: 0 }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(out),
            Self::GrpcStatus(status) => write!(out, "grpc-status {status}"),
            Self::NoAnswer(label) => label.fmt(out),
        }
    }
}

/// How long an ejection lasts: longer each time in a row, with a part of chance, so that endpoints that were ejected
/// together do not come back together.
pub(super) fn duration(base: Duration, longest: Duration, count: u32, chance: f64) -> Duration {
    let whole = base.saturating_mul(count).min(longest);
    whole.mul_f64(0.9 + 0.1 * chance)
}
