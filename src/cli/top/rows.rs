//! Two samples in, rows out.

use std::collections::HashMap;

use super::buckets::{Buckets, Quantile};
use super::sample::Sample;
use super::scrape::{EndpointSeries, PoolSeries};
use crate::pool::status::{EndpointState, EndpointStatus, PoolStatus};

/// A pool with its endpoints, in the order of the status.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub pool: Row,
    pub endpoints: Vec<Row>,
}

/// What a row is about: a pool, or an endpoint of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub pool: String,
    pub endpoint: Option<String>,
}

/// A line of the table. What is a rate or a percentile is `None` until there are two samples.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub subject: Subject,
    pub health: Health,
    pub state: String,
    /// Requests a second: of a pool those that ended, of an endpoint attempts that were sent.
    pub rate: Option<f64>,
    /// Errors a second: of a pool answers 5xx to clients, of an endpoint failed attempts and its answers 5xx.
    pub errors: Option<f64>,
    /// To the first byte of the endpoint's response.
    pub p50: Option<Quantile>,
    pub p99: Option<Quantile>,
    pub in_flight: u64,
    /// Requests that wait; only of pools.
    pub waiting: Option<u64>,
    /// Of the pool's attempts, what it had and what it is due, 0 to 1; only of endpoints.
    pub share: Option<(Option<f64>, f64)>,
    pub ejections: u64,
    pub idle: u64,
    pub weight: Option<u16>,
    /// Body bytes a second.
    pub sent: Option<f64>,
    pub received: Option<f64>,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Well,
    Impaired,
    Bad,
}

/// Of the whole process.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Totals {
    pub rate: Option<f64>,
    /// The part that was answered 5xx, 0 to 1; `None`: there were no requests.
    pub errors: Option<f64>,
    /// Of the whole request, as clients see it.
    pub p50: Option<Quantile>,
    pub p99: Option<Quantile>,
    pub in_flight: u64,
    pub connections: u64,
}

/// Two samples, the later one and what is counted since the earlier one.
struct Span<'a> {
    seconds: f64,
    now: &'a Sample,
    before: Option<&'a Sample>,
}

pub(super) fn groups(now: &Sample, before: Option<&Sample>) -> Vec<Group> {
    let span = Span::new(now, before);
    now.status.pools.iter().map(|pool| span.group(pool)).collect()
}

pub(super) fn totals(now: &Sample, before: Option<&Sample>) -> Totals {
    let span = Span::new(now, before);
    let sum = |of: fn(&PoolSeries) -> u64| {
        let all = |sample: &Sample| sample.scrape.pools.values().map(of).sum::<u64>();
        span.before.map(|before| all(now).saturating_sub(all(before)) as f64)
    };
    let (requests, errors) = (sum(|pool| pool.requests), sum(|pool| pool.server_errors));
    let durations = &now.scrape.durations;
    let quantile = |part| span.before.and_then(|it| durations.quantile_since(&it.scrape.durations, part));
    Totals {
        rate: requests.map(|count| count / span.seconds),
        errors: requests.filter(|count| *count > 0.0).zip(errors).map(|(requests, errors)| errors / requests),
        p50: quantile(0.5),
        p99: quantile(0.99),
        in_flight: now.status.listeners.iter().map(|listener| listener.requests.in_flight).sum(),
        connections: now.status.listeners.iter().map(|listener| listener.connections).sum(),
    }
}

// === impl Span ===

impl<'a> Span<'a> {
    fn new(now: &'a Sample, before: Option<&'a Sample>) -> Self {
        let before = before.filter(|before| before.at < now.at);
        let seconds = before.map_or(0.0, |before| (now.at - before.at).as_secs_f64());
        Self { seconds, now, before }
    }

    /// How much more there is now, a second.
    fn rate(&self, now: u64, before: Option<u64>) -> Option<f64> {
        self.before.map(|_| now.saturating_sub(before.unwrap_or_default()) as f64 / self.seconds)
    }

    fn quantiles(&self, now: Option<&Buckets>, before: Option<&Buckets>) -> [Option<Quantile>; 2] {
        let none = Buckets::default();
        [0.5, 0.99].map(|part| self.before.and_then(|_| now?.quantile_since(before.unwrap_or(&none), part)))
    }

    fn group(&self, pool: &PoolStatus) -> Group {
        let series = self.now.scrape.pools.get(&pool.name);
        let before = self.before.and_then(|before| before.scrape.pools.get(&pool.name));
        let pool_before = self.before.and_then(|it| it.status.pools.iter().find(|it| it.name == pool.name));
        let earlier: HashMap<&str, &EndpointStatus> =
            pool_before.iter().flat_map(|pool| &pool.endpoints).map(|it| (&*it.address, it)).collect();
        let earlier = |endpoint: &EndpointStatus| earlier.get(&*endpoint.address).copied();
        let attempts: Vec<Option<u64>> = (pool.endpoints.iter())
            .map(|endpoint| {
                let before = earlier(endpoint).map_or(0, |before| before.requests);
                self.before.map(|_| endpoint.requests.saturating_sub(before))
            })
            .collect();
        let all: Option<u64> = attempts.iter().copied().sum();
        let endpoints = (pool.endpoints.iter().zip(attempts))
            .map(|(endpoint, attempts)| {
                let had = attempts.zip(all).filter(|(_, all)| *all > 0);
                let had = had.map(|(attempts, all)| attempts as f64 / all as f64);
                let of = |series: Option<&'a PoolSeries>| series?.endpoints.get(&endpoint.address);
                let row = self.endpoint(pool, endpoint, earlier(endpoint), [of(series), of(before)]);
                Row { share: Some((had, endpoint.expected_share)), ..row }
            })
            .collect();
        Group { pool: self.pool(pool, series, before, pool_before), endpoints }
    }

    fn pool(
        &self,
        pool: &PoolStatus,
        series: Option<&PoolSeries>,
        before: Option<&PoolSeries>,
        pool_before: Option<&PoolStatus>,
    ) -> Row {
        let healthy = pool.endpoints.iter().filter(|it| it.state == EndpointState::Healthy).count();
        let health = match healthy {
            0 => Health::Bad,
            _ if healthy < pool.endpoints.len() => Health::Impaired,
            _ => Health::Well,
        };
        let count = |of: fn(&PoolSeries) -> u64| self.rate(series.map_or(0, of), before.map(of));
        let [p50, p99] = self.quantiles(series.map(|it| &it.first_bytes), before.map(|it| &it.first_bytes));
        let sum = |of: fn(&EndpointStatus) -> u64| {
            let all = |pool: &PoolStatus| pool.endpoints.iter().map(of).sum::<u64>();
            (all(pool), pool_before.map(all))
        };
        let bytes = |of: fn(&EndpointStatus) -> u64| {
            let (now, before) = sum(of);
            self.rate(now, before)
        };
        Row {
            subject: Subject { pool: pool.name.clone(), endpoint: None },
            health,
            state: format!("{healthy}/{} up", pool.endpoints.len()),
            rate: count(|it| it.requests),
            errors: count(|it| it.server_errors),
            p50,
            p99,
            in_flight: pool.in_flight,
            waiting: Some(pool.waiting),
            share: None,
            ejections: sum(|it| it.ejections).0,
            idle: sum(|it| it.idle_connections).0,
            weight: None,
            sent: bytes(|it| it.bytes_in),
            received: bytes(|it| it.bytes_out),
            why: pool.balance.clone(),
        }
    }

    fn endpoint(
        &self,
        pool: &PoolStatus,
        endpoint: &EndpointStatus,
        before: Option<&EndpointStatus>,
        series: [Option<&EndpointSeries>; 2],
    ) -> Row {
        let count = |of: fn(&EndpointStatus) -> u64| self.rate(of(endpoint), before.map(of));
        let [series, series_before] = series;
        let server_errors =
            self.rate(series.map_or(0, |it| it.server_errors), series_before.map(|it| it.server_errors));
        let [p50, p99] =
            self.quantiles(series.map(|it| &it.first_bytes), series_before.map(|it| &it.first_bytes));
        let (health, state) = match endpoint.state {
            EndpointState::Healthy if endpoint.drained.is_some() => (Health::Impaired, "draining"),
            EndpointState::Healthy => (Health::Well, "healthy"),
            state @ EndpointState::Checking => (Health::Impaired, state.name()),
            state => (Health::Bad, state.name()),
        };
        Row {
            subject: Subject { pool: pool.name.clone(), endpoint: Some(endpoint.address.clone()) },
            health,
            state: state.to_owned(),
            rate: count(|it| it.requests),
            errors: count(|it| it.failures).zip(server_errors).map(|(failed, answered)| failed + answered),
            p50,
            p99,
            in_flight: endpoint.in_flight,
            waiting: None,
            share: None,
            ejections: endpoint.ejections,
            idle: endpoint.idle_connections,
            weight: Some(endpoint.weight),
            sent: count(|it| it.bytes_in),
            received: count(|it| it.bytes_out),
            why: endpoint.reason.clone(),
        }
    }
}
