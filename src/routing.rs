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
//! 6. a condition on the client's address before none;
//! 7. more negated conditions before fewer;
//! 8. the order of the file.
//!
//! Paths are compared in their normal form (see [`path`]), which is also what goes on to the endpoint.
//!
//! This is the order of the Kubernetes Gateway API with one difference: the prefix `/` counts as no condition, so it
//! comes after regular expressions; otherwise a catch-all route would hide all of them. A more specific host does not
//! shut out a less specific one: if no rule of `api.example.com` matches the path, the rules of `*.example.com` are
//! tried, then those of any host.

mod cookies;
mod field_matchers;
mod matching;
pub mod path;
mod regex;
mod router;
mod shadowed;

#[cfg(test)]
mod tests;

pub use cookies::cookie;
pub use field_matchers::{decoded_parameter, query_value};
pub use matching::{HeaderMatch, HostPattern, PathPattern, QueryMatch, RouteMatch, ValueMatch};
pub use path::{EscapedSlashes, PathRules};
pub use regex::{Regex, RegexError};
pub use router::{
    FailedCondition, HostKind, MatchSummary, Miss, PathKind, RouteOutcome, Router, first_failed,
};
pub use shadowed::shadowed_routes;

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header};

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
    /// The values of all fields of that name, in order.
    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]>;

    /// The value of the first field of that name.
    fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The first value as text; `None` also where it is not UTF-8.
    fn header_text(&self, name: &HeaderName) -> Option<&str> {
        str::from_utf8(self.header(name)?).ok()
    }

    /// All fields of that name as one, as an endpoint may read them: joined by commas (RFC 9110, section 5.3), cookies
    /// by semicolons (RFC 9113, section 8.2.3).
    fn joined(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        let mut values = self.values(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
        let between: &[u8] = if *name == header::COOKIE { b"; " } else { b", " };
        let mut joined = [first, between, second].concat();
        values.for_each(|value| joined.extend([between, value].into_iter().flatten()));
        Some(Cow::Owned(joined))
    }
}

impl RequestHead for http::request::Parts {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn authority(&self) -> &str {
        match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.header_text(&header::HOST).unwrap_or(""),
        }
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }

    fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }
}
