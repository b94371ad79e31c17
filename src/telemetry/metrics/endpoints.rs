//! Encodes what is known of each endpoint. The series of state and load are there for all endpoints; the more numerous
//! ones only for so many, in the order of the config, and a metric says how many endpoints lack them.

use std::sync::Arc;

use super::exposition::{Exposition, Kind, Label};
use super::{Scrape, histogram};
use crate::histogram::HistogramCounts;
use crate::pool::status::{EndpointState, EndpointStatus, PoolStatus};
use crate::pool::{AttemptCounts, Endpoint, STATUS_CLASSES};

pub(super) fn encode(out: &mut Exposition, scrape: Scrape<'_>) {
    checks(out, scrape.pools);
    adjusted(out, scrape.pools);
    for metric in ENDPOINT_METRICS {
        out.metric(metric.name, metric.kind, metric.help);
        for (pool, endpoint) in of(scrape.pools) {
            out.sample(&[("pool", &pool.name), ("endpoint", &endpoint.address)], (metric.value)(endpoint));
        }
    }
    let mut members: Vec<_> = members(scrape.members).collect();
    out.metric("evenkeel_endpoint_open_connections", Kind::Gauge, "Open connections, idle or not.");
    for (pool, endpoint) in &members {
        out.sample(&labels(pool, endpoint), endpoint.connections().taken());
    }
    let left_out = members.len().saturating_sub(scrape.endpoints_max);
    members.truncate(scrape.endpoints_max);
    answers(out, &members);
    counted(out, &members);
    out.metric(
        "evenkeel_endpoints_without_series",
        Kind::Gauge,
        "Endpoints beyond `admin.metrics_endpoints`, which have no series of answers, times and retries.",
    );
    out.sample(&[], left_out);
}

fn members(pools: &[(Arc<str>, Vec<Arc<Endpoint>>)]) -> impl Iterator<Item = (&Arc<str>, &Arc<Endpoint>)> {
    pools.iter().flat_map(|(pool, endpoints)| endpoints.iter().map(move |endpoint| (pool, endpoint)))
}

fn labels<'a>(pool: &'a str, endpoint: &'a Endpoint) -> [Label<'a>; 2] {
    [("pool", pool), ("endpoint", endpoint.label())]
}

fn answers(out: &mut Exposition, members: &[(&Arc<str>, &Arc<Endpoint>)]) {
    out.metric("evenkeel_endpoint_responses_total", Kind::Counter, "Answers, by class of status.");
    for (pool, endpoint) in members {
        let [pool, endpoint_label] = labels(pool, endpoint);
        for (class, count) in STATUS_CLASSES.iter().zip(endpoint.attempts().answers()) {
            out.sample(&[pool, endpoint_label, ("status", class)], count);
        }
    }
    let mut histogram = |name, help, counts: fn(&AttemptCounts) -> HistogramCounts| {
        out.metric(name, Kind::Histogram, help);
        for (pool, endpoint) in members {
            histogram::encode(out, &labels(pool, endpoint), &counts(endpoint.attempts()));
        }
    };
    histogram(
        "evenkeel_endpoint_first_byte_duration_seconds",
        "From an attempt's start to the first byte of the answer.",
        AttemptCounts::first_bytes,
    );
    histogram(
        "evenkeel_endpoint_connect_duration_seconds",
        "Times to connect, a TLS handshake included.",
        AttemptCounts::connects,
    );
}

fn counted(out: &mut Exposition, members: &[(&Arc<str>, &Arc<Endpoint>)]) {
    out.metric("evenkeel_endpoint_retries_total", Kind::Counter, "Attempts that others followed, by reason.");
    for (pool, endpoint) in members {
        let [pool, endpoint_label] = labels(pool, endpoint);
        for (reason, count) in endpoint.attempts().retries() {
            out.sample(&[pool, endpoint_label, ("reason", reason)], count);
        }
    }
    out.metric("evenkeel_endpoint_state_changes_total", Kind::Counter, "How often it came into each state.");
    for (pool, endpoint) in members {
        let [pool, endpoint_label] = labels(pool, endpoint);
        for (state, count) in endpoint.attempts().states() {
            out.sample(&[pool, endpoint_label, ("state", state)], count);
        }
    }
}

fn checks(out: &mut Exposition, pools: &[PoolStatus]) {
    out.metric("evenkeel_health_checks_total", Kind::Counter, "Probes of endpoints, by result.");
    for (pool, endpoint) in of(pools) {
        for (result, count) in [("passed", endpoint.checks_passed), ("failed", endpoint.checks_failed)] {
            let labels = [("pool", &*pool.name), ("endpoint", &*endpoint.address), ("result", result)];
            out.sample(&labels, count);
        }
    }
}

fn adjusted(out: &mut Exposition, pools: &[PoolStatus]) {
    let help = "1 if this was changed of the endpoint by hand and is in force, else 0.";
    out.metric("evenkeel_endpoint_adjusted", Kind::Gauge, help);
    for (pool, endpoint) in of(pools) {
        for (change, is) in
            [("drain", endpoint.drained.is_some()), ("weight", endpoint.weight_by_hand.is_some())]
        {
            let labels = [("pool", &*pool.name), ("endpoint", &*endpoint.address), ("change", change)];
            out.sample(&labels, u8::from(is));
        }
    }
}

fn of(pools: &[PoolStatus]) -> impl Iterator<Item = (&PoolStatus, &EndpointStatus)> {
    pools.iter().flat_map(|pool| pool.endpoints.iter().map(move |endpoint| (pool, endpoint)))
}

struct EndpointMetric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&EndpointStatus) -> u64,
}

const ENDPOINT_METRICS: [EndpointMetric; 10] = [
    EndpointMetric {
        name: "evenkeel_endpoint_up",
        kind: Kind::Gauge,
        help: "1 if the endpoint is healthy, 0 if it is unhealthy, unreachable, ejected or not probed yet.",
        value: |endpoint| u64::from(endpoint.state == EndpointState::Healthy),
    },
    EndpointMetric {
        name: "evenkeel_endpoint_ejected",
        kind: Kind::Gauge,
        help: "1 while the endpoint is ejected for its answers to requests.",
        value: |endpoint| u64::from(endpoint.ejected_seconds.is_some()),
    },
    EndpointMetric {
        name: "evenkeel_endpoint_ejections_total",
        kind: Kind::Counter,
        help: "How often the endpoint was ejected for its answers to requests.",
        value: |endpoint| endpoint.ejections,
    },
    EndpointMetric {
        name: "evenkeel_endpoint_weight",
        kind: Kind::Gauge,
        help: "The endpoint's share of traffic relative to the others.",
        value: |endpoint| endpoint.weight.into(),
    },
    EndpointMetric {
        name: "evenkeel_endpoint_in_flight",
        kind: Kind::Gauge,
        help: "Attempts in progress at the endpoint.",
        value: |endpoint| endpoint.in_flight,
    },
    EndpointMetric {
        name: "evenkeel_endpoint_idle_connections",
        kind: Kind::Gauge,
        help: "Open connections to the endpoint that wait for their next request.",
        value: |endpoint| endpoint.idle_connections,
    },
    EndpointMetric {
        name: "evenkeel_endpoint_requests_total",
        kind: Kind::Counter,
        help: "Attempts sent to the endpoint.",
        value: |endpoint| endpoint.requests,
    },
    EndpointMetric {
        name: "evenkeel_endpoint_failures_total",
        kind: Kind::Counter,
        help: "Attempts that failed at the endpoint.",
        value: |endpoint| endpoint.failures,
    },
    EndpointMetric {
        name: "evenkeel_endpoint_sent_bytes_total",
        kind: Kind::Counter,
        help: "Body bytes sent to the endpoint, from clients.",
        value: |endpoint| endpoint.bytes_in,
    },
    EndpointMetric {
        name: "evenkeel_endpoint_received_bytes_total",
        kind: Kind::Counter,
        help: "Body bytes received from the endpoint, for clients.",
        value: |endpoint| endpoint.bytes_out,
    },
];
