//! Compiles the queues of limits, and checks that somebody may wait in them, and what the waits add up to.

use std::time::Duration;

use super::Compiler;
use super::pools::duration_text;
use crate::config::decode::{AutoOr, OrOff, ShortOr, Spanned};
use crate::config::model::{EndpointAddress, EndpointProtocol, Engine, QueueLimits};
use crate::config::raw::{FileSection, ListenerSection, PoolSection, RouteSection};
use crate::config::scalar::{Count, NonZeroPeriod, Period};

/// `queue`, `wait` and `shed` as they are written.
struct Written<'a> {
    queue: &'a Spanned<Count<0, 1_000_000>>,
    wait: &'a Spanned<Period>,
    shed: &'a Spanned<OrOff<NonZeroPeriod>>,
}

pub(super) fn queue_limits(
    queue: &Count<0, 1_000_000>,
    wait: &Period,
    shed: &OrOff<NonZeroPeriod>,
) -> QueueLimits {
    QueueLimits { length: queue.0 as usize, wait: wait.0, shed: shed.as_option().map(|target| target.0) }
}

impl Compiler<'_> {
    /// Refuses waits that never happen, or last longer than the requests may take.
    pub(super) fn check_waits(&mut self, file: &FileSection) {
        for (key, form) in file.pools.iter().flat_map(|pools| &pools.entries) {
            if let Some(ShortOr::Long(section)) = form.as_ref().map(|form| &form.value) {
                self.check_pool_waits(section, &key.text, file);
            }
        }
        for route in routes(file) {
            self.check_route_waits(route, file);
        }
    }

    fn check_pool_waits(&mut self, section: &PoolSection, name: &str, file: &FileSection) {
        let limits = &section.limits;
        let written = Written { queue: &limits.queue, wait: &limits.wait, shed: &limits.shed };
        self.check_queue(&written, has_queue(section));
        self.check_endpoint_requests(section);
        self.check_endpoint_connections(section, file);
        let timeouts = routes(file).filter(|route| route.pool.as_ref().is_some_and(|pool| pool.0 == name));
        let timeouts: Option<Vec<Duration>> = timeouts.map(timeout).collect();
        // Where one of its routes lets requests take longer, the wait makes sense.
        if let Some(longest) = timeouts.and_then(|timeouts| timeouts.into_iter().max()) {
            self.check_wait(&limits.wait, longest, "the routes of this pool let");
        }
    }

    /// Warns of a limit that is never reached, where the number of endpoints is known.
    fn check_endpoint_requests(&mut self, section: &PoolSection) {
        let limits = &section.limits;
        let (Some(of_each), Some(of_all)) = (limits.endpoint_requests.as_option(), requests_of(section))
        else {
            return;
        };
        let addresses =
            section.endpoints.iter().flat_map(|endpoints| endpoints.iter()).map(|form| match &form.value {
                ShortOr::Short(address) => Some(address),
                ShortOr::Long(section) => section.address.as_ref().map(|address| &address.value),
            });
        let is_one = |address: Option<&EndpointAddress>| {
            matches!(address, Some(EndpointAddress::Inet(_) | EndpointAddress::Unix(_)))
        };
        let ones = addresses.map(|address| is_one(address).then_some(1)).sum::<Option<u64>>();
        if let Some(together) = ones.map(|count| count * of_each.0).filter(|together| *together < of_all) {
            let message =
                format!("its endpoints have {together} requests together, so this limit is never reached");
            self.diagnostics.warn(
                limits.requests.span,
                message,
                format!("write less than {together}, or off"),
            );
        }
        if of_each.0 > of_all {
            let message = format!("the pool has {of_all} requests at a time, so this limit is never reached");
            self.diagnostics.warn(
                limits.endpoint_requests.span,
                message,
                format!("write less than {of_all}, or off"),
            );
        }
    }

    fn check_endpoint_connections(&mut self, section: &PoolSection, file: &FileSection) {
        let written = &section.limits.endpoint_connections;
        let Some(most) = written.as_option().map(|most| most.0) else { return };
        if has_pingora(file) {
            let message = "a listener has `engine: pingora`, which does not count connections to endpoints";
            let remedy = "write `endpoint_requests` instead, or `engine: native` at the listener";
            self.diagnostics.error(written.span, message, remedy);
        }
        let threads = super::server(file).threads as u64;
        if section.protocol.value == EndpointProtocol::Http2 && most < threads {
            let message = format!("each of the {threads} worker threads needs a connection of its own");
            let remedy = format!("write at least {threads}, or less `server.threads`");
            self.diagnostics.error(written.span, message, remedy);
        }
        if let Some(requests) = section.limits.endpoint_requests.as_option()
            && section.protocol.value == EndpointProtocol::Http11
            && requests.0 > most
        {
            let message = format!(
                "an endpoint has {most} connections at a time, and each carries one request, so this limit is never reached"
            );
            self.diagnostics.warn(
                section.limits.endpoint_requests.span,
                message,
                format!("write less than {most}, or off"),
            );
        }
    }

    fn check_route_waits(&mut self, route: &RouteSection, file: &FileSection) {
        let limits = &route.limits;
        let written = Written { queue: &limits.queue, wait: &limits.wait, shed: &limits.shed };
        let most = limits.requests.as_option();
        self.check_queue(&written, most.is_some());
        if let Some(timeout) = timeout(route) {
            self.check_wait(&limits.wait, timeout, "this route lets");
        }
        let Some(pool) = route.pool.as_ref().and_then(|pool| pool_section(file, &pool.0)) else { return };
        if let (Some(most), Some(of_pool)) = (most, requests_of(pool))
            && most.0 > of_pool
        {
            let message =
                format!("its pool has {of_pool} requests at a time, so this limit is never reached");
            self.diagnostics.warn(
                limits.requests.span,
                message,
                format!("write less than {of_pool}, or off"),
            );
        }
        if route.priority.written
            && most.is_none()
            && !has_queue(pool)
            && pool.when_none_healthy.wait.0.is_zero()
        {
            let message = "no request of this route ever waits, so `priority` means nothing";
            let remedy = "add `limits: { requests: 100 }` to the route or its pool, or remove it";
            self.diagnostics.warn(route.priority.span, message, remedy);
        }
    }

    fn check_queue(&mut self, written: &Written<'_>, has_limit: bool) {
        let Written { queue, wait, shed } = written;
        let keys = [
            ("queue", queue.written.then_some(queue.span)),
            ("wait", wait.written.then_some(wait.span)),
            ("shed", shed.written.then_some(shed.span)),
        ];
        let keys = keys.into_iter().filter_map(|(key, span)| Some((key, span?)));
        if !has_limit {
            for (key, span) in keys {
                let message =
                    format!("there is no limit beyond which requests would wait, so `{key}` means nothing");
                self.diagnostics.error(span, message, format!("add `requests: 100`, or remove `{key}`"));
            }
            return;
        }
        let none_waits = match (queue.0, wait.0) {
            (0, _) => "queue: 0",
            (_, Duration::ZERO) => "wait: 0s",
            _ => return,
        };
        for (key, span) in keys.filter(|(key, _)| !none_waits.starts_with(key)) {
            let message = format!("with `{none_waits}` nobody waits, so `{key}` means nothing");
            self.diagnostics.error(span, message, format!("remove `{key}`, or `{none_waits}`"));
        }
    }

    fn check_wait(&mut self, wait: &Spanned<Period>, timeout: Duration, who: &str) {
        if wait.written && wait.0 >= timeout {
            let timeout = duration_text(timeout);
            let message = format!("{who} a request take {timeout} in all, so none can wait for this long");
            self.diagnostics.error(
                wait.span,
                message,
                format!("write less than {timeout}, or raise `timeout`"),
            );
        }
    }
}

pub(super) fn routes(file: &FileSection) -> impl Iterator<Item = &RouteSection> {
    file.routes.iter().flat_map(|routes| routes.iter().map(|route| &route.value))
}

pub(super) fn timeout(route: &RouteSection) -> Option<Duration> {
    route.timeout.as_option().map(|timeout| timeout.0)
}

/// Whether some listener has the engine `pingora`: every listener serves all routes.
pub(super) fn has_pingora(file: &FileSection) -> bool {
    let is_pingora = |listener: &Spanned<ListenerSection>| listener.engine.value == Engine::Pingora;
    file.listeners.iter().flat_map(|listeners| listeners.iter()).any(is_pingora)
}

pub(super) fn pool_section<'a>(file: &'a FileSection, name: &str) -> Option<&'a PoolSection> {
    let mut pools = file.pools.iter().flat_map(|pools| &pools.entries);
    match &pools.find(|(key, _)| key.text == name)?.1.as_ref()?.value {
        ShortOr::Short(_) => None,
        ShortOr::Long(section) => Some(section),
    }
}

/// Whether requests wait for room in a limit of the pool.
fn has_queue(pool: &PoolSection) -> bool {
    let over_http1 = pool.protocol.value == EndpointProtocol::Http11;
    requests_of(pool).is_some()
        || pool.limits.endpoint_requests.as_option().is_some()
        || over_http1 && pool.limits.endpoint_connections.as_option().is_some()
}

/// The pool's number of requests; `None`: there is none.
fn requests_of(pool: &PoolSection) -> Option<u64> {
    match pool.limits.requests.as_option() {
        Some(AutoOr::Value(most)) => Some(most.0),
        _ => None,
    }
}
