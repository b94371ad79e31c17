//! What a request keeps alive: its snapshot and listener, and later only what its response needs.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::config::{self, AccessLog, Listener, LogOutput};
use crate::pool::Pool;
use crate::snapshot::{Route, Snapshot, Target};
use crate::telemetry::metrics::listeners::ListenerCounters;
use crate::telemetry::{Telemetry, WorkerTelemetry, access};

/// The snapshot in force and the listener of requests. Each worker has one of its own, which all its requests share: so
/// no two workers write the same reference count, whose cache line would go to and fro between them.
pub struct RequestScope {
    snapshot: Arc<Snapshot>,
    context: ListenerContext,
    /// By target, of all routes; made for the first request that needs it.
    response_scopes: Box<[OnceLock<Arc<ResponseScope>>]>,
}

/// What a request still needs once its response is on its way and no other attempt can follow: a response may take
/// hours, and should not keep a large snapshot alive.
pub struct ResponseScope {
    route: Arc<str>,
    pool: Arc<config::Pool>,
    context: ListenerContext,
}

/// A request's listener, with the telemetry and the counters for it.
#[derive(Clone)]
struct ListenerContext {
    /// In an `Arc` of its own for idle connections, which must not keep a snapshot alive.
    listener: Arc<OwnListener>,
    telemetry: Arc<WorkerTelemetry>,
    counters: Arc<ListenerCounters>,
}

/// What a request keeps alive: everything at first, and in the end only what its response needs.
#[derive(Clone)]
pub(super) enum Scope {
    Request(Arc<RequestScope>),
    Response(Arc<ResponseScope>),
}

/// One worker's handle of a listener, whose reference count no other worker writes.
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

impl RequestScope {
    pub fn new(
        snapshot: Arc<Snapshot>,
        listener: Arc<Listener>,
        telemetry: Arc<WorkerTelemetry>,
        counters: Arc<ListenerCounters>,
    ) -> Arc<Self> {
        let response_scopes =
            snapshot.routes().iter().flat_map(|route| &route.targets).map(|_| OnceLock::new()).collect();
        let context = ListenerContext { listener: Arc::new(OwnListener(listener)), telemetry, counters };
        Arc::new(Self { snapshot, context, response_scopes })
    }

    /// For requests that are not served: what is logged and counted of them nobody sees.
    pub fn unobserved(snapshot: &Arc<Snapshot>, listener: &Arc<Listener>) -> Arc<Self> {
        let off = AccessLog { output: LogOutput::Off, ..snapshot.config().access_log.clone() };
        let log = access::AccessLog::start(&off, 1).expect("a log that is off opens nothing");
        let telemetry = Telemetry::new(log, SystemTime::UNIX_EPOCH);
        let counters = telemetry.metrics.listener(&listener.name);
        Self::new(snapshot.clone(), listener.clone(), Arc::new(telemetry.worker()), counters)
    }

    pub fn is_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    pub fn listener(&self) -> &Arc<OwnListener> {
        &self.context.listener
    }

    /// The route with that index.
    pub(super) fn route(&self, index: Option<usize>) -> Option<&Route> {
        self.snapshot.routes().get(index?)
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn counters(&self) -> &ListenerCounters {
        &self.context.counters
    }

    pub(super) fn telemetry(&self) -> &WorkerTelemetry {
        &self.context.telemetry
    }

    fn response_scope(&self, route: usize, target: usize) -> Option<&Arc<ResponseScope>> {
        let route = self.snapshot.routes().get(route)?;
        let pool = &route.targets.get(target)?.pool;
        let make = || {
            let (name, pool) = (route.name.clone(), pool.config_without_endpoints().clone());
            Arc::new(ResponseScope { route: name, pool, context: self.context.clone() })
        };
        Some(self.response_scopes.get(route.targets_before + target)?.get_or_init(make))
    }
}

impl ResponseScope {
    /// The config of the request's pool, without endpoints.
    pub fn pool(&self) -> &config::Pool {
        &self.pool
    }
}

impl Scope {
    /// What a request of that route and target keeps when it releases the snapshot.
    pub(super) fn response_scope(&self, route: Option<usize>, target: usize) -> Option<&Arc<ResponseScope>> {
        match self {
            Self::Request(scope) => scope.response_scope(route?, target),
            Self::Response(scope) => Some(scope),
        }
    }

    /// What a request of another pool keeps that belongs to this one.
    pub(super) fn of_pool(&self, route: &Arc<str>, pool: &Pool) -> Arc<ResponseScope> {
        let (route, pool) = (route.clone(), pool.config_without_endpoints().clone());
        Arc::new(ResponseScope { route, pool, context: self.context().clone() })
    }

    /// Whether it still holds the same snapshot and listener as `scope`.
    pub(super) fn is_same(&self, scope: &RequestScope) -> bool {
        let Self::Request(held) = self else { return false };
        held.is_of(&scope.snapshot) && held.listener().is(&scope.listener().0)
    }

    pub(super) fn route(&self, index: Option<usize>) -> Option<&Route> {
        match self {
            Self::Request(scope) => scope.route(index),
            Self::Response(_) => None,
        }
    }

    /// The target of the route with these indexes.
    pub(super) fn target(&self, route: Option<usize>, target: usize) -> Option<&Target> {
        self.route(route)?.targets.get(target)
    }

    /// The names of the route with that index, and of its pool, if it has one.
    pub(super) fn names(&self, index: Option<usize>, target: usize) -> Option<(&str, Option<&str>)> {
        match self {
            Self::Request(scope) => {
                let route = scope.route(index)?;
                let pool = route.targets.get(target).map(|target| &**target.pool.name());
                Some((&route.name, pool))
            }
            Self::Response(scope) => Some((&scope.route, Some(&scope.pool.name))),
        }
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.context().listener
    }

    pub(super) fn telemetry(&self) -> &WorkerTelemetry {
        &self.context().telemetry
    }

    pub(super) fn counters(&self) -> &ListenerCounters {
        &self.context().counters
    }

    fn context(&self) -> &ListenerContext {
        match self {
            Self::Request(scope) => &scope.context,
            Self::Response(scope) => &scope.context,
        }
    }
}
