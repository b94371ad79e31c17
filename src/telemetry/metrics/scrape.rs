//! Encodes what is known only at the moment of a scrape: the state of the process, of pools and of endpoints.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::exposition::{Exposition, Kind};
use super::{ConnectionsToEndpoints, Scrape, Shared, unix_seconds};
use crate::part::missing_parts;
use crate::pool::status::{EndpointState, MirrorStatus, PoolStatus, RateLimitStatus, RouteStatus};
use crate::tls::CertificateStatus;
use crate::wait_queue::QueueStatus;

pub(super) fn process(out: &mut Exposition, shared: &Shared, scrape: Scrape<'_>) {
    out.metric("evenkeel_build_info", Kind::Gauge, "Always 1; the version is its label.");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    gauge(out, "evenkeel_start_time_seconds", "When the process started, since the Unix epoch.", {
        unix_seconds(shared.started)
    });
    let successful = u8::from(shared.reload_successful.load(Ordering::Relaxed));
    gauge(
        out,
        "evenkeel_config_last_reload_successful",
        "1 if the last reload was, 0 if refused.",
        successful,
    );
    gauge(
        out,
        "evenkeel_config_last_reload_timestamp_seconds",
        "When the config in force came into force, since the Unix epoch.",
        shared.reload_time.load(Ordering::Relaxed),
    );
    let generation = shared.generation.load(Ordering::Relaxed);
    gauge(
        out,
        "evenkeel_config_generation",
        "The number of the config in force, 1 at the start.",
        generation,
    );
    gauge(
        out,
        "evenkeel_config_snapshots",
        "Configs in memory: the one in force, and those that requests still use.",
        shared.snapshots.load(Ordering::Relaxed),
    );
    out.metric("evenkeel_config_reloads_total", Kind::Counter, "Reloads, by what came of them.");
    for (result, count) in ["done", "refused", "rolled_back"].into_iter().zip(&shared.reloads) {
        out.sample(&[("result", result)], count.load(Ordering::Relaxed));
    }
    gauge(
        out,
        "evenkeel_config_confirmation_awaited",
        "1 if the config in force goes unless it is confirmed, else 0.",
        u8::from(scrape.confirmation_awaited),
    );
    gauge(out, "evenkeel_memory_bytes", "Resident memory of the process.", scrape.memory.resident);
    memory_of_limit(out, scrape);
    gauge(
        out,
        "evenkeel_memory_short",
        "1 if new requests are refused because `server.max_memory` is nearly used, else 0.",
        u8::from(scrape.memory.short),
    );
    let active = shared.listeners.balance().in_flight;
    gauge(out, "evenkeel_active_requests", "Requests in progress.", active);
    out.metric("evenkeel_request_failures_total", Kind::Counter, "Requests that did not end well, by cause.");
    shared.failures.encode(out, &[], "cause");
    out.metric("evenkeel_upgrades_total", Kind::Counter, "Upgrades, by how they ended.");
    out.sample(&[("result", "succeeded")], shared.upgrades_succeeded.load(Ordering::Relaxed));
    out.sample(&[("result", "failed")], shared.upgrades_failed.load(Ordering::Relaxed));
    out.metric("evenkeel_panics_total", Kind::Counter, "Panics; each is a bug.");
    out.sample(&[], shared.panics.load(Ordering::Relaxed));
    let missing = "Parts of messages that were not where they had to be; each is a bug.";
    out.metric("evenkeel_missing_parts_total", Kind::Counter, missing);
    out.sample(&[], missing_parts());
    out.metric("evenkeel_log_dropped_total", Kind::Counter, "Log lines that were lost.");
    out.sample(&[("log", "access")], scrape.access_log_dropped);
    out.sample(&[("log", "events")], scrape.events_dropped);
}

fn memory_of_limit(out: &mut Exposition, scrape: Scrape<'_>) {
    let (used, limit) = scrape.memory.of_limit.unzip();
    for (name, help, value) in [
        ("evenkeel_memory_used_bytes", "Memory in use that counts for `server.max_memory`.", used),
        ("evenkeel_memory_limit_bytes", "The limit that `server.max_memory` stands for.", limit),
    ] {
        out.metric(name, Kind::Gauge, help);
        value.into_iter().for_each(|value| out.sample(&[], value));
    }
}

fn gauge(out: &mut Exposition, name: &'static str, help: &str, value: impl std::fmt::Display) {
    out.metric(name, Kind::Gauge, help);
    out.sample(&[], value);
}

/// By the names that all programs have in common.
pub(super) fn of_system(out: &mut Exposition, shared: &Shared, scrape: Scrape<'_>) {
    let started = unix_seconds(shared.started);
    gauge(out, "process_start_time_seconds", "When the process started, since the Unix epoch.", started);
    gauge(out, "process_resident_memory_bytes", "Resident memory.", scrape.memory.resident);
    let Some(process) = scrape.process else { return };
    out.metric(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time, the kernel's for the process included.",
    );
    out.sample(&[], process.cpu_seconds);
    gauge(out, "process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes);
    gauge(out, "process_open_fds", "Open file descriptors.", process.open_files);
    gauge(out, "process_max_fds", "The limit of open file descriptors.", process.open_files_max);
    gauge(out, "process_threads", "Threads.", process.threads);
}

pub(super) fn workers(out: &mut Exposition, connections: &[usize]) {
    out.metric(
        "evenkeel_worker_connections",
        Kind::Gauge,
        "Clients' connections that a worker thread serves.",
    );
    for (worker, count) in connections.iter().enumerate() {
        out.sample(&[("worker", &worker.to_string())], count);
    }
}

pub(super) fn to_endpoints(out: &mut Exposition, connections: ConnectionsToEndpoints) {
    let ConnectionsToEndpoints { open, closed } = connections;
    gauge(out, "evenkeel_endpoint_connections", "Connections to endpoints that are open.", open);
    out.metric(
        "evenkeel_endpoint_connections_closed_total",
        Kind::Counter,
        "Idle connections to endpoints closed because descriptors were needed.",
    );
    out.sample(&[], closed);
}

pub(super) fn certificates(out: &mut Exposition, certificates: &[(String, CertificateStatus)]) {
    out.metric(
        "evenkeel_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "When a listener's certificate expires, since the Unix epoch.",
    );
    for (listener, certificate) in certificates {
        out.sample(&[("listener", listener), ("certificate", &certificate.file)], certificate.expires);
    }
}

pub(super) fn pools(out: &mut Exposition, pools: &[PoolStatus]) {
    out.metric(
        "evenkeel_pool_waiting_requests",
        Kind::Gauge,
        "Requests that wait for room in a limit of the pool, or for a healthy endpoint.",
    );
    for pool in pools {
        out.sample(&[("pool", &pool.name)], pool.waiting);
    }
    queues(out, "pool", pools.iter().map(|pool| (&*pool.name, &pool.queue)));
    requests(out, pools);
    sources(out, pools);
    states(out, pools);
}

/// How many endpoints are in each state.
fn states(out: &mut Exposition, pools: &[PoolStatus]) {
    out.metric("evenkeel_pool_endpoints", Kind::Gauge, "Endpoints of the pool, by state.");
    for pool in pools {
        for state in EndpointState::ALL {
            let count = pool.endpoints.iter().filter(|endpoint| endpoint.state == state).count();
            out.sample(&[("pool", &pool.name), ("state", state.name())], count);
        }
    }
}

fn requests(out: &mut Exposition, pools: &[PoolStatus]) {
    out.metric("evenkeel_pool_in_flight", Kind::Gauge, "Requests in progress at endpoints of the pool.");
    for pool in pools {
        out.sample(&[("pool", &pool.name)], pool.in_flight);
    }
    out.metric("evenkeel_pool_request_limit", Kind::Gauge, "Requests that the pool may have at a time.");
    for pool in pools {
        pool.most.into_iter().for_each(|most| out.sample(&[("pool", &pool.name)], most));
    }
    out.metric(
        "evenkeel_pool_requests_refused_total",
        Kind::Counter,
        "Requests refused because the pool had as many as it may have.",
    );
    for pool in pools {
        out.sample(&[("pool", &pool.name)], pool.refused);
    }
}

/// Of the routes that have a limit of requests.
pub(super) fn routes(out: &mut Exposition, routes: &[RouteStatus]) {
    for metric in ROUTE_METRICS {
        out.metric(metric.name, metric.kind, metric.help);
        for route in routes {
            (metric.value)(route).into_iter().for_each(|value| out.sample(&[("route", &route.name)], value));
        }
    }
    queues(out, "route", routes.iter().map(|route| (&*route.name, &route.queue)));
}

pub(super) fn rate_limits(out: &mut Exposition, limits: &[RateLimitStatus]) {
    out.metric(
        "evenkeel_rate_limited_total",
        Kind::Counter,
        "Requests beyond a rate limit; a dry run lets them in.",
    );
    for limit in limits {
        for (dry_run, count) in [("false", limit.refused), ("true", limit.would_refuse)] {
            out.sample(&[("route", &limit.route), ("limit", &limit.limit), ("dry_run", dry_run)], count);
        }
    }
    out.metric("evenkeel_rate_limit_keys", Kind::Gauge, "Keys that a rate limit remembers.");
    for limit in limits {
        out.sample(&[("route", &limit.route), ("limit", &limit.limit)], limit.keys);
    }
    out.metric(
        "evenkeel_rate_limit_forgotten_total",
        Kind::Counter,
        "Keys forgotten while they counted, because no room was left.",
    );
    for limit in limits {
        out.sample(&[("route", &limit.route), ("limit", &limit.limit)], limit.forgotten);
    }
}

pub(super) fn mirrors(out: &mut Exposition, mirrors: &[MirrorStatus]) {
    out.metric("evenkeel_mirror_in_flight", Kind::Gauge, "Copies of requests under way to a mirror.");
    for mirror in mirrors {
        out.sample(&[("route", &mirror.route), ("pool", &mirror.pool)], mirror.in_flight);
    }
    out.metric("evenkeel_mirror_sent_total", Kind::Counter, "Copies of requests that went on their way.");
    for mirror in mirrors {
        out.sample(&[("route", &mirror.route), ("pool", &mirror.pool)], mirror.sent);
    }
    type ByLabel = fn(&MirrorStatus) -> &BTreeMap<String, u64>;
    let metrics: [(_, _, _, ByLabel); 3] = [
        ("evenkeel_mirror_dropped_total", "Requests that were not copied, by cause.", "cause", |one| {
            &one.dropped
        }),
        ("evenkeel_mirror_answered_total", "Copies that were answered, by class.", "class", |one| {
            &one.answered
        }),
        ("evenkeel_mirror_failed_total", "Copies that got no answer, by cause.", "cause", |one| &one.failed),
    ];
    for (name, help, label, of) in metrics {
        out.metric(name, Kind::Counter, help);
        for mirror in mirrors {
            for (value, count) in of(mirror) {
                out.sample(&[("route", &mirror.route), ("pool", &mirror.pool), (label, value)], *count);
            }
        }
    }
}

fn queues<'a>(
    out: &mut Exposition,
    of: &'static str,
    queues: impl Iterator<Item = (&'a str, &'a QueueStatus)> + Clone,
) {
    let (waits, refused) = match of {
        "pool" => ("evenkeel_pool_waits_total", "evenkeel_pool_queue_refused_total"),
        _ => ("evenkeel_route_waits_total", "evenkeel_route_queue_refused_total"),
    };
    out.metric(waits, Kind::Counter, "Requests that had to wait.");
    for (name, queue) in queues.clone() {
        out.sample(&[(of, name)], queue.waits);
    }
    out.metric(refused, Kind::Counter, "Requests refused in the queue, or because it was full, by cause.");
    for (name, queue) in queues {
        for (cause, count) in [("full", queue.full), ("expired", queue.expired), ("shed", queue.shed)] {
            out.sample(&[(of, name), ("cause", cause)], count);
        }
    }
}

struct RouteMetric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&RouteStatus) -> Option<u64>,
}

const ROUTE_METRICS: [RouteMetric; 4] = [
    RouteMetric {
        name: "evenkeel_route_waiting_requests",
        kind: Kind::Gauge,
        help: "Requests that wait for room in the limit of the route.",
        value: |route| Some(route.queue.waiting),
    },
    RouteMetric {
        name: "evenkeel_route_in_flight",
        kind: Kind::Gauge,
        help: "Requests of the route that its limit has let in.",
        value: |route| Some(route.in_flight),
    },
    RouteMetric {
        name: "evenkeel_route_request_limit",
        kind: Kind::Gauge,
        help: "Requests that the route may have at a time.",
        value: |route| route.most,
    },
    RouteMetric {
        name: "evenkeel_route_requests_refused_total",
        kind: Kind::Counter,
        help: "Requests refused without waiting because the route had as many as it may have.",
        value: |route| Some(route.refused),
    },
];

fn sources(out: &mut Exposition, pools: &[PoolStatus]) {
    let all = || pools.iter().flat_map(|pool| pool.sources.iter().map(move |source| (pool, source)));
    out.metric(
        "evenkeel_source_answered_timestamp_seconds",
        Kind::Gauge,
        "When a source of the pool's endpoints answered last, since the Unix epoch; 0: never.",
    );
    for (pool, source) in all() {
        let labels = [("pool", &*pool.name), ("source", &*source.source)];
        out.sample(&labels, source.answered.unwrap_or(0.0));
    }
    out.metric("evenkeel_source_endpoints", Kind::Gauge, "How many the source named in its last answer.");
    for (pool, source) in all() {
        out.sample(&[("pool", &*pool.name), ("source", &*source.source)], source.endpoints as u64);
    }
    out.metric("evenkeel_source_failing", Kind::Gauge, "1 if the source failed when it was asked last.");
    for (pool, source) in all() {
        let failing = u64::from(source.failing.is_some());
        out.sample(&[("pool", &*pool.name), ("source", &*source.source)], failing);
    }
}
