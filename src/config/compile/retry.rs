//! Compiles retries, and checks that what is written about them can come true.

use std::time::Duration;

use http::Method;

use super::Compiler;
use super::pools::duration_text;
use super::queues::{has_pingora, pool_section, routes, timeout};
use crate::config::decode::{DiagnosticSink, List, OrOff, ShortOr, Value};
use crate::config::model::{Hedge, HedgeAfter, Retry, RetryBudget, RetryOn, RetryOverrides};
use crate::config::raw::{
    FileSection, HedgeForm, HedgeSection, PoolSection, RetryCause, RetrySection, RouteRetrySection,
    RouteSection,
};
use crate::config::scalar::NonZeroPeriod;
use crate::config::source::Span;
use crate::config::tree::{Kind, Node};

/// The places of what is written, in a pool or in a route.
#[derive(Default)]
struct Written {
    methods: Option<Span>,
    /// The list of methods is empty.
    no_methods: bool,
    attempt_timeout: Option<Span>,
    backoff: Option<Span>,
    budget: Option<Span>,
    hedge: Option<Span>,
}

impl Compiler<'_> {
    /// Refuses retries that can never happen, and times that are never over.
    pub(super) fn check_retries(&mut self, file: &FileSection) {
        for (key, form) in file.pools.iter().flat_map(|pools| &pools.entries) {
            if let Some(ShortOr::Long(pool)) = form.as_ref().map(|form| &form.value) {
                self.check_pool_retries(pool, &key.text, file);
            }
        }
        for route in routes(file) {
            self.check_route_retries(route, file);
        }
    }

    fn check_pool_retries(&mut self, pool: &PoolSection, name: &str, file: &FileSection) {
        let Some(section) = pool.retry.as_option() else { return };
        let (written, retry) = (written(section), retry_of(section));
        check(self.diagnostics, &written, &retry);
        if retry.budget.is_some_and(|budget| budget.share == 0.0 && budget.floor == 0) {
            let message = "this budget allows no retry";
            self.diagnostics.error(
                section.budget.span,
                message,
                "write `retry: off` at the pool, or a `share` such as 20%",
            );
        }
        self.check_hedge(&written, &retry, Some(pool), file);
        let ends = pool.timeouts.connect.0 + pool.timeouts.response.0;
        self.check_attempt_timeout(&written, &retry, ends, "`timeouts` of this pool let an attempt");
        let here = routes(file).filter(|route| route.pool.as_ref().is_some_and(|pool| pool.0 == name));
        let inherits = |route: &&RouteSection| match route.retry.as_option() {
            Some(own) => own.attempt_timeout.is_none(),
            None => false,
        };
        let timeouts: Option<Vec<Duration>> = here.filter(inherits).map(timeout).collect();
        // Where one of its routes lets requests take longer, the limit makes sense.
        if let Some(longest) = timeouts.and_then(|timeouts| timeouts.into_iter().max()) {
            self.check_attempt_timeout(&written, &retry, longest, "the routes of this pool let a request");
        }
    }

    fn check_route_retries(&mut self, route: &RouteSection, file: &FileSection) {
        let Some(section) = route.retry.as_option() else { return };
        let pool = route.pool.as_ref().and_then(|pool| pool_section(file, &pool.0));
        let (written, retry) = (written_of_route(section), overrides(section).over(&of_pool(pool)));
        if let (Some(limit), true) = (&section.limit, retry.on == RetryOn::default() && retry.limit > 0) {
            let message =
                "its pool has `retry: off`, and the route does not say after which failures it tries again";
            self.diagnostics.error(limit.span, message, "add `on: [connect, reset]`");
        }
        check(self.diagnostics, &written, &retry);
        self.check_hedge(&written, &retry, pool, file);
        if let Some(timeout) = timeout(route) {
            self.check_attempt_timeout(&written, &retry, timeout, "this route lets a request");
        }
    }

    /// Refuses a second attempt that can never be, or must not.
    fn check_hedge(
        &mut self,
        written: &Written,
        retry: &Retry,
        pool: Option<&PoolSection>,
        file: &FileSection,
    ) {
        let (Some(span), Some(hedge)) = (written.hedge, retry.hedge) else { return };
        if hedge.share == 0.0 {
            self.diagnostics.error(
                span,
                "this share allows no second attempt",
                "write `hedge: off`, or more",
            );
        }
        if pool.is_some_and(|pool| pool.sticky.as_option().is_some()) {
            let message = "the pool has `sticky`: a second attempt would take clients from their endpoints";
            self.diagnostics.error(span, message, "remove one of the two keys");
        }
        if has_pingora(file) {
            let message = "a listener has `engine: pingora`, which has one attempt at a time";
            self.diagnostics.error(
                span,
                message,
                "remove `hedge`, or write `engine: native` at the listener",
            );
        }
        let limit = retry.attempt_timeout.or(pool.map(|pool| pool.timeouts.response.0));
        if let (HedgeAfter::Time(after), Some(limit)) = (hedge.after, limit)
            && after >= limit
        {
            let limit = duration_text(limit);
            let message = format!("an attempt is over after {limit}, so there is never a second beside it");
            self.diagnostics.error(span, message, format!("write less than {limit}, p95, or off"));
        }
    }

    fn check_attempt_timeout(&mut self, written: &Written, retry: &Retry, ends: Duration, who: &str) {
        if let (Some(span), Some(limit)) = (written.attempt_timeout, retry.attempt_timeout)
            && limit >= ends
        {
            let ends = duration_text(ends);
            let message = format!("{who} take {ends}, so no attempt ever takes this long");
            self.diagnostics.error(span, message, format!("write less than {ends}, or off"));
        }
    }

    pub(super) fn retry(&mut self, form: &OrOff<RetrySection>) -> Retry {
        match form {
            OrOff::On(section) => retry_of(section),
            OrOff::Off => never(),
        }
    }

    pub(super) fn route_retry(&mut self, form: &OrOff<RouteRetrySection>) -> RetryOverrides {
        overrides_of(form)
    }
}

/// What the route and its pool say together.
pub(super) fn retry_over_pool(route: &RouteSection, pool: &PoolSection) -> Retry {
    overrides_of(&route.retry.value).over(&of_pool(Some(pool)))
}

fn of_pool(pool: Option<&PoolSection>) -> Retry {
    pool.and_then(|pool| pool.retry.as_option()).map(retry_of).unwrap_or_else(never)
}

fn overrides_of(form: &OrOff<RouteRetrySection>) -> RetryOverrides {
    match form {
        OrOff::On(section) => overrides(section),
        OrOff::Off => {
            let (on, hedge) = (Some(RetryOn::default()), Some(None));
            RetryOverrides { limit: Some(0), on, hedge, ..RetryOverrides::default() }
        }
    }
}

/// What makes no sense in a pool and in a route alike.
fn check(diagnostics: &mut DiagnosticSink, written: &Written, retry: &Retry) {
    let RetryOn { reset, timeout, statuses, .. } = &retry.on;
    if let Some(span) = written.methods {
        if written.no_methods {
            let remedy = "write `on: [connect]`, which is for every method, or leave `methods` out";
            diagnostics.error(span, "no request would be repeated", remedy);
        } else if !reset && !timeout && statuses.is_empty() {
            let message = "`on` has only failures that are tried again whatever the method";
            diagnostics.error(span, message, "remove `methods`, or add reset, timeout or a status to `on`");
        }
    }
    if retry.limit == 0 {
        for (key, span) in [("backoff", written.backoff), ("budget", written.budget)] {
            if let Some(span) = span {
                let message = format!("with `limit: 0` nothing is tried again, so `{key}` means nothing");
                diagnostics.error(span, message, format!("remove `{key}`, or raise `limit`"));
            }
        }
    } else if let (Some(span), Some(_), false) = (written.attempt_timeout, retry.attempt_timeout, timeout) {
        let message =
            "what takes this long is answered 504, and not tried elsewhere, because `on` lacks timeout";
        diagnostics.warn(span, message, "write `on: [connect, reset, timeout]`");
    }
}

fn written(section: &RetrySection) -> Written {
    Written {
        methods: section.methods.written.then_some(section.methods.span),
        no_methods: section.methods.length == 0,
        attempt_timeout: section.attempt_timeout.written.then_some(section.attempt_timeout.span),
        backoff: section.backoff.written.then_some(section.backoff.span),
        budget: section.budget.written.then_some(section.budget.span),
        hedge: section.hedge.written.then_some(section.hedge.span),
    }
}

fn written_of_route(section: &RouteRetrySection) -> Written {
    Written {
        methods: section.methods.as_ref().map(|methods| methods.span),
        no_methods: section.methods.as_ref().is_some_and(|methods| methods.length == 0),
        attempt_timeout: section.attempt_timeout.as_ref().map(|limit| limit.span),
        backoff: section.backoff.as_ref().map(|backoff| backoff.span),
        budget: None,
        hedge: section.hedge.as_ref().map(|hedge| hedge.span),
    }
}

fn retry_of(section: &RetrySection) -> Retry {
    Retry {
        limit: section.limit.0 as u8,
        on: causes(&section.on),
        methods: methods(&section.methods),
        attempt_timeout: period(&section.attempt_timeout),
        backoff: period(&section.backoff).unwrap_or_default(),
        budget: section
            .budget
            .as_option()
            .map(|budget| RetryBudget { share: budget.share.0, floor: budget.floor.0 }),
        hedge: hedge(&section.hedge),
    }
}

/// `retry: off`. What a route does not override is as everywhere.
fn never() -> Retry {
    let nothing = Node { span: Span::default(), kind: Kind::Map(Vec::new()) };
    let defaults = RetrySection::decode(&nothing, &mut DiagnosticSink::default());
    let defaults = retry_of(&defaults.expect("a section of defaults"));
    Retry { limit: 0, on: RetryOn::default(), ..defaults }
}

fn overrides(section: &RouteRetrySection) -> RetryOverrides {
    RetryOverrides {
        limit: section.limit.as_ref().map(|limit| limit.0 as u8),
        on: section.on.as_ref().map(|on| causes(on)),
        methods: section.methods.as_ref().map(|list| methods(list)),
        attempt_timeout: section.attempt_timeout.as_ref().map(|limit| period(limit)),
        backoff: section.backoff.as_ref().map(|backoff| period(backoff).unwrap_or_default()),
        hedge: section.hedge.as_ref().map(|form| hedge(form)),
    }
}

fn causes(on: &List<RetryCause>) -> RetryOn {
    let has = |cause: RetryCause| on.iter().any(|written| written.value == cause);
    let statuses = on.iter().filter_map(|cause| match cause.value {
        RetryCause::Status(status) => Some(status),
        _ => None,
    });
    RetryOn {
        connect: has(RetryCause::Connect),
        reset: has(RetryCause::Reset),
        timeout: has(RetryCause::Timeout),
        statuses: statuses.collect(),
    }
}

fn methods(list: &List<Method>) -> Vec<Method> {
    list.iter().map(|method| method.value.clone()).collect()
}

fn hedge(form: &OrOff<HedgeForm>) -> Option<Hedge> {
    let nothing = Node { span: Span::default(), kind: Kind::Map(Vec::new()) };
    let default =
        || HedgeSection::decode(&nothing, &mut DiagnosticSink::default()).expect("a section of defaults");
    Some(match form.as_option()? {
        ShortOr::Short(after) => Hedge { after: *after, share: default().share.0 },
        ShortOr::Long(section) => Hedge { after: section.after.value, share: section.share.0 },
    })
}

fn period(form: &OrOff<NonZeroPeriod>) -> Option<Duration> {
    form.as_option().map(|period| period.0)
}
