//! Why a route does not match: the first of its conditions that a request does not meet, in words.

use std::fmt::Display;
use std::net::IpAddr;

use http::HeaderName;

use crate::authority::normalize_host;
use crate::config::is_secret;
use crate::routing::{
    FailedCondition, HostPattern, PathPattern, RequestHead, RouteMatch, ValueMatch, query_value,
};

/// The most that are named of a list.
const NAMED_MAX: usize = 4;

/// Stands for a value that may be a secret of the config.
pub(super) const HIDDEN: &str = "***";

/// The kind of the condition, for tools.
pub(super) fn kind(failed: FailedCondition) -> &'static str {
    match failed {
        FailedCondition::Host => "host",
        FailedCondition::Path => "path",
        FailedCondition::Method => "method",
        FailedCondition::Header(_) => "header",
        FailedCondition::Query(_) => "query",
        FailedCondition::Client => "client",
        FailedCondition::Not(_) => "not",
    }
}

/// What the request has, and what the route wants.
pub(super) fn in_words(
    failed: FailedCondition,
    matches: &RouteMatch,
    head: &impl RequestHead,
    client: Option<IpAddr>,
) -> String {
    match failed {
        FailedCondition::Host => {
            let host = normalize_host(head.authority());
            format!("host {host} is not {}", list(matches.hosts.iter().map(host_text)))
        }
        FailedCondition::Path => {
            format!("path {} is not {}", head.path(), list(matches.paths.iter().map(path_text)))
        }
        FailedCondition::Method => {
            format!("method {} is not {}", head.method(), list(matches.methods.iter()))
        }
        FailedCondition::Header(index) => {
            let Some(wanted) = matches.headers.get(index) else { return String::new() };
            let sent = head.joined(&wanted.name).map(|value| String::from_utf8_lossy(&value).into_owned());
            differs("header", wanted.name.as_str(), sent, &wanted.values)
        }
        FailedCondition::Query(index) => {
            let Some(wanted) = matches.query.get(index) else { return String::new() };
            let sent = query_value(head.query(), &wanted.name);
            let sent = sent.map(|value| String::from_utf8_lossy(&value).into_owned());
            differs("query parameter", &wanted.name, sent, &wanted.values)
        }
        FailedCondition::Client => {
            let client = client.map_or("without an address".to_owned(), |ip| ip.to_string());
            format!("client {client} is not in {}", list(matches.clients.iter()))
        }
        FailedCondition::Not(index) => match matches.not.get(index) {
            Some(negated) => format!("it excludes what has {}", summary(negated)),
            None => String::new(),
        },
    }
}

/// `header x-env is missing`, or that its value is another one.
fn differs(kind: &str, name: &str, sent: Option<String>, wanted: &[ValueMatch]) -> String {
    let hides = is_secret(name);
    match sent {
        None => format!("{kind} {name} is missing"),
        Some(_) if hides => format!("{kind} {name} has another value"),
        Some(sent) => format!("{kind} {name} is {sent:?}, not {}", list(wanted.iter().map(value_text))),
    }
}

/// The conditions of a match, by what they are about.
fn summary(matches: &RouteMatch) -> String {
    let named = |what: &'static str, count: usize| (count > 0).then_some(what);
    let parts = [
        (!matches.hosts.is_empty()).then(|| format!("host {}", list(matches.hosts.iter().map(host_text)))),
        (!matches.paths.is_empty()).then(|| format!("path {}", list(matches.paths.iter().map(path_text)))),
        (!matches.methods.is_empty()).then(|| format!("method {}", list(matches.methods.iter()))),
        (!matches.headers.is_empty())
            .then(|| format!("header {}", list(matches.headers.iter().map(|header| &header.name)))),
        (!matches.query.is_empty())
            .then(|| format!("query parameter {}", list(matches.query.iter().map(|query| &query.name)))),
        named("one of its clients", usize::from(!matches.clients.is_empty())).map(str::to_owned),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn host_text(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    }
}

fn path_text(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Exact(path) => format!("exactly {path}"),
        PathPattern::Prefix(prefix) => format!("{prefix}/..."),
        PathPattern::Regex(regex) => format!("like {}", regex.as_str()),
    }
}

fn value_text(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Exact(value) => format!("{value:?}"),
        ValueMatch::Regex(regex) => format!("like {}", regex.as_str()),
        ValueMatch::Present => "any".to_owned(),
    }
}

/// `a`, `a or b`, `a, b, c, d or one of 7 others`.
pub(super) fn list<T: Display>(items: impl ExactSizeIterator<Item = T>) -> String {
    let others = items.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = items.take(NAMED_MAX).map(|item| item.to_string()).collect();
    match others {
        0 => {}
        1 => named.push("another one".to_owned()),
        others => named.push(format!("one of {others} others")),
    }
    let last = named.pop().unwrap_or_default();
    if named.is_empty() { last } else { format!("{} or {last}", named.join(", ")) }
}

/// The value that a route or its authentication gives a field: hidden where the name says that it is a secret.
pub fn shown_value(name: &HeaderName, value: &[u8]) -> String {
    match is_secret(name.as_str()) {
        true => HIDDEN.to_owned(),
        false => String::from_utf8_lossy(value).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::routing::first_failed;

    fn why(conditions: &str, method: &str, target: &str, fields: &[(&str, &str)]) -> String {
        let text = format!(
            "listen: ':80'\nroutes: [{{ match: {{ {conditions} }}, pool: p }}]\npools: {{ p: [10.0.0.1:80] }}\n"
        )
        .replace("listen: ':80'", "listeners: [{ address: ':80' }]");
        let config = config::parse(&text, "t").unwrap_or_else(|report| panic!("{report}"));
        let matches = &config.routes[0].matches;
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).expect("a request").into_parts().0;
        let client = Some("192.0.2.1".parse().expect("an address"));
        match first_failed(matches, &head, client) {
            None => "it matches".to_owned(),
            Some(failed) => format!("{}: {}", kind(failed), in_words(failed, matches, &head, client)),
        }
    }

    #[test]
    fn the_first_condition_that_fails_is_told_with_what_is_wanted() {
        let url = "http://b.example/x?v=1";
        for (conditions, fields, expected) in [
            ("hosts: [b.example], paths: [/x]", &[][..], "it matches"),
            (
                "hosts: [a.example, '*.c.example'], paths: [/y]",
                &[],
                "host: host b.example is not a.example or *.c.example",
            ),
            ("paths: [/y, { exact: /z }]", &[], "path: path /x is not /y/... or exactly /z"),
            ("paths: [{ regex: '^/y[0-9]$' }]", &[], "path: path /x is not like ^/y[0-9]$"),
            ("methods: [POST, PUT]", &[], "method: method GET is not POST or PUT"),
            ("headers: { X-Env: canary }", &[], "header: header x-env is missing"),
            (
                "headers: { X-Env: canary }",
                &[("x-env", "stable")],
                "header: header x-env is \"stable\", not \"canary\"",
            ),
            (
                "headers: { X-Api-Key: s3cret }",
                &[("x-api-key", "x")],
                "header: header x-api-key has another value",
            ),
            ("query: { v: '2' }", &[], "query: query parameter v is \"1\", not \"2\""),
            ("clients: [10.0.0.0/8]", &[], "client: client 192.0.2.1 is not in 10.0.0.0/8"),
            (
                "not: [{ paths: [/x], methods: [GET] }]",
                &[],
                "not: it excludes what has path /x/... and method GET",
            ),
        ] {
            assert_eq!(why(conditions, "GET", url, fields), expected, "{conditions}");
        }
    }

    #[test]
    fn of_a_long_list_the_first_are_named() {
        assert_eq!(list([1, 2].iter()), "1 or 2");
        assert_eq!(list([1, 2, 3, 4, 5].iter()), "1, 2, 3, 4 or another one");
        assert_eq!(list((1..=9).collect::<Vec<_>>().iter()), "1, 2, 3, 4 or one of 5 others");
    }
}
