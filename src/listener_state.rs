//! The state that the connections of one listener share, over all workers: permits, counters, and whether they have to
//! go.

pub mod client_permits;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Listener;
use crate::listener_state::client_permits::{ClientPermit, ClientPermits};
use crate::log_throttle::LogThrottle;
use crate::permits::{Permit, Permits};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::listeners::ListenerCounters;
use crate::telemetry::record::ClientAddress;

/// Refused clients that may stay connected to read the reason: more would take the permits of others.
const REFUSED_LINGERING: usize = 64;

pub struct ListenerState {
    /// The listener's name.
    pub listener: Arc<str>,
    pub permits: Arc<Permits>,
    pub counters: Arc<ListenerCounters>,
    client_permits: Arc<ClientPermits>,
    lingering: Arc<Permits>,
    /// The listener's last config, and when the listener was removed; unset while it is in the config.
    retired: OnceLock<(Arc<Listener>, Instant)>,
    /// The clients have to go: the listener is retired, or the process stops.
    leaving: watch::Sender<bool>,
    turned_away_log: Mutex<LogThrottle>,
    waiting_log: Mutex<LogThrottle>,
}

/// The client has as many connections as the listener allows each client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl ListenerState {
    pub fn new(listener: Arc<str>, counters: Arc<ListenerCounters>) -> Arc<Self> {
        Arc::new(Self {
            listener,
            permits: Arc::default(),
            counters,
            client_permits: Arc::default(),
            lingering: Arc::default(),
            retired: OnceLock::new(),
            leaving: watch::Sender::new(false),
            turned_away_log: Mutex::default(),
            waiting_log: Mutex::default(),
        })
    }

    /// A new state for the same listener at another address, with the same permits and counters: open connections still
    /// count.
    pub fn elsewhere(&self) -> Arc<Self> {
        Arc::new(Self {
            listener: self.listener.clone(),
            permits: self.permits.clone(),
            counters: self.counters.clone(),
            client_permits: self.client_permits.clone(),
            lingering: self.lingering.clone(),
            retired: OnceLock::new(),
            leaving: watch::Sender::new(false),
            turned_away_log: Mutex::default(),
            waiting_log: Mutex::default(),
        })
    }

    /// The listener's config: in the snapshot, or the last one if it is retired.
    pub fn in_force<'a>(&'a self, snapshot: &'a Snapshot) -> Option<&'a Arc<Listener>> {
        let last = self.retired.get().map(|(last, _)| last);
        last.or_else(|| snapshot.listener(&self.listener))
    }

    /// The listener is about to be removed from the config: its clients are served, and told to go.
    pub fn retire(&self, last: Arc<Listener>) {
        // Only the first call counts.
        let _ = self.retired.set((last, Instant::now()));
        self.leave();
    }

    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Whether the clients have to go; changes once.
    pub fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    pub fn is_retired(&self) -> bool {
        self.retired.get().is_some()
    }

    pub fn retired_at(&self) -> Option<Instant> {
        self.retired.get().map(|(_, at)| *at)
    }

    /// Counts the connection of a client; `None`: this client has no limit.
    pub fn admit(
        &self,
        client: &ClientAddress,
        listener: &Listener,
    ) -> Result<Option<ClientPermit>, TooMany> {
        let (Some(ip), Some(most)) = (client.ip(), listener.connections.per_client) else {
            return Ok(None);
        };
        // A trusted proxy stands for many clients.
        if listener.trusts(ip) {
            return Ok(None);
        }
        self.client_permits.admit(ip, most).map(Some).ok_or(TooMany)
    }

    /// Counts a connection that was closed without an answer, and logs it, but not each time.
    pub fn turned_away(&self, peer: &ClientAddress, reason: &'static str, detail: &str) {
        self.counters.refused(reason);
        if let Some(count) = self.turned_away_log.lock().due(Instant::now()) {
            let (listener, peer) = (&*self.listener, peer.text());
            log::warn!(listener, peer, reason, detail, count; "connection turned away");
        }
    }

    /// Counts an HTTP/2 request that has to wait for a permit, and logs it, but not each time.
    pub fn waits_for_turn(&self) {
        self.counters.paused("http2_requests");
        if let Some(count) = self.waiting_log.lock().due(Instant::now()) {
            let listener = &*self.listener;
            log::warn!(listener, count; "HTTP/2 requests wait");
        }
    }

    /// A permit for a refused client to stay connected until it has read the reason; `None`: too many do.
    pub fn may_linger(&self) -> Option<Permit> {
        self.lingering.take(REFUSED_LINGERING)
    }
}
