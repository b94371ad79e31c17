//! The one decision: which route and pool a request takes, and why. Engines, config tests and logs all use it.

use std::sync::Arc;

use crate::pool::Pool;
use crate::routing::{RequestHead, RouteOutcome};
use crate::snapshot::{Route, Snapshot};

/// What was decided, and why.
pub struct Decision<'a> {
    /// `None`: no route matches.
    pub route: Option<&'a Route>,
    /// Why that route matched, or how near another came.
    pub trace: RouteOutcome,
}

impl<'a> Decision<'a> {
    pub fn pool(&self) -> Option<&'a Arc<Pool>> {
        self.route.map(|route| route.pool())
    }
}

pub fn decide<'a>(snapshot: &'a Snapshot, head: &impl RequestHead) -> Decision<'a> {
    let (route, trace) = snapshot.route(head);
    Decision { route, trace }
}
