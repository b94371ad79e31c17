//! Heads of requests and responses: read strictly, kept as places in the buffer, asked through borrowed views.
//!
//! What is refused here is refused because somebody else might read it otherwise. The tables in the tests are the
//! list; the decisions that RFC 9112 leaves open are documented at `target` and `host`.

mod host;
mod request;
mod response;
mod target;

#[cfg(test)]
mod tests;

pub use request::{Request, RequestView};
pub use response::{RESPONSE_BYTES_MAX, RESPONSE_FIELDS_MAX, Response, ResponseView};

use crate::exchange::Failure;

/// Judges a target that is a path, as the lane does for a request of its own.
pub fn check_path(target: &[u8], method: &[u8]) -> Result<(), &'static str> {
    if target.first().is_some_and(|first| !matches!(first, b'/' | b'*')) {
        return Err("target is no path");
    }
    target::Target::read(target, super::syntax::Span::new(0, target.len()), method).map(drop)
}

/// Judges a host with or without port, as the lane does.
pub fn check_host(host: &[u8]) -> Result<(), &'static str> {
    if host.is_empty() { Err("empty host") } else { host::check(host) }
}

/// The bytes of a head that has been taken off its stream. Nearly always they are ASCII, and kept as a text: its parts need
/// not be looked at again.
#[derive(Debug, Default)]
pub struct HeadBytes {
    text: String,
    /// If they are no such text.
    other: Vec<u8>,
}

impl HeadBytes {
    pub fn set(&mut self, bytes: &[u8]) {
        self.text.clear();
        self.other.clear();
        match str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => self.text.push_str(text),
            _ => self.other.extend_from_slice(bytes),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        if self.other.is_empty() { self.text.as_bytes() } else { &self.other }
    }
}

/// What a request needs memory for that an idle connection does without.
#[derive(Debug, Default)]
pub struct HeadRoom {
    pub request: Request,
    /// The bytes that `request` points into.
    pub head: HeadBytes,
}

/// Room for more than this is not kept: few heads need it.
const KEPT_MAX: usize = 8 * 1024;

impl HeadRoom {
    /// Makes it ready for the next request.
    pub fn empty(&mut self) {
        self.request.restart();
        self.head.text.clear();
        self.head.text.shrink_to(KEPT_MAX);
        self.head.other = Vec::new();
    }

    pub fn view(&self) -> RequestView<'_> {
        self.request.view_of(&self.head)
    }
}

/// What has become of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// More bytes are needed: call again with the same ones and more.
    Partial,
    /// The head is complete and takes so many bytes.
    Complete {
        length: usize,
    },
    Refused(Refusal),
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub failure: Failure,
    /// For the access log's detail.
    pub reason: &'static str,
}

impl Refusal {
    fn bad_request(reason: &'static str) -> Self {
        Self { failure: Failure::BadRequest, reason }
    }

    fn bad_response(reason: &'static str) -> Self {
        Self { failure: Failure::BadResponse, reason }
    }
}
