//! Heads of requests and responses: parsed strictly, kept as byte ranges of the buffer, read through borrowed views.
//!
//! A head is refused where another parser might read it differently. The tables in the tests are the list; the
//! decisions that RFC 9112 leaves open are documented at `target` and `authority`.

mod request;
mod response;
mod target;

#[cfg(test)]
mod tests;

pub use request::{Request, RequestView};
pub use response::{RESPONSE_BYTES_MAX, RESPONSE_FIELDS_MAX, Response, ResponseView};

use crate::exchange::Failure;

/// The longest method.
const METHOD_MAX: usize = 32;
/// The beginning of HTTP/2's preface (RFC 9113, section 11.6).
const NO_METHOD: &str = "PRI";

/// Checks a target in origin form or `*`, by the rules of the HTTP/1.1 parser; HTTP/2 requests are held to them, too.
pub fn check_path(target: &[u8], method: &[u8]) -> Result<(), &'static str> {
    if target.first().is_some_and(|first| !matches!(first, b'/' | b'*')) {
        return Err("target is no path");
    }
    target::Target::read(target, super::syntax::Span::new(0, target.len()), method).map(drop)
}

/// Whether a byte may be part of a method or of a field's name.
pub fn is_token(byte: u8) -> bool {
    super::syntax::is_token(byte)
}

/// Checks a method, which must be a token already, by the same rules.
pub fn check_method(method: &str) -> Result<(), &'static str> {
    match method {
        NO_METHOD => Err("PRI is no method"),
        _ if method.len() > METHOD_MAX => Err("the method is too long"),
        _ => Ok(()),
    }
}

/// The bytes of a head that has been taken off its stream. An ASCII head, as nearly all are, is kept as a `String`, so
/// that its parts need no further UTF-8 checks.
#[derive(Debug, Default)]
pub struct HeadBytes {
    text: String,
    /// The bytes where they are not ASCII; otherwise empty.
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

/// Memory for one request's head. Idle connections hold none.
#[derive(Debug, Default)]
pub struct RequestMemory {
    pub request: Request,
    /// The bytes that `request` points into.
    pub head: HeadBytes,
}

/// Capacity beyond this is given back after a request: few heads need it.
const KEPT_MAX: usize = 8 * 1024;

impl RequestMemory {
    /// Clears it for the next request.
    pub fn clear(&mut self) {
        self.request.restart();
        self.head.text.clear();
        self.head.text.shrink_to(KEPT_MAX);
        self.head.other = Vec::new();
    }

    pub fn view(&self) -> RequestView<'_> {
        self.request.view_of(&self.head)
    }
}

/// The result of parsing a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// More bytes are needed: call again with the same ones and more.
    Partial,
    /// The head is complete, and `length` bytes long.
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
