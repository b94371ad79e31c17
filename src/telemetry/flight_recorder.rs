//! The flight recorder: the last minute of what has happened, in memory that is bounded.
//!
//! It has the events of the event log, the requests that went wrong, and what was measured each second. Requests that
//! went well leave nothing here, but for one check.

mod ring;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::access;
use super::record::{NamedRecord, Outcome};
use super::time;
use ring::{Entry, Ring};

/// How much of the past is kept.
pub const SPAN: Duration = Duration::from_secs(60);

/// A request that takes longer than this is kept, even if it went well.
pub const SLOW: Duration = Duration::from_secs(1);

/// Bytes of the events that are kept, of the requests, and of what was measured.
const EVENT_BYTES: usize = 512 << 10;
const REQUEST_BYTES: usize = 2 << 20;
const SECOND_BYTES: usize = 512 << 10;

/// Requests that are kept of each second; the others are counted.
const REQUESTS_A_SECOND: u64 = 200;

pub struct FlightRecorder {
    events: Mutex<Ring>,
    requests: Mutex<Ring>,
    seconds: Mutex<Ring>,
    /// Requests that have failed since the start, not by their clients' fault.
    failed: AtomicU64,
    quota: Quota,
}

/// Lets some of each second pass.
#[derive(Default)]
struct Quota {
    /// The second in the upper half, and in the lower one how many have come in it.
    second: AtomicU64,
}

/// What was measured in a second.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Second {
    /// Requests that have ended, and those of them that failed, not by their clients' fault.
    pub ended: u64,
    pub failed: u64,
    pub client_gone: u64,
    /// Requests that are served or wait.
    pub in_flight: u64,
    /// The pools that have something to say: the ones without endpoint first, then those with the longest queue.
    pub pools: Vec<PoolSecond>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PoolSecond {
    pub name: String,
    /// It has an endpoint that is neither unhealthy nor unreachable, or fails open.
    pub available: bool,
    pub in_flight: u64,
    pub waiting: u64,
}

// === impl FlightRecorder ===

impl Default for FlightRecorder {
    fn default() -> Self {
        Self {
            events: Mutex::new(Ring::new(EVENT_BYTES)),
            requests: Mutex::new(Ring::new(REQUEST_BYTES)),
            seconds: Mutex::new(Ring::new(SECOND_BYTES)),
            failed: AtomicU64::new(0),
            quota: Quota::default(),
        }
    }
}

impl FlightRecorder {
    /// An event of the event log, as a JSON object.
    pub(super) fn event(&self, json: &[u8], at: SystemTime) {
        self.events.lock().push(Entry::new(at, json));
    }

    /// A request that has ended.
    #[inline]
    pub(super) fn request(&self, record: NamedRecord<'_>) {
        let went_well = record.status < 499
            && record.attempts.len() <= 1
            && record.duration < SLOW
            && record.outcome != Outcome::Cut;
        if !went_well {
            self.unusual_request(record);
        }
    }

    #[cold]
    fn unusual_request(&self, record: NamedRecord<'_>) {
        if record.status >= 500 || record.outcome == Outcome::Cut {
            self.failed.fetch_add(1, Relaxed);
        }
        let at = record.time + record.duration;
        if !self.quota.take(at, REQUESTS_A_SECOND) {
            self.requests.lock().lost(at);
            return;
        }
        let mut line = Vec::with_capacity(512);
        access::write_masked(&mut line, record);
        self.requests.lock().push(Entry::new(at, &line));
    }

    pub fn second(&self, second: &Second, at: SystemTime) {
        if let Ok(json) = serde_json::to_vec(second) {
            self.seconds.lock().push(Entry::new(at, &json));
        }
    }

    /// Requests that have failed since the start.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// What is kept, in order of time: one JSON object a line, with `at` and one of `event`, `request` and `second`. And how
    /// many entries of the time are not kept, because there were too many.
    pub fn timeline(&self, now: SystemTime) -> (Vec<u8>, u64) {
        let mut all: Vec<(Entry, &str)> = Vec::new();
        let mut lost = 0;
        for (ring, kind) in [(&self.events, "event"), (&self.requests, "request"), (&self.seconds, "second")]
        {
            let (entries, ring_lost) = ring.lock().since(now - SPAN);
            all.extend(entries.into_iter().map(|entry| (entry, kind)));
            lost += ring_lost;
        }
        all.sort_by_key(|(entry, _)| entry.at);
        let mut out = Vec::new();
        all.iter().for_each(|(entry, kind)| write_line(&mut out, entry, kind));
        (out, lost)
    }

    /// The events alone, as [`Self::timeline`] has them.
    pub fn event_lines(&self, now: SystemTime) -> Vec<u8> {
        let (entries, _) = self.events.lock().since(now - SPAN);
        let mut out = Vec::new();
        entries.iter().for_each(|entry| write_line(&mut out, entry, "event"));
        out
    }
}

/// `{"at":"2026-11-24T12:01:00.500000Z","event":{...}}`
fn write_line(out: &mut Vec<u8>, entry: &Entry, kind: &str) {
    out.extend_from_slice(b"{\"at\":\"");
    time::rfc3339(out, entry.at);
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, "\",\"{kind}\":");
    out.extend_from_slice(&entry.json);
    out.extend_from_slice(b"}\n");
}

// === impl Quota ===

impl Quota {
    /// Whether one of that second may pass. Where seconds get mixed up, a few more do.
    fn take(&self, at: SystemTime, most: u64) -> bool {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() << 32;
        let next = |now: u64| if now >> 32 == second >> 32 { now + 1 } else { second + 1 };
        let before = self.second.fetch_update(Relaxed, Relaxed, |now| Some(next(now))).unwrap_or_default();
        next(before) & 0xffff_ffff <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_521_600) + Duration::from_millis(millis)
    }

    #[test]
    fn the_timeline_is_in_order_and_as_long_as_the_span() {
        let recorder = FlightRecorder::default();
        recorder.event(b"{\"message\":\"old\"}", at(0));
        recorder.event(b"{\"message\":\"a\"}", at(61_000));
        recorder
            .second(&Second { ended: 1, failed: 0, client_gone: 0, in_flight: 2, pools: vec![] }, at(60_500));
        let (lines, lost) = recorder.timeline(at(120_000));
        assert_eq!(
            String::from_utf8(lines).expect("text"),
            "{\"at\":\"2026-11-24T12:01:00.500000Z\",\"second\":{\"ended\":1,\"failed\":0,\"client_gone\":0,\"in_flight\":2,\"pools\":[]}}\n\
             {\"at\":\"2026-11-24T12:01:01.000000Z\",\"event\":{\"message\":\"a\"}}\n"
        );
        assert_eq!(lost, 0);
        assert_eq!(
            String::from_utf8(recorder.event_lines(at(120_000))).expect("text"),
            "{\"at\":\"2026-11-24T12:01:01.000000Z\",\"event\":{\"message\":\"a\"}}\n"
        );
    }

    #[test]
    fn a_second_has_so_many_and_the_next_one_as_many() {
        let quota = Quota::default();
        let passed = |millis| (0..50).filter(|_| quota.take(at(millis), 20)).count();
        assert_eq!([passed(0), passed(999), passed(1000)], [20, 0, 20]);
    }
}
