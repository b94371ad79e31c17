//! The record of one request: what happened to it, and why. Its access log line and its metrics are made from it.

mod captured;
mod client;
mod text;
mod unusual;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;

use crate::pool::{Endpoint, SkippedEndpoints};
use crate::wait_queue::WaitsFor;
pub use captured::{Captured, FieldPlace};
pub use client::ClientAddress;
pub use text::{RequestText, TextParts};
pub use unusual::{
    AccessPlace, AuthRecord, Encoded, HedgeResult, MirrorResult, RefusedBy, RetryRefused, Unusual,
};

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
    pub attempts: SmallVec<[AttemptRecord; 1]>,
    /// Endpoints that were passed over, and why.
    pub skipped: Option<Arc<SkippedEndpoints>>,
    /// How long the request waited for what follows.
    pub waited: Option<Duration>,
    pub waited_for: WaitedFor,
    /// The label of the `Failure` that ended the request; `None`: it ended well.
    pub cause: Option<&'static str>,
    /// How the request counts in the request balance.
    pub outcome: Outcome,
    /// From the head's arrival to the last byte of the response.
    pub duration: Duration,
    /// What few requests have; `None`: this one has none of it.
    pub unusual: Option<Box<Unusual>>,
}

/// A record with the names of its listener, route and pool, which belong to the request's snapshot.
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
    /// The client got its whole response.
    Answered,
    /// The client got an error response made here.
    Refused,
    /// The client left before its response was complete.
    ClientGone,
    /// The response broke off, or there was none.
    Cut,
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
            protocol,
            tls: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            generation: 0,
            attempts: SmallVec::new(),
            skipped: None,
            waited: None,
            waited_for: WaitedFor::default(),
            cause: None,
            outcome: Outcome::Answered,
            duration: Duration::ZERO,
            unusual: None,
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
