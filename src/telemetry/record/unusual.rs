//! What few requests have: kept apart, so that the others pay for none of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Captured, Record};
use crate::auth::Verdict;
use crate::config::Encoding;
use crate::mirror::NotMirrored;

#[derive(Debug, Clone)]
pub struct Unusual {
    /// The path that the endpoint gets, where the route rewrites it.
    pub rewritten: Option<Box<str>>,
    /// What was done with the request; `None`: it was forwarded, or refused.
    pub action: Option<&'static str>,
    /// The list that has refused the client.
    pub refused_by: Option<RefusedBy>,
    /// The rate limit that has refused the request.
    pub limited: Option<Arc<str>>,
    /// The first rate limit that would have refused the request, had it been no dry run.
    pub limited_dry_run: Option<Arc<str>>,
    /// How long an HTTP/2 request waited for its permit to begin.
    pub queued: Option<Duration>,
    /// How long it took until the body was whole that its route buffers.
    pub buffered: Option<Duration>,
    /// The request was sent to an unhealthy endpoint, because of `fail_open`.
    pub failed_open: bool,
    /// Its pool balances by hash, and the request has no such key: it was its turn that decided.
    pub unkeyed: bool,
    /// What the cookie came to that keeps the client at its endpoint; `None`: its pool has none.
    pub sticky: Option<&'static str>,
    /// The encoding of a response that was compressed here.
    pub encoded: Option<Encoded>,
    /// Why no retry followed a failure after which there would have been one.
    pub retry_refused: Option<RetryRefused>,
    /// What came of a second attempt beside the first; `None`: there was none.
    pub hedge: Option<HedgeResult>,
    /// What has become of the copy for the route's mirror; `None`: there was to be none.
    pub mirror: Option<MirrorResult>,
    /// The route's `timeout_header` had a value that cannot be read.
    pub timeout_ignored: bool,
    /// What the authentication of its route has said; `None`: it has none.
    pub auth: Option<AuthRecord>,
    /// The status of a gRPC call.
    pub grpc_status: Option<u16>,
    /// One line of detail for the operator; never shown to the client.
    pub detail: Option<Box<str>>,
    /// Fields and cookies that somebody has asked for.
    pub captured: Option<Box<Captured>>,
}

/// What the authentication of a request's route has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRecord {
    pub kind: &'static str,
    pub verdict: Verdict,
    /// Who the client is, or says to be.
    pub user: Option<Box<str>>,
}

/// The list that has refused a client. Displays as `route deny 10.0.0.0/8` or `listener allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedBy {
    pub place: AccessPlace,
    /// The network of `deny`; `None`: `allow` has none around the client.
    pub denied: Option<IpNet>,
}

/// What has lists of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessPlace {
    Listener,
    Route,
}

/// Why there was no retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryRefused {
    /// The pool's budget was spent.
    Budget,
    /// All endpoints that are left have asked not to be tried again yet.
    RetryAfter,
}

/// What came of a second attempt that was begun, or was to be begun, beside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeResult {
    /// The client got its response.
    Won,
    /// The other attempt answered first.
    Lost,
    Failed,
    /// There were as many as the pool may have.
    Refused,
}

/// What has become of the copy of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorResult {
    /// It was sent; what came of that was not waited for.
    Sent,
    Dropped(NotMirrored),
}

/// A response's body that was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    pub encoding: Encoding,
    /// Bytes of the endpoint's body that went into it.
    pub plain_bytes: u64,
}

/// Of most requests.
static NOTHING: Unusual = Unusual {
    rewritten: None,
    action: None,
    refused_by: None,
    limited: None,
    limited_dry_run: None,
    queued: None,
    buffered: None,
    failed_open: false,
    unkeyed: false,
    sticky: None,
    encoded: None,
    retry_refused: None,
    hedge: None,
    mirror: None,
    timeout_ignored: false,
    auth: None,
    grpc_status: None,
    detail: None,
    captured: None,
};

// === impl Record ===

impl Record {
    /// What few requests have.
    pub fn unusual(&self) -> &Unusual {
        self.unusual.as_deref().unwrap_or(&NOTHING)
    }

    /// The same, to write there.
    pub fn unusual_mut(&mut self) -> &mut Unusual {
        self.unusual.get_or_insert_with(|| Box::new(NOTHING.clone()))
    }
}

// === impl RefusedBy ===

impl RefusedBy {
    /// The list, for metrics.
    pub fn list(&self) -> &'static str {
        match (self.place, self.denied) {
            (AccessPlace::Listener, None) => "listener_allow",
            (AccessPlace::Listener, Some(_)) => "listener_deny",
            (AccessPlace::Route, None) => "route_allow",
            (AccessPlace::Route, Some(_)) => "route_deny",
        }
    }
}

impl fmt::Display for RefusedBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            AccessPlace::Listener => "listener",
            AccessPlace::Route => "route",
        };
        match self.denied {
            None => write!(out, "{place} allow"),
            Some(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(out, "{place} deny {}", network.addr())
            }
            Some(network) => write!(out, "{place} deny {network}"),
        }
    }
}

// === impl RetryRefused ===

impl RetryRefused {
    pub const ALL: [Self; 2] = [Self::Budget, Self::RetryAfter];

    pub fn label(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::RetryAfter => "retry_after",
        }
    }
}

// === impl HedgeResult ===

impl HedgeResult {
    pub const ALL: [Self; 4] = [Self::Won, Self::Lost, Self::Failed, Self::Refused];

    pub fn label(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

// === impl MirrorResult ===

impl MirrorResult {
    /// As in the access log: `sent`, or the cause.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped(why) => why.label(),
        }
    }
}
