//! What the config means: checked values only, nothing optional that must be there.
//!
//! `config::compile` is the only maker of a [`Config`]. Whatever can be wrong with a file has been said before one of
//! these exists, so the rest of the program asks no further questions.

use super::pattern::Pattern;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::secret::Secret;
use crate::tls::{ClientTls, ServerTls};

/// A whole valid config: the input of a snapshot.
#[derive(Clone)]
pub struct Config {
    /// The whole of it as it was written, variables and all.
    pub text: Arc<str>,
    pub server: Server,
    pub admin: Admin,
    pub log: Log,
    pub access_log: AccessLog,
    pub listeners: Vec<Listener>,
    /// In file order; precedence is the router's business.
    pub routes: Vec<Route>,
    /// In file order; names are unique.
    pub pools: Vec<Pool>,
    pub tests: Vec<RouteTest>,
}

/// Without the text, which holds secrets.
impl fmt::Debug for Config {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text: _, server, admin, log, access_log, listeners, routes, pools, tests } = self;
        out.debug_struct("Config")
            .field("server", server)
            .field("admin", admin)
            .field("log", log)
            .field("access_log", access_log)
            .field("listeners", listeners)
            .field("routes", routes)
            .field("pools", pools)
            .field("tests", tests)
            .finish_non_exhaustive()
    }
}

/// What cannot change without a new process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; the number of cores unless written.
    pub threads: usize,
    /// Clients' connections over all listeners; `None`: what the limit of open files allows.
    pub max_connections: Option<usize>,
    /// Requests over HTTP/2 that are served at a time, beyond some of each connection; `None`: as many as threads can do
    /// well with.
    pub max_http2_requests: Option<usize>,
    pub max_memory: MaxMemory,
    /// How long requests in flight may go on after a stop was asked for.
    pub drain: Duration,
    /// How long idle connections stay open once listeners have closed, to be told with their next response.
    pub drain_idle: Duration,
    /// How long listeners stay open after a stop was asked for, while readiness already says 503.
    pub drain_delay: Duration,
    /// How long a successor may take until it serves.
    pub upgrade_timeout: Duration,
    /// The config file is read again and again, and a change of it is a reload.
    pub watch: bool,
    pub state: StateDirectory,
}

/// Where the texts of the configs that were in force are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateDirectory {
    Off,
    /// Not written: the usual one, with its fallbacks for those who are not root.
    Default,
    At(PathBuf),
}

/// Where memory ends, and new requests are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxMemory {
    Off,
    /// The limit of the control group that the process is in.
    OfGroup,
    /// Of the process's resident memory.
    Bytes(u64),
}

/// The local address that answers `evenkeel status`, health questions and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub listen: AdminListen,
    /// What a client must send as `Authorization: Bearer` over TCP; always there when the address is not loopback.
    pub token: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    Off,
    /// Not written: the default socket, with its fallbacks for those who are not root.
    Default,
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl fmt::Display for AdminListen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => out.write_str("off"),
            Self::Default => out.write_str("default"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(out),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or `target=level` directives, as `env_filter` reads them.
    pub level: String,
    pub format: EventFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    pub output: LogOutput,
    pub format: AccessFormat,
    /// How many lines may wait for the writer before lines are dropped and counted.
    pub queue: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
    Combined,
}

/// An address that accepts clients, with its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: Arc<str>,
    pub address: ListenAddress,
    pub engine: Engine,
    pub tls: Option<Arc<ServerTls>>,
    /// Requests without TLS are sent to this port of the same host.
    pub redirect_https: Option<u16>,
    /// The value of `Strict-Transport-Security`.
    pub hsts: Option<Arc<str>>,
    /// HTTP/2 without TLS is served too, to clients that know of it.
    pub h2c: bool,
    /// `None`: HTTP/1.1 is all that is spoken.
    pub http2: Option<Http2>,
    /// Whose `X-Forwarded-*` and `Forwarded` are believed and appended to, and whose PROXY headers.
    pub trusted_proxies: Vec<IpNet>,
    pub proxy_protocol: ProxyProtocol,
    pub paths: PathRules,
    pub limits: Limits,
    pub connections: ConnectionLimits,
    pub timeouts: ClientTimeouts,
}

/// What carries the requests of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// evenkeel's own.
    #[default]
    Native,
    /// Pingora's own forwarding, as it comes.
    Pingora,
}

/// What one HTTP/2 connection may do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Requests that it has open.
    pub max_streams: u32,
    /// Bytes of one request's body that have come and were not read.
    pub stream_window: u32,
    /// Bytes of all bodies that have come and were not read.
    pub connection_window: u32,
}

/// Whether connections begin with a PROXY header, which names their client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    Off,
    /// Those of `trusted_proxies` may.
    Accept,
    /// All must, and come from `trusted_proxies`.
    Require,
}

impl Listener {
    /// Whether the address is that of a trusted proxy.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&ip))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Inet(SocketAddr),
    /// `:8080`: every address of the machine, IPv4 and IPv6 where it has both.
    AnyPort(u16),
    Unix(PathBuf),
}

/// As the config has it.
impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::AnyPort(port) => write!(out, ":{port}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// How paths are brought into the form that is matched and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// `//` is `/`.
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
}

/// What becomes of `%2F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// It is part of its segment, and no slash.
    Keep,
    /// 400.
    Refuse,
    /// It becomes a slash.
    Decode,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request's header fields (431 above).
    pub header_bytes: usize,
    /// Number of the request's header fields (431 above).
    pub header_count: usize,
    /// Bytes of the request target (414 above).
    pub target_bytes: usize,
    /// Bytes of the request body (413 above); `None`: no limit.
    pub body_bytes: Option<u64>,
    /// Bytes a second at which the request body must come (408 below); `None`: no least rate.
    pub body_rate: Option<u64>,
}

/// How many connections a listener serves; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionLimits {
    /// In all (clients wait).
    pub all: Option<usize>,
    /// Of one IPv4 address or IPv6 network (503 above).
    pub per_client: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For a request's header to arrive, in all (408).
    pub header: Duration,
    /// For the whole handshake of TLS.
    pub handshake: Duration,
    /// Between two pieces of a request's body (408).
    pub body: Duration,
    /// For the client to take the next piece of a response.
    pub write: Duration,
    /// Of an idle connection between two requests.
    pub keep_alive: Duration,
    /// Of an HTTP/2 connection until its client is told to come anew; `None`: no limit.
    pub age: Option<Duration>,
}

/// A match, and the pool that gets what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub name: Arc<str>,
    pub matches: RouteMatch,
    /// The name of one of `Config::pools`.
    pub pool: Arc<str>,
    pub limits: RouteLimits,
    /// From the arrival of a request's head to the last byte of its response; `None`: no limit.
    pub timeout: Option<Duration>,
}

/// Limits of a route's own; where there are none, the listener's hold alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteLimits {
    pub header_bytes: Option<usize>,
    pub header_count: Option<usize>,
    pub target_bytes: Option<usize>,
    pub body: RouteBodyLimit,
}

/// How large the body of a route's request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteBodyLimit {
    #[default]
    OfListener,
    Off,
    Bytes(u64),
}

/// Conditions that must all hold; within `hosts`, `paths` and `methods` one is enough; an empty list matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteMatch {
    pub hosts: Vec<HostPattern>,
    pub paths: Vec<PathPattern>,
    pub methods: Vec<Method>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Lower case, without port or trailing dot.
    Exact(String),
    /// `*.example.com` keeps `example.com`: one label or more before it.
    Wildcard(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    Exact(String),
    /// Whole segments: `/v1` matches `/v1` and `/v1/x`, not `/v10`. Stored without trailing slash, `/` as "".
    Prefix(String),
    Regex(Pattern),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    pub name: HeaderName,
    pub value: ValueMatch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    Regex(Pattern),
    /// There, whatever its value.
    Present,
}

/// Without the value, which may be somebody's token.
impl fmt::Debug for ValueMatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Exact(_) => "Exact(***)",
            Self::Regex(_) => "Regex(***)",
            Self::Present => "Present",
        })
    }
}

/// A named group of interchangeable endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub name: Arc<str>,
    pub balance: Balance,
    /// Never empty, and at least one has a weight above 0.
    pub endpoints: Vec<EndpointSpec>,
    pub health_check: Option<HealthCheck>,
    pub when_none_healthy: WhenNoneHealthy,
    pub protocol: EndpointProtocol,
    pub tls: Option<Arc<ClientTls>>,
    pub timeouts: EndpointTimeouts,
    pub connections: EndpointConnections,
    pub limits: PoolLimits,
    pub retry: Retry,
    pub host: HostHeader,
    /// How often host names of endpoints are resolved again.
    pub resolve: Duration,
}

/// What is spoken with endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointProtocol {
    Http11,
    /// By ALPN where there is TLS, by prior knowledge where there is none (RFC 9113, section 3).
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    pub address: EndpointAddress,
    /// Share of the traffic relative to the others; 0 gets none.
    pub weight: u16,
    /// Gets traffic only while no endpoint that is not a backup is healthy.
    pub backup: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Inet(SocketAddr),
    /// Resolved again and again while it runs; every address it has is an endpoint.
    Name {
        host: Arc<str>,
        port: u16,
    },
    Unix(PathBuf),
}

/// As the config has it.
impl fmt::Display for EndpointAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Name { host, port } => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub kind: CheckKind,
    pub interval: Duration,
    /// The total deadline of one probe.
    pub timeout: Duration,
    /// Passing probes in a row that make an unhealthy endpoint healthy.
    pub healthy_after: u32,
    /// Failing probes in a row that make a healthy endpoint unhealthy.
    pub unhealthy_after: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    Tcp,
    Http {
        path: String,
        /// The `Host` sent; `None`: the endpoint's address.
        host: Option<String>,
        /// Statuses that pass.
        expect: Vec<RangeInclusive<u16>>,
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// The gRPC health checking protocol.
    Grpc {
        /// The service that is asked for; empty: the server as a whole.
        service: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenNoneHealthy {
    /// Hold requests until an endpoint is healthy, at most `limit`, at most `queue` of them; then 503. A zero limit
    /// answers at once.
    Wait { limit: Duration, queue: usize },
    /// Try unhealthy endpoints as if they were healthy.
    FailOpen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointTimeouts {
    /// To connect.
    pub connect: Duration,
    /// From the request's end to the end of the response's header.
    pub response: Duration,
    /// Between two pieces of the response's body.
    pub idle: Duration,
    /// For the endpoint to take the next piece of the request.
    pub write: Duration,
    /// Of an idle connection that waits for its next request.
    pub keep_alive: Duration,
    /// Of an upgraded connection (WebSocket) on which nothing moves.
    pub tunnel: Duration,
}

/// Connections to an endpoint that are kept for the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointConnections {
    /// Idle ones of one endpoint, over all workers; the oldest goes when there are more.
    pub idle: u64,
    /// Since it was opened; older ones are not kept.
    pub age: Option<Duration>,
    /// HTTP/2 only: requests that one carries at a time.
    pub streams: u32,
}

/// What a pool may take of what all pools share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    pub requests: RequestLimit,
}

/// Requests of a pool that may be in flight or wait at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLimit {
    /// A share of what the process can serve, where there are other pools.
    Auto,
    Most(u64),
    Off,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first one; 0 turns retries off.
    pub limit: u8,
    pub on: RetryOn,
}

/// Which failures another attempt may follow. Only `connect` is for every method: nothing has been sent then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn {
    pub connect: bool,
    /// A reset or close before the first byte of the response.
    pub reset: bool,
    /// No response header in time.
    pub timeout: bool,
    /// Statuses of responses (502, 503, 504 and the like).
    pub statuses: Vec<u16>,
}

/// The `Host` that an endpoint sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client sent.
    Preserve,
    /// The endpoint's own address, as written in the config.
    Endpoint,
    Fixed(HeaderValue),
}

/// An assertion on routing, run by `evenkeel check`.
#[derive(Debug, Clone)]
pub struct RouteTest {
    /// Where it is written.
    pub line: usize,
    pub column: usize,
    pub request: TestRequest,
    /// `None`: not asserted.
    pub route: Option<String>,
    pub pool: Option<String>,
    /// Asserts that no route matches.
    pub no_route: bool,
}

#[derive(Debug, Clone)]
pub struct TestRequest {
    pub method: Method,
    /// Host with port, if written.
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
