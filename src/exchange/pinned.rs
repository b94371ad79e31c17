//! What requests hold for as long as they live.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::decide;
use crate::config::{self, EndpointProtocol, Listener};
use crate::routing::RequestHead;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::listeners::ListenerCounters;

/// The snapshot in force and the listener that requests came by. Each worker has one of its own, which all its requests
/// hold: how often something is held is written into it, and what workers write in common goes to and fro between them.
pub struct Pinned {
    snapshot: Arc<Snapshot>,
    books: Books,
    /// By route: what its requests hold to their end, made for the first of them.
    rests: Box<[OnceLock<Arc<Rest>>]>,
}

/// What a request still needs once its response is on its way: no other attempt can follow. A response may take hours,
/// and a snapshot may be large.
pub struct Rest {
    route: Arc<str>,
    pool: Arc<config::Pool>,
    books: Books,
}

/// Where a request came in, and who hears of it.
#[derive(Clone)]
struct Books {
    /// Apart, for those who wait for a request and must not keep a snapshot.
    listener: Arc<OwnListener>,
    telemetry: Arc<Telemetry>,
    counters: Arc<ListenerCounters>,
}

/// What a request holds: everything at first, and in the end only the rest.
#[derive(Clone)]
pub(super) enum Held {
    All(Arc<Pinned>),
    Rest(Arc<Rest>),
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
        let rests = snapshot.routes().iter().map(|_| OnceLock::new()).collect();
        let books = Books { listener: Arc::new(OwnListener(listener)), telemetry, counters };
        Arc::new(Self { snapshot, books, rests })
    }

    pub fn is_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    pub fn listener(&self) -> &Arc<OwnListener> {
        &self.books.listener
    }

    /// Whether a request with that head would be for endpoints that speak HTTP/2.
    pub fn speaks_http2(&self, head: &impl RequestHead) -> bool {
        let pool = decide(&self.snapshot, head).pool();
        pool.is_some_and(|pool| pool.spec().protocol == EndpointProtocol::Http2)
    }

    /// The route at that place.
    pub(super) fn route(&self, place: Option<usize>) -> Option<&Route> {
        self.snapshot.routes().get(place?)
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn rest(&self, place: usize) -> Option<&Arc<Rest>> {
        let route = self.snapshot.routes().get(place)?;
        let make = || {
            let (name, pool) = (route.name.clone(), route.pool.settings().clone());
            Arc::new(Rest { route: name, pool, books: self.books.clone() })
        };
        Some(self.rests.get(place)?.get_or_init(make))
    }
}

impl Rest {
    /// What its pool says, but for the endpoints.
    pub fn pool(&self) -> &config::Pool {
        &self.pool
    }
}

impl Held {
    /// What is left when the request at that route lets go of the snapshot.
    pub(super) fn rest(&self, route: Option<usize>) -> Option<&Arc<Rest>> {
        match self {
            Self::All(pinned) => pinned.rest(route?),
            Self::Rest(rest) => Some(rest),
        }
    }

    /// Whether it is all of that snapshot, and of that listener.
    pub(super) fn is_same(&self, pinned: &Pinned) -> bool {
        let Self::All(held) = self else { return false };
        held.is_of(&pinned.snapshot) && held.listener().is(&pinned.listener().0)
    }

    pub(super) fn route(&self, place: Option<usize>) -> Option<&Route> {
        match self {
            Self::All(pinned) => pinned.route(place),
            Self::Rest(_) => None,
        }
    }

    /// The names of the route at that place, and of its pool.
    pub(super) fn names(&self, place: Option<usize>) -> Option<(&str, &str)> {
        match self {
            Self::All(pinned) => pinned.route(place).map(|route| (&*route.name, &**route.pool.name())),
            Self::Rest(rest) => Some((&rest.route, &rest.pool.name)),
        }
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.books().listener
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.books().telemetry
    }

    pub(super) fn counters(&self) -> &ListenerCounters {
        &self.books().counters
    }

    fn books(&self) -> &Books {
        match self {
            Self::All(pinned) => &pinned.books,
            Self::Rest(rest) => &rest.books,
        }
    }
}
