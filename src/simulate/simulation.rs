//! The simulation: the virtual clock, and what happens by it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use ahash::AHashMap;

use super::agenda::Agenda;
use super::checks::{self, Check, Plan, ProbeAnswer};
use super::endpoint::{SimulatedEndpoint, Work};
use super::faults::{Ailing, Names, ailments};
use super::random::Random;
use super::recorder::Recorder;
use super::report::{self, EndpointFacts, EventReport, LoadReport, Report};
use super::requests::Requests;
use super::scenario::{FaultKind, Load, REQUESTS_MAX, Scenario, ScenarioError};
use super::traffic::Traffic;
use crate::exchange::{Admitted, Failure};
use crate::pool::status::EndpointState;
use crate::pool::{Moment, Pool, ProbeKind, ProbeResult};
use crate::snapshot::Snapshot;

/// Streams of chance: the first ones, before one for each endpoint.
const ARRIVALS: u64 = 0;
const USERS: u64 = 1;
const POOL: u64 = 2;
const ENDPOINTS: u64 = 16;

/// What people are shown of the time at the beginning has no meaning, but must be the same each time.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// The usual time of a request at an endpoint, and how many it works on at a time.
pub const SERVICE: Duration = Duration::from_millis(10);
pub const WORKERS: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A request of that client, or of any.
    Arrival {
        user: Option<usize>,
    },
    /// A job of an endpoint is done.
    Done {
        endpoint: usize,
        job: u64,
    },
    /// The time of an attempt is over.
    AttemptLate {
        slot: usize,
        attempt: u32,
    },
    /// A second attempt is due beside that one.
    HedgeDue {
        slot: usize,
        attempt: u32,
    },
    /// The time of a wait is over.
    WaitLate {
        slot: usize,
        wait: u32,
    },
    PauseOver {
        slot: usize,
        pause: u32,
    },
    Probe {
        check: usize,
        kind: ProbeKind,
        plan: u64,
    },
    ProbeLate {
        check: usize,
        plan: u64,
    },
    /// A review of the pool of that number.
    Review {
        number: u64,
    },
    /// A fault of that index begins or ends.
    Fault {
        index: usize,
        begins: bool,
    },
    PeriodEnds,
}

pub(super) struct Simulation {
    /// The virtual time since the beginning, and what that is on the clocks that the pool knows.
    pub now: Duration,
    begin: Instant,
    time: Duration,
    load: Load,
    pub agenda: Agenda<Event>,
    pub snapshot: Arc<Snapshot>,
    pub pool: Arc<Pool>,
    route: String,
    pub endpoints: Vec<SimulatedEndpoint>,
    pub indexes: AHashMap<Arc<str>, usize>,
    states: Vec<EndpointState>,
    ailing: Vec<Ailing>,
    checks: Vec<Check>,
    reviews: u64,
    pub traffic: Traffic,
    pub requests: Requests,
    pub recorder: Recorder,
    arrivals: Random,
    users: Random,
    of_pool: Random,
    scenario: Scenario,
}

// === impl Simulation ===

impl Simulation {
    pub fn new(snapshot: Arc<Snapshot>, scenario: &Scenario) -> Result<Self, ScenarioError> {
        let time_of_day = SystemTime::UNIX_EPOCH + BEGIN;
        let mut traffic = Traffic::new(&snapshot, scenario, Instant::now(), time_of_day)?;
        let (mut exchange, _) = traffic.arrive(0, Instant::now(), time_of_day);
        let found = exchange.pool().cloned();
        let route = exchange.finish(None, 0, Instant::now()).route.unwrap_or_default().to_owned();
        let pool = found.ok_or_else(|| ScenarioError::NoEndpoints("there is no pool".to_owned()))?;
        let members = pool.members();
        if members.is_empty() {
            return Err(ScenarioError::NoEndpoints(pool.why_unavailable()));
        }
        let labels: Vec<Arc<str>> = members.iter().map(|member| member.endpoint.label().clone()).collect();
        let names = Names { pool: pool.name(), labels: &labels };
        let services = names.values(&scenario.service, SERVICE)?;
        let workers = names.values(&scenario.workers, WORKERS)?;
        let endpoints: Vec<SimulatedEndpoint> = (workers.into_iter().zip(services).zip(ENDPOINTS..))
            .map(|((workers, service), stream)| {
                let random = Random::new(scenario.seed, stream);
                SimulatedEndpoint::new(workers, service, scenario.constant, random)
            })
            .collect();
        let load = within_limit(scenario, &endpoints)?;
        let begin = pool.epoch();
        let mut of_pool = Random::new(scenario.seed, POOL);
        let checks =
            members.into_iter().map(|member| Check::new(&pool, member, begin, of_pool.unit())).collect();
        let (step, _) = report::steps(scenario.time);
        Ok(Self {
            now: Duration::ZERO,
            begin,
            time: scenario.time,
            load,
            agenda: Agenda::new(),
            indexes: labels.iter().cloned().zip(0..).collect(),
            states: Vec::new(),
            ailing: Ailing::all(&scenario.faults, &names, scenario.time)?,
            checks,
            reviews: 0,
            traffic,
            requests: Requests::default(),
            recorder: Recorder::new(scenario.time, step, endpoints.len()),
            endpoints,
            arrivals: Random::new(scenario.seed, ARRIVALS),
            users: Random::new(scenario.seed, USERS),
            of_pool,
            scenario: scenario.clone(),
            snapshot,
            pool,
            route,
        })
    }

    /// The virtual time as the pool knows it.
    pub fn instant(&self) -> Instant {
        self.begin + self.now
    }

    pub fn time_of_day(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + BEGIN + self.now
    }

    pub fn run(mut self) -> Report {
        self.begin();
        while let Some((at, event)) = self.agenda.next() {
            self.now = at;
            if self.now >= self.time && self.requests.is_empty() {
                break;
            }
            self.happens(event);
            self.settle();
        }
        self.report()
    }

    fn begin(&mut self) {
        for index in 0..self.ailing.len() {
            let fault = &self.ailing[index].fault;
            self.agenda.add(fault.begin, Event::Fault { index, begins: true });
            if let Some(end) = fault.end.filter(|end| *end < self.time) {
                self.agenda.add(end, Event::Fault { index, begins: false });
            }
        }
        (0..self.endpoints.len()).for_each(|endpoint| self.change(endpoint));
        self.first_probes();
        self.states = self.current_states();
        self.agenda.add(self.recorder.step, Event::PeriodEnds);
        match self.load {
            Load::Clients(clients) => (0..clients)
                .for_each(|user| self.agenda.add(Duration::ZERO, Event::Arrival { user: Some(user) })),
            _ => self.plan_arrival(),
        }
    }

    /// The first round of probes, for which a start waits before it serves.
    fn first_probes(&mut self) {
        let has_check = self.pool.config().health_check.is_some();
        for check in 0..self.checks.len() {
            if has_check {
                let answer = match self.endpoints[check].is_killed() {
                    true => ProbeAnswer::Refused,
                    false => ProbeAnswer::Connected,
                };
                let result = checks::judge(&self.pool, answer);
                self.probe_found(check, result, self.instant(), ProbeKind::Regular);
            } else {
                self.plan_probe(check);
            }
        }
        self.pool.publish_health();
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrival { user } => self.arrival(user),
            Event::Done { endpoint, job } => self.job_done(endpoint, job),
            Event::HedgeDue { slot, attempt } => self.hedge_due(slot, attempt),
            Event::AttemptLate { slot, attempt } => self.attempt_late(slot, attempt),
            Event::WaitLate { slot, wait } => self.wait_late(slot, wait),
            Event::PauseOver { slot, pause } => self.pause_over(slot, pause),
            Event::Probe { check, kind, plan } => self.probe(check, kind, plan),
            Event::ProbeLate { check, plan } => {
                if self.checks[check].awaits(plan) {
                    self.probe_answered(check, ProbeAnswer::Silence);
                }
            }
            Event::Review { number } if number == self.reviews => self.review(),
            Event::Review { .. } => {}
            Event::Fault { index, begins } => self.fault(index, begins),
            Event::PeriodEnds => {
                self.recorder.period_ends(self.now, self.waiting());
                if self.now < self.time {
                    self.agenda.add(self.now + self.recorder.step, Event::PeriodEnds);
                }
            }
        }
    }

    /// Does what the pool's supervisor does when it is notified, and what requests do that are woken.
    fn settle(&mut self) {
        loop {
            let pool = self.pool.clone();
            if is_ready(pool.state_changed()) {
                pool.publish_health();
                self.states_changed();
            } else if is_ready(pool.review_due()) {
                self.review();
            } else if let Some(slot) = self.requests.next_woken() {
                self.woken(slot);
            } else {
                return;
            }
        }
    }

    fn review(&mut self) {
        self.reviews += 1;
        let chance = self.of_pool.unit();
        let moment = Moment { now: self.instant(), time: self.time_of_day(), chance };
        if let Some(next) = self.pool.review(self.snapshot.pools(), moment) {
            let at = next.saturating_duration_since(self.begin).max(self.now);
            self.agenda.add(at, Event::Review { number: self.reviews });
        }
        self.states_changed();
    }

    fn current_states(&self) -> Vec<EndpointState> {
        self.checks.iter().map(|check| check.member.endpoint.state()).collect()
    }

    /// Records which endpoints have another state, and plans their probes anew.
    fn states_changed(&mut self) {
        let states = self.current_states();
        for (index, state) in states.iter().enumerate() {
            if self.states.get(index) != Some(state) {
                let status = self.checks[index].member.endpoint.health_status();
                let what = match state {
                    EndpointState::Healthy => "healthy".to_owned(),
                    _ => format!("{}: {}", state.name(), without_request(&status.reason)),
                };
                self.note(index, what, false);
            }
        }
        self.states = states;
        self.plan_probes();
    }

    fn note(&mut self, endpoint: usize, what: String, given: bool) {
        let endpoint = self.checks[endpoint].member.endpoint.label().to_string();
        self.recorder.event(EventReport { seconds: self.now.as_secs_f64(), endpoint, what, given });
    }

    /// Requests that wait, for the pool or for the route.
    fn waiting(&self) -> u64 {
        let of_pool = self.pool.queue().len() as u64;
        let of_routes = self.snapshot.route_status().iter().map(|route| route.queue.waiting).sum::<u64>();
        of_pool + of_routes
    }

    // === Arrivals ===

    fn plan_arrival(&mut self) {
        let Load::Rate(rate) = self.load else { return };
        let at = self.now + self.arrivals.exponential(Duration::from_secs_f64(1.0 / rate));
        if at < self.time {
            self.agenda.add(at, Event::Arrival { user: None });
        }
    }

    fn arrival(&mut self, user: Option<usize>) {
        if user.is_none() {
            self.plan_arrival();
        }
        let any = self.users.below(self.traffic.users());
        let index = user.map_or(any, |user| user % self.traffic.users());
        let (exchange, admitted) = self.traffic.arrive(index, self.instant(), self.time_of_day());
        let slot = self.requests.begin(exchange, self.now, user);
        match admitted {
            Ok(Admitted::Forward) => self.proceed(slot),
            Ok(Admitted::Reply(reply)) => self.end_request(slot, reply.status.as_u16()),
            Ok(Admitted::Authenticate(_)) => self.fail(slot, Failure::AuthUnavailable),
            Err(failure) => self.fail(slot, failure),
        }
    }

    /// The client of a request that has ended sends its next one.
    pub fn next_of_client(&mut self, user: Option<usize>) {
        if user.is_some() && self.now < self.time {
            self.agenda.add(self.now, Event::Arrival { user });
        }
    }

    // === Endpoints ===

    fn job_done(&mut self, endpoint: usize, job: u64) {
        let Some((work, status, next)) = self.endpoints[endpoint].done(job, self.now) else { return };
        if let Some((job, at)) = next {
            self.agenda.add(at, Event::Done { endpoint, job });
        }
        match work {
            Work::Attempt { slot, attempt } => self.answered(slot, attempt, endpoint, status),
            Work::Probe { number } if self.checks[endpoint].awaits(number) => {
                self.probe_answered(endpoint, ProbeAnswer::Status(status));
            }
            Work::Probe { .. } => {}
        }
    }

    /// An endpoint gets work.
    pub fn give(&mut self, endpoint: usize, work: Work) {
        if let Some((job, at)) = self.endpoints[endpoint].take(work, self.now) {
            self.agenda.add(at, Event::Done { endpoint, job });
        }
    }

    fn fault(&mut self, index: usize, begins: bool) {
        let what = match (self.ailing[index].fault.kind, begins) {
            (FaultKind::Kill, true) => "is killed".to_owned(),
            (FaultKind::Kill, false) => "is started again".to_owned(),
            (FaultKind::Stop, true) => "is stopped: it answers nothing".to_owned(),
            (FaultKind::Stop, false) => "goes on".to_owned(),
            (FaultKind::Slow(times), true) => format!("takes {times} times longer"),
            (FaultKind::Slow(_), false) => "takes as long as before".to_owned(),
            (FaultKind::Fail { status, part }, true) if part < 1.0 => {
                format!("answers {} % with {status}", part * 100.0)
            }
            (FaultKind::Fail { status, .. }, true) => format!("answers {status} at once"),
            (FaultKind::Fail { .. }, false) => "answers as before".to_owned(),
        };
        for endpoint in self.ailing[index].endpoints.clone() {
            self.note(endpoint, what.clone(), true);
            self.change(endpoint);
        }
    }

    /// Has an endpoint ail from what it should now.
    fn change(&mut self, endpoint: usize) {
        let ailments = ailments(&self.ailing, endpoint, self.now);
        let (lost, begun) = self.endpoints[endpoint].set(ailments, self.now);
        for (job, at) in begun {
            self.agenda.add(at, Event::Done { endpoint, job });
        }
        for work in lost {
            match work {
                Work::Attempt { slot, attempt } => self.attempt_reset(slot, attempt),
                Work::Probe { number } if self.checks[endpoint].awaits(number) => {
                    self.probe_answered(endpoint, ProbeAnswer::Refused);
                }
                Work::Probe { .. } => {}
            }
        }
    }

    // === Probes ===

    /// Plans all probes anew: an endpoint may be down, or a request waits for one.
    pub fn plan_probes(&mut self) {
        (0..self.checks.len()).for_each(|check| self.plan_probe(check));
    }

    fn plan_probe(&mut self, check: usize) {
        let now = self.instant();
        let plan = self.checks[check].plan(&self.pool, now);
        self.planned(check, plan);
    }

    fn planned(&mut self, check: usize, plan: Option<Plan>) {
        if let Some(Plan { due, kind, number }) = plan {
            let at = due.saturating_duration_since(self.begin);
            self.agenda.add(at, Event::Probe { check, kind, plan: number });
        }
    }

    fn probe(&mut self, check: usize, kind: ProbeKind, plan: u64) {
        let now = self.instant();
        if !self.checks[check].begin(kind, plan, now) {
            return;
        }
        if self.endpoints[check].is_killed() {
            self.probe_answered(check, ProbeAnswer::Refused);
        } else if checks::asks(&self.pool) {
            let late = self.now + checks::timeout(&self.pool);
            self.agenda.add(late, Event::ProbeLate { check, plan });
            self.give(check, Work::Probe { number: plan });
        } else {
            self.probe_answered(check, ProbeAnswer::Connected);
        }
    }

    fn probe_answered(&mut self, check: usize, answer: ProbeAnswer) {
        if let Some((began, kind)) = self.checks[check].end() {
            self.probe_found(check, checks::judge(&self.pool, answer), began, kind);
        }
    }

    fn probe_found(&mut self, check: usize, result: ProbeResult, began: Instant, kind: ProbeKind) {
        let (now, time, chance) = (self.instant(), self.time_of_day(), self.of_pool.unit());
        let failed = matches!(result, ProbeResult::Failed(_));
        self.pool.probed(&self.checks[check].member, result, kind, now, time);
        let plan = self.checks[check].judged(&self.pool, failed, began, now, chance);
        self.planned(check, plan);
    }

    // === The report ===

    fn report(mut self) -> Report {
        let facts: Vec<EndpointFacts> = (self.checks.iter())
            .map(|Check { member, .. }| EndpointFacts {
                address: member.endpoint.label().to_string(),
                weight: member.weight(),
                ejections: member.endpoint.load().ejections,
            })
            .collect();
        let (_, row) = report::steps(self.time);
        let seconds = self.now.max(self.time).as_secs_f64();
        let causes = std::mem::take(&mut self.recorder.causes).into_iter();
        let mut causes: Vec<_> =
            causes.map(|(cause, requests)| report::CauseReport { cause, requests }).collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.requests));
        let waits_of_routes = self.snapshot.route_status().iter().map(|route| route.queue.waits).sum::<u64>();
        Report {
            totals: report::totals(&self.recorder, self.pool.queue().status().waits + waits_of_routes),
            timeline: report::timeline(&self.recorder, self.recorder.step),
            rows: report::timeline(&self.recorder, row),
            endpoints: report::endpoints(&mut self.recorder, facts.into_iter(), seconds),
            causes,
            events: self.recorder.events,
            events_lost: self.recorder.events_lost,
            route: self.route,
            pool: self.pool.name().to_string(),
            balance: self.pool.status().balance,
            seed: self.scenario.seed,
            seconds: self.time.as_secs_f64(),
            load: LoadReport {
                rate: if let Load::Rate(rate) = self.load { Some(rate) } else { None },
                clients: if let Load::Clients(clients) = self.load { Some(clients) } else { None },
                capacity: self.endpoints.iter().map(SimulatedEndpoint::capacity).sum(),
            },
            constant: self.scenario.constant,
        }
    }
}

/// An id of a request tells nothing here, and is another one each time.
fn without_request(reason: &str) -> &str {
    reason.split(", the last in request").next().unwrap_or(reason)
}

/// The load, with a rate where it is a part of the capacity.
fn within_limit(scenario: &Scenario, endpoints: &[SimulatedEndpoint]) -> Result<Load, ScenarioError> {
    let load = match scenario.load {
        Load::Part(part) => Load::Rate(part * endpoints.iter().map(SimulatedEndpoint::capacity).sum::<f64>()),
        other => other,
    };
    if let Load::Rate(rate) = load {
        let count = (rate * scenario.time.as_secs_f64()) as u64;
        if count > REQUESTS_MAX {
            return Err(ScenarioError::TooManyRequests { count });
        }
    }
    Ok(load)
}

/// Whether a future is ready now. One that is not is given up: it is asked for again after the next event.
fn is_ready(future: impl Future<Output = ()>) -> bool {
    let future = std::pin::pin!(future);
    future.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}
