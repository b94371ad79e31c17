//! The file as it is written: every section and key, with type, default and documentation.
//!
//! These types are the only list of known keys: decoding, the errors for unknown keys and the JSON Schema are made from
//! them, and a test compares `conf/reference.yaml` with them.

use super::decode::{AutoOr, List, Named, OneOrList, OrOff, ShortOr};
use super::model::{
    AdminListen, EndpointAddress, Engine, EventFormat, ListenAddress, ProxyProtocol, StateDirectory,
};
use super::scalar::{Count, Flag, Name, Period, ProtocolName, Size, SizeIn, Switch, Text, words};
use super::secret::Secret;
use super::section::section;
use crate::routing::EscapedSlashes;
use crate::wait_queue::Priority;

mod access_log;
mod actions;
mod auth;
mod balance;
mod matching;
mod mirror;
mod outliers;
mod outputs;
mod pool;
mod rate_limit;
mod response;
mod retry;
mod rewrite;
mod socket;
mod sticky;
mod tls;

pub(crate) use access_log::{AccessLogSection, SampleSection};
pub(crate) use actions::{
    RedirectForm, RedirectHttpsForm, RedirectHttpsSection, RespondForm, RespondSection, SplitForm,
    SplitPoolSection, SplitStickyForm, SplitStickySection, TemplateText,
};
pub(crate) use auth::{AskMethod, AuthForm, AuthLabel, BasicSection, ForwardSection, JwtSection, KeysText};
pub(crate) use balance::{BalanceForm, BalanceWord, HashForm, HashSection, HashWord, HeaderNameText};
pub(crate) use matching::{
    HostText, MatchSection, NotSection, PathForm, PathText, RegexText, RouteExpected, ValueForm, header_name,
};
pub(crate) use mirror::MirrorSection;
pub(crate) use outliers::OutliersSection;
pub(crate) use outputs::LevelText;
pub(crate) use pool::{
    CheckSection, CheckType, EndpointForm, EndpointSection, NoneHealthySection, PoolForm, PoolSection,
    ResolveSection, StatusRange,
};
pub(crate) use rate_limit::{RateKeyForm, RateKeySection, RateKeyWord, RateLimitSection};
pub(crate) use response::{
    CompressForm, CompressSection, CorsHeaderText, CorsSection, OriginText, ResponseCookiesSection,
    ResponseHeadersSection,
};
pub(crate) use retry::{HedgeForm, HedgeSection, RetryCause, RetrySection, RouteRetrySection};
pub(crate) use rewrite::{RequestHeadersSection, RewriteSection};
pub(crate) use socket::SocketSection;
pub(crate) use sticky::StickySection;
pub(crate) use tls::{
    CertificateSection, ClientCertificateMode, ClientCertificatesSection, FilePath, PoolTlsSection,
    TicketsSection, TlsSection,
};

use super::scalar::NonZeroPeriod;
use matching::{ClientText, HeaderText, RequestText};

section! {
    /// The config of evenkeel. Write either `listen` and `endpoints`, or `listeners`, `routes` and `pools`. Durations
    /// are written as 250ms, 5s, 2m or 1h; sizes as 512B, 64KiB or 10MiB (a plain number is bytes). `${NAME}` and
    /// `${NAME:-default}` inside a value are replaced by environment variables; `$${` is a literal `${`. A change of
    /// `server` or `admin` needs `evenkeel upgrade`; everything else is put in force by a reload.
    FileSection "the file" {
        /// The process: its threads, its connections, its end. A change needs `evenkeel upgrade`.
        server: ServerSection = {};
        /// The local addresses that answer `evenkeel status`, health questions and metrics. A change needs `evenkeel upgrade`.
        admin: AdminSection = {};
        /// The event log, on standard error.
        log: LogSection = {};
        /// One line for every request.
        access_log: AccessLogSection = {};
        /// Short form: the address to listen on. Stands for one listener and one route, both called `default`.
        listen: ListenAddress, optional;
        /// Short form: the endpoints to balance over. Stands for one pool, called `default`.
        endpoints: List<EndpointForm>, optional;
        /// The addresses that accept clients.
        listeners: List<ListenerSection>, optional;
        /// Which requests go to which pool. The most specific match wins: an exact host before a wildcard before any
        /// host; then an exact path, the longest prefix, a regular expression, any path; then a method; then more
        /// headers; then more query parameters; then `clients`; then more of `not`; then the order of the file.
        routes: List<RouteSection>, optional;
        /// The groups of endpoints, by name. A pool may be a plain list of endpoints.
        pools: Named<ShortOr<List<EndpointForm>, PoolSection>>, optional;
        /// Assertions on routing: `evenkeel check` runs them, and a reload whose tests fail is refused.
        tests: List<TestSection> = [];
    }
}

section! {
    /// The process: its threads, its connections, its end. A change needs `evenkeel upgrade`.
    ServerSection "`server`" {
        /// Worker threads. Default: the number of cores.
        threads: Count<1, 1024>, optional;
        /// Clients' connections over all listeners; beyond it, idle ones are closed, and new clients wait until others
        /// have gone. `auto`: half of the limit of open files; the other half is for endpoints.
        max_connections: AutoOr<Count<1, 10_000_000>> = "auto";
        /// Requests over HTTP/2 that are open at a time, beyond six of each connection; further ones wait for
        /// `timeouts.header`, then 503. `auto`: an eighth of the limit of open files. Another eighth limits the six of
        /// all connections together, beyond one of each.
        max_http2_requests: AutoOr<Count<1, 10_000_000>> = "auto";
        /// Memory that the process may use. When 95 % of it is used, new requests are answered 503 until less than 90 %
        /// is used, half of the connections have gone, or 10 s have passed below 97 %. A size is compared with the
        /// process's resident memory. `auto`: the limit of the container or service, if it has one, compared with the
        /// memory that the kernel cannot reclaim. `off`: no limit.
        max_memory: OrOff<AutoOr<Size>> = "auto";
        /// How long requests in flight may go on after a stop was asked for.
        drain: Period = "30s";
        /// How long idle connections of clients stay open once listeners have closed, so that one more response can
        /// announce the close; then they are closed.
        drain_idle: Period = "2s";
        /// How long listeners stay open after a stop was asked for, while readiness already answers 503.
        drain_delay: Period = "0s";
        /// How long the new process of an upgrade may take until it serves; after that it is killed, and the old one
        /// goes on.
        upgrade_timeout: Period = "30s";
        /// `on`: the config file is read periodically, and each change of its content is a reload.
        watch: Switch = "off";
        /// The directory that keeps the texts of the config in force and of the one before it, for `evenkeel rollback`;
        /// an absolute path, or `off`. Default: /var/lib/evenkeel; for users other than root, a path of their own.
        state: StateDirectory, optional;
        /// Where this process is: endpoints of pools with the same `zone` come first. Default: none.
        zone: Name, optional;
    }
}

section! {
    /// The local addresses that answer `evenkeel status`, health questions and metrics. A change needs `evenkeel upgrade`.
    AdminSection "`admin`" {
        /// `unix:/path` (a socket of mode 0660), an address and port, a list of them, or `off`. Beside addresses alone
        /// there is the default socket, too, for commands: unix:/run/evenkeel/admin.sock; for users other than root, a
        /// path of their own.
        listen: OrOff<OneOrList<AdminListen>>, optional;
        /// What clients must send as `Authorization: Bearer TOKEN`. Required if `listen` has an address that
        /// is not loopback, and for commands over TCP; a unix socket needs none. Default: none.
        token: Secret, optional;
        /// How many endpoints, in the order of the file, have metrics of their answers by status, times and retries of
        /// their own: some sixty series each. Those beyond have only the metrics of their state and load.
        metrics_endpoints: Count<0, 1_000_000> = 1000;
    }
}

section! {
    /// The event log, on standard error.
    LogSection "`log`" {
        /// `error`, `warn`, `info`, `debug`, or `off`; also directives such as `info,evenkeel::pool=debug`.
        level: LevelText = "info";
        /// `text`, `json`, or `auto`: text on a terminal, JSON otherwise.
        format: EventFormat = "auto";
    }
}

words!(EventFormat, "a format" {
    "auto" => EventFormat::Auto,
    "text" => EventFormat::Text,
    "json" => EventFormat::Json,
});

section! {
    /// An address that accepts clients, with its limits.
    ListenerSection "a listener" {
        /// Its name in logs and metrics. Default: `default` if it is the only one.
        name: Name, optional;
        /// `0.0.0.0:8080`, `[::1]:8080`, `:8080` (every address, IPv4 and IPv6) or `unix:/path`. Port 0 takes any free
        /// port.
        address: ListenAddress, required "0.0.0.0:8080";
        /// The file of the socket of an address `unix:/path`: its mode, owner and group.
        socket: SocketSection, optional;
        /// The implementation that forwards its requests: `native`, evenkeel's own, or `pingora`, Pingora's, which can
        /// do less; `docs/engines.md` has the differences. A change applies to new connections.
        engine: Engine = "native";
        /// TLS with its clients; both HTTP/2 and HTTP/1.1 are offered (ALPN). Default: none.
        tls: TlsSection, optional;
        /// Requests without TLS are answered 308, to the same URL with `https`. The value is the port of HTTPS as
        /// clients see it, such as 443, or a section with `port` and `except`. Paths below `/.well-known/acme-challenge`
        /// are served all the same, unless `except` says otherwise. `off`: all are served.
        redirect_https: OrOff<RedirectHttpsForm> = "off";
        /// `Strict-Transport-Security` on responses over TLS (RFC 6797), or `off`.
        hsts: OrOff<HstsSection> = "off";
        /// HTTP/2 without TLS, by prior knowledge, beside HTTP/1.1.
        h2c: Flag = false;
        /// HTTP/2. `off`: only HTTP/1.1 is offered in TLS.
        http2: OrOff<Http2Section> = {};
        /// Networks or addresses of proxies in front, whose `X-Forwarded-*` and `Forwarded` fields are believed and
        /// appended to, and whose PROXY headers are, if `proxy_protocol` is on. The fields of other peers are replaced.
        /// If a PROXY header names the client, its fields are believed only if the client itself is listed.
        trusted_proxies: List<ipnet::IpNet> = [];
        /// The PROXY protocol, version 1 or 2, which tells the client's address. `off`; `accept`: connections from
        /// `trusted_proxies` may begin with it; `require`: all connections must, and come from there. On a unix socket
        /// every peer is trusted.
        proxy_protocol: OrOff<ProxyProtocol> = "off";
        /// A client of HTTP/1.1 that closes its side of the connection (FIN) while its request is served, or waits, has
        /// gone: the request is cancelled, and logged with 499. `true`: it gets its response all the same (RFC 9112,
        /// section 9.6).
        half_close: Flag = false;
        /// Networks or addresses of the clients that may send requests, as in a route's `allow`. Default: all.
        allow: List<ipnet::IpNet>, optional;
        /// Networks or addresses of clients whose requests are answered 403; it wins over `allow`. Default: none.
        deny: List<ipnet::IpNet>, optional;
        /// Files by status (404) or class of statuses (5xx): what clients get in the place of evenkeel's own page of
        /// that status, where the route has none. They are read at the start and at each reload.
        errors: Named<FilePath> = {};
        /// How paths are brought into the form that routes match and endpoints get.
        paths: PathsSection = {};
        /// How large a request may be, and how many connections are served.
        limits: LimitsSection = {};
        /// How long a client may take.
        timeouts: ClientTimeoutsSection = {};
    }
}

words!(Engine, "an engine" {
    "native" => Engine::Native,
    "pingora" => Engine::Pingora,
});

section! {
    /// Limits of one HTTP/2 connection.
    Http2Section "`http2`" {
        /// Concurrent requests (SETTINGS_MAX_CONCURRENT_STREAMS); further ones are refused.
        max_streams: Count<1, 10_000> = 100;
        /// The flow-control window of one request's body. An upload is not faster than one window in each round trip.
        stream_window: SizeIn<{ 16 * 1024 }, { 1024 * 1024 * 1024 }> = "64KiB";
        /// The flow-control window of all bodies together.
        connection_window: SizeIn<{ 64 * 1024 }, { 1024 * 1024 * 1024 }> = "1MiB";
    }
}

section! {
    /// `Strict-Transport-Security`: browsers use HTTPS only, for as long as this says.
    HstsSection "`hsts`" {
        /// How long browsers remember it.
        max_age: Period = "365d";
        /// It applies to subdomains, too.
        include_subdomains: Flag = false;
        /// The domain may be built into browsers; needs `include_subdomains`, and a year.
        preload: Flag = false;
    }
}

words!(ProxyProtocol, "a use of the PROXY protocol" {
    "accept" => ProxyProtocol::Accept,
    "require" => ProxyProtocol::Require,
});

section! {
    /// How paths are brought into the form that routes match and endpoints get. Dot segments are always resolved, and
    /// escapes always have one form.
    PathsSection "`paths`" {
        /// `//` is taken for `/`.
        merge_slashes: Flag = true;
        /// What is done with `%2F`. `keep`: it stays, and is no slash to routes; `refuse`: 400; `decode`: it becomes a
        /// slash. An escaped backslash stays with `keep`, and is refused otherwise.
        escaped_slashes: EscapedSlashes = "keep";
    }
}

words!(EscapedSlashes, "a way with escaped slashes" {
    "keep" => EscapedSlashes::Keep,
    "refuse" => EscapedSlashes::Refuse,
    "decode" => EscapedSlashes::Decode,
});

section! {
    /// How large a request may be, and how many connections are served.
    LimitsSection "`limits`" {
        /// All header fields together; above it, 431.
        header_size: Size = "32KiB";
        /// Number of header fields; above it, 431.
        header_count: Count<1, 10_000> = 100;
        /// The request target; above it, 414.
        target_size: Size = "8KiB";
        /// The body; above it, 413. `off`: no limit.
        body_size: OrOff<Size> = "off";
        /// The minimum rate of the body, in bytes a second: N bytes may take `timeouts.body` plus N / `body_rate`
        /// seconds; after it, 408. Time in which the endpoint takes nothing does not count. `off`: none.
        body_rate: OrOff<Size> = "off";
        /// Connections of this listener; beyond it, new clients wait until others have gone. `off`: only
        /// `server.max_connections` applies.
        connections: OrOff<Count<1, 10_000_000>> = "off";
        /// Connections of one client: an IPv4 address, or a /64 of IPv6; above it, 503. Those in `trusted_proxies`
        /// are not counted. `off`: no limit.
        connections_per_client: OrOff<Count<1, 10_000_000>> = "off";
    }
}

section! {
    /// How long a client may take.
    ClientTimeoutsSection "a listener's `timeouts`" {
        /// For the whole header of a request, from its first byte; after it, 408. A request over HTTP/2 has as long to
        /// begin, where `max_http2_requests` are open; after it, 503.
        header: NonZeroPeriod = "10s";
        /// For the whole handshake of TLS.
        handshake: NonZeroPeriod = "10s";
        /// Between two pieces of a request's body; after it, 408.
        body: NonZeroPeriod = "60s";
        /// To take the next piece of a response; after it, the connection is closed.
        write: NonZeroPeriod = "60s";
        /// Between two requests on a connection; after it, the connection is closed.
        keep_alive: NonZeroPeriod = "75s";
        /// The age of an HTTP/2 connection; after it, the client is told to reconnect (GOAWAY), and its open requests
        /// are answered. `off`: no limit.
        age: OrOff<NonZeroPeriod> = "1h";
    }
}

section! {
    /// A match, and what is done with what it matches.
    RouteSection "a route" {
        /// Its name in logs and tests. Default: `default` if it is the only one.
        name: Name, optional;
        /// What a request must be like. Default: every request matches.
        r#match: MatchSection = {};
        /// `false`: it is checked, but gets no requests.
        enabled: Flag = true;
        /// Networks or addresses of the clients that may send its requests; all others are answered 403. The client is
        /// who the access log names; its address is believed from `trusted_proxies` only. Default: all.
        allow: List<ipnet::IpNet>, optional;
        /// Networks or addresses of clients whose requests are answered 403; it wins over `allow`. Default: none.
        deny: List<ipnet::IpNet>, optional;
        /// How many requests of a client, or of another key, it takes in a time; beyond it, 429. A list: all of them hold.
        /// Default: any number.
        rate_limit: OneOrList<RateLimitSection>, optional;
        /// Who may pass: by name and password, or as another service says; `off`: everybody.
        auth: AuthForm = "off";
        /// The pool that gets the requests. A route has one of `pool`, `split`, `redirect` and `respond`.
        pool: Name, optional;
        /// Pools that share the requests by weight: `[{ pool: api, weight: 95 }, { pool: canary, weight: 5 }]`, or a
        /// section with `pools` and `sticky`.
        split: SplitForm, optional;
        /// The requests are redirected: a URL or a path with placeholders, such as
        /// `"https://www.example.com{path}{?query}"`, or a section with `to` and `status`.
        redirect: RedirectForm, optional;
        /// The requests are answered here: a status such as 404, or a section.
        respond: RespondForm, optional;
        /// Another pool that gets copies of its requests, as its endpoints get them. The answers are dropped.
        mirror: MirrorSection, optional;
        /// What its endpoints get in the place of the request's path and host.
        rewrite: RewriteSection, optional;
        /// What is changed of the header fields that its endpoints get.
        request_headers: RequestHeadersSection, optional;
        /// How large its requests may be, where that differs from the listener's `limits`, and how many at a time.
        limits: RouteLimitsSection = {};
        /// Its endpoints get a request once its body is whole, of at most this size; a larger one is answered 413. So no
        /// endpoint is kept busy by a slow upload. The body is kept in memory, until the response begins. `off`: the body
        /// goes on as it comes.
        buffer_request: OrOff<SizeIn<1024, { 1024 * 1024 * 1024 }>> = "off";
        /// Whose requests are served first where requests wait, and are shed last: `high`, `normal`, `low`, or
        /// `{ header: X-Priority }`, a field of the request with one of these values; any other value is `normal`.
        priority: PriorityForm = "normal";
        /// How long a request may take in all: from the arrival of its header to the last byte of its response,
        /// including waiting and retries; after it, 504, or the response is cut. Upgraded connections are exempt.
        /// `off`: no limit.
        timeout: OrOff<NonZeroPeriod> = "off";
        /// The field in which clients may ask for less time, as `250ms`, `5s`, or digits that are milliseconds: the
        /// shorter of the two holds. What is none of these is ignored, and the access log says so. Default: none.
        timeout_header: HeaderNameText, optional;
        /// When its requests are tried again, key by key where that differs from the pool's `retry`; `off`: never. The
        /// budget is the pool's.
        retry: OrOff<RouteRetrySection> = {};
        /// To which protocols clients of HTTP/1.1 may switch by `Upgrade`: names such as `websocket`, `tcp` (of
        /// `docker exec`) or `SPDY/3.1`, a list of them, or `any`. Other requests for a switch go on as if they had not
        /// asked. WebSockets of HTTP/2 clients are `websocket`, too.
        upgrades: OrOff<OneOrList<ProtocolName>> = ["websocket"];
        /// Statuses from 500 to 599 that say nothing against an endpoint, single or as ranges: `outliers` does not count
        /// them.
        expected_statuses: List<StatusRange> = [];
        /// Changes of the header fields of its responses.
        response_headers: ResponseHeadersSection = {};
        /// `on`: responses that have no such field of their own get X-Content-Type-Options: nosniff, X-Frame-Options:
        /// SAMEORIGIN, Referrer-Policy: strict-origin-when-cross-origin, Cross-Origin-Opener-Policy: same-origin and
        /// Permissions-Policy: camera=(), geolocation=(), microphone=(). `response_headers` comes after it.
        security_headers: Switch = "off";
        /// Changes of the cookies that endpoints set.
        response_cookies: ResponseCookiesSection = {};
        /// Which pages of other origins may read its responses.
        cors: OrOff<CorsSection> = "off";
        /// Files by status (404) or class of statuses (5xx): what clients get in the place of evenkeel's own page of
        /// that status, before those of the listener. They are read at the start and at each reload.
        errors: Named<FilePath> = {};
        /// `on`: responses of endpoints with these statuses get the page of `errors`, too.
        intercept_errors: Switch = "off";
        /// What is compressed: `on`, or a section.
        compress: OrOff<CompressForm> = "off";
    }
}

section! {
    /// How large a route's requests may be, and how many at a time. The first three are judged by the listener before
    /// the route is known, so they can only be narrower here.
    RouteLimitsSection "a route's `limits`" {
        /// All header fields together; above it, 431. Default: the listener's.
        header_size: Size, optional;
        /// Number of header fields; above it, 431. Default: the listener's.
        header_count: Count<1, 10_000>, optional;
        /// The request target; above it, 414. Default: the listener's.
        target_size: Size, optional;
        /// The body; above it, 413. May be more or less than the listener's; `off`: no limit. Default: the listener's.
        body_size: OrOff<Size>, optional;
        /// Requests of this route in flight at a time, upgraded connections among them; beyond it, they wait. `off`: no
        /// limit.
        requests: OrOff<Count<1, 10_000_000>> = "off";
        /// How many may wait; those beyond it are answered 503 at once. 0: none waits.
        queue: Count<0, 1_000_000> = 1024;
        /// How long a request may wait; then 503. `0s`: none waits.
        wait: Period = "1s";
        /// If for 20 times this long nobody has waited for less, those that have waited for twice as long are answered
        /// 503, so that what is served is served fresh. `off`: only `queue` and `wait` bound the queue.
        shed: OrOff<NonZeroPeriod> = "5ms";
        /// How fast the body of each response is sent, in bytes a second. `off`: as fast as endpoint and client are.
        response_rate: OrOff<Size> = "off";
        /// So many bytes at the beginning of each body are sent at any rate. Default: none.
        response_rate_after: Size, optional;
    }
}

/// A priority: one word, or `{ header: ... }`.
pub(crate) type PriorityForm = ShortOr<Priority, PrioritySection>;

words!(Priority, "a priority" {
    "high" => Priority::High,
    "normal" => Priority::Normal,
    "low" => Priority::Low,
});

section! {
    /// A priority that requests have themselves.
    PrioritySection "`priority`" {
        /// The field whose value is `high`, `normal` or `low`. Clients can send it: have it set by who is trusted.
        header: HeaderNameText, required "X-Priority";
    }
}

section! {
    /// An assertion on what is done with a request.
    TestSection "a test" {
        /// Method and URL of a request.
        request: RequestText, required "GET http://api.example.com/v1/users";
        /// Header fields of the request.
        headers: Named<HeaderText> = {};
        /// The address of its client, for `clients`. Default: none, which is in no network.
        client: ClientText, optional;
        /// What is expected.
        expect: ExpectSection, required "{ route: NAME }";
    }
}

section! {
    /// What is expected: all keys that are written must hold.
    ExpectSection "`expect`" {
        /// The name of the route that matches; `none`: no route does.
        route: RouteExpected, optional;
        /// The name of the pool that gets the request; of a `split`, one with a share.
        pool: Name, optional;
        /// The status of what is answered without an endpoint: a redirect, a fixed answer, 400 or 404.
        status: Count<100, 599>, optional;
        /// The URL of a redirect.
        redirect: Text, optional;
        /// The path that the endpoint gets.
        path: PathText, optional;
        /// The kind of authentication that the request meets: `basic`, `forward` or `jwt`; `off`: none. All else that is
        /// expected is what happens to who passes it.
        auth: OrOff<AuthLabel>, optional;
        /// Header fields of the answer, or those that the endpoint gets, beside what evenkeel itself tells it of the client;
        /// `off`: there is no such field.
        headers: Named<OrOff<Text>> = {};
    }
}

/// The JSON Schema of the config file (draft 2020-12).
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<FileSection>()
        .to_value();
    schema["title"] = "evenkeel config".into();
    schema
}

/// An endpoint's address, which both forms of the file use.
pub(crate) type AddressText = EndpointAddress;
