//! The tests of a config: what was expected, and what is decided.

use std::fmt;

use super::{RequestHead, RouteOutcome, Router};
use crate::config::{Config, LoadError, Loaded, RouteTest, TestRequest};

impl RequestHead for TestRequest {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn authority(&self) -> &str {
        // A `Host` field of the test's own is what a client would have sent.
        self.header("host").unwrap_or(&self.authority)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other.as_str() == name)?;
        value.to_str().ok()
    }
}

/// What was decided for a test's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    Route {
        route: String,
        pool: String,
        /// By what the route matched.
        why: String,
    },
    /// No route, and what came nearest.
    NoRoute { why: String },
}

/// A test whose expectation does not hold. Displays as what was expected and what was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// Where the test is written.
    pub line: usize,
    pub column: usize,
    pub request: String,
    pub expected: String,
    pub decided: String,
}

/// A config whose own tests pass; otherwise, each that fails is an error at its place.
pub fn tested(loaded: Loaded) -> Result<Loaded, LoadError> {
    let Loaded { config, warnings: mut report } = loaded;
    let router = Router::new(&config.routes);
    for failure in judge(&config.tests, |request| decided(&config, &router, request)) {
        let message = format!("a test fails: it expects {}", failure.expected);
        report.add_error(failure.line, failure.column, message, format!("decided: {}", failure.decided));
    }
    if report.has_errors() {
        Err(LoadError::Invalid(report))
    } else {
        Ok(Loaded { config, warnings: report })
    }
}

fn decided(config: &Config, router: &Router, request: &TestRequest) -> Decided {
    match router.find(request) {
        RouteOutcome::Matched(index, why) => Decided::Route {
            route: config.routes[index].name.to_string(),
            pool: config.routes[index].pool.to_string(),
            why: why.to_string(),
        },
        RouteOutcome::Missed(miss) => Decided::NoRoute { why: miss.to_string() },
    }
}

/// The tests that fail, in file order. `decide` is whatever decides for real requests.
pub fn judge(tests: &[RouteTest], decide: impl Fn(&TestRequest) -> Decided) -> Vec<TestFailure> {
    tests.iter().filter_map(|test| failure(test, decide(&test.request))).collect()
}

fn failure(test: &RouteTest, decided: Decided) -> Option<TestFailure> {
    let holds = match &decided {
        Decided::NoRoute { .. } => test.no_route,
        Decided::Route { route, pool, .. } => {
            let route_holds = test.route.as_ref().is_none_or(|expected| expected == route);
            let pool_holds = test.pool.as_ref().is_none_or(|expected| expected == pool);
            !test.no_route && route_holds && pool_holds
        }
    };
    if holds {
        return None;
    }
    Some(TestFailure {
        line: test.line,
        column: test.column,
        request: request_text(&test.request),
        expected: expected_text(test),
        decided: decided.to_string(),
    })
}

fn request_text(request: &TestRequest) -> String {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{} {}{}{query}", request.method, request.authority, request.path)
}

fn expected_text(test: &RouteTest) -> String {
    match (&test.route, &test.pool) {
        (Some(route), Some(pool)) => format!("route `{route}` and pool `{pool}`"),
        (Some(route), None) => format!("route `{route}`"),
        (None, Some(pool)) => format!("pool `{pool}`"),
        (None, None) => "no route".to_owned(),
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decided::Route { route, pool, why } => write!(f, "route `{route}` and pool `{pool}` ({why})"),
            Decided::NoRoute { why } => write!(f, "no route ({why})"),
        }
    }
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, decided {}", self.request, self.expected, self.decided)
    }
}
