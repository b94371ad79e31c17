//! Compiles the tests in the file, and checks that the routes and pools they name exist. `exchange` runs them.

use super::Compiler;
use crate::config::decode::Spanned;
use crate::config::model::{Pool, Route, RouteTest};
use crate::config::raw::{FileSection, RouteExpected, TestSection, header_name};
use crate::config::source::Span;
use crate::config::suggest;

impl Compiler<'_> {
    pub(super) fn tests(&mut self, file: &FileSection, routes: &[Route], pools: &[Pool]) -> Vec<RouteTest> {
        // Routes and pools with errors were left out, and their names would be reported as unknown.
        let is_complete = !self.context.has_errors();
        file.tests.iter().filter_map(|test| self.test(test, is_complete.then_some((routes, pools)))).collect()
    }

    fn test(&mut self, test: &Spanned<TestSection>, known: Option<(&[Route], &[Pool])>) -> Option<RouteTest> {
        let (request, expect) = (test.request.as_ref()?, test.expect.as_ref()?);
        let (line, column) = self.position(request.span);
        let (route, no_route) = match expect.route.as_ref().map(|route| &route.value) {
            None => (None, false),
            Some(RouteExpected::None) => (None, true),
            Some(RouteExpected::Named(name)) => (Some(name.clone()), false),
        };
        let pool = expect.pool.as_ref().map(|pool| pool.0.clone());
        if expect.complete && route.is_none() && pool.is_none() && !no_route {
            self.context.error(
                expect.span,
                "this test expects nothing",
                "write `route: NAME`, `pool: NAME` or both",
            );
        }
        if let (true, Some(written)) = (no_route, &expect.pool) {
            let message = "no route and a pool cannot both be expected";
            self.context.error(written.span, message, "remove `pool`, or name the route");
        }
        if let Some((routes, pools)) = known {
            if let (Some(name), Some(written)) = (&route, &expect.route) {
                self.check_exists("route", name, written.span, routes.iter().map(|route| &*route.name));
            }
            if let (Some(name), Some(written)) = (&pool, &expect.pool) {
                self.check_exists("pool", name, written.span, pools.iter().map(|pool| &*pool.name));
            }
        }
        let mut request = request.0.clone();
        for (key, value) in &test.headers.entries {
            match (header_name(&key.text), value) {
                (Ok(name), Some(value)) => request.headers.push((name, value.0.clone())),
                (Ok(_), None) => {}
                (Err(fault), _) => self.context.fault(key.span, fault),
            }
        }
        Some(RouteTest { line, column, request, route, pool, no_route })
    }

    fn check_exists<'a>(
        &mut self,
        what: &str,
        name: &str,
        span: Span,
        known: impl Iterator<Item = &'a str> + Clone,
    ) {
        if known.clone().any(|other| other == name) {
            return;
        }
        let remedy = match suggest::nearest(name, known.clone()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("the {what}s are {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.context.error(span, format!("there is no {what} `{name}`"), remedy);
    }
}
