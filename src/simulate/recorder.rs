//! Collects what happens in a simulation.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::EventReport;

/// The most events that are kept.
const EVENTS_MAX: usize = 1_000;

/// What happened to the requests of a period, by the time at which they came.
#[derive(Debug, Clone, Default)]
pub struct Period {
    pub requests: u64,
    pub errors: u64,
    pub retries: u64,
    /// Times to the whole response, in microseconds, of requests that did not fail.
    pub latencies: Vec<u32>,
    /// Attempts by endpoint, by the time at which they began.
    pub attempts: Vec<u64>,
    /// At the end of the period: requests in flight by endpoint, and those that wait.
    pub in_flight: Vec<u64>,
    pub waiting: u64,
}

/// What happened at an endpoint.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub attempts: u64,
    pub retries: u64,
    pub errors: u64,
    pub in_flight: u64,
    pub most_in_flight: u64,
    /// The time of all attempts together.
    pub busy: Duration,
    /// Times to the answer, in microseconds, of attempts that did not fail.
    pub latencies: Vec<u32>,
}

#[derive(Debug)]
pub struct Recorder {
    pub step: Duration,
    pub periods: Vec<Period>,
    pub endpoints: Vec<Tally>,
    /// Failed requests by cause.
    pub causes: BTreeMap<String, u64>,
    pub events: Vec<EventReport>,
    pub events_lost: u64,
}

/// The outcome of a request or an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// With that status of its endpoint.
    Status(u16),
    /// With the label of that failure.
    Failed(&'static str),
    /// Given up for another attempt.
    Overtaken,
}

impl Recorder {
    pub fn new(time: Duration, step: Duration, endpoints: usize) -> Self {
        let periods = time.as_nanos().div_ceil(step.as_nanos()) as usize;
        let period = Period { attempts: vec![0; endpoints], ..Period::default() };
        Self {
            step,
            periods: vec![period; periods],
            endpoints: vec![Tally::default(); endpoints],
            causes: BTreeMap::new(),
            events: Vec::new(),
            events_lost: 0,
        }
    }

    pub fn attempt_begins(&mut self, endpoint: usize, is_first: bool, now: Duration) {
        if let Some(period) = self.period(now) {
            period.attempts[endpoint] += 1;
            period.retries += u64::from(!is_first);
        }
        let tally = &mut self.endpoints[endpoint];
        tally.attempts += 1;
        tally.retries += u64::from(!is_first);
        tally.in_flight += 1;
        tally.most_in_flight = tally.most_in_flight.max(tally.in_flight);
    }

    pub fn attempt_ends(&mut self, endpoint: usize, took: Duration, ended: Ended) {
        let tally = &mut self.endpoints[endpoint];
        tally.in_flight -= 1;
        tally.busy += took;
        match ended {
            Ended::Well => tally.latencies.push(micros(took)),
            Ended::Status(_) | Ended::Failed(_) => tally.errors += 1,
            Ended::Overtaken => {}
        }
    }

    pub fn request_ends(&mut self, came: Duration, took: Duration, ended: Ended) {
        if let Some(period) = self.period(came) {
            period.requests += 1;
            match ended {
                Ended::Well => period.latencies.push(micros(took)),
                Ended::Status(_) | Ended::Failed(_) => period.errors += 1,
                Ended::Overtaken => {}
            }
        }
        let cause = match ended {
            Ended::Well | Ended::Overtaken => return,
            Ended::Status(status) => format!("status {status}"),
            Ended::Failed(label) => label.to_owned(),
        };
        *self.causes.entry(cause).or_default() += 1;
    }

    /// The period that ends now is over.
    pub fn period_ends(&mut self, now: Duration, waiting: u64) {
        let in_flight: Vec<u64> = self.endpoints.iter().map(|tally| tally.in_flight).collect();
        if let Some(period) = self.period(now.saturating_sub(self.step)) {
            (period.in_flight, period.waiting) = (in_flight, waiting);
        }
    }

    pub fn event(&mut self, event: EventReport) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        } else {
            self.events_lost += 1;
        }
    }

    /// What comes after the last period belongs to none: no new requests come then.
    fn period(&mut self, at: Duration) -> Option<&mut Period> {
        let index = at.as_nanos() / self.step.as_nanos();
        self.periods.get_mut(index as usize)
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
