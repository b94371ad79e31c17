//! WebSockets of HTTP/2 clients (RFC 8441): a CONNECT of its own kind, on a stream beside others.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::http2::{connect, get, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Exchange, Proxy, SOON, eventually, lacks, lasted};

struct WebSocket {
    status: StatusCode,
    headers: HeaderMap,
    sink: SendStream<Bytes>,
    body: RecvStream,
}

async fn open(client: &SendRequest<Bytes>, path: &str, protocol: Option<&'static str>) -> WebSocket {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://test.example{path}"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .header("origin", "http://test.example")
        .body(())
        .unwrap();
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(Protocol::from_static(protocol));
    } else {
        *request.uri_mut() = "test.example:443".parse().unwrap();
    }
    let mut client = client.clone().ready().await.unwrap();
    eventually("the server's settings", || client.is_extended_connect_protocol_enabled().then_some(()));
    let (response, sink) = client.send_request(request, false).unwrap();
    let (parts, body) = response.await.unwrap().into_parts();
    WebSocket { status: parts.status, headers: parts.headers, sink, body }
}

impl WebSocket {
    async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < length {
            let piece = tokio::time::timeout(Duration::from_secs(5), self.body.data()).await;
            read.extend_from_slice(&piece.expect("in time").expect("not the end").unwrap());
        }
        read
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digit = |bits: &[u8]| {
        let bits = format!("{:0<6}", str::from_utf8(bits).unwrap());
        char::from(DIGITS[usize::from_str_radix(&bits, 2).unwrap()])
    };
    let text: String = bits.as_bytes().chunks(6).map(digit).collect();
    format!("{text:=<width$}", width = bytes.len().div_ceil(3) * 4)
}

fn agreement(exchange: &Exchange) -> String {
    let key = exchange.header("sec-websocket-key").unwrap_or_default();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Sends back whatever comes; what came with the head of its answer is first.
fn echo(exchange: &mut Exchange) {
    exchange.send(format!("{}hello", agreement(exchange)));
    loop {
        let bytes = exchange.receive();
        if bytes.is_empty() || !exchange.send(&bytes) {
            break;
        }
    }
    exchange.close();
}

#[test]
fn bytes_go_both_ways_beside_other_streams() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/ws" => echo(exchange),
        _ => exchange.answer("a"),
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        get(&client, "/x").await;
        let mut socket = open(&client, "/ws", Some("websocket")).await;
        assert_eq!(socket.status, 200);
        assert_eq!(socket.headers["sec-websocket-protocol"], "chat");
        for gone in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
            assert!(!socket.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(socket.read(5).await, b"hello");
        for n in 0..20 {
            let message = format!("message {n}");
            socket.sink.send_data(Bytes::from(message.clone()), false).unwrap();
            assert_eq!(socket.read(message.len()).await, message.as_bytes());
            assert_eq!(get(&client, "/x").await.body, b"a");
        }
        // A client that has said all ends its stream; the endpoint ends its connection.
        socket.sink.send_data(Bytes::new(), true).unwrap();
        assert!(socket.body.data().await.is_none_or(|end| end.unwrap().is_empty()));
    });
    let seen = endpoint.seen("/ws");
    assert_eq!((seen.method(), seen.header("upgrade")), ("GET", Some("websocket")));
    assert_eq!((seen.header("host"), seen.header("connection")), (Some("test.example"), Some("upgrade")));
    assert_eq!(seen.header("sec-websocket-key").map(str::len), Some(24));
    assert_eq!(
        (seen.header("sec-websocket-version"), seen.header("x-forwarded-for")),
        (Some("13"), Some("127.0.0.1"))
    );
    let record = proxy.record("/ws");
    assert_eq!((record.status(), record.cause(), record.text("protocol")), (200, "", "HTTP/2.0"));
    assert!(record.number("bytes_in") > 100 && record.number("bytes_out") == record.number("bytes_in") + 5);
}

/// Much in both directions at once holds up neither.
#[test]
fn large_messages_pass() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    const LENGTH: usize = 3_000_000;
    let endpoint = Endpoint::scripted("a", echo);
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let mut socket = open(&client, "/ws", Some("websocket")).await;
        assert_eq!(socket.read(5).await, b"hello");
        let mut sink = socket.sink;
        let sender = tokio::spawn(async move {
            for _ in 0..LENGTH / 10_000 {
                sink.send_data(Bytes::from(vec![7; 10_000]), false).unwrap();
                tokio::task::yield_now().await;
            }
            sink
        });
        let mut length = 0;
        while length < LENGTH {
            let piece = tokio::time::timeout(Duration::from_secs(10), socket.body.data()).await;
            let piece = piece.expect("in time").expect("not the end").unwrap();
            socket.body.flow_control().release_capacity(piece.len()).unwrap();
            length += piece.len();
        }
        assert_eq!(length, LENGTH);
        drop(sender.await.unwrap());
    });
    endpoint.wait_until_free(SOON);
}

/// An endpoint that does not want to, one that has agreed to something else, and one that answers as if it was asked for a
/// page.
#[test]
fn what_is_no_agreement_is_none() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/refused" => exchange.status("403 Forbidden", "X-Why: closed\r\n", "no"),
        "/refused-in-chunks" => {
            exchange.send(
                "HTTP/1.1 403 No\r\nX-Why: closed\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            );
        }
        "/refused-until-close" => {
            exchange.send("HTTP/1.1 403 No\r\nX-Why: closed\r\n\r\nno");
            exchange.close();
        }
        "/wrong" => {
            exchange.send("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n");
        }
        "/page" => exchange.answer("200 would say to the client that it has its WebSocket"),
        "/none" => exchange.status("204 No Content", "", ""),
        _ => exchange.close(),
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").with("retry: off").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for path in ["/refused", "/refused-in-chunks", "/refused-until-close"] {
            let mut refused = open(&client, path, Some("websocket")).await;
            let why = refused.headers.get("x-why").map(|why| why.as_bytes());
            assert_eq!((refused.status, why), (StatusCode::FORBIDDEN, Some(&b"closed"[..])), "{path}");
            assert_eq!(refused.read(2).await, b"no", "{path}");
            assert!(refused.body.data().await.is_none_or(|end| end.unwrap().is_empty()), "{path}");
        }
        for path in ["/wrong", "/closes", "/page", "/none"] {
            assert_eq!(open(&client, path, Some("websocket")).await.status, 502, "{path}");
        }
    });
    for path in ["/wrong", "/page", "/none"] {
        assert_eq!(proxy.record(path).cause(), "bad_response");
    }
    assert_eq!(proxy.record("/closes").cause(), "endpoint_reset");
}

/// CONNECT for anything else is refused, and so is a WebSocket where its endpoints speak HTTP/2.
#[test]
fn other_tunnels_are_refused() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    let (endpoint, two) = (Endpoint::named("a"), Http2Endpoint::named("b"));
    let proxy = Proxy::to([&endpoint])
        .pool("two", [&two])
        .with("protocol: h2")
        .routes(&["name: two, match: { paths: [/two] }, pool: two", "name: one, pool: default"])
        .listener("h2c: true")
        .start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let mut refused = open(&client, "/two", Some("websocket")).await;
        assert_eq!(refused.status, 405);
        assert!(refused.read(1).await.starts_with(b"405 Method Not Allowed"));
        let mut refused = open(&client, "/x", Some("connect-udp")).await;
        assert_eq!(refused.status, 405);
        assert!(refused.read(1).await.starts_with(b"405 Method Not Allowed"));
        assert_eq!(open(&client, "", None).await.status, 405);
        assert_eq!(get(&client, "/x").await.body, b"a");
    });
    assert_eq!((endpoint.count(), two.seen().len()), (1, 0));
    assert_eq!(proxy.record("/two").cause(), "method_not_allowed");
}

/// A WebSocket on which nothing moves ends in the pool's time for tunnels.
#[test]
fn a_silent_one_is_ended() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    let endpoint = Endpoint::scripted("a", echo);
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").with("timeouts: { tunnel: 500ms }").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let mut socket = open(&client, "/ws", Some("websocket")).await;
        assert_eq!(socket.read(5).await, b"hello");
        let end = tokio::time::timeout(Duration::from_secs(4), socket.body.data()).await.expect("an end");
        assert!(end.is_none_or(|end| end.unwrap().is_empty()));
    });
    endpoint.wait_until_free(SOON);
}

/// At the end of a drain both sides are told that the server goes away (RFC 6455, section 7.4.1), behind a whole frame,
/// and the stream ends: that is no cut.
#[test]
fn it_is_told_at_the_end_of_a_drain() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let endpoint = {
        let heard = heard.clone();
        Endpoint::scripted("a", move |exchange| {
            exchange.send(agreement(exchange));
            exchange.send(b"\x81\x05hello");
            loop {
                let bytes = exchange.receive();
                if bytes.is_empty() {
                    break;
                }
                heard.lock().unwrap().extend(bytes);
            }
            exchange.close();
        })
    };
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").server("threads: 2, drain: 1s").start();
    let took = runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let mut socket = open(&client, "/ws", Some("websocket")).await;
        assert_eq!(socket.read(7).await, b"\x81\x05hello");
        socket.sink.send_data(Bytes::from_static(b"\x81\x82\0\0\0\0hi"), false).unwrap();
        let begun = Instant::now();
        proxy.signal(SIGTERM);
        assert_eq!(socket.read(4).await, b"\x88\x02\x03\xe9");
        let took = begun.elapsed();
        let end = tokio::time::timeout(SOON, socket.body.data()).await.expect("an end");
        assert!(end.is_none_or(|end| end.unwrap().is_empty()));
        took
    });
    lasted(Duration::from_secs(1), took);
    assert_eq!(proxy.ended_within(SOON).code, Some(0));
    endpoint.wait_until_free(SOON);
    let told = b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe9";
    assert_eq!(heard.lock().unwrap().as_slice(), told, "what the endpoint is told");
    assert_eq!((proxy.record("/ws").status(), proxy.record("/ws").cause()), (200, ""));
}

/// An endpoint that breaks off is no endpoint that has said all (RFC 8441, section 5), unless a close frame came first.
#[test]
fn an_abort_is_told() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        let close: &[u8] = if exchange.target() == "/goodbye" { b"\x88\x02\x03\xe8" } else { b"" };
        exchange.send([agreement(exchange).as_bytes(), b"\x81\x05hello", close].concat());
        exchange.receive();
        exchange.reset();
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for (path, length, expected) in [("/abort", 7, Some(Reason::CANCEL)), ("/goodbye", 11, None)] {
            let mut socket = open(&client, path, Some("websocket")).await;
            socket.read(length).await;
            socket.sink.send_data(Bytes::from_static(b"go"), false).unwrap();
            let end = tokio::time::timeout(SOON, socket.body.data()).await.expect("an end");
            let reason = end.and_then(|end| end.err()).and_then(|error| error.reason());
            assert_eq!(reason, expected, "{path}");
        }
    });
    assert_eq!((proxy.record("/abort").status(), proxy.record("/abort").cause()), (200, "response_cut"));
    assert_eq!(proxy.record("/goodbye").cause(), "");
}

/// Interim responses without end are no answer, to a handshake either.
#[test]
fn interim_responses_without_end_are_given_up() {
    if lacks("WebSockets of HTTP/2 clients") {
        return;
    }
    let endpoint =
        Endpoint::scripted(
            "a",
            |exchange| {
                while exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") {}
            },
        );
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").with("retry: off").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let opened = tokio::time::timeout(SOON, open(&client, "/ws", Some("websocket"))).await;
        assert_eq!(opened.expect("an answer in time").status, 502);
    });
    assert_eq!(proxy.record("/ws").cause(), "bad_response");
}
