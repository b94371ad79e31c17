//! Begins the series of a config with 0 as it comes into force: a rate does not see the burst that makes a series appear,
//! and an alert would not either.

use std::iter;

use crate::snapshot::{Route, Snapshot};
use crate::telemetry::metrics::Metrics;

pub fn begin(metrics: &Metrics, snapshot: &Snapshot) {
    let listeners = snapshot.listeners();
    for listener in listeners.iter().filter(|listener| listener.tls.is_some()) {
        metrics.listener(&listener.name).begin_handshakes();
    }
    // Requests without a route first: what a limit leaves out are the last routes.
    let routes = iter::once(("", "")).chain(snapshot.routes().iter().flat_map(route_and_pools));
    let combinations =
        routes.flat_map(|(route, pool)| listeners.iter().map(move |listener| (&*listener.name, route, pool)));
    metrics.begin_requests(combinations);
}

/// The route with each of its pools; with none for what it answers itself.
fn route_and_pools(route: &Route) -> impl Iterator<Item = (&str, &str)> {
    let own = route.targets.is_empty().then_some("");
    let pools = route.targets.iter().map(|target| &**target.pool.name());
    pools.chain(own).zip(iter::repeat(&*route.name)).map(|(pool, route)| (route, pool))
}
