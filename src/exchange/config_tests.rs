//! Runs the routing tests that a config contains.

use std::fmt;

use super::{Decision, decide};
use crate::config::{Config, Listener, LoadError, Loaded, RouteTest};
use crate::routing::path;
use crate::snapshot::Snapshot;

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

/// One listener for each distinct setting of `paths`.
fn different(config: &Config) -> Vec<&Listener> {
    let mut listeners: Vec<&Listener> = Vec::new();
    for listener in &config.listeners {
        if listeners.iter().all(|other| other.paths != listener.paths) {
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
        Err(fault) => return Some(format!("400, {}", fault.reason())),
    }
    let decision = decide(snapshot, &request);
    (!holds(test, &decision)).then(|| decision.to_string())
}

fn holds(test: &RouteTest, decision: &Decision<'_>) -> bool {
    let Some(route) = decision.route else { return test.no_route };
    let is =
        |expected: &Option<String>, name: &str| expected.as_ref().is_none_or(|expected| expected == name);
    !test.no_route && is(&test.route, &route.name) && is(&test.pool, route.pool().name())
}

fn expected(test: &RouteTest) -> String {
    match (&test.route, &test.pool) {
        (Some(route), Some(pool)) => format!("route `{route}` and pool `{pool}`"),
        (Some(route), None) => format!("route `{route}`"),
        (None, Some(pool)) => format!("pool `{pool}`"),
        (None, None) => "no route".to_owned(),
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.route {
            Some(route) => {
                write!(f, "route `{}` and pool `{}` ({})", route.name, route.pool().name(), self.trace)
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
