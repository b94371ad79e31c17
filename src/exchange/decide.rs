//! The one decision: which route a request takes, and why. Engines, config tests and logs all use it.

use crate::routing::{RequestHead, RouteOutcome};
use crate::snapshot::{Route, Snapshot};

/// What was decided, and why.
pub struct Decision<'a> {
    /// `None`: no route matches.
    pub route: Option<&'a Route>,
    /// Why that route matched, or how near another came.
    pub trace: RouteOutcome,
}

pub fn decide<'a>(snapshot: &'a Snapshot, head: &impl RequestHead) -> Decision<'a> {
    let (route, trace) = snapshot.route(head);
    Decision { route, trace }
}
