//! Compiles pools, and checks that each has endpoints, a weight above 0, and no endpoint twice.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Compiler;
use super::queues::queue_limits;
use crate::config::decode::{AutoOr, DiagnosticSink, List, OrOff, Scalar, ShortOr, Spanned, Value};
use crate::config::model::{
    CheckKind, EndpointAddress, EndpointAttributes, EndpointConnections, EndpointProtocol, EndpointSpec,
    EndpointTimeouts, HealthCheck, HostHeader, ListUrl, ListenAddress, Pool, PoolLimits, RequestLimit,
    Resolve, Route, WhenNoneHealthy,
};
use crate::config::raw::{
    CheckSection, CheckType, EndpointForm, EndpointSection, FileSection, NoneHealthySection, PoolForm,
    PoolSection, ResolveSection, RouteSection, StatusRange,
};
use crate::config::scalar::{Name, NonZeroPeriod};
use crate::config::source::Span;
use crate::config::tree::{Kind, Node};

impl Compiler<'_> {
    pub(super) fn pools(&mut self, file: &FileSection) -> Vec<Pool> {
        let Some(pools) = &file.pools else {
            if file.complete && file.endpoints.is_none() && forwards(file) {
                let span = file.routes.as_ref().map(|routes| routes.span);
                let span = span.or(file.listeners.as_ref().map(|list| list.span)).unwrap_or_default();
                self.diagnostics.error(
                    span,
                    "the file has no pools",
                    "add `pools: { default: [10.0.0.1:3000] }`",
                );
            }
            return Vec::new();
        };
        if pools.entries.is_empty() {
            self.diagnostics.error(
                pools.span,
                "the file has no pools",
                "add one: `default: [10.0.0.1:3000]`",
            );
        }
        let mut compiled = Vec::new();
        for (key, form) in &pools.entries {
            if let Err(fault) = Name::parse(&key.text) {
                self.diagnostics.fault(key.span, fault);
            }
            let name: Arc<str> = key.text.as_str().into();
            compiled.extend(form.as_ref().and_then(|form| self.pool(&name, form)));
        }
        compiled
    }

    fn pool(&mut self, name: &Arc<str>, form: &Spanned<PoolForm>) -> Option<Pool> {
        match &form.value {
            ShortOr::Short(list) => {
                let list = Spanned { span: form.span, written: true, value: list.clone() };
                self.pool_of_list(name, &list)
            }
            ShortOr::Long(section) => {
                let endpoints = self.endpoints(name, section.endpoints.as_ref()?, &section.host.0);
                Some(self.pool_of_section(name, section, endpoints))
            }
        }
    }

    /// A pool written as a list of endpoints, with every default.
    pub(super) fn pool_of_list(
        &mut self,
        name: &Arc<str>,
        list: &Spanned<List<EndpointForm>>,
    ) -> Option<Pool> {
        let endpoints = self.endpoints(name, list, &HostHeader::Preserve);
        let nothing = Node { span: list.span, kind: Kind::Map(Vec::new()) };
        // A separate sink: `endpoints` is missing here, which is no error.
        let section = PoolSection::decode(&nothing, &mut DiagnosticSink::default())?;
        Some(self.pool_of_section(name, &section, endpoints))
    }

    fn pool_of_section(
        &mut self,
        name: &Arc<str>,
        section: &PoolSection,
        endpoints: Vec<EndpointSpec>,
    ) -> Pool {
        let timeouts = &section.timeouts;
        let protocol = section.protocol.value;
        self.check_http2_only(section, protocol);
        let balance = self.balance(&section.balance);
        Pool {
            name: name.clone(),
            sticky: self.sticky(&section.sticky, &balance),
            balance,
            zone: self.zone.clone(),
            health_check: section.health_check.as_option().map(|check| self.health_check(check)),
            protocol,
            tls: section.tls.as_ref().and_then(|tls| self.pool_tls(tls, &endpoints, protocol)),
            outliers: self.outliers(&section.outliers, &endpoints),
            slow_start: section.slow_start.as_option().map(|window| window.0),
            endpoints,
            when_none_healthy: self.when_none_healthy(&section.when_none_healthy),
            timeouts: EndpointTimeouts {
                connect: timeouts.connect.0,
                response: timeouts.response.0,
                idle: timeouts.idle.0,
                write: timeouts.write.0,
                keep_alive: timeouts.keep_alive.0,
                tunnel: timeouts.tunnel.0,
            },
            connections: EndpointConnections {
                idle: section.connections.idle.0,
                age: section.connections.age.as_option().map(|age| age.0),
                streams: section.connections.streams.0 as u32,
            },
            limits: PoolLimits {
                requests: match &section.limits.requests.value {
                    OrOff::Off => RequestLimit::Off,
                    OrOff::On(AutoOr::Auto) => RequestLimit::Auto,
                    OrOff::On(AutoOr::Value(most)) => RequestLimit::Fixed(most.0),
                },
                endpoint_requests: section.limits.endpoint_requests.as_option().map(|most| most.0),
                endpoint_connections: section.limits.endpoint_connections.as_option().map(|most| most.0),
                queue: queue_limits(&section.limits.queue, &section.limits.wait, &section.limits.shed),
            },
            retry: self.retry(&section.retry.value),
            host: section.host.0.clone(),
            resolve: self.resolve(&section.resolve),
        }
    }

    fn resolve(&mut self, form: &ShortOr<NonZeroPeriod, ResolveSection>) -> Resolve {
        match form {
            ShortOr::Short(interval) => Resolve { interval: interval.0, servers: Vec::new() },
            ShortOr::Long(section) => {
                let servers = section.servers.as_ref();
                if let Some(list) = servers.filter(|list| list.length == 0) {
                    let remedy = "write one, such as [127.0.0.1:53], or leave `servers` out";
                    self.diagnostics.error(list.span, "no name server would be asked", remedy);
                }
                let servers = servers.iter().flat_map(|list| list.iter()).map(|server| server.0).collect();
                Resolve { interval: section.interval.0, servers }
            }
        }
    }

    /// Refuses what only HTTP/2 has in a pool that speaks HTTP/1.1.
    fn check_http2_only(&mut self, section: &PoolSection, protocol: EndpointProtocol) {
        if protocol == EndpointProtocol::Http2 {
            return;
        }
        if let OrOff::On(check) = &section.health_check.value
            && check.r#type.value == CheckType::Grpc
        {
            let message = "gRPC needs HTTP/2, and this pool speaks HTTP/1.1";
            self.diagnostics.error(
                check.r#type.span,
                message,
                "add `protocol: h2` to the pool, or write `type: http`",
            );
        }
        let streams = &section.connections.streams;
        if streams.written {
            let message =
                "over HTTP/1.1 a connection carries one request at a time, so `streams` means nothing";
            self.diagnostics.error(streams.span, message, "add `protocol: h2` to the pool, or remove it");
        }
    }

    fn endpoints(
        &mut self,
        pool: &str,
        list: &Spanned<List<EndpointForm>>,
        host: &HostHeader,
    ) -> Vec<EndpointSpec> {
        let mut compiled: Vec<EndpointSpec> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut is_complete = list.is_complete();
        for form in list.iter() {
            let Some((endpoint, span)) = self.endpoint(form) else {
                is_complete = false;
                continue;
            };
            if let Some(first) = seen.get(&endpoint.address.to_string()) {
                let message = format!("this endpoint is in the pool `{pool}` twice");
                let remedy = match self.line(*first) {
                    line if line == self.line(span) => {
                        "remove one; `weight` gives an endpoint more traffic".to_owned()
                    }
                    line => format!("line {line} has it already; `weight` gives an endpoint more traffic"),
                };
                self.diagnostics.error(span, message, remedy);
                continue;
            }
            seen.insert(endpoint.address.to_string(), span);
            // With another host, another route may take the request.
            if *host == HostHeader::Preserve
                && let Some(own) = self.own.iter().find(|own| is_reached_by(own, &endpoint.address))
            {
                let message =
                    format!("this endpoint is the listener {own}: its requests would go in a circle");
                let remedy =
                    "write the address of the server behind, or `host:` at the pool for another route";
                self.diagnostics.error(span, message, remedy);
            }
            compiled.push(endpoint);
        }
        if list.length == 0 {
            self.diagnostics.error(
                list.span,
                format!("the pool `{pool}` has no endpoints"),
                "add one, such as 10.0.0.1:3000",
            );
        } else if is_complete && compiled.iter().all(|endpoint| endpoint.attributes.weight == 0) {
            let message = format!("every endpoint of the pool `{pool}` has weight 0, so none gets traffic");
            self.diagnostics.error(list.span, message, "give at least one a weight from 1 to 256");
        }
        compiled
    }

    fn endpoint(&mut self, form: &Spanned<EndpointForm>) -> Option<(EndpointSpec, Span)> {
        let section = match &form.value {
            ShortOr::Short(address) => {
                let attributes = EndpointAttributes::default();
                return Some((EndpointSpec { address: address.clone(), attributes }, form.span));
            }
            ShortOr::Long(section) => section,
        };
        let (address, span) = self.endpoint_address(section, form.span)?;
        if section.weight.written && address.is_source() && !matches!(address, EndpointAddress::Name { .. }) {
            let message = format!("{address} says the weight of each endpoint itself");
            self.diagnostics.error(section.weight.span, message, "remove `weight`");
        }
        if section.interval.written && !matches!(address, EndpointAddress::Http(_)) {
            let message = "only a list that is fetched (`http`) has an `interval`";
            self.diagnostics.error(section.interval.span, message, "remove `interval`");
        }
        let attributes = EndpointAttributes {
            weight: section.weight.0 as u16,
            backup: section.backup.0,
            zone: section.zone.as_ref().map(|zone| zone.0.as_str().into()),
        };
        Some((EndpointSpec { address, attributes }, span))
    }

    /// The one of `address`, `file` and `http` that is written.
    fn endpoint_address(
        &mut self,
        section: &EndpointSection,
        place: Span,
    ) -> Option<(EndpointAddress, Span)> {
        let address = section.address.as_ref().map(|address| (address.value.clone(), address.span));
        let file = section.file.as_ref().map(|file| (EndpointAddress::File(file.0.clone()), file.span));
        let http = section.http.as_ref().map(|http| {
            let list = ListUrl { url: http.0.as_str().into(), interval: section.interval.0 };
            (EndpointAddress::Http(list), http.span)
        });
        let mut written = [address, file, http].into_iter().flatten();
        let (first, second) = (written.next(), written.next());
        if let Some((_, span)) = second {
            let message = "an endpoint has one of `address`, `file` and `http`";
            self.diagnostics.error(span, message, "write an entry of its own for each");
        }
        if first.is_none() && section.complete {
            let message = "an endpoint needs `address`, `file` or `http`";
            self.diagnostics.error(place, message, "add `address: 10.0.0.1:3000`");
        }
        first
    }

    fn health_check(&mut self, section: &CheckSection) -> HealthCheck {
        if section.timeout.0 > section.interval.0 {
            let (span, which) = match section.timeout.written {
                true => (section.timeout.span, "write a shorter `timeout`, or a longer `interval`"),
                false => (section.interval.span, "write a shorter `timeout` too"),
            };
            let message = format!(
                "a probe may take longer (`timeout: {}`) than the time to the next one (`interval: {}`), which then waits",
                duration_text(section.timeout.0),
                duration_text(section.interval.0),
            );
            self.diagnostics.warn(span, message, which);
        }
        HealthCheck {
            kind: self.check_kind(section),
            interval: section.interval.0,
            timeout: section.timeout.0,
            healthy_after: section.healthy_after.0 as u32,
            unhealthy_after: section.unhealthy_after.0 as u32,
        }
    }

    fn check_kind(&mut self, section: &CheckSection) -> CheckKind {
        let kind = section.r#type.value;
        for (key, of, span) in [
            ("path", CheckType::Http, section.path.as_ref().map(|value| value.span)),
            ("host", CheckType::Http, section.host.as_ref().map(|value| value.span)),
            ("expect", CheckType::Http, section.expect.as_ref().map(|value| value.span)),
            ("headers", CheckType::Http, section.headers.as_ref().map(|value| value.span)),
            ("service", CheckType::Grpc, section.service.as_ref().map(|value| value.span)),
        ] {
            if let Some(span) = span.filter(|_| of != kind) {
                let message = format!("{} health check has no `{key}`", a_check(kind));
                let of = if of == CheckType::Http { "http" } else { "grpc" };
                self.diagnostics.error(span, message, format!("add `type: {of}`, or remove it"));
            }
        }
        match kind {
            CheckType::Tcp => CheckKind::Tcp,
            CheckType::Http => self.http_check(section),
            CheckType::Grpc => CheckKind::Grpc {
                service: section.service.as_ref().map(|service| service.0.clone()).unwrap_or_default(),
            },
        }
    }

    fn http_check(&mut self, section: &CheckSection) -> CheckKind {
        let fields = section.headers.as_ref().map_or_else(Vec::new, |named| self.header_fields(named));
        let headers =
            fields.into_iter().filter_map(|field| Some((field.name, field.value?.0.clone()))).collect();
        CheckKind::Http {
            path: section.path.as_ref().map_or_else(|| "/".to_owned(), |path| path.0.clone()),
            host: section.host.as_ref().map(|host| host.0.clone()),
            expect: self.expected_statuses(section.expect.as_ref()),
            headers,
        }
    }

    fn expected_statuses(
        &mut self,
        expect: Option<&Spanned<List<StatusRange>>>,
    ) -> Vec<std::ops::RangeInclusive<u16>> {
        match expect {
            None => vec![200..=399],
            Some(list) => {
                if list.length == 0 {
                    self.diagnostics.error(
                        list.span,
                        "no status would pass",
                        "write [200-399], or leave `expect` out",
                    );
                }
                list.iter().map(|range| range.0.clone()).collect()
            }
        }
    }

    fn when_none_healthy(&mut self, section: &NoneHealthySection) -> WhenNoneHealthy {
        if section.fail_open.0 {
            for (key, span) in [
                ("wait", section.wait.written.then_some(section.wait.span)),
                ("queue", section.queue.written.then_some(section.queue.span)),
            ] {
                if let Some(span) = span {
                    let message = format!("with `fail_open: true` nothing waits, so `{key}` means nothing");
                    self.diagnostics.error(span, message, format!("remove `{key}`, or `fail_open`"));
                }
            }
            return WhenNoneHealthy::FailOpen;
        }
        WhenNoneHealthy::Wait { limit: section.wait.0, queue: section.queue.0 as usize }
    }

    /// Warns of pools that no route uses, unless the file has errors.
    pub(super) fn unused_pools(&mut self, file: &FileSection, routes: &[Route]) {
        if self.diagnostics.has_errors() {
            return;
        }
        let mirrors = routes.iter().filter_map(|route| Some(&route.mirror.as_ref()?.pool));
        let used: HashSet<&str> =
            routes.iter().flat_map(Route::pools).chain(mirrors).map(|pool| &**pool).collect();
        for (key, _) in file.pools.iter().flat_map(|pools| &pools.entries) {
            if !used.contains(key.text.as_str()) {
                let message = format!("no route sends anything to the pool `{}`", key.text);
                self.diagnostics.warn(
                    key.span,
                    message,
                    format!("add a route with `pool: {}`, or remove it", key.text),
                );
            }
        }
    }
}

/// Whether a route sends its requests to a pool, or nobody knows.
fn forwards(file: &FileSection) -> bool {
    let answers = |route: &RouteSection| route.redirect.is_some() || route.respond.is_some();
    file.routes
        .as_ref()
        .is_none_or(|routes| !routes.is_complete() || !routes.iter().all(|route| answers(route)))
}

fn a_check(kind: CheckType) -> &'static str {
    match kind {
        CheckType::Tcp => "a TCP",
        CheckType::Http => "an HTTP",
        CheckType::Grpc => "a gRPC",
    }
}

/// A duration as the file writes it.
pub(super) fn duration_text(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

/// Whether a connect to the endpoint reaches the listener, as far as that can be seen.
fn is_reached_by(own: &ListenAddress, endpoint: &EndpointAddress) -> bool {
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    match (own, endpoint) {
        (ListenAddress::Unix(own), EndpointAddress::Unix(path)) => own == path,
        (ListenAddress::Inet(own), EndpointAddress::Inet(address)) => {
            let is_same = own.ip() == address.ip() || (own.ip().is_unspecified() && is_here(address.ip()));
            own.port() == address.port() && is_same
        }
        (ListenAddress::AnyAddress(port), EndpointAddress::Inet(address)) => {
            *port == address.port() && is_here(address.ip())
        }
        (ListenAddress::Inet(own), EndpointAddress::Name { host, port }) => {
            own.port() == *port && is_here(own.ip()) && &**host == "localhost"
        }
        (ListenAddress::AnyAddress(own), EndpointAddress::Name { host, port }) => {
            own == port && &**host == "localhost"
        }
        _ => false,
    }
}
