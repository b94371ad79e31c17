//! The compiled config: checked values only, and nothing optional that must be there.
//!
//! Only `config::compile` makes a [`Config`]. It reports everything that is wrong with a file, so the rest of the
//! program checks nothing again.

mod access_log;
mod cookie;
mod response;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::auth::Auth;
use super::secret::Secret;
use crate::key_file::Key;
use crate::networks::Networks;
use crate::rate_limit::Quota;
use crate::routing::{PathRules, Regex, RequestHead, RouteMatch};
use crate::socket_file::SocketAccess;
use crate::template::Template;
use crate::tls::{ClientTls, ServerTls};
use crate::wait_queue::Priority;
pub use access_log::{
    AccessFormat, AccessLog, AccessLogOptions, CLIENT_PARTS, FieldNames, LOG_FIELDS, LogNames, LogSample,
};
pub use cookie::{SameSite, SetCookie};
pub use response::{
    Compress, CookieEdits, Cors, CorsHeaders, DomainChange, Encoding, ErrorPage, ErrorPages, MediaPattern,
    OriginPattern, Origins, PrefixChange, ResponsePolicy,
};

/// A whole valid config: the input of a snapshot.
#[derive(Clone)]
pub struct Config {
    /// The file as it was written, with variables not replaced.
    pub text: Arc<str>,
    pub server: Server,
    pub admin: Admin,
    pub log: Log,
    pub access_log: AccessLog,
    pub listeners: Vec<Listener>,
    /// In file order; the router sorts them by precedence.
    pub routes: Vec<Route>,
    /// In file order; names are unique.
    pub pools: Vec<Pool>,
    pub tests: Vec<RouteTest>,
}

/// Omits the text, which may hold secrets.
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

/// Settings of the process, which need a new process to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; the number of cores unless written.
    pub threads: usize,
    /// Clients' connections over all listeners; `None`: what the limit of open files allows.
    pub max_connections: Option<usize>,
    /// Requests over HTTP/2 that are served at a time, beyond some of each connection; `None`: 512 per worker thread,
    /// fewer if the limit of open files is low.
    pub max_http2_requests: Option<usize>,
    pub max_memory: MaxMemory,
    /// How long requests in flight may go on after a stop was asked for.
    pub drain: Duration,
    /// How long idle connections stay open once listeners have closed, so that a last response can announce the close.
    pub drain_idle: Duration,
    /// How long listeners stay open after a stop was asked for, while readiness already says 503.
    pub drain_delay: Duration,
    /// How long the successor of an upgrade may take until it serves.
    pub upgrade_timeout: Duration,
    /// Poll the config file, and reload when it changes.
    pub watch: bool,
    pub state: StateDirectory,
}

/// The directory of the texts of the configs that were in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateDirectory {
    Off,
    /// Not configured: the default one, with fallbacks for users other than root.
    Default,
    At(PathBuf),
}

/// The memory limit near which new requests are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxMemory {
    Off,
    /// The limit of the process's control group.
    OfGroup,
    /// A limit on the process's resident memory.
    Bytes(u64),
}

/// The local address for `evenkeel status`, health checks and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Empty: there is no admin server. Otherwise one of them is a unix socket, the default one if need be: orders are
    /// taken there without a token.
    pub listen: Vec<AdminListen>,
    /// The bearer token that clients must send over TCP; always set if the address is not loopback.
    pub token: Option<Secret>,
    /// How many endpoints have all metrics.
    pub metrics_endpoints: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    /// Not configured: the default socket, with fallbacks for users other than root.
    Default,
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl fmt::Display for AdminListen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
pub enum LogOutput {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

/// An address that accepts clients, with its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: Arc<str>,
    pub address: ListenAddress,
    /// Of the file of a unix socket.
    pub socket: SocketAccess,
    pub engine: Engine,
    pub tls: Option<Arc<ServerTls>>,
    /// Requests without TLS are redirected.
    pub redirect_https: Option<HttpsRedirect>,
    /// The value of `Strict-Transport-Security`.
    pub hsts: Option<Arc<str>>,
    /// Also serve HTTP/2 without TLS, by prior knowledge.
    pub h2c: bool,
    /// `None`: HTTP/1.1 only.
    pub http2: Option<Http2>,
    /// The peers whose `X-Forwarded-*` and `Forwarded` fields and PROXY headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may send requests, whatever their route.
    pub access: Access,
    pub proxy_protocol: ProxyProtocol,
    /// A client that has closed its side of the connection is served on.
    pub half_close: bool,
    /// The pages of failures whose route has none; `None`: those that evenkeel makes.
    pub errors: Option<Arc<ErrorPages>>,
    pub paths: PathRules,
    pub limits: Limits,
    pub connections: ConnectionLimits,
    pub timeouts: ClientTimeouts,
}

/// The redirect of requests without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsRedirect {
    /// The port of HTTPS at the same host.
    pub port: u16,
    /// Paths that are served all the same: prefixes of whole segments, without a slash at their end.
    pub except: Vec<Box<str>>,
}

/// The implementation that forwards a listener's requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// evenkeel's own.
    #[default]
    Native,
    /// Pingora's, unchanged.
    Pingora,
}

/// Settings of one HTTP/2 connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Concurrent requests.
    pub max_streams: u32,
    /// The flow-control window of one stream, in bytes.
    pub stream_window: u32,
    /// The flow-control window of the connection, in bytes.
    pub connection_window: u32,
}

/// Whether connections begin with a PROXY header, which names their client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    Off,
    /// Connections from `trusted_proxies` may.
    Accept,
    /// All connections must, and must come from `trusted_proxies`.
    Require,
}

impl Listener {
    /// Whether an address is in `trusted_proxies`.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&ip))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Inet(SocketAddr),
    /// `:8080`: every address of the machine, IPv4 and IPv6 where it has both.
    AnyAddress(u16),
    Unix(PathBuf),
}

/// As the config has it.
impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::AnyAddress(port) => write!(out, ":{port}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
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
    /// The minimum rate of the request body in bytes a second (408 below); `None`: none.
    pub body_rate: Option<u64>,
}

/// How many connections a listener serves; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionLimits {
    /// Of all clients; further ones wait.
    pub all: Option<usize>,
    /// Of one client: an IPv4 address or an IPv6 /64 (503 above).
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
    /// The age of an HTTP/2 connection at which its client is told to reconnect; `None`: no limit.
    pub age: Option<Duration>,
}

/// A match, and what is done with what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub name: Arc<str>,
    pub matches: RouteMatch,
    /// `false`: it gets no requests.
    pub enabled: bool,
    pub access: Access,
    /// All of them hold.
    pub rate_limits: Arc<[RateLimit]>,
    pub action: Action,
    /// `None`: its requests go nowhere else.
    pub mirror: Option<Arc<Mirror>>,
    pub rewrite: Option<Arc<Rewrite>>,
    /// `None`: none but those that every request has.
    pub request_headers: Option<Arc<HeaderEdits>>,
    pub limits: RouteLimits,
    /// Endpoints get requests once their bodies are whole; the largest, in bytes (413 above). `None`: at once.
    pub buffer_request: Option<u64>,
    /// From the arrival of a request's head to the last byte of its response; `None`: no limit.
    pub timeout: Option<Duration>,
    /// The field in which clients may ask for less.
    pub timeout_header: Option<HeaderName>,
    pub retry: RetryOverrides,
    pub upgrades: Upgrades,
    /// Statuses from 500 that say nothing against an endpoint.
    pub expected_statuses: Vec<RangeInclusive<u16>>,
    pub priority: RoutePriority,
    /// The expressions of its paths whose groups templates of the route name; empty: none does.
    pub path_groups: Vec<Regex>,
    /// `None`: everybody may pass.
    pub auth: Option<Arc<Auth>>,
    /// What is done with its responses; `None`: nothing that the config asks for.
    pub response: Option<Arc<ResponsePolicy>>,
}

/// Who may send requests, by the networks of clients. `deny` wins over `allow`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `None`: everybody.
    pub allow: Option<Arc<Networks>>,
    /// `None`: nobody.
    pub deny: Option<Arc<Networks>>,
}

/// How many requests of a key a route takes in a time (429 above).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    pub quota: Quota,
    pub by: RateKey,
    /// Requests above it are only counted.
    pub dry_run: bool,
    /// How many keys are remembered.
    pub keys: usize,
}

/// Which requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// Those of an IPv4 address or a /64 of IPv6.
    Client,
    /// Those with the same value of this field.
    Header(HeaderName),
    Cookie(Box<str>),
    /// All of the route.
    Route,
}

impl RateKey {
    /// The kind of the key: `client`, `header`, `cookie` or `route`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Header(_) => "header",
            Self::Cookie(_) => "cookie",
            Self::Route => "route",
        }
    }
}

/// As in the access log: `client`, `header x-api-key`, `cookie session` or `route`.
impl fmt::Display for RateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client | Self::Route => out.write_str(self.kind()),
            Self::Header(name) => write!(out, "header {name}"),
            Self::Cookie(name) => write!(out, "cookie {name}"),
        }
    }
}

/// Whose requests are served first where requests wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoutePriority {
    Fixed(Priority),
    /// By the value of this field: `high`, `normal` or `low`.
    Header(HeaderName),
}

impl Default for RoutePriority {
    fn default() -> Self {
        Self::Fixed(Priority::default())
    }
}

/// To which protocols clients may switch by `Upgrade`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrades {
    Any,
    Only(Arc<[Box<str>]>),
}

impl Default for Upgrades {
    fn default() -> Self {
        Self::Only(Arc::new(["websocket".into()]))
    }
}

impl Upgrades {
    /// Whether a protocol that a client names is allowed: by its name, or by name and version.
    pub fn allow(&self, protocol: &str) -> bool {
        let Self::Only(names) = self else { return true };
        let name = protocol.split_once('/').map_or(protocol, |(name, _)| name);
        names.iter().any(|one| one.eq_ignore_ascii_case(name) || one.eq_ignore_ascii_case(protocol))
    }
}

/// A pool that gets copies of a route's requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    pub pool: Arc<str>,
    /// Of the requests, from 0 to 1.
    pub share: f64,
    /// Empty: all.
    pub methods: Vec<Method>,
    /// The largest body that is copied.
    pub body_bytes: u64,
    /// How many copies may be under way.
    pub requests: usize,
    /// From the connect to the end of the answer.
    pub timeout: Duration,
}

/// Its share is no NaN.
impl Eq for Mirror {}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sends it to an endpoint of the pool with this name, one of `Config::pools`.
    Forward(Arc<str>),
    /// Sends it to one of several pools.
    Split(Arc<Split>),
    Redirect(Arc<Redirect>),
    Respond(Arc<Respond>),
}

/// Pools that share the requests by weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// At least one has a weight above 0.
    pub shares: Vec<SplitShare>,
    /// What keeps a client at its pool; `None`: each request is drawn anew.
    pub sticky: Option<SplitSticky>,
}

/// What keeps a client at one of the pools of a [`Split`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitSticky {
    Key(HashKey),
    /// A cookie that the first response sets.
    Cookie(SetCookie),
}

/// One pool's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitShare {
    pub pool: Arc<str>,
    pub weight: u32,
}

/// A redirect of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// An absolute URL, or a path.
    pub to: Template,
    pub status: StatusCode,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    pub status: StatusCode,
    /// `None`: the page of the status, if that is an error.
    pub body: Option<Bytes>,
    pub content_type: Option<HeaderValue>,
    pub headers: Vec<(HeaderName, Template)>,
}

/// What an endpoint gets in the place of the request's path and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    /// `None`: as the pool says.
    pub host: Option<HostHeader>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// `strip` is taken off the path, where that begins with these whole segments, and `add` put before the rest. Both
    /// without a slash at their end, and may be empty.
    Prefix { strip: Box<str>, add: Box<str> },
    /// The whole path.
    Whole(Template),
    /// What the expression finds is replaced. It says what its groups have found.
    Regex { regex: Regex, to: Template },
}

/// Changes of header fields. A name is in one of the lists only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// One field in the place of all that endpoints may take for the same.
    pub set: Vec<(HeaderName, Template)>,
    /// One more field.
    pub add: Vec<(HeaderName, Template)>,
    pub remove: Vec<HeaderName>,
}

impl HeaderEdits {
    /// The names under which nothing that a client sends may reach an endpoint.
    pub fn replaced(&self) -> impl Iterator<Item = &HeaderName> {
        self.set.iter().map(|(name, _)| name).chain(&self.remove)
    }

    /// Whether a value depends on the request.
    pub fn has_placeholders(&self) -> bool {
        self.set.iter().chain(&self.add).any(|(_, value)| value.fixed().is_none())
    }
}

impl Split {
    /// The index of the pool at a place among all requests: `u64::MAX` is behind the last.
    pub fn at(&self, place: u64) -> usize {
        let all: u128 = self.shares.iter().map(|share| u128::from(share.weight)).sum();
        let mut rest = (u128::from(place) * all) >> 64;
        for (index, share) in self.shares.iter().enumerate() {
            match rest.checked_sub(u128::from(share.weight)) {
                Some(left) => rest = left,
                None => return index,
            }
        }
        0
    }
}

impl Action {
    /// Its key in the file.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Forward(_) => "pool",
            Self::Split(_) => "split",
            Self::Redirect(_) => "redirect",
            Self::Respond(_) => "respond",
        }
    }

    /// The pools that it forwards to, in the order of the file.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, shares) = match self {
            Self::Forward(pool) => (Some(pool), &[][..]),
            Self::Split(split) => (None, &*split.shares),
            Self::Redirect(_) | Self::Respond(_) => (None, &[][..]),
        };
        one.into_iter().chain(shares.iter().map(|share| &share.pool))
    }
}

/// In words: `to pool api`, `redirects to https://www.example.com{path}`.
impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(pool) => write!(out, "to pool {pool}"),
            Self::Split(split) => {
                let shares = split.shares.iter().map(|share| format!("{} ({})", share.pool, share.weight));
                write!(out, "to pools {}", shares.collect::<Vec<_>>().join(", "))
            }
            Self::Redirect(redirect) => write!(out, "redirects to {}", redirect.to),
            Self::Respond(respond) => write!(out, "answers {}", respond.status.as_u16()),
        }
    }
}

impl Route {
    /// What it matches; `None`: nothing, because it is not enabled.
    pub fn enabled_match(&self) -> Option<&RouteMatch> {
        self.enabled.then_some(&self.matches)
    }

    /// Whether it has templates or a rewrite, which need to know what its requests asked for.
    pub fn has_templates(&self) -> bool {
        let rewrites = self.rewrite.as_ref().is_some_and(|rewrite| rewrite.path.is_some());
        let edits = self.request_headers.as_ref().is_some_and(|headers| headers.has_placeholders());
        let of_responses = self.response.as_ref().is_some_and(|response| response.headers.has_placeholders());
        let answers = matches!(self.action, Action::Redirect(_) | Action::Respond(_));
        rewrites || edits || of_responses || answers || !self.path_groups.is_empty()
    }

    /// The pools that it forwards to.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<str>> {
        self.action.pools()
    }
}

/// Limits of a route; `None`: only the listener's apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteLimits {
    pub header_bytes: Option<usize>,
    pub header_count: Option<usize>,
    pub target_bytes: Option<usize>,
    pub body: RouteBodyLimit,
    pub requests: Option<QueuedLimit>,
    pub response_rate: Option<ResponseRate>,
}

/// How fast the body of one response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseRate {
    /// Bytes a second; never 0.
    pub rate: u64,
    /// So many bytes come first, at any rate.
    pub after: u64,
}

/// How many requests may be in flight at a time, and the queue of those beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedLimit {
    pub most: usize,
    pub queue: QueueLimits,
}

/// The bounds of a queue of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// How many may wait.
    pub length: usize,
    /// How long one may wait.
    pub wait: Duration,
    /// CoDel's target; `None`: nobody is shed because of the time that others have waited.
    pub shed: Option<Duration>,
}

impl QueueLimits {
    /// Whether anybody may wait.
    pub fn lets_wait(&self) -> bool {
        self.length > 0 && !self.wait.is_zero()
    }
}

/// How large the body of a route's request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteBodyLimit {
    #[default]
    /// The listener's limit applies.
    Inherit,
    Off,
    Bytes(u64),
}

/// A named group of interchangeable endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub name: Arc<str>,
    pub balance: Balance,
    /// The zone of this process: `server.zone`.
    pub zone: Option<Box<str>>,
    /// Never empty, and at least one has a weight above 0.
    pub endpoints: Vec<EndpointSpec>,
    pub health_check: Option<HealthCheck>,
    /// `None`: clients are not kept at their endpoints.
    pub sticky: Option<Arc<Sticky>>,
    /// `None`: nobody is ejected.
    pub outliers: Option<Outliers>,
    /// How long the share of a new or recovered endpoint grows; `None`: it is whole at once.
    pub slow_start: Option<Duration>,
    pub when_none_healthy: WhenNoneHealthy,
    pub protocol: EndpointProtocol,
    pub tls: Option<Arc<ClientTls>>,
    pub timeouts: EndpointTimeouts,
    pub connections: EndpointConnections,
    pub limits: PoolLimits,
    pub retry: Retry,
    pub host: HostHeader,
    pub resolve: Resolve,
}

/// How host names and SRV records of endpoints are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// The longest time from one answer to the next question; a TTL may shorten it.
    pub interval: Duration,
    /// The name servers that are asked; empty: the hosts file and the system's name servers.
    pub servers: Vec<SocketAddr>,
}

/// The cookie that keeps a client at its endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Sticky {
    pub cookie: SetCookie,
    /// The first signs, all are understood.
    pub keys: Vec<Key>,
}

/// Without its keys.
impl fmt::Debug for Sticky {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sticky").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// When endpoints are ejected for their answers. Parts are from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Outliers {
    /// Failures in a row; `None`: any number.
    pub failures: Option<u32>,
    /// The least rate of success; `None`: any.
    pub success_rate: Option<f64>,
    /// How many times longer than the others' the time to the first byte must be; `None`: any time.
    pub latency: Option<u32>,
    /// How many requests it takes to judge by rate and time.
    pub min_requests: u64,
    pub window: Duration,
    /// How long the first ejection lasts.
    pub time: Duration,
    pub max_time: Duration,
    /// The most of a pool's endpoints that are ejected at a time.
    pub max_ejected: f64,
}

/// Its parts are numbers: the file cannot say anything else.
impl Eq for Outliers {}

/// The HTTP version spoken with endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointProtocol {
    Http11,
    /// By ALPN where there is TLS, by prior knowledge where there is none (RFC 9113, section 3).
    Http2,
}

/// How a pool picks an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    LeastRequests,
    LeastTime,
    Random,
    Hash(HashKey),
}

/// What requests have in common that go to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, without its port.
    Client,
    Path,
    Header(HeaderName),
    Cookie(String),
    /// A query parameter.
    Query(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    pub address: EndpointAddress,
    pub attributes: EndpointAttributes,
}

/// What is said of an endpoint beside its address, wherever that is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointAttributes {
    /// Share of the traffic relative to the others; 0 gets none.
    pub weight: u16,
    /// Gets traffic only while no endpoint that is not a backup is healthy.
    pub backup: bool,
    /// Where it is, as `server.zone` says it of this process.
    pub zone: Option<Box<str>>,
}

impl EndpointAttributes {
    /// Those of an endpoint that a source names, where the source is given `outer`.
    pub fn within(mut self, outer: &Self) -> Self {
        self.backup |= outer.backup;
        self.zone = self.zone.or_else(|| outer.zone.clone());
        self
    }
}

impl Default for EndpointAttributes {
    fn default() -> Self {
        Self { weight: 1, backup: false, zone: None }
    }
}

/// An address, or a source that names endpoints and is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    Inet(SocketAddr),
    /// A source: each of its addresses is an endpoint.
    Name {
        host: Arc<str>,
        port: u16,
    },
    Unix(PathBuf),
    /// A source: the name of SRV records (RFC 2782).
    Srv(Arc<str>),
    /// A source: a file with a list of endpoints.
    File(PathBuf),
    /// A source: a list of endpoints that is fetched.
    Http(ListUrl),
}

/// Where a list of endpoints is fetched, and how often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListUrl {
    /// Begins with `http://` or `https://`, and has a host.
    pub url: Arc<str>,
    pub interval: Duration,
}

impl EndpointAddress {
    /// Whether it names endpoints, and is none itself.
    pub fn is_source(&self) -> bool {
        !matches!(self, Self::Inet(_) | Self::Unix(_))
    }
}

/// As the config has it.
impl fmt::Display for EndpointAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Name { host, port } => write!(out, "{host}:{port}"),
            Self::Srv(name) => write!(out, "srv:{name}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
            Self::Http(list) => out.write_str(&list.url),
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
        /// The service to ask about; empty: the server as a whole.
        service: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenNoneHealthy {
    /// Hold at most `queue` requests, each at most for `limit`, until an endpoint is healthy; then answer 503. A zero
    /// limit answers at once.
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
    /// Idle connections of one endpoint, over all workers; beyond it, the oldest is closed.
    pub idle: u64,
    /// The age beyond which a connection is not used again; `None`: no limit.
    pub age: Option<Duration>,
    /// HTTP/2 only: concurrent requests on one connection.
    pub streams: u32,
}

/// How many requests a pool has at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    pub requests: RequestLimit,
    /// In flight at each endpoint; `None`: no limit.
    pub endpoint_requests: Option<u64>,
    /// Connections to each endpoint, idle ones included; `None`: no limit.
    pub endpoint_connections: Option<u64>,
    /// Where those wait for which there is no room; nobody where there is nothing but [`RequestLimit::Auto`].
    pub queue: QueueLimits,
}

impl PoolLimits {
    /// The most requests in flight at each endpoint. Over HTTP/1.1, each has a connection to itself.
    pub fn endpoint_most(&self, protocol: EndpointProtocol) -> Option<u64> {
        let connections = self.endpoint_connections.filter(|_| protocol == EndpointProtocol::Http11);
        self.endpoint_requests.into_iter().chain(connections).min()
    }

    /// Whether requests wait for room.
    pub fn have_queue(&self, protocol: EndpointProtocol) -> bool {
        matches!(self.requests, RequestLimit::Fixed(_)) || self.endpoint_most(protocol).is_some()
    }
}

/// How many requests of a pool there may be at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLimit {
    /// In flight or waiting: nine tenths of what the process can serve if there are other pools, else no limit.
    Auto,
    /// In flight.
    Fixed(u64),
    Off,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first one; 0 turns retries off.
    pub limit: u8,
    pub on: RetryOn,
    /// The methods whose requests may reach an endpoint twice.
    pub methods: Vec<Method>,
    /// From an attempt's begin to the response's head; `None`: only the pool's timeouts bound it.
    pub attempt_timeout: Option<Duration>,
    /// The longest first pause before an endpoint is tried for the second time; zero: none.
    pub backoff: Duration,
    /// `None`: any number of retries.
    pub budget: Option<RetryBudget>,
    /// A second attempt beside the first; `None`: never.
    pub hedge: Option<Hedge>,
}

/// When a request gets a second attempt at another endpoint although the first has not failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedge {
    pub after: HedgeAfter,
    /// Of the requests: so many may have one.
    pub share: f64,
}

/// It is no NaN.
impl Eq for Hedge {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeAfter {
    Time(Duration),
    /// What 95 % of the route's recent requests have not exceeded to the first byte of a response.
    P95,
}

impl Retry {
    /// How long the connect of one attempt may take, where the pool says `connect`.
    pub fn connect_limit(&self, connect: Duration) -> Duration {
        self.attempt_timeout.map_or(connect, |limit| limit.min(connect))
    }
}

/// How many retries a pool may have: the larger of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Part of the requests.
    pub share: f64,
    /// Each second.
    pub floor: u32,
}

/// Its parts are no NaN.
impl Eq for RetryBudget {}

/// What a route says of retries; `None`: what its pool says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryOverrides {
    pub limit: Option<u8>,
    pub on: Option<RetryOn>,
    pub methods: Option<Vec<Method>>,
    pub attempt_timeout: Option<Option<Duration>>,
    pub backoff: Option<Duration>,
    pub hedge: Option<Option<Hedge>>,
}

impl RetryOverrides {
    /// What holds for the route.
    pub fn over(&self, pool: &Retry) -> Retry {
        Retry {
            limit: self.limit.unwrap_or(pool.limit),
            on: self.on.clone().unwrap_or_else(|| pool.on.clone()),
            methods: self.methods.clone().unwrap_or_else(|| pool.methods.clone()),
            attempt_timeout: self.attempt_timeout.unwrap_or(pool.attempt_timeout),
            backoff: self.backoff.unwrap_or(pool.backoff),
            budget: pool.budget,
            hedge: self.hedge.unwrap_or(pool.hedge),
        }
    }
}

/// The failures after which a request is tried again. Only `connect` applies to every method: nothing has been sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// The place in the file, counted from 1.
    pub line: usize,
    pub column: usize,
    pub request: TestRequest,
    /// The address of its client; `None`: it is in no network.
    pub client: Option<IpAddr>,
    /// `None`: not asserted.
    pub route: Option<String>,
    pub pool: Option<String>,
    /// Asserts that no route matches.
    pub no_route: bool,
    /// Of what is answered without an endpoint.
    pub status: Option<u16>,
    /// The `Location` of a redirect.
    pub redirect: Option<String>,
    /// As the endpoint gets it.
    pub path: Option<String>,
    /// The label of the authentication that it meets; `off`: none.
    pub auth: Option<&'static str>,
    /// Fields of the answer, or as the endpoint gets them; `None`: there is no such field.
    pub headers: Vec<(HeaderName, Option<String>)>,
}

#[derive(Debug, Clone)]
pub struct TestRequest {
    pub method: Method,
    /// The URL has `https`.
    pub secure: bool,
    /// Host with port, if written.
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl RequestHead for TestRequest {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn authority(&self) -> &str {
        // A `Host` field that the test sets overrides the host of its URL.
        self.header_text(&header::HOST).unwrap_or(&self.authority)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(other, _)| other == name);
        named.map(|(_, value)| value.as_bytes())
    }
}
