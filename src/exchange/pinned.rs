//! What requests hold for as long as they live.

use std::ops::Deref;
use std::sync::Arc;

use super::{Exchange, decide};
use crate::config::{EndpointProtocol, Listener};
use crate::pool::Pool;
use crate::routing::RequestHead;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::listeners::ListenerCounters;

/// The snapshot in force and the listener that requests came by. Each worker has one of its own, which all its requests
/// hold: how often something is held is written into it, and what workers write in common goes to and fro between them.
pub struct Pinned {
    snapshot: Arc<Snapshot>,
    /// Apart, for those who wait for a request and must not keep a snapshot.
    listener: Arc<OwnListener>,
    telemetry: Arc<Telemetry>,
    counters: Arc<ListenerCounters>,
}

/// A listener as one worker has it.
pub struct OwnListener(Arc<Listener>);

impl OwnListener {
    pub fn is(&self, listener: &Arc<Listener>) -> bool {
        Arc::ptr_eq(&self.0, listener)
    }
}

impl Deref for OwnListener {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        &self.0
    }
}

impl Pinned {
    pub fn new(
        snapshot: Arc<Snapshot>,
        listener: Arc<Listener>,
        telemetry: Arc<Telemetry>,
        counters: Arc<ListenerCounters>,
    ) -> Arc<Self> {
        Arc::new(Self { snapshot, listener: Arc::new(OwnListener(listener)), telemetry, counters })
    }

    pub fn is_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    /// Whether it is of the same snapshot and listener as that.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.is_of(&other.snapshot) && self.listener.is(&other.listener.0)
    }

    pub fn listener(&self) -> &Arc<OwnListener> {
        &self.listener
    }

    /// Whether a request with that head would be for endpoints that speak HTTP/2.
    pub fn speaks_http2(&self, head: &impl RequestHead) -> bool {
        let pool = decide(&self.snapshot, head).pool();
        pool.is_some_and(|pool| pool.spec().protocol == EndpointProtocol::Http2)
    }

    /// The pool that was decided on for a request that holds this.
    pub fn pool_of(&self, exchange: &Exchange) -> Option<&Arc<Pool>> {
        self.route(exchange.route).map(|route| &route.pool)
    }

    /// The route at that place.
    pub(super) fn route(&self, place: Option<usize>) -> Option<&Route> {
        self.snapshot.routes().get(place?)
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    pub(super) fn counters(&self) -> &ListenerCounters {
        &self.counters
    }
}
