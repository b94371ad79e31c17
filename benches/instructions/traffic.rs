//! The inputs of the operations: requests, a response, a config, a record.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use evenkeel::config::{self, AccessLog, Limits, LogOutput};
use evenkeel::exchange::{Arrival, ClientIdentity, Exchange, Next, RequestScope, ResponseAction};
use evenkeel::http1::head::{HeadBytes, Parse, Request, RequestView, Response};
use evenkeel::snapshot::Snapshot;
use evenkeel::telemetry::record::{ClientAddress, NamedRecord, Protocol, Record};
use evenkeel::telemetry::{Telemetry, access};

pub const PLAIN: &[u8] =
    b"GET /items/1?q=a HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

/// A request of a browser.
pub const BROWSER: &[u8] = b"GET /items/1?q=a HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
    Referer: https://shop.example/items\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=2024-05-01T10:00:00Z\r\n\r\n";

pub const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\nContent-Length: 100\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n\
    ETag: \"0123456789abcdef\"\r\nConnection: keep-alive\r\n\r\n";

const POOLS: &str = "pools:
  p: { health_check: off, endpoints: ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3'] }
  weighted:
    health_check: off
    endpoints:
      - { address: '127.0.0.1:1', weight: 5 }
      - { address: '127.0.0.1:2', weight: 3 }
      - { address: '127.0.0.1:3', weight: 1 }
      - { address: '127.0.0.1:4', backup: true }
";

/// A snapshot with so many routes, half of them for the requested host; the last one matches everything.
pub fn snapshot(routes: usize) -> Arc<Snapshot> {
    let mut text = String::from("listeners: [{ name: a, address: '127.0.0.1:0' }]\nroutes:\n");
    for index in 1..routes {
        let host = if index % 2 == 0 { "shop" } else { "other" };
        let matching = format!("{{ hosts: [{host}.example], paths: [{{ prefix: /s{index} }}] }}");
        text += &format!("  - {{ name: r{index}, pool: p, match: {matching} }}\n");
    }
    text += "  - { name: last, pool: p }\n";
    text += POOLS;
    let many: Vec<String> = (1..=100).map(|port| format!("'127.0.0.2:{port}'")).collect();
    text += &format!(
        "  many: {{ health_check: off, balance: least_requests, endpoints: [{}] }}\n",
        many.join(", ")
    );
    let config = config::parse(&text, "benchmark").unwrap_or_else(|report| panic!("{report}"));
    Arc::new(Snapshot::build(config, None))
}

/// The snapshot with one route, for operations that do not change it: building it takes longer than most operations.
fn usual() -> &'static Arc<Snapshot> {
    static USUAL: LazyLock<Arc<Snapshot>> = LazyLock::new(|| snapshot(1));
    &USUAL
}

/// The scope that a worker's requests pin.
pub fn pinned(snapshot: &Arc<Snapshot>, telemetry: &Telemetry) -> Arc<RequestScope> {
    let listener = snapshot.listener("a").expect("it is in the config").clone();
    let counters = telemetry.metrics.listener(&listener.name);
    RequestScope::new(snapshot.clone(), listener, Arc::new(telemetry.worker()), counters)
}

/// Telemetry with metrics and without an access log.
pub fn telemetry() -> Telemetry {
    let off = AccessLog { output: LogOutput::Off, ..usual().config().access_log.clone() };
    let log = access::AccessLog::start(&off, 1).expect("nothing is opened");
    Telemetry::new(log, SystemTime::UNIX_EPOCH)
}

/// The default limits of a listener.
pub fn limits() -> Limits {
    usual().listener("a").expect("it is in the config").limits.clone()
}

/// A parsed request, as a client's connection keeps it.
pub struct Read {
    request: Request,
    bytes: HeadBytes,
}

impl Read {
    pub fn of(head: &[u8]) -> Self {
        let mut request = Request::default();
        let parse = request.parse(head, &limits());
        assert_eq!(parse, Parse::Complete { length: head.len() });
        let mut bytes = HeadBytes::default();
        bytes.set(head);
        Self { request, bytes }
    }

    pub fn view(&self) -> RequestView<'_> {
        self.request.view_of(&self.bytes)
    }
}

pub fn response() -> Response {
    let mut response = Response::default();
    assert_eq!(response.parse(RESPONSE), Parse::Complete { length: RESPONSE.len() });
    response
}

/// The times passed to `exchange`, the same for every request.
#[derive(Clone, Copy)]
pub struct Times {
    now: Instant,
    time: SystemTime,
}

impl Times {
    pub fn new() -> Self {
        Self { now: Instant::now(), time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) }
    }
}

pub fn client() -> ClientAddress {
    ClientAddress::inet(SocketAddr::from(([192, 0, 2, 1], 50_000)))
}

/// Begins the exchange of a request that has arrived.
pub fn begin(
    pinned: &Arc<RequestScope>,
    head: &RequestView<'_>,
    client: &ClientAddress,
    times: Times,
) -> Exchange {
    let arrival = Arrival {
        head,
        identity: ClientIdentity::Peer(client.clone()),
        tls_info: None,
        protocol: Protocol::Http11,
        target: b"/items/1?q=a",
        upgrade: false,
        short_of_memory: false,
        now: times.now,
        time: times.time,
    };
    Exchange::begin(pinned.clone(), arrival)
}

/// Takes a request from its beginning to the connection to its endpoint.
pub fn admit_and_connect(exchange: &mut Exchange, head: &RequestView<'_>, times: Times) {
    let path = exchange.normalize_path(head).expect("a plain path");
    assert!(path.is_none());
    let sizes = head.fields().map(|(name, value)| name.len() + value.len());
    exchange.admit(head, sizes).expect("it is within all limits");
    assert!(matches!(exchange.next(times.now), Next::Attempt));
    exchange.connected(true, times.now);
}

/// The record of a request that was answered.
pub fn record(head: &[u8]) -> Record {
    let (pinned, read, times) = (pinned(usual(), &telemetry()), Read::of(head), Times::new());
    let mut exchange = begin(&pinned, &read.view(), &client(), times);
    admit_and_connect(&mut exchange, &read.view(), times);
    answer(&mut exchange, times);
    exchange.finish(Some(200), 100, times.later()).record.clone()
}

pub fn named(record: &Record) -> NamedRecord<'_> {
    NamedRecord { record, listener: "a", route: Some("last"), pool: Some("p") }
}

pub fn answer(exchange: &mut Exchange, times: Times) {
    let circumstances =
        evenkeel::exchange::Circumstances { replayable: true, reused: true, response_begun: true };
    assert_eq!(exchange.response_head(200, None, circumstances, times.later()), ResponseAction::Forward);
    exchange.response_body(100);
}

impl Times {
    pub fn later(self) -> Instant {
        self.now + Duration::from_micros(1_234)
    }
}
