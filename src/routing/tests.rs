//! The router against tables, and against a model that tries every rule in order of precedence.

use std::cmp::Reverse;
use std::net::IpAddr;

use http::{HeaderName, Method};
use proptest::prelude::*;

use super::*;
use crate::config::{Route, TestRequest};
use crate::networks::Networks;

fn request(text: &str, headers: &[(&str, &str)]) -> TestRequest {
    let (method, url) = text.split_once(' ').unwrap();
    let uri: http::Uri = url.parse().unwrap();
    TestRequest {
        method: method.parse().unwrap(),
        secure: false,
        authority: uri.authority().unwrap().to_string(),
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        headers: headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect(),
    }
}

/// The routes of a config with these `routes`.
fn routes(yaml: &str) -> Vec<Route> {
    let text = format!("listeners: [{{ address: \":80\" }}]\npools: {{ p: [10.0.0.1:80] }}\nroutes:\n{yaml}");
    crate::config::parse(&text, "routes.yaml").unwrap_or_else(|report| panic!("{report}")).routes
}

fn found(routes: &[Route], head: &impl RequestHead) -> String {
    found_of(routes, head, None)
}

fn found_of(routes: &[Route], head: &impl RequestHead, client: Option<&str>) -> String {
    let client = client.map(|ip| ip.parse().expect("an address"));
    match Router::new(routes.iter().map(Route::enabled_match)).find(head, client) {
        RouteOutcome::Matched(index, summary) => format!("{}: {summary}", routes[index].name),
        RouteOutcome::Missed(miss) => miss.to_string(),
    }
}

#[test]
fn the_most_specific_match_wins_whatever_its_place_in_the_file() {
    let routes = routes(
        r#"
  - { name: rest, pool: p }
  - { name: regex, match: { paths: [{ regex: "^/v[0-9]/x$" }] }, pool: p }
  - { name: v1, match: { paths: [/v1] }, pool: p }
  - { name: v1-deep, match: { paths: [/v1/deep] }, pool: p }
  - { name: v1-exact, match: { paths: [{ exact: /v1/deep/er }] }, pool: p }
  - { name: v1-post, match: { paths: [/v1], methods: [POST] }, pool: p }
  - { name: v1-one, match: { paths: [/v1], headers: { X-A: a } }, pool: p }
  - { name: v1-two, match: { paths: [/v1], headers: { X-A: a, X-B: { present: true } } }, pool: p }
  - { name: v1-query, match: { paths: [/v1], query: { q: "1" } }, pool: p }
  - { name: wild, match: { hosts: ["*.example.com"], paths: [/w] }, pool: p }
  - { name: wilder, match: { hosts: ["*.a.example.com"], paths: [/w] }, pool: p }
  - { name: exact-host, match: { hosts: [x.a.example.com], paths: [/e] }, pool: p }
"#,
    );
    let a = ("x-a", "a");
    let b = ("x-b", "");
    for (text, headers, expected) in [
        ("GET http://h/", &[][..], "rest: any host, any path"),
        ("GET http://h/v2/x", &[], "regex: any host, regular expression"),
        ("GET http://h/v1/x", &[], "v1: any host, prefix"),
        ("GET http://h/v1", &[], "v1: any host, prefix"),
        ("GET http://h/v1/", &[], "v1: any host, prefix"),
        ("GET http://h/v10", &[], "rest: any host, any path"),
        ("GET http://h/v1/deep", &[], "v1-deep: any host, prefix"),
        ("GET http://h/v1/deeper", &[], "v1: any host, prefix"),
        ("GET http://h/v1/deep/er", &[], "v1-exact: any host, exact path"),
        ("GET http://h/v1/deep/er/", &[], "v1-deep: any host, prefix"),
        ("POST http://h/v1", &[a, b], "v1-post: any host, prefix, method"),
        ("GET http://h/v1?q=1", &[a], "v1-one: any host, prefix, 1 header"),
        ("GET http://h/v1", &[a, b], "v1-two: any host, prefix, 2 headers"),
        ("GET http://h/v1?q=1", &[], "v1-query: any host, prefix, 1 query parameter"),
        ("GET http://b.example.com/w", &[], "wild: wildcard host, prefix"),
        ("GET http://b.a.example.com/w", &[], "wilder: wildcard host, prefix"),
        ("GET http://c.b.a.example.com/w", &[], "wilder: wildcard host, prefix"),
        ("GET http://a.example.com/w", &[], "wild: wildcard host, prefix"),
        ("GET http://example.com/w", &[], "rest: any host, any path"),
        ("GET http://badexample.com/w", &[], "rest: any host, any path"),
        ("GET http://X.A.Example.COM:8080/e", &[], "exact-host: exact host, prefix"),
        ("GET http://x.a.example.com./e", &[], "exact-host: exact host, prefix"),
        // A host with routes of its own still falls back to wildcards and to any host.
        ("GET http://x.a.example.com/w", &[], "wilder: wildcard host, prefix"),
        ("GET http://x.a.example.com/v1", &[], "v1: any host, prefix"),
    ] {
        assert_eq!(found(&routes, &request(text, headers)), expected, "{text} {headers:?}");
    }
}

#[test]
fn a_miss_says_what_came_nearest() {
    let routes = routes(
        r#"
  - { name: a, match: { hosts: [a.example.com], paths: [/v1], methods: [GET] }, pool: p }
  - { name: b, match: { hosts: [b.example.com], paths: [/v1] }, pool: p }
"#,
    );
    for (text, expected) in [
        ("GET http://c.example.com/v1", "no route is for this host"),
        ("GET http://a.example.com/v2", "no route of this host is for this path"),
        (
            "POST http://a.example.com/v1",
            "the routes of this host and path ask for another method, header, query or client",
        ),
    ] {
        assert_eq!(found(&routes, &request(text, &[])), expected, "{text}");
    }
    let none = Router::new([None::<&RouteMatch>]);
    assert_eq!(none.find(&request("GET http://a/", &[]), None), RouteOutcome::Missed(Miss::Host));
}

#[test]
fn clients_and_negations_come_behind_what_the_gateway_api_knows() {
    let routes = routes(
        r#"
  - { name: rest, pool: p }
  - { name: off, enabled: false, match: { methods: [GET], headers: { X-A: a } }, pool: p }
  - { name: office, match: { clients: [10.0.0.0/8, "::ffff:192.0.2.0/120", "2001:db8::/32"] }, pool: p }
  - { name: not-health, match: { not: { paths: [{ exact: /health }], methods: [GET, HEAD] } }, pool: p }
  - { name: neither, match: { not: [{ paths: [/a] }, { hosts: ["*.b"], query: { q: [x, y] } }] }, pool: p }
  - { name: both, match: { clients: [10.0.0.0/8], not: { headers: { X-A: { present: true } } } }, pool: p }
  - { name: query, match: { query: { v: ["2", { regex: "^3" }] } }, pool: p }
"#,
    );
    let a = ("x-a", "a");
    for (text, client, headers, expected) in [
        ("GET http://h/", Some("10.1.2.3"), &[][..], "both: any host, any path, client, 1 negation"),
        ("GET http://h/", Some("10.1.2.3"), &[a], "office: any host, any path, client"),
        ("GET http://h/", Some("::ffff:10.1.2.3"), &[a], "office: any host, any path, client"),
        ("GET http://h/", Some("192.0.2.255"), &[a], "office: any host, any path, client"),
        ("GET http://h/", Some("2001:db8::9"), &[], "office: any host, any path, client"),
        ("GET http://h/", Some("11.0.0.1"), &[], "neither: any host, any path, 2 negations"),
        ("GET http://h/", None, &[], "neither: any host, any path, 2 negations"),
        ("GET http://h/a/b", None, &[], "not-health: any host, any path, 1 negation"),
        ("GET http://a.b/?q=z&q=y", None, &[], "not-health: any host, any path, 1 negation"),
        ("GET http://b/?q=y", None, &[], "neither: any host, any path, 2 negations"),
        ("POST http://a.b/health?q=x", None, &[], "not-health: any host, any path, 1 negation"),
        ("GET http://a.b/health?q=x", None, &[], "rest: any host, any path"),
        ("GET http://h/?v=1&v=33", Some("10.1.2.3"), &[], "query: any host, any path, 1 query parameter"),
        ("GET http://h/?v=23", None, &[], "neither: any host, any path, 2 negations"),
    ] {
        assert_eq!(
            found_of(&routes, &request(text, headers), client),
            expected,
            "{text} {client:?} {headers:?}"
        );
    }
}

#[test]
fn a_route_with_conditions_of_every_kind_is_hidden_by_one_that_asks_for_less() {
    for (first, second, hidden) in [
        ("clients: [10.0.0.0/8]", "clients: [10.1.0.0/16, 10.2.0.1]", true),
        ("clients: [10.1.0.0/16]", "clients: [10.0.0.0/8]", false),
        ("headers: { X-A: [a, b] }", "headers: { X-A: [b] }", true),
        ("headers: { X-A: [a] }", "headers: { X-A: [a, b] }", false),
        ("not: { paths: [/a] }", "not: { paths: [/a] }", true),
        ("not: { paths: [/a], methods: [GET] }", "not: { paths: [/a, /b] }", true),
        ("not: { paths: [/a, /b] }", "not: { paths: [/a] }", false),
        ("not: { clients: [10.1.0.0/16] }", "not: { clients: [10.0.0.0/8] }", true),
    ] {
        let text = format!(
            "[{{ name: a, match: {{ {first} }}, pool: p }}, {{ name: b, match: {{ {second} }}, pool: p }}]"
        );
        let text =
            format!("listeners: [{{ address: ':80' }}]\npools: {{ p: [10.0.0.1:80] }}\nroutes: {text}\n");
        let report = crate::config::parse(&text, "routes.yaml");
        assert_eq!(report.is_err(), hidden, "{first} {second}: {report:?}");
        let off = text.replace("{ name: a,", "{ name: a, enabled: false,");
        assert!(crate::config::parse(&off, "routes.yaml").is_ok(), "a disabled route hides nothing: {off}");
    }
}

#[test]
fn an_ipv6_address_is_one_host_however_it_is_written() {
    let routes = routes("  - { name: six, match: { hosts: ['[0:0::1]'] }, pool: p }\n");
    for authority in ["[::1]", "[::1]:80", "[0:0:0:0:0:0:0:1]"] {
        let mut head = request("GET http://a/", &[]);
        head.authority = authority.into();
        assert_eq!(found(&routes, &head), "six: exact host, any path", "{authority}");
    }
}

/// Without `merge_slashes`, paths have empty segments.
#[test]
fn a_prefix_of_empty_segments_matches_no_other_path() {
    let text = "listeners: [{ address: ':80', paths: { merge_slashes: false } }]\npools: { p: ['10.0.0.1:80'] }\n\
                routes:\n  - { name: empty, match: { paths: [//] }, pool: p }\n  - { name: a, match: { paths: [/a//] }, pool: p }\n";
    let routes = crate::config::parse(text, "routes.yaml").unwrap_or_else(|report| panic!("{report}")).routes;
    for (path, expected) in [
        ("//", "empty: any host, prefix"),
        ("//x", "empty: any host, prefix"),
        ("/x", "no route of this host is for this path"),
        ("/a//x", "a: any host, prefix"),
        ("/a/", "a: any host, prefix"),
        ("/a", "no route of this host is for this path"),
        ("/a/x", "no route of this host is for this path"),
    ] {
        assert_eq!(found(&routes, &request(&format!("GET http://h{path}"), &[])), expected, "{path}");
    }
}

#[test]
fn strange_requests_find_what_takes_everything() {
    let routes = routes("  - { name: rest, pool: p }\n  - { name: x, match: { paths: [/x] }, pool: p }\n");
    let mut head = request("OPTIONS http://a/", &[]);
    head.path = "*".into();
    head.authority = String::new();
    assert_eq!(found(&routes, &head), "rest: any host, any path");
    head.path = String::new();
    assert_eq!(found(&routes, &head), "rest: any host, any path");
    head.path = "/x\u{fc}".into();
    head.authority = "\u{fc}.example.com".into();
    assert_eq!(found(&routes, &head), "rest: any host, any path");
}

#[test]
fn a_request_s_parts_are_a_head() {
    let request = http::Request::builder().uri("/v1?a=b").header("Host", "a.example.com").body(()).unwrap();
    let (parts, ()) = request.into_parts();
    assert_eq!((parts.authority(), RequestHead::query(&parts)), ("a.example.com", Some("a=b")));
    assert_eq!(
        (RequestHead::method(&parts), parts.path(), parts.header(&HeaderName::from_static("x-none"))),
        ("GET", "/v1", None)
    );
}

// === the model ===

/// Every rule of every route, tried in order of precedence. Written from the words, not from the router.
fn model(routes: &[RouteMatch], head: &TestRequest, client: Option<IpAddr>) -> Option<usize> {
    let mut rules = Vec::new();
    for (index, matches) in routes.iter().enumerate() {
        let hosts: Vec<Option<&HostPattern>> =
            if matches.hosts.is_empty() { vec![None] } else { matches.hosts.iter().map(Some).collect() };
        let paths: Vec<Option<&PathPattern>> =
            if matches.paths.is_empty() { vec![None] } else { matches.paths.iter().map(Some).collect() };
        for host in &hosts {
            for path in &paths {
                rules.push((*host, *path, index));
            }
        }
    }
    rules.sort_by_key(|(host, path, index)| {
        let matches = &routes[*index];
        let rest = (matches.methods.is_empty(), Reverse(matches.headers.len()), Reverse(matches.query.len()));
        let more = (matches.clients.is_empty(), Reverse(matches.not.len()));
        (host_rank(*host), path_rank(*path), rest, more, *index)
    });
    let holds = |(host, path, index): &(Option<&HostPattern>, Option<&PathPattern>, usize)| {
        host_matches(*host, &head.authority)
            && path_matches(*path, &head.path)
            && rest_matches(&routes[*index], head, client)
            && !routes[*index].not.iter().any(|negated| all_match(negated, head, client))
    };
    rules.into_iter().find(holds).map(|(_, _, index)| index)
}

fn all_match(matches: &RouteMatch, head: &TestRequest, client: Option<IpAddr>) -> bool {
    let hosts = matches.hosts.iter().any(|host| host_matches(Some(host), &head.authority));
    let paths = matches.paths.iter().any(|path| path_matches(Some(path), &head.path));
    (matches.hosts.is_empty() || hosts)
        && (matches.paths.is_empty() || paths)
        && rest_matches(matches, head, client)
}

fn host_rank(host: Option<&HostPattern>) -> (u8, Reverse<usize>) {
    match host {
        Some(HostPattern::Exact(_)) => (0, Reverse(0)),
        Some(HostPattern::Wildcard(parent)) => (1, Reverse(parent.len())),
        None => (2, Reverse(0)),
    }
}

fn path_rank(path: Option<&PathPattern>) -> (u8, Reverse<usize>) {
    match path {
        Some(PathPattern::Exact(_)) => (0, Reverse(0)),
        Some(PathPattern::Prefix(prefix)) if !prefix.is_empty() => (1, Reverse(prefix.len())),
        Some(PathPattern::Regex(_)) => (2, Reverse(0)),
        _ => (3, Reverse(0)),
    }
}

fn host_matches(pattern: Option<&HostPattern>, authority: &str) -> bool {
    let host = authority.to_lowercase();
    let host = host.split(':').next().unwrap_or("");
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern {
        None => true,
        Some(HostPattern::Exact(name)) => host == name,
        Some(HostPattern::Wildcard(parent)) => {
            host.ends_with(&format!(".{parent}")) && host.len() > parent.len() + 1
        }
    }
}

fn path_matches(pattern: Option<&PathPattern>, path: &str) -> bool {
    match pattern {
        None => true,
        Some(PathPattern::Exact(exact)) => path == exact,
        Some(PathPattern::Prefix(prefix)) => path == prefix || path.starts_with(&format!("{prefix}/")),
        Some(PathPattern::Regex(regex)) => regex.is_match(path),
    }
}

fn rest_matches(matches: &RouteMatch, head: &TestRequest, client: Option<IpAddr>) -> bool {
    let method = matches.methods.is_empty() || matches.methods.contains(&head.method);
    let any_of = |wanted: &[ValueMatch], values: &[String]| {
        values.iter().any(|value| {
            wanted.iter().any(|wanted| match wanted {
                ValueMatch::Exact(exact) => value == exact,
                _ => true,
            })
        })
    };
    let headers = matches.headers.iter().all(|wanted| {
        let fields = head.headers.iter().filter(|(name, _)| *name == wanted.name);
        let mut values: Vec<String> = fields.map(|(_, value)| value.to_str().unwrap().to_owned()).collect();
        if values.len() > 1 {
            values.push(values.join(", "));
        }
        any_of(&wanted.values, &values)
    });
    let pairs: Vec<&str> = head.query.iter().flat_map(|query| query.split('&')).collect();
    let query = matches.query.iter().all(|wanted| {
        let prefix = format!("{}=", wanted.name);
        let values: Vec<String> =
            pairs.iter().filter_map(|pair| Some(pair.strip_prefix(&prefix)?.to_owned())).collect();
        any_of(&wanted.values, &values)
    });
    let clients = matches.clients.is_empty() || client.is_some_and(|ip| matches.clients.find(ip).is_some());
    method && headers && query && clients
}

// === random routes and requests, from few words so that they meet ===

fn host() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        prop::sample::select(&["a.b", "x.a.b", "y.x.a.b", "b"][..])
            .prop_map(|name| HostPattern::Exact(name.into())),
        prop::sample::select(&["b", "a.b", "x.a.b"][..]).prop_map(|name| HostPattern::Wildcard(name.into())),
    ]
}

fn path() -> impl Strategy<Value = PathPattern> {
    prop_oneof![
        prop::sample::select(&["/", "/p", "/p/q", "/p/"][..])
            .prop_map(|path| PathPattern::Exact(path.into())),
        prop::sample::select(&["", "/p", "/p/q", "/pq", "/p/q/r"][..])
            .prop_map(|path| PathPattern::Prefix(path.into())),
        prop::sample::select(&["^/p", "q$", "/q/"][..])
            .prop_map(|text| PathPattern::Regex(Regex::new(text).unwrap())),
    ]
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        Just(ValueMatch::Present),
        prop::sample::select(&["1", "2"][..]).prop_map(|v| ValueMatch::Exact(v.into()))
    ]
}

fn values() -> impl Strategy<Value = Vec<ValueMatch>> {
    prop::collection::vec(value(), 1..3)
}

fn clients() -> impl Strategy<Value = Networks> {
    let networks = prop::sample::select(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32"][..]);
    prop::collection::vec(networks.prop_map(|text| text.parse().unwrap()), 0..3)
        .prop_map(|networks: Vec<ipnet::IpNet>| networks.into_iter().collect())
}

fn client() -> impl Strategy<Value = Option<IpAddr>> {
    let texts = vec![None, Some("10.1.2.3"), Some("::ffff:10.9.9.9"), Some("192.0.2.1"), Some("2001:db8::7")];
    prop::sample::select(texts).prop_map(|text| text.map(|text| text.parse().unwrap()))
}

fn route() -> impl Strategy<Value = RouteMatch> {
    let not = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(conditions(), 1..3)];
    (conditions(), not).prop_map(|(matches, not)| RouteMatch { not, ..matches })
}

fn conditions() -> impl Strategy<Value = RouteMatch> {
    let methods = prop::collection::vec(prop::sample::select(&[Method::GET, Method::POST][..]), 0..2);
    let headers = prop::collection::btree_map(prop::sample::select(&["x-a", "x-b"][..]), values(), 0..3);
    let query = prop::collection::btree_map(prop::sample::select(&["a", "b"][..]), values(), 0..3);
    let conditions = (methods, headers, query, clients());
    (prop::collection::vec(host(), 0..3), prop::collection::vec(path(), 0..3), conditions).prop_map(
        |(hosts, paths, (methods, headers, query, clients))| RouteMatch {
            hosts,
            paths,
            methods,
            headers: headers
                .into_iter()
                .map(|(name, values)| HeaderMatch { name: name.parse().unwrap(), values })
                .collect(),
            query: query.into_iter().map(|(name, values)| QueryMatch { name: name.into(), values }).collect(),
            clients,
            not: Vec::new(),
        },
    )
}

fn head() -> impl Strategy<Value = TestRequest> {
    let authority =
        prop::sample::select(&["a.b", "X.a.B:80", "y.x.a.b.", "z.y.x.a.b", "b", "c", "q.a.b"][..]);
    let path = prop::sample::select(&["/", "/p", "/p/", "/p/q", "/p/q/r", "/pq", "/pq/q", "/r"][..]);
    let query = prop::sample::select(&[None, Some("a=1"), Some("a=2&b=1"), Some("b=2&a=1&a=2")][..]);
    let headers = prop::collection::vec((prop::sample::select(&["x-a", "x-b"][..]), "[12]"), 0..4);
    let method = prop::sample::select(&[Method::GET, Method::POST, Method::PUT][..]);
    (authority, path, query, headers, method).prop_map(|(authority, path, query, headers, method)| {
        TestRequest {
            secure: false,
            method,
            authority: authority.into(),
            path: path.into(),
            query: query.map(str::to_owned),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_router_finds_what_the_model_finds(
        routes in prop::collection::vec(route(), 0..8),
        heads in prop::collection::vec((head(), client()), 1..20),
    ) {
        let router = Router::new(&routes);
        for (head, client) in heads {
            let found = router.find(&head, client).route();
            prop_assert_eq!(found, model(&routes, &head, client), "{:?} {:?}", head, client);
        }
    }

    #[test]
    fn an_unreachable_route_is_never_found(
        routes in prop::collection::vec(route(), 0..8),
        heads in prop::collection::vec((head(), client()), 1..20),
    ) {
        let router = Router::new(&routes);
        let hidden = shadowed_routes(&routes);
        for (head, client) in heads {
            let found = router.find(&head, client).route();
            prop_assert!(!hidden.iter().any(|(route, _)| Some(*route) == found), "{:?} {:?}", hidden, head);
        }
    }

    #[test]
    fn a_route_written_twice_is_unreachable(routes in prop::collection::vec(route(), 1..6), at in any::<prop::sample::Index>()) {
        let mut routes = routes;
        let copy = routes[at.index(routes.len())].clone();
        routes.push(copy);
        let last = routes.len() - 1;
        prop_assert!(shadowed_routes(&routes).iter().any(|(route, winner)| *route == last && *winner != last));
    }
}
