//! The counters of clients' connections, by listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::exposition::{Exposition, Kind};
use super::series::Counters;

/// Of one listener.
pub struct Connections {
    listener: Arc<str>,
    open: AtomicU64,
    accepted: AtomicU64,
    refused: Counters,
    pauses: Counters,
}

/// An open connection; dropped, it no longer is.
#[must_use = "the connection counts as open only while this lives"]
pub struct Open(Arc<Connections>);

/// There are as many as listeners in all configs since the start: a counter that vanishes breaks every rate.
#[derive(Default)]
pub(super) struct ByListener(Mutex<Vec<Arc<Connections>>>);

impl Connections {
    fn new(listener: Arc<str>) -> Self {
        Self {
            listener,
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: Counters::default(),
            pauses: Counters::default(),
        }
    }

    /// Counts a connection as open until the answer is dropped.
    pub fn accepted(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    /// Counts a connection that was refused before a request was read.
    pub fn refused(&self, reason: &'static str) {
        self.refused.add(reason);
    }

    /// Counts that no more could be accepted for the time being.
    pub fn paused(&self, reason: &'static str) {
        self.pauses.add(reason);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl ByListener {
    pub(super) fn of(&self, listener: &Arc<str>) -> Arc<Connections> {
        let mut all = self.0.lock();
        if let Some(found) = all.iter().find(|found| found.listener == *listener) {
            return found.clone();
        }
        let added = Arc::new(Connections::new(listener.clone()));
        all.push(added.clone());
        added
    }

    pub(super) fn encode(&self, out: &mut Exposition) {
        let mut all = self.0.lock().clone();
        all.sort_by(|a, b| a.listener.cmp(&b.listener));
        out.metric("evenkeel_connections", Kind::Gauge, "Clients' connections that are open.");
        for of in &all {
            out.sample(&[("listener", &of.listener)], of.open.load(Relaxed));
        }
        out.metric("evenkeel_connections_total", Kind::Counter, "Clients' connections accepted.");
        for of in &all {
            out.sample(&[("listener", &of.listener)], of.accepted.load(Relaxed));
        }
        out.metric(
            "evenkeel_connections_refused_total",
            Kind::Counter,
            "Clients' connections refused before a request was read.",
        );
        for of in &all {
            of.refused.encode(out, &[("listener", &of.listener)], "reason");
        }
        out.metric(
            "evenkeel_accept_pauses_total",
            Kind::Counter,
            "Times that a worker could accept no more and clients had to wait.",
        );
        for of in &all {
            of.pauses.encode(out, &[("listener", &of.listener)], "reason");
        }
    }
}
