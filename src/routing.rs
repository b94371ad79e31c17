//! Which route a request takes: pure, and asked through a small borrowed view of the request.
//!
//! Every route stands for rules, one for each pair of its hosts and paths. All rules of all routes have one order of
//! precedence, and the first rule in it whose conditions all hold decides:
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
//! This is the order of the Kubernetes Gateway API, with one decision of ours: the prefix `/` is no condition at all,
//! so it comes after regular expressions; otherwise a catch-all route would hide every one of them. It follows that a
//! more specific host does not shut out a less specific one: where no rule of `api.example.com` matches the path, those
//! of `*.example.com` and then those of any host get their chance.

mod field_matchers;
mod host;
pub mod path;
mod router;
mod shadowed;

#[cfg(test)]
mod tests;

pub use router::{HostKind, Miss, PathKind, RouteOutcome, Router, Why};
pub use shadowed::shadowed_routes;

use std::borrow::Cow;

use crate::config::TestRequest;

/// What may be asked of a request's head, whoever carries it.
///
/// Implemented for `http::request::Parts` and for whatever a carrier has parsed, so that nobody builds a header map
/// to ask a question.
pub trait RequestHead {
    fn method(&self) -> &str;
    /// The host and port that the request is for: the target's authority, else the `Host` field; "" if neither.
    fn authority(&self) -> &str;
    /// The path without query: as sent, until a carrier has put its normal form (see [`path`]) in its place.
    fn path(&self) -> &str;
    fn query(&self) -> Option<&str>;
    /// The first field of that name (lower case), as text where it is visible ASCII.
    fn header(&self, name: &str) -> Option<&str>;

    /// Gives every field of that name to `each`, in order; what is not visible ASCII of one is `?`.
    fn each_header(&self, name: &str, each: &mut dyn FnMut(&str)) {
        if let Some(value) = self.header(name) {
            each(value);
        }
    }
}

/// A value as text, with `?` for every byte that is not visible ASCII: whoever reads a list element by element must not
/// lose all of it to one.
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
            None => self.header("host").unwrap_or(""),
        }
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn each_header(&self, name: &str, each: &mut dyn FnMut(&str)) {
        self.headers.get_all(name).iter().for_each(|value| each(&readable(value.as_bytes())));
    }
}

impl RequestHead for TestRequest {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn authority(&self) -> &str {
        // A `Host` field of the test's own is what a client would have sent.
        self.header("host").unwrap_or(&self.authority)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other.as_str() == name)?;
        value.to_str().ok()
    }
}
