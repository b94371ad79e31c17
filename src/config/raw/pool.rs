//! Pools, with their endpoints, health checks and limits.

use std::ops::RangeInclusive;

use http::HeaderValue;
use serde_json::{Value as Json, json};

use super::AddressText;
use super::balance::BalanceForm;
use super::matching::{HeaderText, PathText};
use super::outliers::OutliersSection;
use super::retry::RetrySection;
use super::sticky::StickySection;
use super::tls::{FilePath, PoolTlsSection};
use crate::config::address::{ListUrlText, NameServer};
use crate::config::decode::{AutoOr, Fault, List, Named, OrOff, Scalar, ShortOr};
use crate::config::model::{EndpointProtocol, HostHeader};
use crate::config::scalar::{Count, Flag, Name, NonZeroPeriod, Period, words};
use crate::config::section::section;

/// A pool: a plain list is its endpoints.
pub(crate) type PoolForm = ShortOr<List<EndpointForm>, PoolSection>;

section! {
    /// A named group of interchangeable endpoints.
    PoolSection "a pool" {
        /// How an endpoint is picked. `round_robin`: each in turn, as often as its weight says. `least_requests`: the
        /// one with the fewest requests in flight for its weight. `least_time`: the one that would answer first, by its
        /// last responses and its requests in flight. `random`. `{ hash: client }`: requests with the same key go to
        /// the same endpoint.
        balance: BalanceForm = "round_robin";
        /// `10.0.0.1:3000`, `[::1]:3000`, `unix:/path`, `name.local:3000` (each of its addresses is an endpoint),
        /// `srv:_http._tcp.name.local` (SRV records, with their ports, weights and priorities), `{ address: ...,
        /// weight: 1, backup: false }`, or a list of endpoints, `{ file: /path }` or `{ http: URL }`.
        endpoints: List<EndpointForm>, required "[10.0.0.1:3000]";
        /// The `Host` that endpoints see: `preserve` (what the client sent), `endpoint` (the endpoint's own address), or
        /// a fixed host.
        host: HostSetting = "preserve";
        /// How host names and SRV records of endpoints are resolved; `10s` stands for `{ interval: 10s }`.
        resolve: ShortOr<NonZeroPeriod, ResolveSection> = "10s";
        /// How endpoints are probed, or `off`.
        health_check: OrOff<CheckSection> = {};
        /// Keeps clients at their endpoints by a cookie, such as `{ cookie: session, key: /etc/evenkeel/sticky.key }`; on
        /// top of `balance`, which picks where a client has none.
        sticky: OrOff<StickySection> = "off";
        /// When endpoints are ejected for their answers to requests, or `off`.
        outliers: OrOff<OutliersSection> = {};
        /// How long the share of an endpoint grows until it is whole, when it is new, has recovered or comes back from an
        /// ejection. `off`: it is whole at once.
        slow_start: OrOff<NonZeroPeriod> = "off";
        /// What happens to requests while no endpoint is healthy, or all have refused a connection: `{ wait: 5s }` or
        /// `{ fail_open: true }`.
        when_none_healthy: NoneHealthySection = {};
        /// The protocol that its endpoints speak: `http/1.1`, or `h2` (HTTP/2; without `tls` by prior knowledge), which
        /// gRPC needs.
        protocol: EndpointProtocol = "http/1.1";
        /// TLS with its endpoints. Default: none.
        tls: PoolTlsSection, optional;
        /// How long an endpoint may take.
        timeouts: EndpointTimeoutsSection = {};
        /// Which connections to endpoints are kept for the next requests.
        connections: EndpointConnectionsSection = {};
        /// How many requests it has at a time.
        limits: PoolLimitsSection = {};
        /// When a request is tried again, on another endpoint if there is one; or `off`.
        retry: OrOff<RetrySection> = {};
    }
}

section! {
    /// How host names and SRV records of endpoints are resolved.
    ResolveSection "`resolve`" {
        /// The longest time from one answer to the next question. A shorter TTL counts, of at least 1 s.
        interval: NonZeroPeriod = "10s";
        /// The name servers to ask, such as `127.0.0.1:8600`. Default: the system's (`/etc/hosts`,
        /// `/etc/resolv.conf`).
        servers: List<NameServer>, optional;
    }
}

words!(EndpointProtocol, "a protocol" {
    "http/1.1" => EndpointProtocol::Http11,
    "h2" => EndpointProtocol::Http2,
});

/// An endpoint: plain text is its address.
pub(crate) type EndpointForm = ShortOr<AddressText, EndpointSection>;

section! {
    /// One address in a pool, or a source that names several: one of `address`, `file` and `http`.
    EndpointSection "an endpoint" {
        /// Its address, such as `10.0.0.1:3000`.
        address: AddressText, optional;
        /// A file with a list of endpoints, JSON or YAML: addresses, `{ address: ..., weight: 1, backup: false }`, or
        /// groups `{ targets: [...], labels: {...} }` as Prometheus has them. It is read again when it changes.
        file: FilePath, optional;
        /// The URL of such a list, which is fetched again and again.
        http: ListUrlText, optional;
        /// `http` only: from one answer to the next question.
        interval: NonZeroPeriod = "30s";
        /// Its share of the traffic relative to the others; 0 gets none. Lists and SRV records say their own.
        weight: Count<0, 256> = 1;
        /// `true`: it gets traffic only while no other endpoint is healthy.
        backup: Flag = false;
        /// Where it is. Endpoints of `server.zone` come first, as long as none of them gets more than 1.2 times the mean.
        zone: Name, optional;
    }
}

/// The `Host` that an endpoint sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSetting(pub(crate) HostHeader);

impl Scalar for HostSetting {
    const WHAT: &'static str = "a host";
    const REMEDY: &'static str =
        "write preserve, endpoint, or a host such as api.internal or api.internal:8080";

    fn parse(text: &str) -> Result<HostSetting, Fault> {
        let setting = match text {
            "preserve" => HostHeader::Preserve,
            "endpoint" => HostHeader::Endpoint,
            host => {
                let is_authority =
                    host.parse::<http::uri::Authority>().is_ok_and(|a| !a.as_str().contains('@'));
                let value = HeaderValue::from_str(host).ok().filter(|_| is_authority);
                HostHeader::Fixed(value.ok_or_else(|| Self::fault(text))?)
            }
        };
        Ok(HostSetting(setting))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["preserve", "endpoint", "api.internal"] })
    }
}

section! {
    /// How endpoints are probed.
    CheckSection "`health_check`" {
        /// `tcp`: a connection opens. `http`: a GET is answered with an expected status. `grpc`: the standard health
        /// service says SERVING; `protocol: h2` only.
        r#type: CheckType = "tcp";
        /// From the start of a probe to the start of the next one, give or take 10 %. An endpoint is probed earlier once
        /// a request could not connect to it, and while requests wait for one.
        interval: NonZeroPeriod = "2s";
        /// The whole time of one probe.
        timeout: NonZeroPeriod = "1s";
        /// Passing probes in a row that make an unhealthy endpoint healthy.
        healthy_after: Count<1, 1000> = 2;
        /// Failing probes in a row that make an endpoint unhealthy.
        unhealthy_after: Count<1, 1000> = 3;
        /// `type: http` only: path and query to ask for. Default: `/`.
        path: CheckPath, optional;
        /// `type: http` only: the `Host` to send. Default: the endpoint's address.
        host: CheckHost, optional;
        /// `type: http` only: statuses that pass, single or as ranges. Default: `[200-399]`.
        expect: List<StatusRange>, optional;
        /// `type: http` only: header fields to send.
        headers: Named<HeaderText>, optional;
        /// `type: grpc` only: the service to ask about. Default: the server as a whole.
        service: ServiceName, optional;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckType {
    Tcp,
    Http,
    Grpc,
}

words!(CheckType, "a type of health check" {
    "tcp" => CheckType::Tcp,
    "http" => CheckType::Http,
    "grpc" => CheckType::Grpc,
});

/// The service that a gRPC probe asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceName(pub(crate) String);

impl Scalar for ServiceName {
    const WHAT: &'static str = "a gRPC service";
    const REMEDY: &'static str = "write its full name, such as shop.v1.Orders";

    fn parse(text: &str) -> Result<ServiceName, Fault> {
        let is_name =
            !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_name { Ok(ServiceName(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["shop.v1.Orders"] })
    }
}

/// The path of an HTTP probe, which may have a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckPath(pub(crate) String);

impl Scalar for CheckPath {
    const WHAT: &'static str = "a path";
    const REMEDY: &'static str = "write a path such as /healthz";

    fn parse(text: &str) -> Result<CheckPath, Fault> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        PathText::parse(path)?;
        if !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(Self::fault(text));
        }
        Ok(CheckPath(text.to_owned()))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^/", "examples": ["/healthz"] })
    }
}

/// The `Host` of an HTTP probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckHost(pub(crate) String);

impl Scalar for CheckHost {
    const WHAT: &'static str = "a host";
    const REMEDY: &'static str = "write a host such as api.internal";

    fn parse(text: &str) -> Result<CheckHost, Fault> {
        let is_authority = text.parse::<http::uri::Authority>().is_ok_and(|a| !a.as_str().contains('@'));
        if is_authority { Ok(CheckHost(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["api.internal"] })
    }
}

/// `204`, or `200-399`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusRange(pub(crate) RangeInclusive<u16>);

impl Scalar for StatusRange {
    const WHAT: &'static str = "a status or a range of them";
    const REMEDY: &'static str = "write a status such as 204, or a range such as 200-399";

    fn parse(text: &str) -> Result<StatusRange, Fault> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (parse_status(first), parse_status(last));
        let (Some(first), Some(last)) = (first, last) else { return Err(Self::fault(text)) };
        if first > last {
            return Err(Fault::new(Self::fault(text).message, format!("write {last}-{first}")));
        }
        Ok(StatusRange(first..=last))
    }

    fn scalar_schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$" },
        ] })
    }
}

pub(super) fn parse_status(text: &str) -> Option<u16> {
    let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|status| is_number && (100..=599).contains(status))
}

section! {
    /// What happens to requests while no endpoint is healthy, or all have refused a connection.
    NoneHealthySection "`when_none_healthy`" {
        /// How long requests wait for an endpoint; then they are answered 503. `0s`: at once.
        wait: Period = "0s";
        /// How many requests may wait; those beyond it are answered 503 at once.
        queue: Count<1, 1_000_000> = 1024;
        /// `true`: requests go to unhealthy endpoints as if they were healthy, so none waits, and `wait` and `queue`
        /// must not be set.
        fail_open: Flag = false;
    }
}

section! {
    /// How long an endpoint may take.
    EndpointTimeoutsSection "a pool's `timeouts`" {
        /// To connect, including the wait for a unix socket whose backlog is full; after it, 503.
        connect: NonZeroPeriod = "2s";
        /// From the end of the request to the end of the response's header; after it, 504.
        response: NonZeroPeriod = "60s";
        /// Between two pieces of the response's body.
        idle: NonZeroPeriod = "60s";
        /// To take the next piece of the request; after it, 504.
        write: NonZeroPeriod = "60s";
        /// How long an idle connection is kept for the next request.
        keep_alive: NonZeroPeriod = "55s";
        /// How long an upgraded connection (WebSocket) may be silent.
        tunnel: NonZeroPeriod = "1h";
    }
}

section! {
    /// Which connections to endpoints are kept for the next requests. How long one may be idle is
    /// `timeouts.keep_alive`.
    EndpointConnectionsSection "a pool's `connections`" {
        /// Idle connections kept of each endpoint, over all workers; beyond it, the oldest is closed. 0: each request
        /// opens its own connection.
        idle: Count<0, 1_000_000> = 1024;
        /// The age of a connection, idle or busy; an older one is closed after its response. `off`: no limit.
        age: OrOff<NonZeroPeriod> = "1h";
        /// `protocol: h2` only: concurrent requests on one connection, or fewer if the endpoint says so; beyond it,
        /// another connection is opened.
        streams: Count<1, 10_000> = 100;
    }
}

section! {
    /// How many requests a pool and its endpoints have at a time, and what becomes of those beyond.
    PoolLimitsSection "a pool's `limits`" {
        /// Requests in flight at a time, upgraded connections among them; beyond it, they wait. `auto`: what a pool that
        /// hangs leaves to the others, if there are any: nine tenths of `server.max_connections` plus the requests that
        /// can be served over HTTP/2, in flight or waiting; beyond it, 503 at once. `off`: no limit.
        requests: OrOff<AutoOr<Count<1, 10_000_000>>> = "auto";
        /// Requests in flight at each endpoint, over all workers: endpoints that have as many are passed over, and where
        /// all have, requests wait. `off`: no limit.
        endpoint_requests: OrOff<Count<1, 10_000_000>> = "off";
        /// Connections to each endpoint, over all workers, idle ones included. Over HTTP/1.1, where each carries one
        /// request, requests beyond it wait as above; with `protocol: h2` each worker has an equal part of them, and
        /// requests for which no stream is left wait for `timeouts.connect`. Probes are not counted. `off`: no limit.
        endpoint_connections: OrOff<Count<1, 1_000_000>> = "off";
        /// How many may wait; those beyond it are answered 503 at once. 0: none waits.
        queue: Count<0, 1_000_000> = 1024;
        /// How long a request may wait; then 503. `0s`: none waits.
        wait: Period = "1s";
        /// If for 20 times this long nobody has waited for less, those that have waited for twice as long are answered
        /// 503, so that what is served is served fresh. `off`: only `queue` and `wait` bound the queue.
        shed: OrOff<NonZeroPeriod> = "5ms";
    }
}
