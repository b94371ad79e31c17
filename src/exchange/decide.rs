//! The one decision: which route and pool a request takes. Everybody who wants to know asks here.

use std::sync::Arc;

use crate::pool::Pool;
use crate::routing::RequestHead;
use crate::snapshot::{Route, Snapshot};

/// What was decided, and why.
pub struct Decision<'a> {
    pub route: Option<&'a Route>,
    pub pool: Option<&'a Arc<Pool>>,
}

pub fn decide<'a>(snapshot: &'a Snapshot, head: &impl RequestHead) -> Decision<'a> {
    let route = snapshot.route(head);
    Decision { route, pool: route.map(|route| &route.pool) }
}
