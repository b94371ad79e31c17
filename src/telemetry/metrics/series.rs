//! The counters of requests, found by listener, route and pool without a lock.
//!
//! The map is immutable and replaced when a new combination appears, which is rare: there are as many as the config
//! has routes and listeners. Nothing is ever removed, for a counter that vanishes at a reload breaks every rate; the
//! names of all configs since the start are the limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::AHashMap;
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::exposition::{Exposition, Kind};
use super::histogram::Histogram;

/// Other methods are counted as the last.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Default)]
pub(super) struct Series {
    /// By route; the few listeners and pools of a route are searched.
    by_route: ArcSwap<AHashMap<Box<str>, Vec<Arc<RequestSeries>>>>,
    /// Held while a combination is added.
    adding: Mutex<()>,
}

/// Of one listener, route and pool; an empty name is "none".
pub(super) struct RequestSeries {
    listener: Box<str>,
    route: Box<str>,
    counts: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    /// Shared with the same route and pool on other listeners.
    duration: Arc<Histogram>,
    /// Shared with everything that uses the pool.
    pub(super) pool: Arc<PoolSeries>,
}

#[derive(Default)]
pub(super) struct PoolSeries {
    name: Box<str>,
    pub(super) connect: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) retries: Counters,
}

/// Counters by a label from a fixed set. For what is rare: a read lock and a short search.
#[derive(Default)]
pub(super) struct Counters(RwLock<Vec<(&'static str, AtomicU64)>>);

// === impl Series ===

impl Series {
    /// Hands the combination's counters to `count`; makes them first where they are new.
    pub(super) fn with(&self, listener: &str, route: &str, pool: &str, count: impl FnOnce(&RequestSeries)) {
        let map = self.by_route.load();
        if let Some(found) = map.get(route).and_then(|entries| find(entries, listener, pool)) {
            return count(found);
        }
        count(&self.add(listener, route, pool));
    }

    fn add(&self, listener: &str, route: &str, pool: &str) -> Arc<RequestSeries> {
        let _adding = self.adding.lock();
        let map = self.by_route.load_full();
        if let Some(found) = map.get(route).and_then(|entries| find(entries, listener, pool)) {
            return found.clone();
        }
        let of_pool = map.values().flatten().find(|entry| *entry.pool.name == *pool);
        let of_route =
            map.get(route).and_then(|entries| entries.iter().find(|entry| *entry.pool.name == *pool));
        let added = Arc::new(RequestSeries {
            listener: listener.into(),
            route: route.into(),
            counts: Default::default(),
            duration: of_route.map(|entry| entry.duration.clone()).unwrap_or_default(),
            pool: of_pool.map_or_else(|| Arc::new(PoolSeries::new(pool)), |entry| entry.pool.clone()),
        });
        let mut next = AHashMap::clone(&map);
        next.entry(route.into()).or_default().push(added.clone());
        self.by_route.store(Arc::new(next));
        added
    }

    pub(super) fn encode(&self, out: &mut Exposition) {
        let map = self.by_route.load_full();
        // Ordered, so that two scrapes differ in their numbers only.
        let mut entries: Vec<_> = map.values().flatten().collect();
        entries.sort_by_key(|entry| (&entry.listener, &entry.route, &entry.pool.name));
        out.metric(
            "evenkeel_requests_total",
            Kind::Counter,
            "Requests answered, or given up by their clients.",
        );
        for entry in &entries {
            entry.encode(out);
        }
        let durations: BTreeMap<_, _> =
            entries.iter().map(|entry| ((&entry.route, &entry.pool.name), &entry.duration)).collect();
        out.metric(
            "evenkeel_request_duration_seconds",
            Kind::Histogram,
            "From a request's header to the last byte of its response.",
        );
        for ((route, pool), duration) in durations {
            duration.encode(out, &[("route", route), ("pool", pool)]);
        }
        let pools: BTreeMap<_, _> = entries
            .iter()
            .filter(|entry| !entry.pool.name.is_empty())
            .map(|entry| (&*entry.pool.name, &*entry.pool))
            .collect();
        encode_pools(out, &pools);
    }
}

fn find<'a>(entries: &'a [Arc<RequestSeries>], listener: &str, pool: &str) -> Option<&'a Arc<RequestSeries>> {
    entries.iter().find(|entry| *entry.listener == *listener && *entry.pool.name == *pool)
}

fn encode_pools(out: &mut Exposition, pools: &BTreeMap<&str, &PoolSeries>) {
    out.metric("evenkeel_retries_total", Kind::Counter, "Attempts that followed a failed one.");
    for (name, pool) in pools {
        pool.retries.encode(out, &[("pool", name)], "reason");
    }
    out.metric("evenkeel_connect_duration_seconds", Kind::Histogram, "New connections to endpoints.");
    for (name, pool) in pools {
        pool.connect.encode(out, &[("pool", name)]);
    }
    out.metric(
        "evenkeel_first_byte_duration_seconds",
        Kind::Histogram,
        "From an attempt's start to the first byte of the endpoint's response.",
    );
    for (name, pool) in pools {
        pool.first_byte.encode(out, &[("pool", name)]);
    }
}

// === impl RequestSeries ===

impl RequestSeries {
    pub(super) fn count(&self, method: &str, status: u16, duration: Duration) {
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.counts[method][class].fetch_add(1, Ordering::Relaxed);
        self.duration.observe(duration);
    }

    fn encode(&self, out: &mut Exposition) {
        for (method, counts) in METHODS.iter().zip(&self.counts) {
            for (class, count) in CLASSES.iter().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
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
}

// === impl PoolSeries ===

impl PoolSeries {
    fn new(name: &str) -> PoolSeries {
        PoolSeries { name: name.into(), ..PoolSeries::default() }
    }
}

// === impl Counters ===

impl Counters {
    pub(super) fn add(&self, label: &'static str) {
        if let Some((_, count)) = self.0.read().iter().find(|(known, _)| *known == label) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut counts = self.0.write();
        match counts.iter().find(|(known, _)| *known == label) {
            Some((_, count)) => drop(count.fetch_add(1, Ordering::Relaxed)),
            None => counts.push((label, AtomicU64::new(1))),
        }
    }

    pub(super) fn encode(&self, out: &mut Exposition, labels: &[(&str, &str)], name: &str) {
        let counts = self.0.read();
        let ordered: BTreeMap<_, _> =
            counts.iter().map(|(label, count)| (*label, count.load(Ordering::Relaxed))).collect();
        for (label, count) in ordered {
            out.suffixed("", labels, Some((name, label)), count);
        }
    }
}
