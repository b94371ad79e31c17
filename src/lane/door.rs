//! What the connections of one listener share, over all workers: who may come in.

use std::sync::Arc;

use super::guests::{Guest, Guests};
use super::places::{Place, Places};
use crate::config::Listener;
use crate::telemetry::metrics::connections::Connections;
use crate::telemetry::record::ClientAddress;

/// Refused clients that are given time to read why: more of them would take the places of others.
const REFUSED_LINGERING: usize = 64;

pub struct Door {
    /// The listener's name.
    pub listener: Arc<str>,
    pub places: Arc<Places>,
    pub counters: Arc<Connections>,
    guests: Arc<Guests>,
    refused: Arc<Places>,
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
        })
    }

    /// Counts the connection of a client; `None` where nobody counts it.
    pub fn admit(&self, client: &ClientAddress, listener: &Listener) -> Result<Option<Guest>, TooMany> {
        let (Some(ip), Some(most)) = (client.ip(), listener.connections.per_client) else {
            return Ok(None);
        };
        // Behind such an address are many clients.
        if listener.trusted_proxies.iter().any(|net| net.contains(&ip)) {
            return Ok(None);
        }
        self.guests.admit(ip, most).map(Some).ok_or(TooMany)
    }

    /// Whether a refused client may be given time to read why.
    pub fn may_linger(&self) -> Option<Place> {
        self.refused.take(REFUSED_LINGERING)
    }
}
