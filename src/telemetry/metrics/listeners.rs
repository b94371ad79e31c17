//! The counters of each listener: its connections, and the balance of its requests.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::counters::Counters;
use super::exposition::{Exposition, Kind};
use super::request_balance::{RequestBalance, RequestCounts};
use crate::sharded_counter::ShardedCounter;
use crate::telemetry::record::Outcome;

/// The counters of one listener.
pub struct ListenerCounters {
    listener: Arc<str>,
    connections: ShardedCounter<2>,
    refused: Counters,
    pauses: Counters,
    dismissed: Counters,
    request_counts: RequestCounts,
    http2: ShardedCounter<4>,
    /// By [`HANDSHAKES`]; `None`: the listener has never had TLS.
    handshakes: OnceLock<Box<ShardedCounter<{ HANDSHAKES.len() }>>>,
}

/// The end of a TLS handshake with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    Done {
        /// As in [`TlsInfo`](crate::tls::TlsInfo).
        version: &'static str,
        /// An earlier session went on.
        resumed: bool,
    },
    Failed,
    TimedOut,
}

/// Versions and results. One that has failed has no version: mostly none was agreed on.
const HANDSHAKES: [(&str, &str); 6] = [
    ("TLSv1.2", "full"),
    ("TLSv1.2", "resumed"),
    ("TLSv1.3", "full"),
    ("TLSv1.3", "resumed"),
    ("", "failed"),
    ("", "timeout"),
];

/// What is counted of requests over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub enum Http2Count {
    /// Requests that have begun.
    Begun,
    /// Requests that wait to begin.
    Waiting,
    /// Responses of which something is in memory, until their clients have taken it.
    Held,
    /// Responses that are not read further until that is true of fewer.
    Unread,
}

/// Counts one request over HTTP/2 until it is dropped.
#[must_use = "it counts only while this lives"]
pub struct CountedHttp2(Arc<ListenerCounters>, Http2Count);

/// Why a connection is refused, or ended without an answer.
const REFUSAL_REASONS: [&str; 11] = [
    "http2_flood",
    "http2_malformed",
    "http2_stalled",
    "proxy_header_malformed",
    "proxy_header_missing",
    "proxy_header_timeout",
    "proxy_header_untrusted",
    "system",
    "tls_handshake",
    "tls_handshake_timeout",
    "too_many_connections",
];

/// What a worker runs out of.
const PAUSE_REASONS: [&str; 4] = ["connections", "http2_requests", "max_connections", "system"];

/// What idle connections make room for.
const DISMISSAL_REASONS: [&str; 3] = ["connections", "max_connections", "memory"];

/// Indexes in `connections`: connections accepted since the start, and connections open now.
const ACCEPTED: usize = 0;
const OPEN: usize = 1;

/// Counts a connection as open until it is dropped.
#[must_use = "the connection counts as open only while this lives"]
pub struct OpenConnection(Arc<ListenerCounters>);

/// The counters of the listeners of all configs since the start: a counter that vanishes breaks every rate.
#[derive(Default)]
pub(super) struct ByListener(Mutex<Vec<Arc<ListenerCounters>>>);

impl ListenerCounters {
    fn new(listener: Arc<str>) -> Self {
        Self {
            listener,
            connections: ShardedCounter::default(),
            refused: Counters::of(REFUSAL_REASONS),
            pauses: Counters::of(PAUSE_REASONS),
            dismissed: Counters::of(DISMISSAL_REASONS),
            request_counts: RequestCounts::default(),
            http2: ShardedCounter::default(),
            handshakes: OnceLock::new(),
        }
    }

    /// Begins the series of TLS handshakes.
    pub fn begin_handshakes(&self) -> &ShardedCounter<{ HANDSHAKES.len() }> {
        self.handshakes.get_or_init(Box::default)
    }

    pub fn handshake(&self, handshake: Handshake) {
        let labels = match handshake {
            Handshake::Done { version, resumed: false } => (version, "full"),
            Handshake::Done { version, resumed: true } => (version, "resumed"),
            Handshake::Failed => ("", "failed"),
            Handshake::TimedOut => ("", "timeout"),
        };
        if let Some(index) = HANDSHAKES.iter().position(|known| *known == labels) {
            self.begin_handshakes().add(index, 1, Relaxed);
        }
    }

    /// Counts an accepted connection, which is open until the returned value is dropped.
    pub fn connection_accepted(self: &Arc<Self>) -> OpenConnection {
        self.connections.add(ACCEPTED, 1, Relaxed);
        self.connections.add(OPEN, 1, Relaxed);
        OpenConnection(self.clone())
    }

    /// Counts a connection that was refused before a request was read.
    pub fn refused(&self, reason: &'static str) {
        self.refused.add(reason);
    }

    /// Counts a request as in flight until [`ListenerCounters::request_closed`].
    pub fn request_accepted(&self) {
        self.request_counts.accept();
    }

    /// Counts that a request has ended.
    pub fn request_closed(&self, outcome: Outcome) {
        self.request_counts.close(outcome);
    }

    /// The number of open connections.
    pub fn open_connections(&self) -> u64 {
        not_below_zero(self.connections.sum(OPEN, Relaxed))
    }

    pub fn balance(&self) -> RequestBalance {
        self.request_counts.balance()
    }

    /// Counts an idle connection that was closed to make room for others.
    pub fn dismissed(&self, reason: &'static str) {
        self.dismissed.add(reason);
    }

    pub fn http2_more(&self, what: Http2Count) {
        self.http2.add(what as usize, 1, Relaxed);
    }

    pub fn http2_fewer(&self, what: Http2Count) {
        self.http2.add(what as usize, 1u64.wrapping_neg(), Relaxed);
    }

    pub fn count_http2(self: &Arc<Self>, what: Http2Count) -> CountedHttp2 {
        self.http2_more(what);
        CountedHttp2(self.clone(), what)
    }

    pub fn http2(&self, what: Http2Count) -> u64 {
        not_below_zero(self.http2.sum(what as usize, Relaxed))
    }

    /// Counts that a worker could accept no more connections for the time being.
    pub fn paused(&self, reason: &'static str) {
        self.pauses.add(reason);
    }
}

/// A sum is below zero where it misses the beginning of something, and sees its end.
fn not_below_zero(sum: u64) -> u64 {
    u64::try_from(sum.cast_signed()).unwrap_or(0)
}

impl Drop for CountedHttp2 {
    fn drop(&mut self) {
        self.0.http2_fewer(self.1);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.add(OPEN, 1u64.wrapping_neg(), Relaxed);
    }
}

impl ByListener {
    pub(super) fn of(&self, listener: &Arc<str>) -> Arc<ListenerCounters> {
        let mut all = self.0.lock();
        if let Some(found) = all.iter().find(|found| found.listener == *listener) {
            return found.clone();
        }
        let added = Arc::new(ListenerCounters::new(listener.clone()));
        all.push(added.clone());
        added
    }

    /// The sum of all balances.
    pub(super) fn balance(&self) -> RequestBalance {
        self.0
            .lock()
            .iter()
            .map(|counters| counters.balance())
            .fold(RequestBalance::default(), std::ops::Add::add)
    }

    pub(super) fn encode(&self, out: &mut Exposition) {
        let mut all = self.0.lock().clone();
        all.sort_by(|a, b| a.listener.cmp(&b.listener));
        out.metric("evenkeel_connections", Kind::Gauge, "Clients' connections that are open.");
        for counters in &all {
            out.sample(&[("listener", &counters.listener)], counters.open_connections());
        }
        out.metric("evenkeel_connections_total", Kind::Counter, "Clients' connections accepted.");
        for counters in &all {
            out.sample(&[("listener", &counters.listener)], counters.connections.sum(ACCEPTED, Relaxed));
        }
        out.metric(
            "evenkeel_connections_refused_total",
            Kind::Counter,
            "Clients' connections refused before a request was read.",
        );
        for counters in &all {
            counters.refused.encode(out, &[("listener", &counters.listener)], "reason");
        }
        out.metric(
            "evenkeel_accept_pauses_total",
            Kind::Counter,
            "Times that a worker could accept no more and clients had to wait.",
        );
        for counters in &all {
            counters.pauses.encode(out, &[("listener", &counters.listener)], "reason");
        }
        out.metric(
            "evenkeel_idle_connections_closed_total",
            Kind::Counter,
            "Clients' connections closed while they were idle, to make room for others.",
        );
        for counters in &all {
            counters.dismissed.encode(out, &[("listener", &counters.listener)], "reason");
        }
        request_balance(out, &all);
        http2(out, &all);
        handshakes(out, &all);
    }
}

fn http2(out: &mut Exposition, all: &[Arc<ListenerCounters>]) {
    let mut gauge = |name, help, states: [(&str, Http2Count); 2]| {
        out.metric(name, Kind::Gauge, help);
        for counters in all {
            for (state, count) in states {
                out.sample(&[("listener", &counters.listener), ("state", state)], counters.http2(count));
            }
        }
    };
    gauge(
        "evenkeel_http2_requests",
        "Requests over HTTP/2 that have begun, or wait to.",
        [("begun", Http2Count::Begun), ("waiting", Http2Count::Waiting)],
    );
    gauge(
        "evenkeel_http2_responses",
        "Responses over HTTP/2 that are in memory until their clients take them, or wait to be read.",
        [("held", Http2Count::Held), ("unread", Http2Count::Unread)],
    );
}

fn handshakes(out: &mut Exposition, all: &[Arc<ListenerCounters>]) {
    out.metric("evenkeel_tls_handshakes_total", Kind::Counter, "TLS handshakes with clients, by result.");
    for counters in all {
        let Some(counts) = counters.handshakes.get() else { continue };
        for (index, (version, result)) in HANDSHAKES.into_iter().enumerate() {
            let labels = [("listener", &*counters.listener), ("version", version), ("result", result)];
            out.sample(&labels, counts.sum(index, Relaxed));
        }
    }
}

fn request_balance(out: &mut Exposition, all: &[Arc<ListenerCounters>]) {
    let balances: Vec<_> = all.iter().map(|counters| (&*counters.listener, counters.balance())).collect();
    out.metric(
        "evenkeel_requests_accepted_total",
        Kind::Counter,
        "Requests whose header arrived, or was refused.",
    );
    for (listener, balance) in &balances {
        out.sample(&[("listener", listener)], balance.accepted);
    }
    out.metric("evenkeel_request_outcomes_total", Kind::Counter, "Requests that have ended, by how.");
    for (listener, balance) in &balances {
        let outcomes = [
            ("answered", balance.answered),
            ("refused", balance.refused),
            ("client_gone", balance.client_gone),
            ("cut", balance.cut),
        ];
        for (outcome, count) in outcomes {
            out.sample(&[("listener", listener), ("outcome", outcome)], count);
        }
    }
    out.metric("evenkeel_requests_in_flight", Kind::Gauge, "Requests accepted that have not ended.");
    for (listener, balance) in &balances {
        out.sample(&[("listener", listener)], balance.in_flight);
    }
}
