//! The one decision: which route a request takes, and why. Engines, config tests and logs all use it.

use std::net::IpAddr;

use crate::routing::{RequestHead, RouteOutcome};
use crate::snapshot::{Route, Snapshot};

/// What was decided, and why.
pub struct Decision<'a> {
    /// `None`: no route matches.
    pub route: Option<&'a Route>,
    /// Why that route matched, or how near another came.
    pub trace: RouteOutcome,
}

/// `client`: the client's address as far as it is trusted; `None`: the client came by a unix socket.
pub fn decide<'a>(snapshot: &'a Snapshot, head: &impl RequestHead, client: Option<IpAddr>) -> Decision<'a> {
    let (route, trace) = snapshot.route(head, client);
    Decision { route, trace }
}
