//! The conditions of a route, as the config's compiler makes them.

use std::fmt;

use http::{HeaderName, Method};

use super::regex::Regex;

/// Conditions that must all hold; within `hosts`, `paths` and `methods` one is enough; an empty list matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteMatch {
    pub hosts: Vec<HostPattern>,
    pub paths: Vec<PathPattern>,
    pub methods: Vec<Method>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
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
    pub value: ValueMatch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    Regex(Regex),
    /// Any value.
    Present,
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
