//! Runs the tests that a config contains.

use std::fmt;

use http::{HeaderName, header};

use super::access::is_denied;
use super::edits::Edits;
use super::header_edits::{self, set_forwarded_prefix};
use super::response::is_preflight;
use super::{Decision, act, decide, rewrite};
use crate::config::{
    Action, Config, HostHeader, Listener, LoadError, Loaded, Respond, RouteTest, TestRequest,
};
use crate::header_field::same_name;
use crate::routing::{RequestHead, path};
use crate::snapshot::{Route, Snapshot};
use crate::template::{Groups, Values};

/// The label of a request that meets no authentication.
const NO_AUTH: &str = "off";

/// Runs the config's own tests. Each one that fails is an error at its line and column.
pub fn run_config_tests(loaded: Loaded) -> Result<Loaded, LoadError> {
    if loaded.config.tests.is_empty() {
        return Ok(loaded);
    }
    let Loaded { config, warnings: mut report } = loaded;
    let snapshot = Snapshot::build(config.clone(), None);
    let listeners = different(&config);
    for test in &config.tests {
        // A test must hold at every listener.
        let failed =
            listeners.iter().find_map(|listener| Some((listener, failure(&snapshot, listener, test)?)));
        if let Some((listener, decided)) = failed {
            let message = format!("a test fails: it expects {}", expected(test));
            let place =
                if listeners.len() > 1 { format!(" at listener `{}`", listener.name) } else { String::new() };
            report.add_error(test.line, test.column, message, format!("decided{place}: {decided}"));
        }
    }
    if report.has_errors() {
        Err(LoadError::Invalid(report))
    } else {
        Ok(Loaded { config, warnings: report })
    }
}

/// One listener for each distinct setting of `paths`, `allow` and `deny`.
fn different(config: &Config) -> Vec<&Listener> {
    let mut listeners: Vec<&Listener> = Vec::new();
    for listener in &config.listeners {
        let is_other = |other: &&Listener| other.paths != listener.paths || other.access != listener.access;
        if listeners.iter().all(is_other) {
            listeners.push(listener);
        }
    }
    listeners
}

/// What is decided instead of what was expected; `None`: the test passes.
fn failure(snapshot: &Snapshot, listener: &Listener, test: &RouteTest) -> Option<String> {
    let mut request = test.request.clone();
    match path::normalize(&test.request.path, listener.paths) {
        Ok(normal) => request.path = normal.into_owned(),
        Err(_) if test.no_route => return None,
        Err(fault) => {
            let asserts_no_name = test.route.is_none() && test.pool.is_none() && test.status.is_some();
            let refused =
                asserts_no_name && auth_holds(test, NO_AUTH) && Answer::status_only(400).holds(test);
            return (!refused).then(|| format!("400, {}", fault.reason()));
        }
    }
    let decision = decide(snapshot, &request, test.client);
    let is_denied = test.client.is_some_and(|client| is_denied(listener, decision.route, client));
    let answer = match decision.route {
        _ if is_denied => Answer::status_only(403),
        Some(route) if is_preflight(route, &request) => Answer::status_only(204),
        Some(route) => Answer::of(route, &request, listener),
        None => Answer::status_only(404),
    };
    let auth = met_auth(decision.route.filter(|_| !is_denied), &request);
    let passes = names_hold(test, &decision) && auth_holds(test, auth) && answer.holds(test);
    (!passes).then(|| {
        let of_auth = test.auth.map(|_| format!(", auth {auth}")).unwrap_or_default();
        format!("{decision}{of_auth}{}", answer.told(test))
    })
}

/// The label of the authentication that a request meets which has got as far as its route.
fn met_auth(route: Option<&Route>, request: &TestRequest) -> &'static str {
    let guarded = route.filter(|route| !is_preflight(route, request));
    guarded.and_then(|route| route.auth.as_ref()).map_or(NO_AUTH, |gate| gate.config().kind())
}

fn auth_holds(test: &RouteTest, auth: &str) -> bool {
    test.auth.is_none_or(|expected| expected == auth)
}

fn names_hold(test: &RouteTest, decision: &Decision<'_>) -> bool {
    let named = test.route.is_some() || test.pool.is_some();
    let Some(route) = decision.route else { return !named };
    let is =
        |expected: &Option<String>, name: &str| expected.as_ref().is_none_or(|expected| expected == name);
    let pool = test.pool.as_ref().is_none_or(|expected| route.has_pool(expected));
    !test.no_route && is(&test.route, &route.name) && pool
}

/// What a request comes to, as far as the config alone decides it.
#[derive(Default)]
struct Answer {
    /// Of what is answered here; `None`: an endpoint answers.
    status: Option<u16>,
    redirect: Option<String>,
    /// As the endpoint gets it.
    path: Option<String>,
    /// Those of the answer, or those that the endpoint gets.
    fields: Vec<(HeaderName, String)>,
}

impl Answer {
    fn status_only(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    fn of(route: &Route, request: &TestRequest, listener: &Listener) -> Self {
        let groups = route.path_groups.iter().find_map(|regex| regex.groups(&request.path));
        let values = values(request, groups.as_ref());
        match &route.action {
            Action::Redirect(redirect) => match act::location(&redirect.to, &values) {
                Ok(location) => Self {
                    status: Some(redirect.status.as_u16()),
                    redirect: location.to_str().ok().map(str::to_owned),
                    ..Self::default()
                },
                Err(failure) => Self::status_only(failure.status().as_u16()),
            },
            Action::Respond(respond) => Self {
                status: Some(respond.status.as_u16()),
                fields: fields_of_answer(respond, &values),
                ..Self::default()
            },
            Action::Forward(_) | Action::Split(_) => Self::of_forwarded(route, request, &values, listener),
        }
    }

    fn of_forwarded(route: &Route, request: &TestRequest, values: &Values<'_>, listener: &Listener) -> Self {
        let to = route.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref());
        let rewritten = to.map_or(Ok(None), |to| rewrite::rewritten(to, values, listener.paths));
        let Ok(rewritten) = rewritten else { return Self::status_only(400) };
        let mut edits = Edits::default();
        let stripped = rewritten.as_ref().and_then(|rewritten| rewritten.stripped);
        stripped.into_iter().for_each(|prefix| set_forwarded_prefix(&mut edits, "", prefix));
        if let Some(headers) = &route.request_headers {
            header_edits::apply(headers, values, &mut edits);
        }
        let host = route.rewrite.as_ref().and_then(|rewrite| match &rewrite.host {
            Some(HostHeader::Fixed(host)) => host.to_str().ok(),
            Some(HostHeader::Preserve | HostHeader::Endpoint) | None => None,
        });
        let mut fields = vec![(header::HOST, host.unwrap_or(request.authority()).to_owned())];
        fields.extend(request.headers.iter().filter_map(|(name, value)| {
            let bytes = name.as_str().as_bytes();
            let is_gone = edits.replaced(bytes).any(|other| same_name(other.as_bytes(), bytes));
            (!is_gone && *name != header::HOST).then(|| (name.clone(), text(value.as_bytes())))
        }));
        let added = edits
            .added()
            .map(|(name, value)| (name.clone(), text(edits.lines().get(value).unwrap_or_default())));
        fields.extend(added);
        let path = rewritten.map_or_else(|| request.path.clone(), |rewritten| rewritten.path);
        Self { path: Some(path), fields, ..Self::default() }
    }

    fn holds(&self, test: &RouteTest) -> bool {
        let is = |expected: &Option<String>, own: &Option<String>| {
            expected.as_ref().is_none_or(|expected| own.as_ref() == Some(expected))
        };
        test.status.is_none_or(|expected| self.status == Some(expected))
            && is(&test.redirect, &self.redirect)
            && is(&test.path, &self.path)
            && test.headers.iter().all(|(name, expected)| self.field(name) == *expected)
    }

    /// All fields of that name, or that an endpoint may take for it, as one.
    fn field(&self, name: &HeaderName) -> Option<String> {
        let is_named = |other: &HeaderName| same_name(other.as_str().as_bytes(), name.as_str().as_bytes());
        let values = self.fields.iter().filter(|(other, _)| is_named(other)).map(|(_, value)| value.as_str());
        let values: Vec<&str> = values.collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// What is otherwise than the test expects, beside route and pool.
    fn told(&self, test: &RouteTest) -> String {
        let mut told = Vec::new();
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        if test.status.is_some() {
            told.push(match self.status {
                Some(status) => format!("status {status}"),
                None => "the status is the endpoint's".to_owned(),
            });
        }
        if test.redirect.is_some() {
            told.push(format!("redirect {}", or_none(&self.redirect)));
        }
        if test.path.is_some() {
            told.push(format!("path {}", or_none(&self.path)));
        }
        for (name, _) in &test.headers {
            told.push(format!("{name}: {}", self.field(name).unwrap_or_else(|| "off".to_owned())));
        }
        told.into_iter().map(|one| format!(", {one}")).collect()
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// What placeholders stand for in a test: its client is at 127.0.0.1, and has no certificate.
fn values<'a>(request: &'a TestRequest, groups: Option<&'a Groups>) -> Values<'a> {
    Values {
        client: Some("127.0.0.1"),
        authority: request.authority(),
        scheme: if request.secure { "https" } else { "http" },
        method: request.method.as_str(),
        path: &request.path,
        query: request.query.as_deref(),
        request_id: "test",
        cert_subject: "",
        groups,
    }
}

fn fields_of_answer(respond: &Respond, values: &Values<'_>) -> Vec<(HeaderName, String)> {
    let content_type =
        respond.content_type.as_ref().map(|value| (header::CONTENT_TYPE, text(value.as_bytes())));
    let written = respond.headers.iter().filter_map(|(name, value)| {
        let value = act::field_value(value, values).ok()?;
        Some((name.clone(), text(value.as_bytes())))
    });
    content_type.into_iter().chain(written).collect()
}

fn expected(test: &RouteTest) -> String {
    let mut parts = match (&test.route, &test.pool) {
        (Some(route), Some(pool)) => vec![format!("route `{route}` and pool `{pool}`")],
        (Some(route), None) => vec![format!("route `{route}`")],
        (None, Some(pool)) => vec![format!("pool `{pool}`")],
        (None, None) if test.no_route => vec!["no route".to_owned()],
        (None, None) => Vec::new(),
    };
    parts.extend(test.status.map(|status| format!("status {status}")));
    parts.extend(test.redirect.as_ref().map(|to| format!("redirect {to}")));
    parts.extend(test.path.as_ref().map(|path| format!("path {path}")));
    parts.extend(test.auth.map(|auth| format!("auth {auth}")));
    for (name, value) in &test.headers {
        parts.push(format!("{name}: {}", value.as_deref().unwrap_or("off")));
    }
    parts.join(", ")
}

/// What a route does, as the file says it.
fn what(route: &Route) -> String {
    match &route.action {
        Action::Forward(pool) => format!("pool `{pool}`"),
        action => action.to_string(),
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.route {
            Some(route) => {
                write!(f, "route `{}` and {} ({})", route.name, what(route), self.trace)
            }
            None => write!(f, "no route ({})", self.trace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_with;

    #[test]
    fn a_test_may_have_a_client() {
        let text = "
listeners: [{ address: \":80\" }]
routes:
  - { name: web, pool: w }
  - { name: office, match: { clients: [10.0.0.0/8] }, pool: w }
  - { name: off, enabled: false, match: { paths: [/off] }, pool: w }
pools: { w: [10.0.0.1:80] }
tests:
  - { request: GET http://h/, client: 10.1.2.3, expect: { route: office } }
  - { request: GET http://h/, client: \"::ffff:10.1.2.3\", expect: { route: office } }
  - { request: GET http://h/, client: 192.0.2.1, expect: { route: web } }
  - { request: GET http://h/, expect: { route: web } }
  - { request: GET http://h/off, expect: { route: off } }
";
        let loaded = parse_with(text, "t.yaml", &|_| None).unwrap();
        let Err(LoadError::Invalid(report)) = run_config_tests(loaded) else { panic!("the last fails") };
        let lines: Vec<usize> = report.problems().map(|problem| problem.line).collect();
        assert_eq!(lines, [13]);
    }

    #[test]
    fn tests_see_the_paths_that_each_listener_makes() {
        let text = "
listeners:
  - { name: a, address: \":80\" }
  - { name: b, address: \":81\", paths: { merge_slashes: false, escaped_slashes: decode } }
routes:
  - { name: web, pool: w }
  - { name: admin, match: { paths: [/admin] }, pool: w }
pools: { w: [10.0.0.1:80] }
tests:
  - { request: GET http://h/x/%2e%2e/%61dmin/y, expect: { route: admin } }
  - { request: GET http://h/../admin, expect: { route: none } }
  - { request: GET http://h//admin, expect: { route: admin } }
  - { request: GET http://h/admin%2fx, expect: { route: web } }
  - { request: GET http://h/..;/admin, expect: { route: web } }
";
        let loaded = parse_with(text, "t.yaml", &|_| None).unwrap();
        let Err(LoadError::Invalid(report)) = run_config_tests(loaded) else { panic!("three of them fail") };
        let remedies: Vec<(usize, String)> =
            report.problems().map(|problem| (problem.line, problem.remedy)).collect();
        assert_eq!(
            remedies,
            [
                (12, "decided at listener `b`: route `web` and pool `w` (any host, any path)".to_owned()),
                (13, "decided at listener `b`: route `admin` and pool `w` (any host, prefix)".to_owned()),
                (
                    14,
                    "decided at listener `a`: 400, a segment of the path is a dot segment to some servers"
                        .to_owned()
                ),
            ]
        );
    }

    #[test]
    fn tests_see_answers_and_what_endpoints_get() {
        let text = |expectation: &str| {
            format!(
                r#"
listeners: [{{ address: ":80" }}]
routes:
  - {{ name: www, match: {{ hosts: [www.a.example] }}, redirect: "{{scheme}}://a.example{{path}}{{?query}}" }}
  - {{ name: down, match: {{ paths: [/down] }}, respond: {{ status: 503, body: x, headers: {{ X-Path: "{{path}}" }} }} }}
  - name: api
    match: {{ paths: [/api] }}
    rewrite: {{ strip_prefix: /api, host: api.internal }}
    request_headers: {{ set: {{ X-User: "{{client}}" }}, add: {{ X-Via: b }}, remove: [X-Debug] }}
    split: [{{ pool: w }}, {{ pool: v, weight: 0 }}]
  - {{ name: cut, match: {{ paths: [/cut] }}, pool: v, rewrite: {{ regex: ^/cut, to: "" }} }}
pools: {{ w: [10.0.0.1:80], v: [10.0.0.2:80] }}
tests:
  - {{ {expectation} }}
"#
            )
        };
        let told = |expectation: &str| {
            let loaded = parse_with(&text(expectation), "t.yaml", &|_| None)
                .unwrap_or_else(|report| panic!("{report}"));
            match run_config_tests(loaded) {
                Ok(_) => String::new(),
                Err(LoadError::Invalid(report)) => report
                    .problems()
                    .map(|problem| format!("{}; {}", problem.message, problem.remedy))
                    .collect(),
                Err(error) => panic!("{error}"),
            }
        };
        for passes in [
            "request: GET https://www.a.example/x?y, expect: { status: 308, redirect: 'https://a.example/x?y' }",
            "request: GET http://b/down/x, expect: { status: 503, headers: { X-Path: /down/x, Content-Type: text/plain; charset=utf-8 } }",
            "request: GET http://b/api/x, headers: { x_user: me, X.Debug: 1, X-Via: a }, expect: { route: api, pool: w, path: /x, \
             headers: { X-User: 127.0.0.1, X-Debug: off, X-Via: 'a, b', Host: api.internal, X-Forwarded-Prefix: /api } }",
            "request: GET http://b/nothing, expect: { status: 404 }",
            "request: GET http://b/../x, expect: { status: 400 }",
            "request: GET http://b/cut/x, expect: { path: /x }",
            "request: GET http://b/cut, expect: { route: cut, status: 400 }",
        ] {
            assert_eq!(told(passes), "", "{passes}");
        }
        for (fails, why) in [
            ("request: GET http://b/api, expect: { status: 200 }", "the status is the endpoint's"),
            ("request: GET http://b/api/y, expect: { path: /api/y }", "path /y"),
            ("request: GET http://b/api/y, expect: { pool: v }", "to pools w (1), v (0)"),
            ("request: GET http://b/down, expect: { redirect: /x }", "redirect none"),
            (
                "request: GET http://b/api, headers: { X-Debug: 1 }, expect: { headers: { X-Debug: 1 } }",
                "x-debug: off",
            ),
            ("request: GET http://b/../x, expect: { status: 404 }", "400, the path climbs above its root"),
            ("request: GET http://b/x, expect: { status: 400 }", "status 404"),
        ] {
            let told = told(fails);
            assert!(told.starts_with("a test fails: it expects ") && told.contains(why), "{fails}: {told}");
        }
    }

    #[test]
    fn a_test_may_expect_an_authentication() {
        let text = |expectation: &str| {
            format!(
                "
listeners: [{{ address: \":80\" }}]
routes:
  - name: wiki
    match: {{ hosts: [wiki.example] }}
    deny: [192.0.2.0/24]
    auth: {{ forward: {{ url: \"http://127.0.0.1:9091/x\", set: [Remote-User] }} }}
    cors: {{ origins: [https://a.example] }}
    pool: w
  - {{ name: health, match: {{ paths: [{{ exact: /healthz }}] }}, respond: {{ body: ok }} }}
pools: {{ w: [10.0.0.1:80] }}
tests:
  - {{ {expectation} }}
"
            )
        };
        let told = |expectation: &str| {
            let loaded = parse_with(&text(expectation), "t.yaml", &|_| None).unwrap();
            let Err(LoadError::Invalid(report)) = run_config_tests(loaded) else { return String::new() };
            report.problems().map(|problem| format!("{}; {}", problem.message, problem.remedy)).collect()
        };
        let preflight = "request: OPTIONS http://wiki.example/, headers: { Origin: x, Access-Control-Request-Method: PUT }";
        for passes in [
            "request: GET http://wiki.example/x, expect: { auth: forward, pool: w }",
            "request: OPTIONS http://wiki.example/x, expect: { auth: forward }",
            "request: GET http://wiki.example/healthz, expect: { auth: forward }",
            "request: GET http://wiki.example/x, client: 192.0.2.1, expect: { auth: off, status: 403 }",
            "request: GET http://b.example/healthz, expect: { auth: off, status: 200 }",
            "request: GET http://b.example/, expect: { auth: off, route: none }",
            "request: GET http://wiki.example/../x, expect: { auth: off, status: 400 }",
            &format!("{preflight}, expect: {{ auth: false, status: 204 }}"),
        ] {
            assert_eq!(told(passes), "", "{passes}");
        }
        for (fails, why) in [
            (
                "request: GET http://wiki.example/x, expect: { auth: off }",
                "expects auth off; decided: route `wiki`",
            ),
            ("request: GET http://wiki.example/x, expect: { auth: basic }", "auth forward"),
            ("request: GET http://b.example/healthz, expect: { auth: jwt }", "auth off"),
            ("request: GET http://wiki.example/../x, expect: { auth: forward, status: 400 }", "climbs"),
            (&format!("{preflight}, expect: {{ auth: forward }}"), "auth off"),
        ] {
            assert!(told(fails).contains(why), "{fails}: {}", told(fails));
        }
    }

    #[test]
    fn failed_tests_say_what_was_expected_and_what_was_decided() {
        let text = "
listeners: [{ address: \":80\" }]
routes:
  - { name: web, pool: w }
  - { name: api, match: { hosts: [a.example.com], paths: [/v1] }, pool: a }
pools: { w: [10.0.0.1:80], a: [10.0.0.2:80] }
tests:
  - { request: GET http://a.example.com/v1/x, expect: { route: api, pool: a } }
  - { request: GET http://a.example.com/v2?x=1, expect: { route: api } }
  - { request: GET http://b.example.com/, expect: { route: none } }
  - { request: GET http://b.example.com/, expect: { pool: a } }
";
        let loaded = parse_with(text, "t.yaml", &|_| None).unwrap();
        let Err(LoadError::Invalid(report)) = run_config_tests(loaded) else { panic!("three of them fail") };
        let texts: Vec<String> = report
            .problems()
            .filter(|problem| problem.message.starts_with("a test fails"))
            .map(|problem| {
                format!("{}:{} {}, {}", problem.line, problem.column, problem.message, problem.remedy)
            })
            .collect();
        let web = "decided: route `web` and pool `w` (any host, any path)";
        assert_eq!(
            texts,
            [
                format!("9:16 a test fails: it expects route `api`, {web}"),
                format!("10:16 a test fails: it expects no route, {web}"),
                format!("11:16 a test fails: it expects pool `a`, {web}"),
            ]
        );
    }
}
