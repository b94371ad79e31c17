//! What is not served.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{GET, V1, listening, v2, v2_of_client};
use crate::harness::{Client, Endpoint, Event, Proxy, SOON, Stream, eventually};

/// Another address of this machine, which nobody trusts.
fn stranger(proxy: &Proxy) -> Client {
    let target: SocketAddr = proxy.address().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&target.into()).unwrap();
    Client::over(Stream::Tcp(TcpStream::from(socket)))
}

#[track_caller]
fn counted(proxy: &Proxy, reason: &str, count: usize) {
    let labels = ["listener=\"default\"".to_owned(), format!("reason=\"{reason}\"")];
    let labels = [labels[0].as_str(), labels[1].as_str()];
    eventually(&format!("{count} of {reason}"), || {
        let refused = proxy.metric("evenkeel_connections_refused_total", &labels) as usize;
        (refused == count).then_some(())
    });
}

/// Closed without a byte, and nothing has reached the endpoint.
#[track_caller]
fn turned_away(mut client: Client, bytes: &[u8]) {
    // It may be closed before all is sent.
    let _ = client.try_send(bytes);
    client.closed_within(SOON);
}

fn malformed() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "PROXY TCP4 203.0.113.7 198.51.100.1 4711\r\n",
        "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\n",
        "PROXY TCP4 203.0.113.777 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 ::1 ::1 4711 443\r\n",
        "PROXY  TCP4 203.0.113.7 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\0",
        "PROXY /x HTTP/1.1\r\nHost: test.example\r\n\r\n",
    ]
    .map(|text| [text, GET].concat().into_bytes())
    .into();
    all.push([b"PROXY UNKNOWN ".as_slice(), &[b'x'; 20_000]].concat());
    all.push(v2(0x31, 0x11, &[0; 12]));
    all.push(v2(0x22, 0x11, &[0; 12]));
    all.push(v2(0x21, 0x11, &[0; 11]));
    all.push(v2(0x21, 0x77, &[0; 36]));
    all.push(v2(0x21, 0x11, &[0; 60_000]));
    all
}

#[test]
fn a_malformed_header_ends_the_connection() {
    let endpoint = Endpoint::named("a");
    for mode in ["accept", "require"] {
        let proxy = listening(&endpoint, mode).start();
        let cases = malformed();
        for case in &cases {
            turned_away(proxy.client(), case);
        }
        let mut client = proxy.client();
        client.half_close();
        let mut cut = proxy.client();
        cut.send(&V1[..20]);
        cut.half_close();
        cut.closed_within(SOON);
        counted(&proxy, "proxy_header_malformed", cases.len() + 1);
        let is_told = |event: &Event| event.message() == "connection turned away";
        let told = proxy.event("that it is told", is_told);
        assert_eq!((told.level(), told.text("reason")), ("warn", "proxy_header_malformed"));
        assert!(told.text("peer").starts_with("127.0.0.1:"), "{told:?}");
        assert_eq!(proxy.events().iter().filter(|event| is_told(event)).count(), 1);
        assert!(proxy.records().is_empty());
    }
    assert_eq!(endpoint.count_of("/x"), 0);
}

/// Only `require` closes their connections; with `accept` they are clients like any others, whose header is no request.
#[test]
fn strangers_are_not_believed() {
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "accept").start();
    for header in [V1.as_bytes().to_vec(), v2_of_client()] {
        let mut client = stranger(&proxy);
        client.send([&header[..], GET.as_bytes()].concat());
        client.response().expect(400);
    }
    stranger(&proxy).get("/served").expect(200);
    assert_eq!(endpoint.seen("/served").header("x-forwarded-for"), Some("127.0.0.2"));
    assert!(proxy.records().iter().all(|record| record.text("client").starts_with("127.0.0.2:")));

    let proxy = listening(&endpoint, "require").start();
    turned_away(stranger(&proxy), &[V1, GET].concat().into_bytes());
    turned_away(stranger(&proxy), &[&v2_of_client()[..], GET.as_bytes()].concat());
    turned_away(stranger(&proxy), GET.as_bytes());
    counted(&proxy, "proxy_header_untrusted", 3);
    assert_eq!(endpoint.count_of("/x"), 0);
}

#[test]
fn with_require_a_connection_begins_with_a_header() {
    let endpoint = Endpoint::named("a");
    let proxy = listening(&endpoint, "require").start();
    turned_away(proxy.client(), GET.as_bytes());
    turned_away(proxy.client(), b"PUT /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    counted(&proxy, "proxy_header_missing", 2);
    // A probe that connects and leaves has done nothing wrong.
    drop(proxy.client());
    proxy.client().half_close();
    for begun in ["", "PROXY TCP4 203.0.113.7"] {
        let mut client = proxy.client();
        client.send(begun);
        assert!(client.closed_within(SOON) >= Duration::from_millis(900));
    }
    counted(&proxy, "proxy_header_timeout", 2);
    assert_eq!(proxy.metric("evenkeel_connections_refused_total", &[]) as usize, 4);
    assert_eq!(endpoint.count_of("/x"), 0);
    eventually("nothing left open", || {
        (proxy.metric("evenkeel_connections", &[]) as usize == 0).then_some(())
    });
}

/// One deadline for all of it: a byte now and then does not move it.
#[test]
fn a_slow_header_is_too_late() {
    let endpoint = Endpoint::named("a");
    for mode in ["accept", "require"] {
        let proxy = listening(&endpoint, mode).start();
        let mut client = proxy.client();
        for byte in v2_of_client().into_iter().take(20) {
            if client.try_send([byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        client.closed_within(SOON);
        counted(&proxy, "proxy_header_timeout", 1);
    }
}
