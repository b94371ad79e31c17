//! Handshakes that go wrong; whoever comes next is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::with_tls;
use crate::harness::{Authority, Client, Endpoint, SOON, eventually, within};

const PATIENT: &str = "timeouts: { handshake: 1500ms }";

/// Fault: a client says nothing, or half of its first word.
#[test]
fn silent_and_half_handshakes_end_in_time() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").listener(PATIENT).start();
    for beginning in [&b""[..], &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]] {
        let mut client = Client::connect(&proxy.address());
        client.send(beginning);
        let after = client.closed_within(SOON);
        assert!(after >= Duration::from_millis(1400), "{after:?}");
    }
    eventually("the refusal", || {
        let labels = ["reason=\"tls_handshake_timeout\""];
        (proxy.metric("evenkeel_connections_refused_total", &labels) >= 1.0).then_some(())
    });
    assert!(authority.client().connect(&proxy.address(), "a.example").is_ok());
}

/// Fault: HTTP without TLS on its port.
#[test]
fn plain_http_is_told_so() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").start();
    let mut client = Client::connect(&proxy.address());
    client.send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    client.response().expect(400);
    let record = proxy.records_of("", 1).remove(0);
    assert_eq!(record.text("cause"), "plain_http");
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn what_is_no_tls_is_closed_and_counted() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").start();
    for garbage in [&b"\0\0\0\0"[..], &b"\x16\x03\x01\x00\x05hello"[..], &b"\x15\x03\x01\x00\x02\x02\x28"[..]]
    {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(garbage).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // An alert at most.
        assert!(answer.len() <= 7, "{answer:?}");
    }
    within(Duration::from_secs(5), "the refusals", || {
        let labels = ["reason=\"tls_handshake\""];
        (proxy.metric("evenkeel_connections_refused_total", &labels) == 3.0).then_some(())
    });
    assert!(authority.client().connect(&proxy.address(), "a.example").is_ok());
}

/// Fault: a client whose first message cannot be served, and one that refuses the certificate, stay where they are. The
/// connection ends at once, and is counted as what it was.
#[test]
fn a_handshake_that_has_failed_is_over() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, ", unknown_names: refuse").start();
    let hello = |name: &str| {
        let config = Authority::new().client().config();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut session = rustls::ClientConnection::new(config, name).unwrap();
        let mut bytes = Vec::new();
        session.write_tls(&mut bytes).unwrap();
        (session, bytes)
    };
    let (_, bytes) = hello("b.example");
    let mut client = Client::connect(&proxy.address());
    client.send(bytes);
    let alert = client.rest();
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");

    let (mut session, bytes) = hello("a.example");
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut told = false;
    while session.read_tls(&mut stream).is_ok_and(|read| read > 0) {
        if session.process_new_packets().is_err() && !told {
            told = true;
            session.write_tls(&mut stream).unwrap();
        }
    }
    assert!(told, "the client has refused the certificate");
    eventually("the refusals", || {
        let labels = ["reason=\"tls_handshake\""];
        (proxy.metric("evenkeel_connections_refused_total", &labels) == 2.0).then_some(())
    });
    let labels = ["reason=\"tls_handshake_timeout\""];
    assert_eq!(proxy.metric("evenkeel_connections_refused_total", &labels), 0.0);
}

/// A ClientHello that names a server by text that is no name, as long as it likes.
fn hello_to(name: &[u8]) -> Vec<u8> {
    let long = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let with_length = |bytes: &[u8]| [&long(bytes)[..], bytes].concat();
    let server_name = with_length(&[&[0], &with_length(name)[..]].concat());
    let mut extensions = [&[0, 0], &with_length(&server_name)[..]].concat();
    // TLS 1.3, the group x25519 with a share, and a signature scheme.
    extensions.extend([0, 0x2b, 0, 3, 2, 3, 4, 0, 0x0a, 0, 4, 0, 2, 0, 0x1d, 0, 0x0d, 0, 4, 0, 2, 4, 3]);
    extensions.extend([0, 0x33, 0, 0x26, 0, 0x24, 0, 0x1d, 0, 0x20]);
    extensions.extend([7; 32]);
    let body = [&[3, 3], &[9; 32][..], &[0, 0, 2, 0x13, 1, 1, 0], &with_length(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    message.chunks(16_000).flat_map(|part| [&[0x16, 3, 1], &with_length(part)[..]].concat()).collect()
}

/// What strangers send does not fill the event log, whichever crate would say it; it is counted.
#[test]
fn strangers_do_not_fill_the_log() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").start();
    let before = proxy.stderr().len();
    for number in 0..30 {
        let name = format!("{number}.{}", "A".repeat(60_000));
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(&hello_to(name.as_bytes())).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // The end, or a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    eventually("all refusals", || {
        let refused = proxy.metric("evenkeel_connections_refused_total", &["reason=\"tls_handshake\""]);
        (refused == 30.0).then_some(())
    });
    let written = proxy.stderr().len() - before;
    assert!(written < 10_000, "{written} bytes");
    assert!(proxy.stderr().contains("bytes more)"), "what is cut is said to be");
}
