//! Fault: floods of HTTP/2 frames that cost a client nothing. The connection ends, others are served, and what honest
//! clients send is no flood.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::harness::frames::*;
use crate::harness::{Endpoint, Proxy, lacks};

const MEGABYTE: usize = 1024 * 1024;

/// The fields of `GET /`, or of a request whose body comes: `POST /`.
fn fields(method: u8) -> Vec<u8> {
    [&[method, 0x86, 0x84, 0x41, 9][..], b"a.example"].concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// Sends the frames of each number in turn, reading nothing, until the proxy ends the connection.
fn is_ended(proxy: &Proxy, beginning: &[u8], flood: impl Fn(u32) -> Vec<u8>) {
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, []), beginning].concat();
    stream.write_all(&hello).unwrap();
    for number in (0..50_000).step_by(100) {
        let batch: Vec<u8> = (number..number + 100).flat_map(&flood).collect();
        if stream.write_all(&batch).is_err() {
            return;
        }
    }
    let mut rest = Vec::new();
    // The end, or a reset: anything but patience.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
}

#[test]
fn floods_end_their_connection_alone() {
    if lacks("floods of HTTP/2 frames") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    proxy.get("/before").expect(200);
    let memory = proxy.memory();
    let open = frame(HEADERS, END_HEADERS, 1, fields(POST));
    is_ended(&proxy, &[], |_| frame(PING, 0, 0, b"12345678"));
    is_ended(&proxy, &[], |_| frame(SETTINGS, 0, 0, []));
    is_ended(&proxy, &[], |_| frame(SETTINGS, 0, 0, setting(4, 0x1_0000)));
    is_ended(&proxy, &open, |_| frame(DATA, 0, 1, []));
    is_ended(&proxy, &open, |_| frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1]));
    // Rapid reset.
    is_ended(&proxy, &[], |number| {
        let stream = number * 2 + 1;
        [frame(HEADERS, WHOLE, stream, fields(GET)), frame(RST_STREAM, 0, stream, [0, 0, 0, 8])].concat()
    });
    // A header that never ends, in empty and in full pieces.
    let endless = frame(HEADERS, 0, 1, fields(GET));
    is_ended(&proxy, &endless, |_| frame(CONTINUATION, 0, 1, []));
    is_ended(&proxy, &endless, |_| frame(CONTINUATION, 0, 1, [0x82; 1000]));
    proxy.get("/after").expect(200);
    proxy.grew_less_than(40 * MEGABYTE, memory);
    assert!(proxy.metric("evenkeel_connections_refused_total", &["reason=\"http2_flood\""]) >= 4.0);
    proxy.is_unharmed(endpoint.open());
}

/// Fault: tens of thousands of the smallest messages, which is what some streams are made of.
#[test]
fn a_stream_of_tiny_messages_is_no_flood() {
    if lacks("floods of HTTP/2 frames") {
        return;
    }
    const MESSAGES: usize = 50_000;
    let endpoint = Endpoint::scripted("a", |exchange| {
        let length = exchange.drain_body().to_string();
        exchange.answer(&length);
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let request = Request::post("http://a.example/stream").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        for _ in 0..MESSAGES {
            body.reserve_capacity(5);
            while body.capacity() < 5 {
                poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap();
            }
            body.send_data(Bytes::from_static(b"hello"), false).unwrap();
        }
        body.send_data(Bytes::new(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let answer = response.into_body().data().await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), (5 * MESSAGES).to_string());
    });
}
