//! Compiles routes, and checks that each has a name, conditions that can hold, and a pool that exists.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use http::Method;
use http::header::HOST;
use ipnet::IpNet;

use super::actions::Pools;
use super::limits::WidestLimits;
use super::templates::PathGroups;
use super::{Compiler, DEFAULT_NAME, HeaderField};
use crate::config::decode::{List, Named, OneOrList, OrOff, ShortOr, Spanned};
use crate::config::model::{Listener, Route, RoutePriority, Upgrades};
use crate::config::raw::{
    FileSection, HostText, MatchSection, NotSection, PathForm, PathText, PriorityForm, RouteSection,
    ValueForm,
};
use crate::config::scalar::ProtocolName;
use crate::config::source::Span;
use crate::routing::{self, HeaderMatch, PathPattern, PathRules, QueryMatch, RouteMatch, ValueMatch};

impl Compiler<'_> {
    pub(super) fn routes(&mut self, file: &FileSection, listeners: &[Listener]) -> Vec<Route> {
        let Some(list) = &file.routes else {
            self.no_routes(file);
            return Vec::new();
        };
        if list.length == 0 {
            self.diagnostics.error(list.span, "the file has no routes", "add one: [{ pool: NAME }]");
        }
        let mut routes = Vec::new();
        let mut spans: Vec<Span> = Vec::new();
        let mut names: HashMap<Arc<str>, Span> = HashMap::new();
        let pools = Pools::of(file);
        let widest = WidestLimits::of(listeners);
        let path_rules = path_rules(listeners);
        for section in list.iter() {
            let name = self.route_name(section, list.length == 1, &mut names);
            let matches = self.matches(&section.r#match);
            self.check_all_paths(&section.r#match, &path_rules);
            let access = self.access(section.allow.as_ref(), section.deny.as_ref());
            let rate_limits = self.rate_limits(section.rate_limit.as_ref());
            let paths = matches.as_ref().map(|matches| matches.paths.clone()).unwrap_or_default();
            let mut groups = PathGroups::new(&paths, section.r#match.paths.span);
            let action = self.action(section, &pools, &mut groups);
            let mirror = self.mirror(section, &pools);
            let rewrite =
                section.rewrite.as_ref().and_then(|written| self.rewrite(written, &mut groups, &path_rules));
            let strips = section.rewrite.as_ref().is_some_and(|rewrite| rewrite.strip_prefix.is_some());
            let request_headers = section.request_headers.as_ref();
            let request_headers =
                request_headers.and_then(|written| self.request_headers(written, &mut groups, strips));
            let limits = self.route_limits(&section.limits, widest.as_ref());
            let buffer_request = self.buffer_request(section, limits.body);
            if let (Some(name), Some(matches), Some(action)) = (name, matches, action) {
                self.check_answered_here(section, &action);
                self.check_mirror(section.mirror.as_ref(), &action);
                let timeout = section.timeout.as_option().map(|limit| limit.0);
                let upgrades = upgrades(&section.upgrades.value);
                let priority = priority(&section.priority.value);
                let expected_statuses = self.statuses_expected_of_endpoints(section);
                let response = self.response_policy(section, listeners, &mut groups);
                let path_groups = groups.into_used();
                let auth = self.auth(section, request_headers.as_deref());
                routes.push(Route {
                    name,
                    matches,
                    enabled: section.enabled.0,
                    access,
                    rate_limits,
                    action,
                    mirror,
                    rewrite,
                    request_headers,
                    limits,
                    buffer_request,
                    timeout,
                    timeout_header: section.timeout_header.as_ref().map(|header| header.0.clone()),
                    retry: self.route_retry(&section.retry),
                    upgrades,
                    expected_statuses,
                    priority,
                    path_groups,
                    auth,
                    response,
                });
                spans.push(section.name.as_ref().map_or(section.span, |name| name.span));
            }
        }
        self.unreachable_routes(&routes, &spans);
        routes
    }

    fn no_routes(&mut self, file: &FileSection) {
        if file.complete && file.listen.is_none() {
            let span = file.listeners.as_ref().map(|listeners| listeners.span);
            let span = span.or(file.pools.as_ref().map(|pools| pools.span)).unwrap_or_default();
            self.diagnostics.error(span, "the file has no routes", "add `routes: [{ pool: NAME }]`");
        }
    }

    fn statuses_expected_of_endpoints(&mut self, section: &RouteSection) -> Vec<RangeInclusive<u16>> {
        for range in section.expected_statuses.iter().filter(|range| *range.0.start() < 500) {
            let message = "only statuses from 500 count against an endpoint";
            self.diagnostics.error(range.span, message, "write such as 501, or 500-599");
        }
        section.expected_statuses.iter().map(|range| range.0.clone()).collect()
    }

    fn route_name(
        &mut self,
        section: &Spanned<RouteSection>,
        is_only: bool,
        names: &mut HashMap<Arc<str>, Span>,
    ) -> Option<Arc<str>> {
        let Some(written) = &section.name else {
            if is_only || !section.complete {
                return Some(DEFAULT_NAME.into());
            }
            let message = "a route beside others needs a name";
            self.diagnostics.error(section.span, message, "add `name: NAME`, which logs and tests will show");
            return None;
        };
        let name: Arc<str> = written.0.as_str().into();
        if &*name == "none" {
            self.diagnostics.error(
                written.span,
                "a route cannot be called `none`",
                "tests say `none` for no route; choose another name",
            );
        }
        match names.get(&name) {
            Some(first) => {
                let remedy = format!("line {} has it already; choose another", self.line(*first));
                self.diagnostics.error(written.span, format!("two routes are called `{name}`"), remedy);
            }
            None => {
                names.insert(name.clone(), written.span);
            }
        }
        Some(name)
    }

    fn matches(&mut self, section: &MatchSection) -> Option<RouteMatch> {
        let mut matches = self.conditions(&section.into());
        let mut is_whole = section.complete;
        for excluded in section.not.iter().flat_map(|not| not.0.iter()) {
            if excluded.complete && Conditions::from(&excluded.value).is_empty() {
                let message = "this excludes every request";
                self.diagnostics.error(excluded.span, message, "write what to exclude, or remove `not`");
            }
            let negated = self.conditions(&(&excluded.value).into());
            is_whole &= excluded.complete && negated.paths.len() == excluded.paths.length;
            matches.not.push(negated);
        }
        (is_whole && matches.paths.len() == section.paths.length).then_some(matches)
    }

    fn conditions(&mut self, section: &Conditions<'_>) -> RouteMatch {
        RouteMatch {
            hosts: section.hosts.iter().map(|host| host.0.clone()).collect(),
            paths: section.paths.iter().filter_map(|path| self.path(path)).collect(),
            methods: section.methods.iter().map(|method| method.value.clone()).collect(),
            headers: self.headers(section.headers),
            query: self.query(section.query),
            clients: section.clients.iter().map(|network| network.value).collect(),
            not: Vec::new(),
        }
    }

    fn check_all_paths(&mut self, section: &MatchSection, rules: &[PathRules]) {
        let excluded = section.not.iter().flat_map(|not| not.0.iter()).map(|not| &not.paths);
        for paths in excluded.chain([&section.paths]) {
            self.check_paths(paths, rules);
        }
    }

    /// Refuses paths that are in normal form at no listener, since they would never match.
    fn check_paths(&mut self, paths: &List<PathForm>, rules: &[PathRules]) {
        for form in paths.iter() {
            let (path, span) = match &form.value {
                ShortOr::Short(path) => (Some(path), form.span),
                ShortOr::Long(section) => match section.exact.as_ref().or(section.prefix.as_ref()) {
                    Some(path) => (Some(&path.value), path.span),
                    None => (None, form.span),
                },
            };
            let Some(PathText(path)) = path else { continue };
            let forms = || rules.iter().map(|rules| routing::path::normalize(path, *rules));
            if forms().any(|form| form.as_deref() == Ok(path)) {
                continue;
            }
            let (why, remedy) = match forms().next() {
                None => continue,
                Some(Ok(normal)) => ("it is not in its normal form".to_owned(), format!("write {normal}")),
                Some(Err(fault)) => (
                    format!("requests with it are refused ({})", fault.reason()),
                    "write another path".to_owned(),
                ),
            };
            let message = format!("this path never matches: {why}");
            self.diagnostics.error(span, message, remedy);
        }
    }

    fn path(&mut self, form: &Spanned<PathForm>) -> Option<PathPattern> {
        // Only one: with `merge_slashes: false`, those before it are empty segments.
        let prefix = |text: &str| PathPattern::Prefix(text.strip_suffix('/').unwrap_or(text).to_owned());
        let section = match &form.value {
            ShortOr::Short(path) => return Some(prefix(&path.0)),
            ShortOr::Long(section) => section,
        };
        match (&section.exact, &section.prefix, &section.regex) {
            (Some(path), None, None) => Some(PathPattern::Exact(path.0.clone())),
            (None, Some(path), None) => Some(prefix(&path.0)),
            (None, None, Some(regex)) => self.regex(regex).map(PathPattern::Regex),
            _ => {
                if section.complete {
                    let message = "a path is one of `exact`, `prefix` and `regex`";
                    self.diagnostics.error(
                        form.span,
                        message,
                        "keep one of them; write further paths as items of their own",
                    );
                }
                None
            }
        }
    }

    fn headers(&mut self, named: &Named<OneOrList<ValueForm>>) -> Vec<HeaderMatch> {
        let mut compiled = Vec::new();
        for HeaderField { name, key, value } in self.header_fields(named) {
            if name == HOST {
                self.diagnostics.error(key, "the host is not matched as a header", "write it under `hosts`");
            }
            if let Some(values) = value.and_then(|forms| self.values(forms)) {
                compiled.push(HeaderMatch { name, values });
            }
        }
        compiled
    }

    fn query(&mut self, named: &Named<OneOrList<ValueForm>>) -> Vec<QueryMatch> {
        let mut compiled = Vec::new();
        for (key, form) in &named.entries {
            if let Some(values) = form.as_ref().and_then(|forms| self.values(forms)) {
                compiled.push(QueryMatch { name: key.text.clone(), values });
            }
        }
        compiled
    }

    /// `None` if there is none, or one is invalid, which has been reported.
    fn values(&mut self, forms: &Spanned<OneOrList<ValueForm>>) -> Option<Vec<ValueMatch>> {
        let list = &forms.0;
        if list.length == 0 {
            let message = "an empty list of values matches nothing";
            self.diagnostics.error(forms.span, message, "write a value, or { present: true } for any");
        }
        let values: Vec<ValueMatch> = list.iter().filter_map(|form| self.value(form)).collect();
        (!values.is_empty() && values.len() == list.length).then_some(values)
    }

    fn value(&mut self, form: &Spanned<ValueForm>) -> Option<ValueMatch> {
        let section = match &form.value {
            ShortOr::Short(text) => return Some(ValueMatch::Exact(text.0.clone())),
            ShortOr::Long(section) => section,
        };
        match (&section.exact, &section.regex, &section.present) {
            (Some(text), None, None) => Some(ValueMatch::Exact(text.0.clone())),
            (None, Some(regex), None) => self.regex(regex).map(ValueMatch::Regex),
            (None, None, Some(present)) => {
                if !present.0 {
                    let message = "`present: false` cannot be matched";
                    self.diagnostics.error(
                        present.span,
                        message,
                        "match requests that have it in another route, which then comes before this one",
                    );
                }
                Some(ValueMatch::Present)
            }
            _ => {
                if section.complete {
                    let message = "a value is one of `exact`, `regex` and `present`";
                    self.diagnostics.error(form.span, message, "keep one of them");
                }
                None
            }
        }
    }

    fn unreachable_routes(&mut self, routes: &[Route], spans: &[Span]) {
        for (hidden, winner) in routing::shadowed_routes(routes.iter().map(Route::enabled_match)) {
            let message = format!(
                "the route `{}` gets no requests: `{}` always wins over it",
                routes[hidden].name, routes[winner].name
            );
            let remedy =
                format!("match less in line {}, match more here, or remove it", self.line(spans[winner]));
            self.diagnostics.error(spans[hidden], message, remedy);
        }
    }
}

/// What `match` and `not` have in common.
struct Conditions<'a> {
    hosts: &'a List<HostText>,
    paths: &'a List<PathForm>,
    methods: &'a List<Method>,
    headers: &'a Named<OneOrList<ValueForm>>,
    query: &'a Named<OneOrList<ValueForm>>,
    clients: &'a List<IpNet>,
}

impl<'a> From<&'a MatchSection> for Conditions<'a> {
    fn from(section: &'a MatchSection) -> Self {
        let MatchSection { hosts, paths, methods, headers, query, clients, not: _, complete: _ } = section;
        Self { hosts, paths, methods, headers, query, clients }
    }
}

impl<'a> From<&'a NotSection> for Conditions<'a> {
    fn from(section: &'a NotSection) -> Self {
        let NotSection { hosts, paths, methods, headers, query, clients, complete: _ } = section;
        Self { hosts, paths, methods, headers, query, clients }
    }
}

impl Conditions<'_> {
    fn is_empty(&self) -> bool {
        let lists = [self.hosts.length, self.paths.length, self.methods.length, self.clients.length];
        lists.iter().sum::<usize>() + self.headers.entries.len() + self.query.entries.len() == 0
    }
}

/// In the order of the file.
pub(super) fn pool_names(file: &FileSection) -> impl Iterator<Item = &str> + Clone {
    file.pools.iter().flat_map(|pools| &pools.entries).map(|(key, _)| key.text.as_str())
}

/// Of all listeners, each once.
fn path_rules(listeners: &[Listener]) -> Vec<PathRules> {
    let mut rules: Vec<PathRules> = Vec::new();
    for listener in listeners {
        if !rules.contains(&listener.paths) {
            rules.push(listener.paths);
        }
    }
    rules
}

fn priority(written: &PriorityForm) -> RoutePriority {
    match written {
        ShortOr::Short(priority) => RoutePriority::Fixed(*priority),
        ShortOr::Long(section) => match &section.header {
            Some(header) => RoutePriority::Header(header.0.clone()),
            // The missing header has been reported.
            None => RoutePriority::default(),
        },
    }
}

fn upgrades(written: &OrOff<OneOrList<ProtocolName>>) -> Upgrades {
    match written.as_option() {
        Some(OneOrList(names)) if names.iter().any(|name| name.0 == "any") => Upgrades::Any,
        Some(OneOrList(names)) => Upgrades::Only(names.iter().map(|name| name.0.as_str().into()).collect()),
        None => Upgrades::Only(Arc::new([])),
    }
}
