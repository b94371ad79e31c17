//! Counts the results and failures of clients and operations. Its size does not depend on the length of the run.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::latency::Latencies;
use super::stage::Stage;

/// Failures of clients that are kept in full, and as many of operations; of more, only the number is kept.
const KEPT_MAX: usize = 20;
/// Similar failures that are kept in full: a thousand of one kind must not hide the only one of another.
const ALIKE_MAX: usize = 3;

/// The kinds of clients, which differ in how they use connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One request after the other on one connection, until the proxy announces its close.
    KeepAlive,
    /// A connection for each request.
    NewConnection,
    /// A few requests at a time on one HTTP/2 connection.
    Http2,
    Download,
    Upload,
    WebSocket,
    /// No client, but the operator, who reloads, stops and upgrades.
    Operator,
}

/// A failure of a client or an operation.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    pub client: Kind,
    pub expected: String,
    pub got: String,
    /// Since the beginning of what failed.
    pub after_ms: u64,
    /// Since the beginning of the whole run.
    pub at_seconds: f64,
    /// The operation, and its number.
    pub during: String,
    /// How many more similar failures there were.
    pub alike: u64,
}

/// What was expected, and what happened instead.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) got: String,
}

/// Counts since the last [`Tally::take`].
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Requests, including WebSocket messages.
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// Connections refused while no proxy ran.
    pub(super) refused: u64,
    /// Connections whose close the proxy had announced.
    pub(super) announced: u64,
    /// WebSockets that ended with the code 1001.
    pub(super) told: u64,
    /// WebSockets that ended otherwise.
    pub(super) cut: u64,
    pub(super) latencies: Latencies,
}

#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    counts: Counts,
    websockets: usize,
    failures: Vec<Failure>,
    failures_in_all: u64,
}

// === impl Mismatch ===

impl Mismatch {
    pub(super) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into() }
    }
}

// === impl Kind ===

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive client",
            Self::NewConnection => "new connection",
            Self::Http2 => "HTTP/2 client",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::WebSocket => "WebSocket",
            Self::Operator => "operator",
        }
    }
}

// === impl Failure ===

impl Failure {
    /// Whether two failures differ in numbers only.
    fn is_like(&self, other: &Self) -> bool {
        let operation =
            |failure: &Self| failure.during.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        self.client == other.client && self.expected == other.expected && operation(self) == operation(other)
    }
}

// === impl Counted ===

impl Counted {
    fn keep(&mut self, failure: Failure) {
        self.failures_in_all += 1;
        let alike = self.failures.iter().filter(|kept| kept.is_like(&failure)).count();
        // Failures of operations have their own limit: they are few, and explain those of clients.
        let is_operator = |of: &Failure| of.client == Kind::Operator;
        let kept = self.failures.iter().filter(|kept| is_operator(kept) == is_operator(&failure)).count();
        if alike < ALIKE_MAX && kept < KEPT_MAX {
            self.failures.push(failure);
        } else if let Some(last) = self.failures.iter_mut().rfind(|kept| kept.is_like(&failure)) {
            last.alike += 1;
        }
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, counted: Mutex::default() }
    }

    /// Counts a request with the right answer.
    pub(super) fn answered(&self, kind: Kind, after: Duration) {
        let counts = &mut self.counted.lock().counts;
        counts.requests += 1;
        // Downloads are slow on purpose.
        if matches!(kind, Kind::KeepAlive | Kind::NewConnection) {
            counts.latencies.add(after);
        }
    }

    /// Counts a failure of a request, a WebSocket or an operation.
    pub(super) fn failed(&self, kind: Kind, began: Instant, wrong: Mismatch, stage: &Stage) {
        let failure = Failure {
            client: kind,
            expected: wrong.expected,
            got: wrong.got,
            after_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            at_seconds: self.began.elapsed().as_secs_f64(),
            during: stage.name(),
            alike: 0,
        };
        let counted = &mut *self.counted.lock();
        if kind != Kind::Operator {
            counted.counts.requests += 1;
            counted.counts.failed += 1;
        }
        counted.keep(failure);
    }

    pub(super) fn refused(&self) {
        self.counted.lock().counts.refused += 1;
    }

    pub(super) fn announced(&self) {
        self.counted.lock().counts.announced += 1;
    }

    pub(super) fn websocket_opened(&self) {
        self.counted.lock().websockets += 1;
    }

    pub(super) fn websocket_ended(&self) {
        let websockets = &mut self.counted.lock().websockets;
        *websockets = websockets.saturating_sub(1);
    }

    pub(super) fn cut(&self) {
        self.counted.lock().counts.cut += 1;
    }

    pub(super) fn told(&self) {
        self.counted.lock().counts.told += 1;
    }

    /// The number of open WebSockets.
    pub(super) fn websockets(&self) -> usize {
        self.counted.lock().websockets
    }

    /// Returns the counts since the last call.
    pub(super) fn take(&self) -> Counts {
        std::mem::take(&mut self.counted.lock().counts)
    }

    pub(super) fn failures(&self) -> u64 {
        self.counted.lock().failures_in_all
    }

    /// The first failures, and how many there were in all.
    pub(super) fn complaints(&self) -> (Vec<Failure>, u64) {
        let counted = self.counted.lock();
        (counted.failures.clone(), counted.failures_in_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_alike_do_not_hide_another_one() {
        let (tally, stage) = (Tally::new(Instant::now()), Stage::default());
        for number in 1..=1000 {
            stage.begin("reload", number);
            tally.failed(
                Kind::WebSocket,
                Instant::now(),
                Mismatch::new("an echo", number.to_string()),
                &stage,
            );
        }
        tally.failed(Kind::Download, Instant::now(), Mismatch::new("200", "502"), &stage);
        let (kept, in_all) = tally.complaints();
        assert_eq!(in_all, 1001);
        let kept: Vec<_> = kept.iter().map(|kept| (kept.client, kept.got.as_str(), kept.alike)).collect();
        let websocket = Kind::WebSocket;
        assert_eq!(
            kept,
            [(websocket, "1", 0), (websocket, "2", 0), (websocket, "3", 997), (Kind::Download, "502", 0)]
        );
        let counts = tally.take();
        assert_eq!((counts.failed, counts.cut, counts.requests), (1001, 0, 1001));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (tally, stage) = (Tally::new(Instant::now()), Stage::default());
        for number in 0..1000 {
            tally.failed(Kind::Upload, Instant::now(), Mismatch::new(number.to_string(), "nothing"), &stage);
        }
        let (kept, in_all) = tally.complaints();
        assert_eq!((kept.len(), in_all), (KEPT_MAX, 1000));
    }
}
