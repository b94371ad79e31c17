//! The record of one request: what happened to it, and why. The access log and the request metrics are made of it.

mod client;
mod text;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;

use crate::pool::{Endpoint, SkippedEndpoints};
pub use client::ClientAddress;
pub use text::{RequestText, TextParts};

/// One request, finished.
#[derive(Debug, Clone)]
pub struct Record {
    /// When its header had arrived.
    pub time: SystemTime,
    /// The client's address: the peer's, or what a trusted proxy says in a PROXY header or in X-Forwarded-For.
    pub client: ClientAddress,
    /// The peer of the connection, where it is a trusted proxy and so differs from the client.
    pub peer: Option<ClientAddress>,
    /// What the request's head says.
    pub text: RequestText,
    /// The path that was matched and went on, where it is not the one in the target.
    pub path: Option<Box<str>>,
    pub protocol: Protocol,
    /// The version of TLS with the client; `None`: there was none.
    pub tls: Option<&'static str>,
    /// 499: none was sent, the client had gone before.
    pub status: u16,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// The generation of the snapshot that decided.
    pub generation: u64,
    pub attempts: SmallVec<[AttemptRecord; 1]>,
    /// Endpoints that were passed over, and why.
    pub skipped: Option<Arc<SkippedEndpoints>>,
    /// How long it was held because no endpoint was healthy.
    pub waited: Option<Duration>,
    /// How long a request over HTTP/2 has waited for its permit to begin.
    pub queued: Option<Duration>,
    /// It was sent to an unhealthy endpoint, as `fail_open` asks.
    pub failed_open: bool,
    /// How a call of gRPC ended.
    pub grpc_status: Option<u16>,
    /// Why it did not end well: the label of a `Failure`; `None`: it did.
    pub cause: Option<&'static str>,
    /// For the request balance.
    pub outcome: Outcome,
    /// One line of detail for the operator; never shown to the client.
    pub detail: Option<Box<str>>,
    /// From the header's arrival to the last byte of the response.
    pub duration: Duration,
}

/// A record with the names of what served the request, which belong to its snapshot.
#[derive(Debug, Clone, Copy)]
pub struct NamedRecord<'a> {
    pub record: &'a Record,
    pub listener: &'a str,
    pub route: Option<&'a str>,
    pub pool: Option<&'a str>,
}

/// How a request ended, for the request balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It had its whole response.
    Answered,
    /// It had an answer of ours that says why not.
    Refused,
    /// Nobody was left to take the response.
    ClientGone,
    /// The response broke off, or there was none.
    Cut,
}

/// One try of a request at one endpoint.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// The one that was lent, not its name, which would be held, and so written, apart.
    pub endpoint: Arc<Endpoint>,
    /// `None`: the connection was already there.
    pub connect: Option<Duration>,
    /// From the attempt's start to the first byte of the response's header.
    pub first_byte: Option<Duration>,
    pub result: AttemptResult,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// The endpoint answered with this status.
    Status(u16),
    /// The label of the `Failure`.
    Failed(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
}

// === impl NamedRecord ===

impl Deref for NamedRecord<'_> {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.record
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
