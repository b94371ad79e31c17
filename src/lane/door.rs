//! What the connections of one listener share, over all workers: who may come in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::guests::{Guest, Guests};
use super::places::{Place, Places};
use crate::config::Listener;
use crate::telemetry::metrics::connections::Connections;
use crate::telemetry::record::ClientAddress;

/// Refused clients that are given time to read why: more of them would take the places of others.
const REFUSED_LINGERING: usize = 64;

/// How often the log says that connections were turned away.
const REPORT_EVERY: Duration = Duration::from_secs(10);

pub struct Door {
    /// The listener's name.
    pub listener: Arc<str>,
    pub places: Arc<Places>,
    pub counters: Arc<Connections>,
    guests: Arc<Guests>,
    refused: Arc<Places>,
    report: Mutex<Report>,
}

/// What the log has been told of connections that were turned away.
#[derive(Default)]
struct Report {
    last: Option<Instant>,
    /// Since then.
    untold: u64,
}

/// The client has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Door {
    pub fn new(listener: Arc<str>, counters: Arc<Connections>) -> Arc<Self> {
        Arc::new(Self {
            listener,
            places: Arc::default(),
            counters,
            guests: Arc::default(),
            refused: Arc::default(),
            report: Mutex::default(),
        })
    }

    /// Counts the connection of a client; `None` where nobody counts it.
    pub fn admit(&self, client: &ClientAddress, listener: &Listener) -> Result<Option<Guest>, TooMany> {
        let (Some(ip), Some(most)) = (client.ip(), listener.connections.per_client) else {
            return Ok(None);
        };
        // Behind such an address are many clients.
        if listener.trusts(ip) {
            return Ok(None);
        }
        self.guests.admit(ip, most).map(Some).ok_or(TooMany)
    }

    /// Counts a connection that was closed without an answer, and says so in the log, but not each time.
    pub fn turned_away(&self, peer: &ClientAddress, reason: &'static str, detail: &'static str) {
        self.counters.refused(reason);
        if let Some(count) = self.report.lock().due(Instant::now()) {
            let (listener, peer) = (&*self.listener, peer.text());
            log::warn!(listener, peer, reason, detail, count; "connection turned away");
        }
    }

    /// Whether a refused client may be given time to read why.
    pub fn may_linger(&self) -> Option<Place> {
        self.refused.take(REFUSED_LINGERING)
    }
}

impl Report {
    /// How many to tell of, if it is time to.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.last.is_some_and(|last| now.duration_since(last) < REPORT_EVERY) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_of_all_but_not_at_once() {
        let mut report = Report::default();
        let start = Instant::now();
        assert_eq!(report.due(start), Some(1));
        assert_eq!(report.due(start), None);
        assert_eq!(report.due(start + REPORT_EVERY / 2), None);
        assert_eq!(report.due(start + REPORT_EVERY), Some(3));
        assert_eq!(report.due(start + REPORT_EVERY * 3), Some(1));
    }
}
