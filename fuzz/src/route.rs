//! Route matching, against each route's own words; and the form in which paths are matched.

use std::sync::LazyLock;

use evenkeel::config::Route;
use evenkeel::routing::{EscapedSlashes, PathRules, RequestHead, Router, path};

const CONFIG: &str = r#"
listeners: [{ address: ":80" }]
pools: { p: [10.0.0.1:80] }
routes:
  - { name: exact, match: { hosts: [a.example], paths: [{ exact: /x }] }, pool: p }
  - { name: prefix, match: { hosts: [a.example], paths: [/v1] }, pool: p }
  - { name: deep, match: { hosts: [a.example], paths: [/v1/deep] }, pool: p }
  - { name: wild, match: { hosts: ["*.b.example"], methods: [POST] }, pool: p }
  - { name: query, match: { paths: [/q], query: { v: "2" } }, pool: p }
  - { name: regex, match: { paths: [{ regex: "^/r[0-9]+$" }] }, pool: p }
"#;

static ROUTES: LazyLock<Vec<Route>> =
    LazyLock::new(|| evenkeel::config::parse(CONFIG, "fuzz.yaml").expect("the config is good").routes);
static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(ROUTES.iter().map(|route| &route.matches)));

/// Method, authority, path and query, a line each.
struct Asked<'a> {
    method: &'a str,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl RequestHead for Asked<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn authority(&self) -> &str {
        self.authority
    }

    fn path(&self) -> &str {
        self.path
    }

    fn query(&self) -> Option<&str> {
        self.query
    }

    fn values<'a>(&'a self, _name: &http::HeaderName) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }
}

const RULES: [PathRules; 4] = [
    PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Keep },
    PathRules { merge_slashes: false, escaped_slashes: EscapedSlashes::Keep },
    PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Refuse },
    PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Decode },
];

pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    text.split('\n').for_each(normalised);
    matched(text);
}

/// The form of a path is found once, and nothing in it could be read otherwise.
fn normalised(path: &str) {
    for rules in RULES {
        let Ok(normal) = path::normalize(path, rules) else { continue };
        assert!(normal.len() <= path.len(), "{path:?} became {normal:?}");
        assert_eq!(path::normalize(&normal, rules).as_ref(), Ok(&normal), "{path:?}");
        if !path.starts_with('/') {
            assert_eq!(normal, path);
            continue;
        }
        let server = normal.replace("%2F", "/").replace("%5C", "/");
        let cut = |segment: &str| segment.split(';').next() == Some("..");
        let climbs = !server.starts_with('/') || server.split('/').any(cut);
        let decodes = normal.to_ascii_lowercase().contains("%2e") || normal.contains("%00");
        let doubled = rules.merge_slashes && normal.contains("//");
        assert!(!climbs && !decodes && !doubled && !normal.contains('\\'), "{path:?} became {normal:?}");
    }
}

fn matched(text: &str) {
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or("");
    let asked = Asked { method: line(), authority: line(), path: line(), query: lines.next() };
    let found = ROUTER.find(&asked, None).route().map_or("", |route| &ROUTES[route].name);
    let under = |prefix: &str| {
        asked.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let a = host(asked.authority) == "a.example";
    let b = host(asked.authority).strip_suffix(".b.example").is_some_and(|label| !label.is_empty());
    let allowed = match found {
        "exact" => a && asked.path == "/x",
        "prefix" => a && under("/v1") && !under("/v1/deep"),
        "deep" => a && under("/v1/deep"),
        "wild" => b && asked.method == "POST",
        "query" => under("/q") && asked.query.is_some(),
        "regex" => asked.path.strip_prefix("/r").is_some_and(digits),
        _ => {
            !(a && (asked.path == "/x" || under("/v1")))
                && !(b && asked.method == "POST")
                && !asked.path.strip_prefix("/r").is_some_and(digits)
        }
    };
    assert!(allowed, "{found:?} for {text:?}");
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn host(authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or("");
    let host = match host.find(']') {
        Some(end) if host.starts_with('[') => &host[..=end],
        _ => host.rsplit_once(':').map_or(host, |(host, _)| host),
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}
