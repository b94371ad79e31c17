//! Compiles the tests in the file, and checks that the routes and pools they name exist. `exchange` runs them.

use std::collections::HashSet;

use http::HeaderName;

use super::{Compiler, HeaderField};
use crate::config::decode::Spanned;
use crate::config::model::{Pool, Route, RouteTest};
use crate::config::raw::{ExpectSection, FileSection, RouteExpected, TestSection};
use crate::config::source::Span;
use crate::config::suggest;
use crate::header_field::{WRITTEN_AFRESH, same_name};

impl Compiler<'_> {
    pub(super) fn tests(&mut self, file: &FileSection, routes: &[Route], pools: &[Pool]) -> Vec<RouteTest> {
        // Routes and pools with errors were left out, and their names would be reported as unknown.
        let known = (!self.diagnostics.has_errors()).then(|| Known {
            routes: Names::of(routes.iter().map(|route| &*route.name)),
            pools: Names::of(pools.iter().map(|pool| &*pool.name)),
        });
        file.tests.iter().filter_map(|test| self.test(test, known.as_ref())).collect()
    }

    fn test(&mut self, test: &Spanned<TestSection>, known: Option<&Known<'_>>) -> Option<RouteTest> {
        let (request, expect) = (test.request.as_ref()?, test.expect.as_ref()?);
        let (line, column) = self.position(request.span);
        let (route, no_route) = match expect.route.as_ref().map(|route| &route.value) {
            None => (None, false),
            Some(RouteExpected::None) => (None, true),
            Some(RouteExpected::Named(name)) => (Some(name.clone()), false),
        };
        let pool = expect.pool.as_ref().map(|pool| pool.0.clone());
        let answer = expect.status.is_some() || expect.redirect.is_some() || expect.path.is_some();
        let auth = expect.auth.as_ref().map(|auth| auth.as_option().map_or("off", |label| label.0));
        let names = route.is_some() || pool.is_some() || no_route;
        if expect.complete && !names && !answer && auth.is_none() && expect.headers.entries.is_empty() {
            let remedy = "write some of `route`, `pool`, `status`, `redirect`, `path`, `auth` and `headers`";
            self.diagnostics.error(expect.span, "this test expects nothing", remedy);
        }
        if let (true, Some(written)) = (no_route, &expect.pool) {
            let message = "no route and a pool cannot both be expected";
            self.diagnostics.error(written.span, message, "remove `pool`, or name the route");
        }
        if let (true, Some(written)) = (no_route && auth != Some("off"), &expect.auth) {
            let message = "no route and an authentication cannot both be expected";
            self.diagnostics.error(written.span, message, "remove `auth`, or name the route");
        }
        if let Some(known) = known {
            if let (Some(name), Some(written)) = (&route, &expect.route) {
                self.check_exists("route", name, written.span, &known.routes);
            }
            if let (Some(name), Some(written)) = (&pool, &expect.pool) {
                self.check_exists("pool", name, written.span, &known.pools);
            }
        }
        let mut request = request.0.clone();
        let fields = self.header_fields(&test.headers).into_iter();
        request.headers.extend(fields.filter_map(|field| Some((field.name, field.value?.0.clone()))));
        Some(RouteTest {
            line,
            column,
            request,
            client: test.client.as_ref().map(|client| client.0),
            route,
            pool,
            no_route,
            status: expect.status.as_ref().map(|status| status.0 as u16),
            redirect: expect.redirect.as_ref().map(|to| to.0.clone()),
            path: expect.path.as_ref().map(|path| path.0.clone()),
            auth,
            headers: self.expected_fields(expect),
        })
    }

    fn expected_fields(&mut self, expect: &ExpectSection) -> Vec<(HeaderName, Option<String>)> {
        let mut fields = Vec::new();
        for HeaderField { name, key, value } in self.header_fields(&expect.headers) {
            if WRITTEN_AFRESH.iter().any(|other| same_name(other.as_bytes(), name.as_str().as_bytes())) {
                let message = format!("no test knows what `{name}` will be");
                self.diagnostics.error(key, message, "remove it: it depends on the client");
            }
            fields.extend(value.map(|value| (name, value.as_option().map(|text| text.0.clone()))));
        }
        fields
    }

    fn check_exists(&mut self, what: &str, name: &str, span: Span, known: &Names<'_>) {
        if !known.set.contains(name) {
            let remedy =
                || suggest::remedy(name, known.in_order.iter().copied(), &format!("the {what}s are"));
            self.diagnostics.error_with(span, format!("there is no {what} `{name}`"), remedy);
        }
    }
}

/// The names that a test may expect.
struct Known<'a> {
    routes: Names<'a>,
    pools: Names<'a>,
}

struct Names<'a> {
    in_order: Vec<&'a str>,
    set: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(names: impl Iterator<Item = &'a str>) -> Self {
        let in_order: Vec<&str> = names.collect();
        Self { set: in_order.iter().copied().collect(), in_order }
    }
}
