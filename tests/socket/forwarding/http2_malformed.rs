//! Fault: HTTP/2 that RFC 9113 forbids, in frames made by hand. Where it asks for the end of a stream, the stream ends,
//! with a reset or with an answer of 4xx, or its connection does (section 5.4.1 leaves that open); where it asks for the
//! end of the connection, that ends. No endpoint sees a request that is whole, and the next honest one is served.

use crate::harness::frames::*;
use crate::harness::{Endpoint, Engine, Gate, Proxy, engine, eventually, lacks};

/// What the RFC asks for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Asks {
    /// The end of stream 1.
    Stream,
    /// The end of the connection.
    Connection,
    /// Nothing: it is a request like another.
    Service,
}

use Asks::{Connection, Service, Stream};

struct Case {
    what: &'static str,
    asks: Asks,
    frames: Vec<u8>,
}

/// What h2 drops, without a word: whoever reads what is left reads one thing.
fn of_fault() -> Asks {
    if engine() == Engine::Pingora { Service } else { Stream }
}

/// The status of the response to a stream, or the end of the connection.
fn status_of(client: &mut FrameClient, stream: u32) -> Option<u16> {
    std::iter::from_fn(|| client.next())
        .find(|frame| frame.stream == stream && frame.kind == HEADERS)?
        .status()
}

/// The stream of the honest request after it.
const HONEST: u32 = 1001;

fn case(what: &'static str, asks: Asks, frames: Vec<u8>) -> Case {
    Case { what, asks, frames }
}

const METHOD: (&str, &str) = (":method", "GET");
const METHOD_CONNECT: (&str, &str) = (":method", "CONNECT");
const SCHEME: (&str, &str) = (":scheme", "http");
const HOST: (&str, &str) = (":authority", "a.example");
const PATH: (&str, &str) = (":path", "/case");

fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

fn pseudo() -> Vec<u8> {
    block(&[METHOD, SCHEME, HOST, PATH])
}

/// A request with just these fields.
fn only(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, block(fields))
}

/// A good request with one more field.
fn with(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, [pseudo(), field(name, value)].concat())
}

fn with_path(path: impl AsRef<[u8]>) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, [block(&[METHOD, SCHEME, HOST]), field(":path", path)].concat())
}

fn with_authority(authority: impl AsRef<[u8]>) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, [block(&[METHOD, SCHEME, PATH]), field(":authority", authority)].concat())
}

/// A POST whose body is to come.
fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = [block(&[(":method", "POST"), SCHEME, HOST, PATH]), block(fields)].concat();
    frame(HEADERS, END_HEADERS, 1, fields)
}

fn data(flags: u8, text: &str) -> Vec<u8> {
    frame(DATA, flags, 1, text)
}

fn good() -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, pseudo())
}

/// A request that is to go on.
fn open() -> Vec<u8> {
    post(&[])
}

/// What became of a case: of its stream, if anything, and of the connection.
#[derive(Debug, Default)]
struct Seen {
    status: Option<u16>,
    reset: bool,
    over: bool,
}

impl Seen {
    fn stream_has_ended(&self) -> bool {
        self.reset || self.status.is_some()
    }
}

/// Plays a case, and an honest request behind it.
fn play(proxy: &Proxy, case: &Case) -> Seen {
    let mut client = FrameClient::connect(&proxy.address());
    client.send(&case.frames);
    let honest = block(&[METHOD, SCHEME, HOST, (":path", "/honest")]);
    client.send(frame(HEADERS, WHOLE, HONEST, honest));
    let mut seen = Seen::default();
    let mut served = false;
    while !(served && (seen.stream_has_ended() || case.asks == Connection)) {
        match client.next() {
            Some(found) if found.stream == 1 => {
                seen.reset |= found.kind == RST_STREAM;
                seen.status = seen.status.or_else(|| found.status());
            }
            Some(found) if found.stream == HONEST && found.kind == HEADERS => {
                assert_eq!(found.status(), Some(200), "{}: the honest request", case.what);
                served = true;
            }
            Some(_) => {}
            None => {
                seen.over = true;
                break;
            }
        }
    }
    if seen.over {
        proxy.get("/honest").expect(200);
    }
    seen
}

/// Plays the cases, each on a connection of its own.
fn all(cases: &[Case]) {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let cases_seen = || {
        let whole =
            |seen: &crate::harness::Seen| seen.whole && !matches!(seen.target(), "/honest" | "/after");
        endpoint.requests().into_iter().filter(whole).collect::<Vec<_>>()
    };
    let mut served = 0;
    for case in cases {
        let seen = play(&proxy, case);
        let refused = seen.reset || seen.status.is_some_and(|status| (400..500).contains(&status));
        let as_asked = match case.asks {
            Stream if lacks("malformed HTTP/2 requests") => refused || seen.over,
            Stream => refused && !seen.over,
            Connection => seen.over,
            Service => seen.status == Some(200) && !seen.over,
        };
        assert!(as_asked, "{}: {:?}, {seen:?}", case.what, case.asks);
        served += usize::from(case.asks == Service);
        assert_eq!(cases_seen().len(), served, "{}: {:?}", case.what, cases_seen().last());
    }
    proxy.is_unharmed(endpoint.open());
    for seen in cases_seen() {
        let head = seen.head.raw.to_ascii_lowercase();
        assert_eq!(head.matches("\r\nhost: a.example\r\n").count(), 1, "{head}");
        let framing = ["\r\ncontent-length:", "\r\ntransfer-encoding:"];
        assert!(framing.iter().map(|name| head.matches(name).count()).sum::<usize>() <= 1, "{head}");
    }
    eventually("the end of all requests", || {
        (proxy.metric("evenkeel_requests_in_flight", &[]) == 0.0).then_some(())
    });
    assert_eq!(cases_seen().len(), served);
}

/// Sections 8.2.1 and 8.2.2, and RFC 9110, section 5.5.
#[test]
fn fields() {
    let names: [&[u8]; 12] =
        [b"\"x\"", b"X-A", b"x\0a", b"x\ra", b"x\na", b"x a", b" x", b"x:", b"x\x7f", b"x\xe9", b"x(", b""];
    let values: [&[u8]; 10] =
        [b"\0", b"a\0b", b"a\rb", b"a\nb", b"a\r\nx-b: c", b" a", b"a ", b"\ta", b"a\t", b"a\x7f"];
    let of_connection = [
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", ""),
    ];
    let mut cases: Vec<Case> = names.iter().map(|name| case("a name", Stream, with(name, "1"))).collect();
    cases.extend(values.iter().map(|value| case("a value", Stream, with("x-a", value))));
    cases.extend(of_connection.iter().map(|(name, value)| case(name, Stream, with(name, value))));
    cases.push(case("te: trailers", Service, with("te", "trailers")));
    cases.push(case("a byte beyond ASCII", Service, with("x-a", b"\xe9")));
    cases.push(case("an empty value", Service, with("x-a", "")));
    all(&cases);
}

/// Sections 8.3, 8.3.1 and 8.5, and RFC 8441.
#[test]
fn pseudo_headers() {
    let all_of_them = [METHOD, SCHEME, HOST, PATH];
    let others = |one: usize| {
        let others = all_of_them.iter().enumerate().filter(|(at, _)| *at != one);
        others.map(|(_, other)| *other).collect::<Vec<_>>()
    };
    let but = |one: usize| only(&others(one));
    let twice = |one: usize| only(&[&all_of_them[..], &all_of_them[one..=one]].concat());
    let behind = |one: usize| only(&[&others(one)[..], &[("x-a", "1")], &all_of_them[one..=one]].concat());
    let connect = |fields: &[(&str, &str)]| only(&[&[METHOD_CONNECT], fields].concat());
    let extended =
        |fields: &[(&str, &str)], of| only(&[&[METHOD_CONNECT], fields, &[(":protocol", of)]].concat());
    let cases = [
        case("no method", Stream, but(0)),
        case("no scheme", Stream, but(1)),
        case("neither authority nor host", Stream, but(2)),
        case("no path", Stream, but(3)),
        case("two methods", Stream, twice(0)),
        case("two schemes", Stream, twice(1)),
        case("two authorities", Stream, twice(2)),
        case("two paths", Stream, twice(3)),
        case("a method behind a field", Stream, behind(0)),
        case("a scheme behind a field", Stream, behind(1)),
        case("an authority behind a field", Stream, behind(2)),
        case("a path behind a field", Stream, behind(3)),
        case("an unknown one", Stream, with(":unknown", "1")),
        case("a response's", Stream, with(":status", "200")),
        case("a protocol without CONNECT", Stream, with(":protocol", "websocket")),
        case("a method that is none", Stream, only(&[(":method", "G T"), SCHEME, HOST, PATH])),
        case("the preface's method", Stream, only(&[(":method", "PRI"), SCHEME, HOST, PATH])),
        case("a long method", Stream, only(&[(":method", &"M".repeat(200)), SCHEME, HOST, PATH])),
        case("an empty method", Stream, only(&[(":method", ""), SCHEME, HOST, PATH])),
        case("an empty scheme", Stream, only(&[METHOD, (":scheme", ""), HOST, PATH])),
        case("a scheme that is none", Stream, only(&[METHOD, (":scheme", "ht tp"), HOST, PATH])),
        case("a scheme of something else", Stream, only(&[METHOD, (":scheme", "ftp"), HOST, PATH])),
        case("CONNECT to nobody", Stream, connect(&[])),
        case("CONNECT with a path", Stream, connect(&[HOST, PATH])),
        case("CONNECT with a scheme", Stream, connect(&[HOST, SCHEME])),
        case("CONNECT", Stream, connect(&[(":authority", "a.example:443")])),
        case("an extended CONNECT of something else", Stream, extended(&[SCHEME, HOST, PATH], "connect-udp")),
        case("a WebSocket without a path", Stream, extended(&[SCHEME, HOST], "websocket")),
        case("a WebSocket without a scheme", Stream, extended(&[HOST, PATH], "websocket")),
        case("a WebSocket to nobody", Stream, extended(&[SCHEME, PATH], "websocket")),
        case(
            "a WebSocket with a bad path",
            Stream,
            extended(&[SCHEME, HOST, (":path", "/a\"b")], "websocket"),
        ),
        case("a WebSocket to two hosts", Stream, {
            let fields =
                [METHOD_CONNECT, SCHEME, HOST, PATH, (":protocol", "websocket"), ("host", "b.example")];
            only(&fields)
        }),
        case(
            "a host in the place of the authority",
            Service,
            only(&[METHOD, SCHEME, PATH, ("host", "a.example")]),
        ),
    ];
    all(&cases);
}

/// Section 8.3.1, and RFC 3986.
#[test]
fn targets() {
    let paths: [&[u8]; 19] = [
        b"",
        b"case",
        b"*",
        b"/a b",
        b" /a",
        b"/a ",
        b"/a\tb",
        b"/a\0",
        b"/a\r\nx-b: c",
        b"/a\nb",
        b"/\x7f",
        b"/\xe9",
        b"/\xc3\xa9",
        b"/a\"b",
        b"/a<b>",
        b"/%0",
        b"http://b.example/",
        b"//b.example\\/",
        b"/a?b c",
    ];
    let authorities: [&[u8]; 12] = [
        b"",
        b"u@a.example",
        b"u:p@a.example",
        b"a.example:x",
        b"a.example:99999",
        b"a example",
        b"a.example/x",
        b"a.example?x",
        b"a.example,b.example",
        b"a.example\0",
        b"a.example\r\nx-b: c",
        b"[::1",
    ];
    let mut cases: Vec<Case> = paths.iter().map(|path| case("a path", Stream, with_path(path))).collect();
    cases.extend(authorities.iter().map(|one| case("an authority", Stream, with_authority(one))));
    cases.extend([
        case("another host", Stream, with("host", "b.example")),
        case("another port", Stream, with("host", "a.example:81")),
        case("an empty host", Stream, with("host", "")),
        case(
            "two hosts",
            Stream,
            frame(HEADERS, WHOLE, 1, [pseudo(), block(&[("host", "a.example"); 2])].concat()),
        ),
        case("two hosts and no authority", Stream, {
            only(&[METHOD, SCHEME, PATH, ("host", "a.example"), ("host", "b.example")])
        }),
        case("a bad host and no authority", Stream, only(&[METHOD, SCHEME, PATH, ("host", "u@a.example")])),
        case("a fragment", of_fault(), with_path("/case#b")),
        case("the same host", Service, with("host", "a.example")),
    ]);
    all(&cases);
}

/// Sections 8.1 and 8.1.1.
#[test]
fn lengths_and_trailers() {
    let length = |value: &'static str| post(&[("content-length", value)]);
    let both = |length: Vec<u8>, text: &str| [length, data(END_STREAM, text)].concat();
    let trailers = |flags: u8, fields: &[(&str, &str)]| {
        [open(), data(0, "12345"), frame(HEADERS, flags, 1, block(fields))].concat()
    };
    let mut cases: Vec<Case> = ["x", "", "+5", "-5", "0x5", "5,5", "5;", "5 ", "99999999999999999999"]
        .into_iter()
        .map(|value| case("a length that is none", Stream, both(length(value), "12345")))
        .collect();
    cases.extend([
        case("two lengths", Stream, both(post(&[("content-length", "5"), ("content-length", "6")]), "12345")),
        case(
            "one length twice",
            Stream,
            both(post(&[("content-length", "5"), ("content-length", "5")]), "12345"),
        ),
        case("a length below the body's", Stream, both(length("4"), "12345")),
        case("a length above the body's", Stream, both(length("6"), "12345")),
        case("a length and no body", Stream, with("content-length", "5")),
        case("a length and trailers before it", Stream, {
            [length("6"), data(0, "12345"), frame(HEADERS, WHOLE, 1, field("x-a", "1"))].concat()
        }),
        case("trailers that do not end", Stream, trailers(END_HEADERS, &[("x-a", "1")])),
        case("trailers of the connection", Stream, trailers(WHOLE, &[("connection", "close")])),
        case("trailers in upper case", Stream, trailers(WHOLE, &[("X-A", "1")])),
        case("pseudo-headers in trailers", of_fault(), trailers(WHOLE, &[(":path", "/other")])),
        case("a length that is kept", Service, both(length("5"), "12345")),
        case("no length", Service, both(open(), "12345")),
        case("an empty body", Service, both(length("0"), "")),
        case("trailers", Service, trailers(WHOLE, &[("x-a", "1")])),
    ]);
    if !lacks("a body that is announced as empty") {
        cases.push(case("a body of no length", Stream, both(length("0"), "12345")));
    }
    all(&cases);
}

/// Sections 4.2, 4.3, 5.1, and 6.
#[test]
fn frames() {
    let then = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let on = |stream: u32| frame(HEADERS, WHOLE, stream, pseudo());
    let ordered = |kind, payload: &[u8]| then(open(), frame(kind, 0, 1, payload));
    let cases = [
        case("DATA on stream 0", Connection, frame(DATA, 0, 0, "x")),
        case("DATA on an idle stream", Connection, data(0, "x")),
        case("DATA behind the end", Connection, then(good(), data(END_STREAM, "x"))),
        case("DATA that is all padding and more", Connection, then(open(), frame(DATA, PADDED, 1, [9, 0]))),
        case("DATA beyond the size", Connection, then(open(), frame(DATA, 0, 1, vec![0; 16_385]))),
        case("HEADERS on stream 0", Connection, on(0)),
        case("HEADERS on a server's stream", Connection, on(2)),
        case("HEADERS on an older stream", Connection, then(on(3), on(1))),
        case("HEADERS behind the end", Connection, then(good(), good())),
        case(
            "HEADERS padded too much",
            Connection,
            frame(HEADERS, WHOLE | PADDED, 1, [&[255], &pseudo()[..]].concat()),
        ),
        case("HEADERS that depend on themselves", Stream, {
            frame(HEADERS, WHOLE | WITH_PRIORITY, 1, [&[0, 0, 0, 1, 9], &pseudo()[..]].concat())
        }),
        case("HEADERS beyond the size", Connection, frame(HEADERS, WHOLE, 1, vec![0; 16_385])),
        case("PRIORITY on stream 0", Connection, frame(PRIORITY, 0, 0, [0, 0, 0, 1, 9])),
        // The end of the stream would do (section 6.3).
        case("PRIORITY that is short", Connection, ordered(PRIORITY, &[0, 0, 0, 3])),
        case("PRIORITY on itself", Stream, ordered(PRIORITY, &[0, 0, 0, 1, 9])),
        case("RST_STREAM on stream 0", Connection, frame(RST_STREAM, 0, 0, [0, 0, 0, 8])),
        case("RST_STREAM on an idle stream", Connection, frame(RST_STREAM, 0, 1, [0, 0, 0, 8])),
        case("RST_STREAM that is short", Connection, ordered(RST_STREAM, &[0, 0, 8])),
        case("PUSH_PROMISE", Connection, {
            then(open(), frame(PUSH_PROMISE, END_HEADERS, 1, [&[0, 0, 0, 2], &pseudo()[..]].concat()))
        }),
        case("PING on a stream", Connection, ordered(PING, b"12345678")),
        case("PING that is short", Connection, frame(PING, 0, 0, b"1234567")),
        case("GOAWAY on a stream", Connection, ordered(GOAWAY, &[0; 8])),
        case("GOAWAY that is short", Connection, frame(GOAWAY, 0, 0, [0; 7])),
        case("WINDOW_UPDATE of nothing", Connection, frame(WINDOW_UPDATE, 0, 0, [0; 4])),
        // The end of the stream would do (section 6.9).
        case("WINDOW_UPDATE of nothing on a stream", Connection, ordered(WINDOW_UPDATE, &[0; 4])),
        case(
            "WINDOW_UPDATE that overflows",
            Connection,
            frame(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff]),
        ),
        case(
            "WINDOW_UPDATE that overflows a stream",
            Stream,
            ordered(WINDOW_UPDATE, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        case("WINDOW_UPDATE on an idle stream", Connection, frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])),
        case("WINDOW_UPDATE that is short", Connection, frame(WINDOW_UPDATE, 0, 0, [0, 0, 1])),
    ];
    all(&cases);
}

/// Sections 3.4, 6.5 and 6.10, and RFC 7541.
#[test]
fn settings_and_header_blocks() {
    let settings = |payload: Vec<u8>| frame(SETTINGS, 0, 0, payload);
    let part = frame(HEADERS, END_STREAM, 1, pseudo());
    let rest = |stream: u32, flags: u8| frame(CONTINUATION, flags, stream, field("x-a", "1"));
    let then = |first: &[u8], second: Vec<u8>| [first, &second].concat();
    let packed = |bytes: &[u8]| frame(HEADERS, WHOLE, 1, [&pseudo(), bytes].concat());
    let cases = [
        case("SETTINGS on a stream", Connection, then(&open(), frame(SETTINGS, 0, 1, []))),
        case("SETTINGS cut short", Connection, settings(vec![0, 4, 0, 0, 1])),
        case("an acknowledgement with something in it", Connection, frame(SETTINGS, ACK, 0, setting(4, 1))),
        case("a push that is neither on nor off", Connection, settings(setting(2, 2))),
        case("a window that is too large", Connection, settings(setting(4, 1 << 31))),
        case("frames that are too small", Connection, settings(setting(5, 100))),
        case("frames that are too large", Connection, settings(setting(5, 1 << 24))),
        case("a window that overflows those of streams", Connection, {
            [open(), frame(WINDOW_UPDATE, 0, 1, [0x7f, 0, 0, 0]), settings(setting(4, 0x7fff_ffff))].concat()
        }),
        case("CONTINUATION of nothing", Connection, rest(1, END_HEADERS)),
        case("CONTINUATION of what is whole", Connection, then(&good(), rest(1, END_HEADERS))),
        case("CONTINUATION of another stream", Connection, then(&part, rest(3, END_HEADERS))),
        case("a frame within a header block", Connection, then(&part, frame(PING, 0, 0, b"12345678"))),
        case("an unknown frame within a header block", Connection, then(&part, frame(0xbb, 0, 0, "x"))),
        case("index 0", Connection, packed(&[0x80])),
        case("an index of nothing", Connection, packed(&[0xff, 0x20])),
        case("an index without end", Connection, packed(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
        case(
            "a table that is too large",
            Connection,
            frame(HEADERS, WHOLE, 1, then(&[0x3f, 0xe2, 0x1f], pseudo())),
        ),
        case("a new size of the table in the middle", Connection, packed(&[0x20])),
        case("half a literal", Connection, packed(&[0x00, 0x03, b'x', b'-'])),
        case(
            "a compressed end of string",
            Connection,
            packed(&[0x00, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ),
    ];
    all(&cases);
}

/// Sections 4.1, 5.1, 5.5, 6.1 and 6.2: unknown things are ignored, and so is what may still be on its way.
#[test]
fn what_is_unusual_and_allowed() {
    let before = |first: Vec<u8>| [first, good()].concat();
    let in_pieces: Vec<u8> = {
        let all = pseudo();
        let (begin, end) = all.split_at(7);
        [
            frame(HEADERS, END_STREAM, 1, begin),
            frame(CONTINUATION, 0, 1, []),
            frame(CONTINUATION, END_HEADERS, 1, end),
        ]
        .concat()
    };
    let padded = frame(HEADERS, WHOLE | PADDED, 1, [&[3], &pseudo()[..], &[0; 3]].concat());
    let mut reserved = good();
    reserved[5] |= 0x80;
    let cases = [
        case("an unknown frame", Service, before(frame(0xbb, 0xff, 0, "x"))),
        case("an unknown frame on a stream", Service, before(frame(0xbb, 0xff, 7, "x"))),
        case("unknown settings", Service, before(frame(SETTINGS, 0, 0, [0xff, 0xff, 0, 0, 0, 1]))),
        case("unknown flags", Service, before(frame(PING, 0xfe, 0, "12345678"))),
        case("PRIORITY on an idle stream", Service, before(frame(PRIORITY, 0, 1, [0, 0, 0, 3, 9]))),
        case("an answer that nobody asked for", Service, before(frame(PING, ACK, 0, "12345678"))),
        case("a reserved bit", Service, reserved),
        case("a header block in pieces", Service, in_pieces),
        case("padding", Service, padded),
        case(
            "padding of a body",
            Service,
            [open(), frame(DATA, PADDED | END_STREAM, 1, [3, b'x', 0, 0, 0])].concat(),
        ),
        case("an empty end", Service, [open(), data(0, "x"), data(END_STREAM, "")].concat()),
        case("a window behind the end", Service, [good(), frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])].concat()),
    ];
    all(&cases);
}

/// Section 3.4: the first frame is SETTINGS.
#[test]
fn no_request_comes_before_the_settings() {
    if lacks("heads that cannot be read") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    for first in [good(), frame(PING, 0, 0, "12345678"), frame(SETTINGS, ACK, 0, []), frame(0xbb, 0, 0, "x")]
    {
        let mut client = FrameClient::silent(&proxy.address());
        client.send([PREFACE, &first, &good()].concat());
        assert!(client.rest().iter().all(|frame| frame.kind != HEADERS));
    }
    assert_eq!(endpoint.count(), 0);
    proxy.is_unharmed(endpoint.open());
}

/// One malformed request is the end of its stream: those before and behind it are served, although the client's
/// compression goes on from what it has sent there. The log has what can be said of it.
#[test]
fn other_streams_go_on() {
    if lacks("malformed HTTP/2 requests") {
        return;
    }
    let gate = Gate::closed();
    let endpoint = Endpoint::scripted("a", {
        let gate = gate.clone();
        move |exchange| {
            if exchange.target() == "/held" {
                gate.wait();
            }
            exchange.answer("a");
        }
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let mut client = FrameClient::connect(&proxy.address());
    let get = |stream: u32, path: &str, more: Vec<u8>| {
        frame(HEADERS, WHOLE, stream, [block(&[METHOD, SCHEME, HOST, (":path", path)]), more].concat())
    };
    client.send(get(1, "/held", indexed_field("x-first", "1")));
    eventually("the first request", || (endpoint.count() == 1).then_some(()));
    let bad: [(&str, Vec<u8>); 6] = [
        ("/up", indexed_field("X-Up", "1")),
        ("/nul", indexed_field("x-a", "a\0b")),
        ("/unknown", Vec::new()),
        ("/utf8", indexed_field("x-\u{fc}", "1")),
        ("/te", indexed_field("te", "gzip")),
        ("/x?q={\"a\": 1}", indexed_field("x-good", "2")),
    ];
    for (n, (path, one)) in bad.iter().enumerate() {
        let stream = 3 + 2 * n as u32;
        client.send(match *path {
            "/unknown" => frame(HEADERS, WHOLE, stream, [field(":unknown", "1"), pseudo()].concat()),
            _ => get(stream, path, one.clone()),
        });
        assert_eq!(status_of(&mut client, stream), Some(400), "{path}");
    }
    // By its place in the client's table, behind four malformed ones: `x-good` is the newest, `x-first` the oldest.
    client.send(get(101, "/then", vec![0x80 | 62, 0x80 | 67]));
    assert_eq!(status_of(&mut client, 101), Some(200));
    let seen = endpoint.seen("/then");
    assert_eq!((seen.header("x-good"), seen.header("x-first")), (Some("2"), Some("1")));
    // One that is malformed is so wherever it is named again.
    client.send(get(103, "/again", vec![0x80 | 66]));
    assert_eq!(status_of(&mut client, 103), Some(400));
    gate.open();
    assert_eq!(status_of(&mut client, 1), Some(200));
    assert_eq!(proxy.record("/up").text("detail"), "a field's name is no token in lower case");
    assert_eq!(
        proxy.record("/x?q=%7B%22a%22:%201%7D").text("detail"),
        "a character that a path must not contain"
    );
    assert_eq!(proxy.metric("evenkeel_connections_refused_total", &["reason=\"http2_malformed\""]), 0.0);
}

/// A header block may come in many frames, however small; one that is far too large ends the connection.
#[test]
fn a_head_in_many_pieces_is_served() {
    if lacks("malformed HTTP/2 requests") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let mut client = FrameClient::connect(&proxy.address());
    let in_pieces = |stream: u32, block: &[u8], size: usize| {
        let mut pieces = block.chunks(size).peekable();
        let mut all = frame(HEADERS, END_STREAM, stream, pieces.next().unwrap());
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            all.extend(frame(CONTINUATION, flags, stream, piece));
        }
        all
    };
    let all = [pseudo(), indexed_field("x-long", "x".repeat(300))].concat();
    for (n, size) in [1, 2, 8, 100].into_iter().enumerate() {
        let stream = 1 + 2 * n as u32;
        client.send(in_pieces(stream, &all, size));
        assert_eq!(status_of(&mut client, stream), Some(200), "{size}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let known = [block(&[METHOD, SCHEME, HOST, (":path", "/known")]), vec![0x80 | 62]].concat();
    client.send(frame(HEADERS, WHOLE, 101, known));
    assert_eq!(status_of(&mut client, 101), Some(200));
    assert_eq!(endpoint.seen("/known").header("x-long").map(str::len), Some(300));
    client.send(in_pieces(103, &[pseudo(), field("x-bomb", vec![b'x'; 300_000])].concat(), 16_000));
    client.rest();
    proxy.get("/x").expect(200);
}

/// What is refused for its form is counted and logged, also where the codec refuses it and shows it to nobody.
#[test]
fn the_operator_learns_of_what_is_refused() {
    if lacks("heads that cannot be read") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let two_hosts =
        |stream: u32| frame(HEADERS, WHOLE, stream, [pseudo(), block(&[("host", "a.example"); 2])].concat());
    let mut client = FrameClient::connect(&proxy.address());
    client.send(two_hosts(1));
    let record = proxy.record(PATH.1);
    assert_eq!((record.status(), record.cause(), record.text("protocol")), (400, "bad_request", "HTTP/2.0"));
    assert_eq!(record.text("detail"), "more than one Host");
    let mut other = FrameClient::connect(&proxy.address());
    other.send(frame(HEADERS, WHOLE, 1, block(&[METHOD, SCHEME, HOST])));
    let record = proxy.record("/");
    assert_eq!((record.status(), record.cause(), record.text("protocol")), (400, "bad_request", "HTTP/2.0"));
    assert_eq!((record.text("detail"), record.text("host")), ("no path", "a.example"));
    let refused = || proxy.metric("evenkeel_request_outcomes_total", &["outcome=\"refused\""]);
    eventually("their count", || (refused() == 2.0).then_some(()));
    // Too many of them end the connection, and so does one of these.
    (1..40).for_each(|number| {
        client.send(two_hosts(1 + 2 * number));
    });
    client.rest();
    for bytes in [frame(PING, 0, 0, "short"), frame(DATA, 0, 0, "")] {
        let mut client = FrameClient::connect(&proxy.address());
        client.send(bytes);
        client.rest();
    }
    let refused = || proxy.metric("evenkeel_connections_refused_total", &["reason=\"http2_malformed\""]);
    eventually("three refused connections", || (refused() == 3.0).then_some(()));
    let event = proxy.event("why", |event| event.message() == "connection turned away");
    assert_eq!(
        (event.text("reason"), event.text("detail")),
        ("http2_malformed", "too many malformed requests")
    );
    assert_eq!(endpoint.count(), 0);
}
