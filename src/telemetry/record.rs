//! The record of one request: what happened to it, and why. Its access log line and its metrics are made from it.

mod client;
mod text;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::auth::Verdict;
use crate::config::Encoding;
use crate::pool::{Endpoint, SkippedEndpoints};
use crate::wait_queue::WaitsFor;
pub use client::ClientAddress;
pub use text::{RequestText, TextParts};

/// A finished request.
#[derive(Debug, Clone)]
pub struct Record {
    /// When its head had arrived.
    pub time: SystemTime,
    /// The client's address: the peer's, or what a trusted proxy says in a PROXY header or in X-Forwarded-For.
    pub client: ClientAddress,
    /// The peer of the connection, where it is a trusted proxy and so differs from the client.
    pub peer: Option<ClientAddress>,
    /// Method, target and some fields of the request's head.
    pub text: RequestText,
    /// The normalized path that was matched and forwarded, where it differs from the one in the target.
    pub path: Option<Box<str>>,
    /// The path that the endpoint gets, where the route rewrites it.
    pub rewritten: Option<Box<str>>,
    pub protocol: Protocol,
    /// The TLS version of the client's connection; `None`: no TLS.
    pub tls: Option<&'static str>,
    /// 499: the client left before a response was sent.
    pub status: u16,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// The generation of the snapshot that the request was routed by.
    pub generation: u64,
    /// What was done with the request; `None`: it was forwarded, or refused.
    pub action: Option<&'static str>,
    /// The list that has refused the client.
    pub refused_by: Option<Box<RefusedBy>>,
    /// The rate limit that has refused the request.
    pub limited: Option<Arc<str>>,
    /// The first rate limit that would have refused the request, had it been no dry run.
    pub limited_dry_run: Option<Arc<str>>,
    pub attempts: SmallVec<[AttemptRecord; 1]>,
    /// Endpoints that were passed over, and why.
    pub skipped: Option<Arc<SkippedEndpoints>>,
    /// How long the request waited for what follows.
    pub waited: Option<Duration>,
    pub waited_for: WaitedFor,
    /// How long an HTTP/2 request waited for its permit to begin.
    pub queued: Option<Duration>,
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
    /// The route's `timeout_header` had a value that cannot be read.
    pub timeout_ignored: bool,
    /// What the authentication of its route has said; `None`: it has none.
    pub auth: Option<Box<AuthRecord>>,
    /// The status of a gRPC call.
    pub grpc_status: Option<u16>,
    /// The label of the `Failure` that ended the request; `None`: it ended well.
    pub cause: Option<&'static str>,
    /// How the request counts in the request balance.
    pub outcome: Outcome,
    /// One line of detail for the operator; never shown to the client.
    pub detail: Option<Box<str>>,
    /// From the head's arrival to the last byte of the response.
    pub duration: Duration,
}

/// A record with the names of its listener, route and pool, which belong to the request's snapshot.
#[derive(Debug, Clone, Copy)]
pub struct NamedRecord<'a> {
    pub record: &'a Record,
    pub listener: &'a str,
    pub route: Option<&'a str>,
    pub pool: Option<&'a str>,
}

/// What the authentication of a request's route has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRecord {
    pub kind: &'static str,
    pub verdict: Verdict,
    /// Who the client is, or says to be.
    pub user: Option<Box<str>>,
}

/// How a request ended, for the request balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client got its whole response.
    Answered,
    /// The client got an error response made here.
    Refused,
    /// The client left before its response was complete.
    ClientGone,
    /// The response broke off, or there was none.
    Cut,
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

/// A response's body that was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    pub encoding: Encoding,
    /// Bytes of the endpoint's body that went into it.
    pub plain_bytes: u64,
}

/// What a request has waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitedFor(u8);

/// One try of a request at one endpoint.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// The endpoint itself, not its name: sharing the name would write a second reference count.
    pub endpoint: Arc<Endpoint>,
    /// The time to connect; `None`: an open connection was used.
    pub connect: Option<Duration>,
    /// From the attempt's start to the first byte of the response's head.
    pub first_byte: Option<Duration>,
    pub result: AttemptResult,
    /// Another attempt was under way when it ended.
    pub beside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// The endpoint answered with this status.
    Status(u16),
    /// The label of the `Failure`.
    Failed(&'static str),
    /// Given up, because another attempt answered first.
    Overtaken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
}

// === impl Record ===

impl Record {
    /// Of a request of which only the head is known.
    pub fn new(time: SystemTime, client: ClientAddress, text: RequestText, protocol: Protocol) -> Self {
        Self {
            time,
            client,
            peer: None,
            text,
            path: None,
            rewritten: None,
            protocol,
            tls: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            generation: 0,
            action: None,
            refused_by: None,
            limited: None,
            limited_dry_run: None,
            attempts: SmallVec::new(),
            skipped: None,
            waited: None,
            waited_for: WaitedFor::default(),
            queued: None,
            failed_open: false,
            unkeyed: false,
            encoded: None,
            sticky: None,
            retry_refused: None,
            hedge: None,
            timeout_ignored: false,
            auth: None,
            grpc_status: None,
            cause: None,
            outcome: Outcome::Answered,
            detail: None,
            duration: Duration::ZERO,
        }
    }
}

// === impl NamedRecord ===

impl Deref for NamedRecord<'_> {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.record
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

// === impl WaitedFor ===

impl WaitedFor {
    pub fn add(&mut self, waits_for: WaitsFor) {
        self.0 |= 1 << waits_for as u8;
    }

    pub fn has(self, waits_for: WaitsFor) -> bool {
        self.0 & 1 << waits_for as u8 != 0
    }

    pub fn labels(self) -> impl Iterator<Item = &'static str> {
        WaitsFor::ALL.into_iter().filter(move |what| self.has(*what)).map(WaitsFor::label)
    }
}

// === impl Protocol ===

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2.0",
        }
    }
}
