//! The routes, indexed for lookup.
//!
//! A lookup costs a few hash lookups: one for the exact host and one for each distinct length of the wildcards; then,
//! for each host entry found, one for the exact path and one for each distinct length of its prefixes. The number of
//! routes matters only where several share host and path, and for regular expressions. Nothing is allocated unless the
//! host has capital letters or is an IPv6 address.

use std::fmt;
use std::net::IpAddr;

use ahash::AHashMap;

use super::RequestHead;
use super::field_matchers::{header_holds, query_holds};
use super::matching::{HeaderMatch, HostPattern, PathPattern, QueryMatch, RouteMatch};
use super::regex::Regex;
use crate::authority;
use crate::networks::Networks;

/// Finds the route of a request; built once per snapshot.
#[derive(Debug, Default)]
pub struct Router {
    exact_hosts: AHashMap<Box<str>, Paths>,
    /// By the part after `*.`.
    wildcards: AHashMap<Box<str>, Paths>,
    /// Lengths of the keys of `wildcards`, longest first.
    wildcard_lengths: Vec<usize>,
    any_host: Paths,
    /// By route index, in the order of the config.
    conditions: Vec<Conditions>,
}

/// The rules of one host by path, each as the index of its route. Lists are in order of precedence.
#[derive(Debug, Default)]
struct Paths {
    exact: AHashMap<Box<str>, Vec<usize>>,
    prefixes: AHashMap<Box<str>, Vec<usize>>,
    /// Lengths of the keys of `prefixes`, longest first.
    prefix_lengths: Vec<usize>,
    regexes: Vec<(Regex, usize)>,
    any: Vec<usize>,
}

/// The conditions of a route other than host and path.
#[derive(Debug)]
struct Conditions {
    methods: Vec<http::Method>,
    headers: Vec<HeaderMatch>,
    query: Vec<QueryMatch>,
    clients: Networks,
    not: Vec<Whole>,
}

/// All conditions of a match, with those that the index of rules decides: those that must not all hold, and those of a
/// route that is asked about by itself.
#[derive(Debug)]
struct Whole {
    hosts: Vec<HostPattern>,
    paths: Vec<PathPattern>,
    others: Conditions,
}

/// A condition that does not hold, with its index where a match has several of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedCondition {
    Host,
    Path,
    Method,
    Header(usize),
    Query(usize),
    Client,
    /// All that is negated holds.
    Not(usize),
}

/// A request, and the address of its client; `None`: the client came by a unix socket.
struct Asked<'a, H> {
    head: &'a H,
    client: Option<IpAddr>,
}

/// The route that matched, or the condition at which the nearest one failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteOutcome {
    /// The index of a route, as in the config.
    Matched(usize, MatchSummary),
    Missed(Miss),
}

impl RouteOutcome {
    pub fn route(&self) -> Option<usize> {
        match self {
            RouteOutcome::Matched(route, _) => Some(*route),
            RouteOutcome::Missed(_) => None,
        }
    }
}

/// The conditions by which a route matched. Displays as `exact host, prefix, method, 2 headers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchSummary {
    pub host: HostKind,
    pub path: PathKind,
    pub method: bool,
    pub headers: u16,
    pub query: u16,
    pub clients: bool,
    /// How many conditions are negated.
    pub not: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    Exact,
    /// Bytes of the pattern after `*.`.
    Wildcard(u16),
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    Exact,
    /// Bytes of the prefix.
    Prefix(u16),
    Regex,
    Any,
}

/// The first condition that no route meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    /// No route is for this host.
    Host,
    /// None of this host's routes is for this path.
    Path,
    /// Routes are for this host and path, but ask for something else: a method, header, query or client, or that
    /// something is not so.
    Conditions,
}

impl Router {
    /// Of the conditions of each route, in the order of the config; `None`: the route matches nothing.
    pub fn new<'a>(routes: impl IntoIterator<Item = impl Into<Option<&'a RouteMatch>>>) -> Router {
        let routes: Vec<Option<&RouteMatch>> = routes.into_iter().map(Into::into).collect();
        let none = RouteMatch::default();
        let mut router = Router {
            conditions: routes.iter().map(|matches| Conditions::new(matches.unwrap_or(&none))).collect(),
            ..Router::default()
        };
        let mut order: Vec<(usize, &RouteMatch)> =
            routes.iter().enumerate().filter_map(|(route, matches)| Some((route, (*matches)?))).collect();
        order.sort_by_key(|(_, matches)| rank(matches));
        for (route, matches) in order {
            if matches.hosts.is_empty() {
                router.any_host.add_all(&matches.paths, route);
            }
            for pattern in &matches.hosts {
                router.paths_of(pattern).add_all(&matches.paths, route);
            }
        }
        router.wildcard_lengths = lengths(&router.wildcards);
        router.any_host.finish();
        router.exact_hosts.values_mut().chain(router.wildcards.values_mut()).for_each(Paths::finish);
        router
    }

    fn paths_of(&mut self, pattern: &HostPattern) -> &mut Paths {
        match pattern {
            HostPattern::Exact(name) => self.exact_hosts.entry(name.as_str().into()).or_default(),
            HostPattern::Wildcard(parent) => self.wildcards.entry(parent.as_str().into()).or_default(),
        }
    }

    /// The first rule in the order of precedence whose conditions all hold. `client`: the client's address, if it has
    /// one.
    pub fn find(&self, head: &impl RequestHead, client: Option<IpAddr>) -> RouteOutcome {
        let asked = &Asked { head, client };
        let host = authority::normalize_host(head.authority());
        let mut miss = Miss::Host;
        if let Some(paths) = self.exact_hosts.get(&*host)
            && let Some(found) = self.find_path(paths, HostKind::Exact, asked, &mut miss)
        {
            return found;
        }
        for length in &self.wildcard_lengths {
            if let Some(paths) = self.wildcard(&host, *length)
                && let Some(found) =
                    self.find_path(paths, HostKind::Wildcard(saturating_u16(*length)), asked, &mut miss)
            {
                return found;
            }
        }
        self.find_path(&self.any_host, HostKind::Any, asked, &mut miss).unwrap_or(RouteOutcome::Missed(miss))
    }

    /// The rules of the wildcard of this length that matches the host, which must have a label and a dot before it.
    fn wildcard(&self, host: &str, length: usize) -> Option<&Paths> {
        let star = host.len().checked_sub(length + 1).filter(|star| *star > 0)?;
        let parent = host.get(star..)?.strip_prefix('.')?;
        self.wildcards.get(parent)
    }

    fn find_path(
        &self,
        paths: &Paths,
        host: HostKind,
        asked: &Asked<'_, impl RequestHead>,
        miss: &mut Miss,
    ) -> Option<RouteOutcome> {
        if !paths.is_empty() {
            *miss = Miss::Path.max(*miss);
        }
        let path = asked.head.path();
        let mut first_rule =
            |rules: &[usize], kind: PathKind| self.first_rule(rules, (host, kind), asked, miss);
        if let Some(rules) = paths.exact.get(path)
            && let Some(found) = first_rule(rules, PathKind::Exact)
        {
            return Some(found);
        }
        for length in &paths.prefix_lengths {
            if let Some(rules) = paths.prefix(path, *length)
                && let Some(found) = first_rule(rules, PathKind::Prefix(saturating_u16(*length)))
            {
                return Some(found);
            }
        }
        for (regex, route) in &paths.regexes {
            if regex.is_match(path)
                && let Some(found) = first_rule(&[*route], PathKind::Regex)
            {
                return Some(found);
            }
        }
        first_rule(&paths.any, PathKind::Any)
    }

    fn first_rule(
        &self,
        rules: &[usize],
        (host, path): (HostKind, PathKind),
        asked: &Asked<'_, impl RequestHead>,
        miss: &mut Miss,
    ) -> Option<RouteOutcome> {
        for route in rules {
            let conditions = &self.conditions[*route];
            if conditions.hold(asked) {
                return Some(RouteOutcome::Matched(*route, conditions.summary(host, path)));
            }
            *miss = Miss::Conditions;
        }
        None
    }
}

impl Paths {
    fn add_all(&mut self, patterns: &[PathPattern], route: usize) {
        if patterns.is_empty() {
            add(&mut self.any, route);
        }
        for pattern in patterns {
            match pattern {
                PathPattern::Exact(path) => add(self.exact.entry(path.as_str().into()).or_default(), route),
                // The prefix `/` matches every path.
                PathPattern::Prefix(prefix) if prefix.is_empty() => add(&mut self.any, route),
                PathPattern::Prefix(prefix) => {
                    add(self.prefixes.entry(prefix.as_str().into()).or_default(), route);
                }
                PathPattern::Regex(regex) => self.regexes.push((regex.clone(), route)),
            }
        }
    }

    fn finish(&mut self) {
        self.prefix_lengths = lengths(&self.prefixes);
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.regexes.is_empty() && self.any.is_empty()
    }

    /// The rules of the prefix of this length, if it ends at the end of one of the path's segments.
    fn prefix(&self, path: &str, length: usize) -> Option<&Vec<usize>> {
        let ends_segment = path.as_bytes().get(length).is_none_or(|next| *next == b'/');
        let prefix = path.get(..length).filter(|_| ends_segment)?;
        self.prefixes.get(prefix)
    }
}

/// Routes are added in order of precedence. A route that names a host or path twice is added once.
fn add(rules: &mut Vec<usize>, route: usize) {
    if rules.last() != Some(&route) {
        rules.push(route);
    }
}

fn lengths(keys: &AHashMap<Box<str>, impl Sized>) -> Vec<usize> {
    let mut lengths: Vec<usize> = keys.keys().map(|key| key.len()).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.dedup();
    lengths
}

fn saturating_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Precedence among rules of the same host and path. The sort must be stable: ties keep the order of the file.
pub(super) fn rank(matches: &RouteMatch) -> impl Ord + use<> {
    use std::cmp::Reverse;
    let fields = (Reverse(matches.headers.len()), Reverse(matches.query.len()));
    let more = (Reverse(!matches.clients.is_empty()), Reverse(matches.not.len()));
    (Reverse(!matches.methods.is_empty()), fields, more)
}

impl Conditions {
    fn new(matches: &RouteMatch) -> Conditions {
        Conditions {
            methods: matches.methods.clone(),
            headers: matches.headers.clone(),
            query: matches.query.clone(),
            clients: matches.clients.clone(),
            not: matches.not.iter().map(Whole::new).collect(),
        }
    }

    fn hold(&self, asked: &Asked<'_, impl RequestHead>) -> bool {
        self.first_failed(asked).is_none()
    }

    #[inline]
    fn first_failed(&self, asked: &Asked<'_, impl RequestHead>) -> Option<FailedCondition> {
        let head = asked.head;
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method.as_str() == head.method()) {
            return Some(FailedCondition::Method);
        }
        if let Some(index) = self.headers.iter().position(|header| !header_holds(header, head)) {
            return Some(FailedCondition::Header(index));
        }
        if let Some(index) = self.query.iter().position(|query| !query_holds(query, head.query())) {
            return Some(FailedCondition::Query(index));
        }
        if !self.clients.is_empty() && asked.client.is_none_or(|ip| self.clients.find(ip).is_none()) {
            return Some(FailedCondition::Client);
        }
        self.not.iter().position(|negated| negated.first_failed(asked).is_none()).map(FailedCondition::Not)
    }

    fn summary(&self, host: HostKind, path: PathKind) -> MatchSummary {
        MatchSummary {
            host,
            path,
            method: !self.methods.is_empty(),
            headers: saturating_u16(self.headers.len()),
            query: saturating_u16(self.query.len()),
            clients: !self.clients.is_empty(),
            not: saturating_u16(self.not.len()),
        }
    }
}

impl Whole {
    fn new(matches: &RouteMatch) -> Whole {
        let (hosts, paths) = (matches.hosts.clone(), matches.paths.clone());
        Whole { hosts, paths, others: Conditions::new(matches) }
    }

    fn first_failed(&self, asked: &Asked<'_, impl RequestHead>) -> Option<FailedCondition> {
        let host_holds = || {
            let host = authority::normalize_host(asked.head.authority());
            self.hosts.iter().any(|pattern| pattern.holds(&host))
        };
        let path_holds = || self.paths.iter().any(|pattern| pattern.holds(asked.head.path()));
        if !self.hosts.is_empty() && !host_holds() {
            return Some(FailedCondition::Host);
        }
        if !self.paths.is_empty() && !path_holds() {
            return Some(FailedCondition::Path);
        }
        self.others.first_failed(asked)
    }
}

/// The first condition of a match that a request does not meet, for people; `None`: it meets all.
pub fn first_failed(
    matches: &RouteMatch,
    head: &impl RequestHead,
    client: Option<IpAddr>,
) -> Option<FailedCondition> {
    Whole::new(matches).first_failed(&Asked { head, client })
}

impl fmt::Display for MatchSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.host {
            HostKind::Exact => "exact host",
            HostKind::Wildcard(_) => "wildcard host",
            HostKind::Any => "any host",
        })?;
        f.write_str(match self.path {
            PathKind::Exact => ", exact path",
            PathKind::Prefix(_) => ", prefix",
            PathKind::Regex => ", regular expression",
            PathKind::Any => ", any path",
        })?;
        if self.method {
            f.write_str(", method")?;
        }
        let counted = [(self.headers, "header"), (self.query, "query parameter"), (self.not, "negation")];
        for (index, (count, what)) in counted.into_iter().enumerate() {
            if index == 2 && self.clients {
                f.write_str(", client")?;
            }
            match count {
                0 => {}
                1 => write!(f, ", 1 {what}")?,
                count => write!(f, ", {count} {what}s")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for RouteOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteOutcome::Matched(_, summary) => summary.fmt(f),
            RouteOutcome::Missed(miss) => miss.fmt(f),
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Miss::Host => "no route is for this host",
            Miss::Path => "no route of this host is for this path",
            Miss::Conditions => {
                "the routes of this host and path ask for another method, header, query or client"
            }
        })
    }
}
