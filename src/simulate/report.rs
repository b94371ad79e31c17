//! What a simulation has found.

use std::time::Duration;

use serde::Serialize;

use super::recorder::{Period, Recorder, Tally};

/// The most periods of the fine timeline, and of the one that is shown as a table.
const PERIODS_MAX: u128 = 120;
const ROWS_MAX: u128 = 30;

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub route: String,
    pub pool: String,
    pub balance: String,
    pub seed: u64,
    /// How long requests came.
    pub seconds: f64,
    /// How they came.
    pub load: LoadReport,
    /// The times of service are exactly the mean.
    pub constant: bool,
    pub totals: Totals,
    pub endpoints: Vec<EndpointReport>,
    /// Failed requests by cause: the label of a failure, or the status of an endpoint's answer.
    pub causes: Vec<CauseReport>,
    /// What was done to endpoints, and what came of it, in order.
    pub events: Vec<EventReport>,
    /// Events beyond the most that are kept.
    pub events_lost: u64,
    pub timeline: Timeline,
    /// The same in few rows.
    #[serde(skip)]
    pub rows: Timeline,
}

#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Requests a second; `None`: as many as the clients make.
    pub rate: Option<f64>,
    /// Clients that wait for each response; `None`: requests come whatever happens to those before.
    pub clients: Option<usize>,
    /// What the endpoints can serve together, in requests a second.
    pub capacity: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Totals {
    pub requests: u64,
    pub errors: u64,
    pub attempts: u64,
    pub retries: u64,
    /// In milliseconds, of requests that did not fail; `None`: all failed.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Requests that waited in a queue of the pool or the route.
    pub waited: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct EndpointReport {
    pub address: String,
    pub weight: u16,
    /// Of the attempts of the pool, from 0 to 1.
    pub share: f64,
    pub requests: u64,
    pub errors: u64,
    /// Attempts here that were not the first of their request.
    pub retries: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub in_flight_mean: f64,
    pub in_flight_most: u64,
    pub ejections: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct CauseReport {
    pub cause: String,
    pub requests: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventReport {
    pub seconds: f64,
    pub endpoint: String,
    pub what: String,
    /// The scenario has it, and not what came of it.
    pub given: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    pub step_seconds: f64,
    pub periods: Vec<PeriodReport>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PeriodReport {
    /// Its begin.
    pub seconds: f64,
    /// Requests that came in it.
    pub requests: u64,
    pub errors: u64,
    pub retries: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Requests that waited at its end.
    pub waiting: u64,
    /// Shares of the attempts that began in it, from 0 to 1, in the order of `endpoints`.
    pub shares: Vec<f64>,
    /// Requests in flight by endpoint at its end.
    pub in_flight: Vec<u64>,
}

/// The steps of the fine timeline and of the table: 1, 2 or 5 times a power of ten, one a multiple of the other.
pub fn steps(time: Duration) -> (Duration, Duration) {
    let steps = || {
        let decades = (0..12).map(|power| 10u64.pow(power));
        decades.flat_map(|decade| [1, 2, 5].map(|times| Duration::from_millis(times * decade)))
    };
    let fits = |step: &Duration, most: u128| time.as_nanos().div_ceil(step.as_nanos()) <= most;
    let fine = steps().find(|step| fits(step, PERIODS_MAX)).unwrap_or(time);
    let is_row = |step: &Duration| fits(step, ROWS_MAX) && step.as_nanos().is_multiple_of(fine.as_nanos());
    (fine, steps().find(is_row).unwrap_or(time))
}

/// The value below which a part of them is, in milliseconds.
fn percentile(micros: &mut [u32], part: f64) -> Option<f64> {
    let rank = (micros.len() as f64 * part).ceil() as usize;
    let index = rank.max(1) - 1;
    if index >= micros.len() {
        return None;
    }
    let (_, value, _) = micros.select_nth_unstable(index);
    Some(f64::from(*value) / 1e3)
}

pub fn timeline(recorder: &Recorder, step: Duration) -> Timeline {
    let together = (step.as_nanos() / recorder.step.as_nanos()).max(1) as usize;
    let periods = recorder.periods.chunks(together).enumerate();
    Timeline {
        step_seconds: step.as_secs_f64(),
        periods: periods.map(|(index, periods)| period(periods, step * index as u32)).collect(),
    }
}

fn period(periods: &[Period], begin: Duration) -> PeriodReport {
    let sum = |count: fn(&Period) -> u64| periods.iter().map(count).sum();
    let mut latencies: Vec<u32> =
        periods.iter().flat_map(|period| period.latencies.iter().copied()).collect();
    let endpoints = periods.first().map_or(0, |period| period.attempts.len());
    let attempts = |endpoint: usize| periods.iter().map(|period| period.attempts[endpoint]).sum::<u64>();
    let all: u64 = (0..endpoints).map(attempts).sum();
    let last = periods.last();
    PeriodReport {
        seconds: begin.as_secs_f64(),
        requests: sum(|period| period.requests),
        errors: sum(|period| period.errors),
        retries: sum(|period| period.retries),
        p50_ms: percentile(&mut latencies, 0.5),
        p99_ms: percentile(&mut latencies, 0.99),
        waiting: last.map_or(0, |period| period.waiting),
        shares: (0..endpoints).map(|endpoint| attempts(endpoint) as f64 / all.max(1) as f64).collect(),
        in_flight: last.map(|period| period.in_flight.clone()).unwrap_or_default(),
    }
}

/// What the report says of an endpoint beside what has been recorded of it.
pub struct EndpointFacts {
    pub address: String,
    pub weight: u16,
    pub ejections: u64,
}

/// `seconds`: until the last response.
pub fn endpoints(
    recorder: &mut Recorder,
    facts: impl Iterator<Item = EndpointFacts>,
    seconds: f64,
) -> Vec<EndpointReport> {
    let all: u64 = recorder.endpoints.iter().map(|tally| tally.attempts).sum();
    let reports = facts.zip(&mut recorder.endpoints).map(|(facts, tally)| {
        let Tally { attempts, retries, errors, most_in_flight, busy, latencies, .. } = tally;
        EndpointReport {
            address: facts.address,
            weight: facts.weight,
            share: *attempts as f64 / all.max(1) as f64,
            requests: *attempts,
            errors: *errors,
            retries: *retries,
            p50_ms: percentile(latencies, 0.5),
            p99_ms: percentile(latencies, 0.99),
            in_flight_mean: busy.as_secs_f64() / seconds,
            in_flight_most: *most_in_flight,
            ejections: facts.ejections,
        }
    });
    reports.collect()
}

pub fn totals(recorder: &Recorder, waited: u64) -> Totals {
    let sum = |count: fn(&Period) -> u64| recorder.periods.iter().map(count).sum();
    let of_endpoints = |count: fn(&Tally) -> u64| recorder.endpoints.iter().map(count).sum();
    let mut latencies: Vec<u32> =
        recorder.periods.iter().flat_map(|period| period.latencies.iter().copied()).collect();
    Totals {
        requests: sum(|period| period.requests),
        errors: sum(|period| period.errors),
        attempts: of_endpoints(|tally| tally.attempts),
        retries: of_endpoints(|tally| tally.retries),
        p50_ms: percentile(&mut latencies, 0.5),
        p99_ms: percentile(&mut latencies, 0.99),
        waited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_of_whole_periods() {
        let millis = |seconds| {
            let (fine, row) = steps(Duration::from_secs(seconds));
            (fine.as_millis(), row.as_millis())
        };
        assert_eq!(millis(10), (100, 500));
        assert_eq!(millis(60), (500, 2_000));
        assert_eq!(millis(3_600), (50_000, 200_000));
        assert_eq!(steps(Duration::from_millis(1)).0, Duration::from_millis(1));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<u32> = (1..=100).map(|value| value * 1_000).collect();
        assert_eq!(percentile(&mut values, 0.5), Some(50.0));
        assert_eq!(percentile(&mut values, 0.99), Some(99.0));
        assert_eq!((percentile(&mut [7], 0.99), percentile(&mut [], 0.99)), (Some(0.007), None));
    }
}
