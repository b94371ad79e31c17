//! The request counters, found by listener, route and pool without a lock.
//!
//! Requests read an immutable map. A new combination is added to the registry at once, but the map is rebuilt only
//! after as many requests have missed it as it has entries: so ten thousand routes that appear one by one make a dozen
//! maps, not ten thousand. Nothing is ever removed, because a counter that vanishes at a reload breaks every rate; the
//! names of all configs since the start are the limit.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use ahash::AHashMap;
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::counters::Counters;
use super::exposition::{Exposition, Kind};
use super::histogram;
use crate::auth::Verdict;
use crate::histogram::Histogram;
use crate::pool::{RETRY_REASONS, STATUS_CLASSES, status_class};
use crate::sharded_counter::ShardedCounter;
use crate::telemetry::record::{HedgeResult, Record, RetryRefused, Unusual};

/// Unknown methods are counted as the last.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "other"];
const AUTH_KINDS: [&str; 3] = ["basic", "forward", "jwt"];

/// Indexes in [`RequestSeries::counts`], behind those by method and class.
const BYTES_IN: usize = METHODS.len() * STATUS_CLASSES.len();
const BYTES_OUT: usize = BYTES_IN + 1;

/// How many combinations of a config have series before their first request.
const AHEAD_MAX: usize = 1000;

/// Series by route. A route has few listeners and pools, so they are searched linearly.
type ByRoute = AHashMap<Arc<str>, Arc<[Arc<RequestSeries>]>>;

#[derive(Default)]
pub(super) struct Series {
    /// A copy of the registry's map, which may lag behind it.
    published: ArcSwap<ByRoute>,
    registry: Mutex<Registry>,
}

/// All series.
#[derive(Default)]
struct Registry {
    by_route: ByRoute,
    pools: AHashMap<Box<str>, Arc<PoolSeries>>,
    /// Requests since the last publication that did not find their series in the published map.
    missed: usize,
}

/// The counters of one listener, route and pool; an empty name stands for none.
pub(super) struct RequestSeries {
    listener: Box<str>,
    route: Arc<str>,
    /// By method, then by class; behind them the bytes of bodies.
    counts: ShardedCounter<{ BYTES_OUT + 1 }>,
    /// Shared with the same route and pool on other listeners.
    times: Arc<RequestTimes>,
    /// By kind of authentication, then by verdict; empty until there is one.
    auth: OnceLock<Box<ShardedCounter<{ AUTH_KINDS.len() * Verdict::ALL.len() }>>>,
    /// Requests of clients that may not send them, by the list that says so.
    pub(super) denied: Counters,
    /// Shared with all series of the pool.
    pub(super) pool: Arc<PoolSeries>,
}

/// How long the requests of one route and pool took.
#[derive(Default)]
pub(super) struct RequestTimes {
    duration: Histogram,
    /// Of those that waited.
    waited: Histogram,
}

#[derive(Default)]
pub(super) struct PoolSeries {
    name: Box<str>,
    pub(super) connect: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) retries: Counters,
    pub(super) retries_refused: Counters,
    pub(super) hedges: Counters,
}

// === impl Series ===

impl Series {
    /// Calls `count` with the series of the combination, which is created if it is new.
    pub(super) fn with(&self, listener: &str, route: &str, pool: &str, count: impl FnOnce(&RequestSeries)) {
        match find(&self.published.load(), listener, route, pool) {
            Some(found) => count(found),
            None => count(&self.in_registry(listener, route, pool)),
        }
    }

    fn in_registry(&self, listener: &str, route: &str, pool: &str) -> Arc<RequestSeries> {
        let mut registry = self.registry.lock();
        let series = match find(&registry.by_route, listener, route, pool) {
            Some(found) => found.clone(),
            None => registry.add(listener, route, pool),
        };
        registry.missed += 1;
        if registry.missed >= self.published.load().len() {
            registry.missed = 0;
            self.published.store(Arc::new(registry.by_route.clone()));
        }
        series
    }

    /// Begins the series of combinations of listener, route and pool before their first request, because a rate does not
    /// see the burst that makes a series appear.
    pub(super) fn begin<'a>(&self, combinations: impl Iterator<Item = (&'a str, &'a str, &'a str)>) {
        let mut registry = self.registry.lock();
        for (listener, route, pool) in combinations.take(AHEAD_MAX) {
            if find(&registry.by_route, listener, route, pool).is_none() {
                registry.add(listener, route, pool);
            }
        }
        registry.missed = 0;
        self.published.store(Arc::new(registry.by_route.clone()));
    }

    pub(super) fn encode(&self, out: &mut Exposition) {
        let map = self.registry.lock().by_route.clone();
        // Sorted, so that two scrapes differ in their numbers only.
        let mut entries: Vec<_> = map.values().flat_map(|of_route| of_route.iter()).collect();
        entries.sort_by_key(|entry| (&entry.listener, &entry.route, &entry.pool.name));
        out.metric(
            "evenkeel_requests_total",
            Kind::Counter,
            "Requests answered, or given up by their clients.",
        );
        for entry in &entries {
            entry.encode(out);
        }
        out.metric(
            "evenkeel_requests_denied_total",
            Kind::Counter,
            "Requests that `allow` or `deny` refused, by list.",
        );
        for entry in &entries {
            let labels =
                [("listener", &*entry.listener), ("route", &*entry.route), ("pool", &*entry.pool.name)];
            entry.denied.encode(out, &labels, "list");
        }
        encode_bytes(out, &entries);
        encode_times(out, &entries);
        encode_auth(out, &entries);
        let pools: BTreeMap<_, _> = entries
            .iter()
            .filter(|entry| !entry.pool.name.is_empty())
            .map(|entry| (&*entry.pool.name, &*entry.pool))
            .collect();
        encode_pools(out, &pools);
    }
}

fn find<'a>(map: &'a ByRoute, listener: &str, route: &str, pool: &str) -> Option<&'a Arc<RequestSeries>> {
    map.get(route)?.iter().find(|entry| *entry.listener == *listener && *entry.pool.name == *pool)
}

fn encode_bytes(out: &mut Exposition, entries: &[&Arc<RequestSeries>]) {
    for (name, help, count) in [
        ("evenkeel_request_bytes_total", "Body bytes of requests, from clients.", BYTES_IN),
        ("evenkeel_response_bytes_total", "Body bytes of responses, to clients.", BYTES_OUT),
    ] {
        out.metric(name, Kind::Counter, help);
        for entry in entries {
            let labels =
                [("listener", &*entry.listener), ("route", &*entry.route), ("pool", &*entry.pool.name)];
            out.sample(&labels, entry.counts.sum(count, Ordering::Relaxed));
        }
    }
}

fn encode_times(out: &mut Exposition, entries: &[&Arc<RequestSeries>]) {
    let times: BTreeMap<_, _> =
        entries.iter().map(|entry| ((&entry.route, &entry.pool.name), &entry.times)).collect();
    out.metric(
        "evenkeel_request_duration_seconds",
        Kind::Histogram,
        "From a request's header to the last byte of its response.",
    );
    for ((route, pool), times) in &times {
        histogram::encode(out, &[("route", route), ("pool", pool)], &times.duration.counts());
    }
    out.metric(
        "evenkeel_request_wait_duration_seconds",
        Kind::Histogram,
        "How long those requests waited that had to: for room in a limit, or for an endpoint.",
    );
    for ((route, pool), times) in &times {
        histogram::encode(out, &[("route", route), ("pool", pool)], &times.waited.counts());
    }
}

fn encode_auth(out: &mut Exposition, entries: &[&Arc<RequestSeries>]) {
    let mut verdicts = BTreeMap::new();
    for entry in entries {
        for (kind, verdict, count) in entry.auth_verdicts() {
            *verdicts.entry((&*entry.route, kind, verdict)).or_insert(0) += count;
        }
    }
    out.metric("evenkeel_auth_total", Kind::Counter, "What authentication has said of requests.");
    for ((route, kind, verdict), count) in verdicts {
        out.sample(&[("route", route), ("kind", kind), ("verdict", verdict)], count);
    }
}

fn encode_pools(out: &mut Exposition, pools: &BTreeMap<&str, &PoolSeries>) {
    out.metric("evenkeel_retries_total", Kind::Counter, "Attempts that followed a failed one.");
    for (name, pool) in pools {
        pool.retries.encode(out, &[("pool", name)], "reason");
    }
    out.metric(
        "evenkeel_retries_refused_total",
        Kind::Counter,
        "Requests whose failure went to the client because no retry was allowed any more.",
    );
    for (name, pool) in pools {
        pool.retries_refused.encode(out, &[("pool", name)], "cause");
    }
    out.metric(
        "evenkeel_hedges_total",
        Kind::Counter,
        "Second attempts that were begun, or were to be begun, beside the first.",
    );
    for (name, pool) in pools {
        pool.hedges.encode(out, &[("pool", name)], "result");
    }
    out.metric("evenkeel_connect_duration_seconds", Kind::Histogram, "New connections to endpoints.");
    for (name, pool) in pools {
        histogram::encode(out, &[("pool", name)], &pool.connect.counts());
    }
    out.metric(
        "evenkeel_first_byte_duration_seconds",
        Kind::Histogram,
        "From an attempt's start to the first byte of the endpoint's response.",
    );
    for (name, pool) in pools {
        histogram::encode(out, &[("pool", name)], &pool.first_byte.counts());
    }
}

// === impl Registry ===

impl Registry {
    fn add(&mut self, listener: &str, route: &str, pool: &str) -> Arc<RequestSeries> {
        let known = self.by_route.get(route).cloned().unwrap_or_default();
        let times = known.iter().find(|entry| *entry.pool.name == *pool).map(|entry| entry.times.clone());
        let of_pool = self.pools.entry(pool.into()).or_insert_with(|| Arc::new(PoolSeries::new(pool)));
        let route: Arc<str> = route.into();
        let added = Arc::new(RequestSeries {
            listener: listener.into(),
            route: route.clone(),
            counts: Default::default(),
            times: times.unwrap_or_default(),
            auth: OnceLock::new(),
            denied: Counters::default(),
            pool: of_pool.clone(),
        });
        self.by_route.insert(route, known.iter().chain([&added]).cloned().collect());
        added
    }
}

// === impl RequestSeries ===

impl RequestSeries {
    pub(super) fn count(&self, record: &Record) {
        let method = record.text.method();
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let index = count_index(method, status_class(record.status));
        let counts = [(index, 1), (BYTES_IN, record.bytes_in), (BYTES_OUT, record.bytes_out)];
        self.counts.add_all(counts, Ordering::Relaxed);
        self.times.duration.observe(record.duration);
        if let Some(waited) = record.waited {
            self.times.waited.observe(waited);
        }
    }

    /// Counts what few requests have.
    pub(super) fn unusual(&self, unusual: &Unusual) {
        if let Some(auth) = &unusual.auth {
            self.authenticated(auth.kind, auth.verdict);
        }
        if let Some(refused_by) = &unusual.refused_by {
            self.denied.add(refused_by.list());
        }
        if let Some(refused) = unusual.retry_refused {
            self.pool.retries_refused.add(refused.label());
        }
        if let Some(hedge) = unusual.hedge {
            self.pool.hedges.add(hedge.label());
        }
    }

    fn authenticated(&self, kind: &str, verdict: Verdict) {
        let (Some(row), Some(column)) = (
            AUTH_KINDS.iter().position(|known| *known == kind),
            Verdict::ALL.iter().position(|known| *known == verdict),
        ) else {
            return;
        };
        let counts = self.auth.get_or_init(Box::default);
        counts.add(row * Verdict::ALL.len() + column, 1, Ordering::Relaxed);
    }

    /// How often each verdict was given by each kind of authentication; all of a kind that is in use.
    fn auth_verdicts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.auth.get().into_iter().flat_map(|counts| {
            AUTH_KINDS.iter().enumerate().flat_map(move |(row, kind)| {
                let sum = |column| counts.sum(row * Verdict::ALL.len() + column, Ordering::Relaxed);
                let counts = std::array::from_fn::<_, { Verdict::ALL.len() }, _>(sum);
                let is_used = counts.iter().any(|count| *count > 0);
                let verdicts = Verdict::ALL.into_iter().zip(counts).filter(move |_| is_used);
                verdicts.map(|(verdict, count)| (*kind, verdict.label(), count))
            })
        })
    }

    fn encode(&self, out: &mut Exposition) {
        for (row, method) in METHODS.iter().enumerate() {
            let counts = std::array::from_fn::<_, { STATUS_CLASSES.len() }, _>(|column| {
                self.counts.sum(count_index(row, column), Ordering::Relaxed)
            });
            // A method that is asked for has all its classes, so that a rate sees the first burst of errors. GET has them
            // from the start.
            if row > 0 && counts == [0; STATUS_CLASSES.len()] {
                continue;
            }
            for (class, count) in STATUS_CLASSES.iter().zip(counts) {
                let labels = [
                    ("listener", &*self.listener),
                    ("route", &*self.route),
                    ("pool", &*self.pool.name),
                    ("method", method),
                    ("status", class),
                ];
                out.sample(&labels, count);
            }
        }
    }
}

/// The index of a count in [`RequestSeries::counts`].
fn count_index(method: usize, class: usize) -> usize {
    method * STATUS_CLASSES.len() + class
}

// === impl PoolSeries ===

impl PoolSeries {
    fn new(name: &str) -> PoolSeries {
        PoolSeries {
            name: name.into(),
            retries: Counters::of(RETRY_REASONS),
            retries_refused: Counters::of(RetryRefused::ALL.map(RetryRefused::label)),
            hedges: Counters::of(HedgeResult::ALL.map(HedgeResult::label)),
            ..PoolSeries::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::record::{ClientAddress, Protocol, RequestText, TextParts};

    #[test]
    fn many_new_routes_make_few_maps_and_all_are_counted() {
        let series = Series::default();
        let asked = RequestText::new(TextParts { method: b"GET", ..TextParts::default() });
        let new = Record::new(SystemTime::UNIX_EPOCH, ClientAddress::unix(), asked, Protocol::Http11);
        let record = Record { status: 200, ..new };
        let mut maps = 0;
        for route in 0..10_000 {
            let before = series.published.load_full();
            series.with("l", &format!("r{route}"), "p", |requests| requests.count(&record));
            maps += usize::from(!Arc::ptr_eq(&before, &series.published.load()));
        }
        assert!(maps <= 20, "{maps}");
        let registry = series.registry.lock();
        assert_eq!((registry.by_route.len(), registry.pools.len()), (10_000, 1));
        let counted =
            |entry: &Arc<RequestSeries>| entry.counts.sum(count_index(0, 1), Ordering::Relaxed) == 1;
        assert!(registry.by_route.values().all(|entries| entries.iter().all(counted)));
    }

    #[test]
    fn a_series_that_was_missed_is_found_without_the_registry() {
        let series = Series::default();
        for _ in 0..3 {
            series.with("l", "first", "p", |_| ());
            series.with("l", "second", "p", |_| ());
        }
        let _locked = series.registry.lock();
        series.with("l", "second", "p", |requests| assert_eq!(&*requests.route, "second"));
    }
}
