//! Finds the route of a request: pure functions over a small borrowed view of the request's head.
//!
//! A route expands to rules, one for each pair of its hosts and paths. The rules of all routes are ordered by
//! precedence, and the first rule whose conditions all hold decides:
//!
//! 1. host: exact, then wildcards (the longest first), then any;
//! 2. path: exact, then prefixes (the longest first), then regular expressions, then any;
//! 3. a method condition before none;
//! 4. more header conditions before fewer;
//! 5. more query conditions before fewer;
//! 6. the order of the file.
//!
//! Paths are compared in their normal form (see [`path`]), which is also what goes on to the endpoint.
//!
//! This is the order of the Kubernetes Gateway API with one difference: the prefix `/` counts as no condition, so it
//! comes after regular expressions; otherwise a catch-all route would hide all of them. A more specific host does not
//! shut out a less specific one: if no rule of `api.example.com` matches the path, the rules of `*.example.com` are
//! tried, then those of any host.

mod field_matchers;
mod matching;
pub mod path;
mod regex;
mod router;
mod shadowed;

#[cfg(test)]
mod tests;

pub use matching::{HeaderMatch, HostPattern, PathPattern, QueryMatch, RouteMatch, ValueMatch};
pub use path::{EscapedSlashes, PathRules};
pub use regex::{Regex, RegexError};
pub use router::{HostKind, MatchSummary, Miss, PathKind, RouteOutcome, Router};
pub use shadowed::shadowed_routes;

use std::borrow::Cow;

use http::{HeaderName, header};

/// Read access to a request's head, independent of the engine and of the HTTP version.
///
/// Implemented for `http::request::Parts`, for the heads that `http1` parses, and for the requests of config tests, so
/// that finding a route needs no `HeaderMap`.
pub trait RequestHead {
    fn method(&self) -> &str;
    /// The target's authority (host and port), else the `Host` field, else "".
    fn authority(&self) -> &str;
    /// The path without query: as sent, until the engine replaces it by its normal form (see [`path`]).
    fn path(&self) -> &str;
    fn query(&self) -> Option<&str>;
    /// The first field of that name; `None` also if its value is not visible ASCII.
    fn header(&self, name: &HeaderName) -> Option<&str>;

    /// Calls `each` with the value of every field of that name, in order, as [`readable`] text.
    fn each_header(&self, name: &HeaderName, each: &mut dyn FnMut(&str)) {
        if let Some(value) = self.header(name) {
            each(value);
        }
    }
}

/// A field's value as text, with `?` for each byte that is not visible ASCII: one bad element must not make the whole
/// list (of `X-Forwarded-For`, say) unreadable.
pub fn readable(value: &[u8]) -> Cow<'_, str> {
    let shown = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    match str::from_utf8(value) {
        Ok(text) if value.iter().all(|byte| shown(*byte)) => Cow::Borrowed(text),
        _ => value.iter().map(|byte| if shown(*byte) { char::from(*byte) } else { '?' }).collect(),
    }
}

impl RequestHead for http::request::Parts {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn authority(&self) -> &str {
        match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.header(&header::HOST).unwrap_or(""),
        }
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn each_header(&self, name: &HeaderName, each: &mut dyn FnMut(&str)) {
        self.headers.get_all(name).iter().for_each(|value| each(&readable(value.as_bytes())));
    }
}
