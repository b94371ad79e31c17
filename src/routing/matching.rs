//! The conditions of a route, as the config's compiler makes them.

use std::fmt;

use http::{HeaderName, Method};

use super::regex::Regex;
use crate::networks::Networks;

/// Conditions that must all hold; within `hosts`, `paths`, `methods` and `clients` one is enough; an empty list matches
/// all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteMatch {
    pub hosts: Vec<HostPattern>,
    pub paths: Vec<PathPattern>,
    pub methods: Vec<Method>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    pub clients: Networks,
    /// None of these may hold; they have none themselves.
    pub not: Vec<RouteMatch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// In the form of `authority::normalize_host`.
    Exact(String),
    /// `*.example.com` keeps `example.com`: one label or more before it.
    Wildcard(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    Exact(String),
    /// Whole segments: `/v1` matches `/v1` and `/v1/x`, not `/v10`. Stored without one trailing slash, `/` as "".
    Prefix(String),
    Regex(Regex),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    pub name: HeaderName,
    /// One is enough. Never empty.
    pub values: Vec<ValueMatch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    pub name: String,
    /// One is enough. Never empty.
    pub values: Vec<ValueMatch>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    Regex(Regex),
    /// Any value.
    Present,
}

impl HostPattern {
    /// `host`: in the form of `authority::normalize_host`.
    pub(super) fn holds(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == name,
            Self::Wildcard(parent) => host
                .strip_suffix(parent.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty()),
        }
    }
}

impl PathPattern {
    pub(super) fn holds(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => {
                let rest = path.strip_prefix(prefix.as_str());
                // The prefix `/` matches every path.
                rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// Omits the value, which may be a token.
impl fmt::Debug for ValueMatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Exact(_) => "Exact(***)",
            Self::Regex(_) => "Regex(***)",
            Self::Present => "Present",
        })
    }
}
