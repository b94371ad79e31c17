//! The tests of a config: what was expected, and what is decided.

use std::fmt;

use super::{Decision, decide};
use crate::config::{LoadError, Loaded, RouteTest};
use crate::snapshot::Snapshot;

/// A config whose own tests pass; otherwise, each that fails is an error at its place.
pub fn tested(loaded: Loaded) -> Result<Loaded, LoadError> {
    let Loaded { config, warnings: mut report } = loaded;
    let snapshot = Snapshot::build(config.clone(), None);
    for test in &config.tests {
        let decision = decide(&snapshot, &test.request);
        if !holds(test, &decision) {
            let message = format!("a test fails: it expects {}", expected(test));
            report.add_error(test.line, test.column, message, format!("decided: {decision}"));
        }
    }
    if report.has_errors() {
        Err(LoadError::Invalid(report))
    } else {
        Ok(Loaded { config, warnings: report })
    }
}

fn holds(test: &RouteTest, decision: &Decision<'_>) -> bool {
    let Some(route) = decision.route else { return test.no_route };
    let is =
        |expected: &Option<String>, name: &str| expected.as_ref().is_none_or(|expected| expected == name);
    !test.no_route && is(&test.route, &route.name) && is(&test.pool, route.pool.name())
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
                write!(f, "route `{}` and pool `{}` ({})", route.name, route.pool.name(), self.trace)
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
        let Err(LoadError::Invalid(report)) = tested(loaded) else { panic!("three of them fail") };
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
