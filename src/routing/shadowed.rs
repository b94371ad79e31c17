//! Finds routes that can never match, because another one always wins.

use std::collections::HashMap;

use super::matching::{HeaderMatch, HostPattern, PathPattern, QueryMatch, RouteMatch, ValueMatch};
use super::router::rank;

/// Each route that gets no requests, with a route that gets them instead, as indexes.
///
/// A rule is hidden by an earlier rule that holds whenever it does. Rules that are earlier by host or path are more
/// specific and cannot hide all of it, so only rules of the same host and path are compared. Not detected: a regular
/// expression that covers another one, and several rules that hide one together.
///
/// `None`: a route that is not enabled, which hides nothing and is not hidden.
pub fn shadowed_routes<'a>(
    routes: impl IntoIterator<Item = impl Into<Option<&'a RouteMatch>>>,
) -> Vec<(usize, usize)> {
    let routes: Vec<Option<&RouteMatch>> = routes.into_iter().map(Into::into).collect();
    let mut order: Vec<(usize, &RouteMatch)> =
        routes.iter().enumerate().filter_map(|(route, matches)| Some((route, (*matches)?))).collect();
    order.sort_by_key(|(_, matches)| rank(matches));
    let mut seen: HashMap<(HostKey<'_>, PathKey<'_>), Vec<usize>> = HashMap::new();
    let mut hidden = Vec::new();
    for (route, matches) in order {
        let mut winner = None;
        let mut is_hidden = true;
        for key in keys(matches) {
            let rules = seen.entry(key).or_default();
            let wins = |other: &&usize| routes[**other].is_some_and(|other| covers(other, matches));
            match rules.iter().find(wins) {
                Some(other) if *other != route => winner = winner.or(Some(*other)),
                Some(_) => {}
                None => {
                    is_hidden = false;
                    rules.push(route);
                }
            }
        }
        if let (true, Some(winner)) = (is_hidden, winner) {
            hidden.push((route, winner));
        }
    }
    hidden.sort_unstable();
    hidden
}

type HostKey<'a> = Option<&'a HostPattern>;

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum PathKey<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a str),
    Any,
}

/// The host and path of each rule of a route.
fn keys(matches: &RouteMatch) -> Vec<(HostKey<'_>, PathKey<'_>)> {
    let hosts: Vec<HostKey<'_>> =
        if matches.hosts.is_empty() { vec![None] } else { matches.hosts.iter().map(Some).collect() };
    let paths: Vec<PathKey<'_>> = if matches.paths.is_empty() {
        vec![PathKey::Any]
    } else {
        matches.paths.iter().map(path_key).collect()
    };
    hosts.iter().flat_map(|host| paths.iter().map(|path| (*host, *path))).collect()
}

fn path_key(pattern: &PathPattern) -> PathKey<'_> {
    match pattern {
        PathPattern::Exact(path) => PathKey::Exact(path),
        PathPattern::Prefix(prefix) if prefix.is_empty() => PathKey::Any,
        PathPattern::Prefix(prefix) => PathKey::Prefix(prefix),
        PathPattern::Regex(regex) => PathKey::Regex(regex.as_str()),
    }
}

/// Whether all conditions of `a` but those of host and path hold whenever those of `b` do.
fn covers(a: &RouteMatch, b: &RouteMatch) -> bool {
    let methods = a.methods.is_empty()
        || (!b.methods.is_empty() && b.methods.iter().all(|method| a.methods.contains(method)));
    let header = |wanted: &HeaderMatch| {
        b.headers.iter().any(|given| given.name == wanted.name && imply(&given.values, &wanted.values))
    };
    let query = |wanted: &QueryMatch| {
        b.query.iter().any(|given| given.name == wanted.name && imply(&given.values, &wanted.values))
    };
    let clients = a.clients.is_empty() || (!b.clients.is_empty() && a.clients.cover(&b.clients));
    // What `a` excludes must be excluded by `b`, too.
    let not = |excluded: &RouteMatch| b.not.iter().any(|wider| covers_wholly(wider, excluded));
    methods && a.headers.iter().all(header) && a.query.iter().all(query) && clients && a.not.iter().all(not)
}

/// Whether `a` holds whenever `b` does, hosts and paths included. Those are compared as they are written.
fn covers_wholly(a: &RouteMatch, b: &RouteMatch) -> bool {
    let hosts =
        a.hosts.is_empty() || (!b.hosts.is_empty() && b.hosts.iter().all(|host| a.hosts.contains(host)));
    let paths =
        a.paths.is_empty() || (!b.paths.is_empty() && b.paths.iter().all(|path| a.paths.contains(path)));
    hosts && paths && covers(a, b)
}

fn imply(given: &[ValueMatch], wanted: &[ValueMatch]) -> bool {
    given.iter().all(|given| wanted.iter().any(|wanted| implies(given, wanted)))
}

fn implies(given: &ValueMatch, wanted: &ValueMatch) -> bool {
    match (given, wanted) {
        (_, ValueMatch::Present) => true,
        (ValueMatch::Exact(given), ValueMatch::Exact(wanted)) => given == wanted,
        (ValueMatch::Exact(given), ValueMatch::Regex(wanted)) => wanted.is_match(given),
        (ValueMatch::Regex(given), ValueMatch::Regex(wanted)) => given.as_str() == wanted.as_str(),
        _ => false,
    }
}
