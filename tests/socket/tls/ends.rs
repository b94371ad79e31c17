//! How connections over TLS end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::with_tls;
use crate::harness::frames::{PREFACE, SETTINGS, frame};
use crate::harness::{Authority, Endpoint, Engine, Exchange, engine};

/// How many bytes the kernel takes for a client that does not read.
fn kernel_capacity() -> usize {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let piece = [0; 16 * 1024];
    std::iter::from_fn(|| stream.write(&piece).ok()).sum()
}

/// A client that reads late gets the last bytes before the end, too: TLS keeps the records that the socket does not take,
/// at most 64 KiB. How large a response leaves some of them there is the kernel's to say, so there are many sizes.
#[test]
fn a_client_that_reads_late_gets_the_last_records() {
    if engine() == Engine::Pingora {
        return;
    }
    let (authority, endpoint) = (Authority::new(), Endpoint::scripted("a", send_many));
    let proxy =
        with_tls(&endpoint, &authority, "").routes(&["name: default, pool: default, upgrades: any"]).start();
    let kinds = [
        "GET /SIZE HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        "POST /SIZE HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\nthe first bytes",
        "GET /SIZE HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
    ];
    let capacity = kernel_capacity();
    thread::scope(|scope| {
        for request in kinds {
            for size in (0..20).map(|n| capacity - 300_000 + n * 37_000) {
                let connect = || authority.client().connect(&proxy.address(), "a.example").unwrap();
                scope.spawn(move || {
                    let mut client = connect();
                    client.write_all(request.replace("SIZE", &size.to_string()).as_bytes()).unwrap();
                    thread::sleep(Duration::from_secs(1));
                    let mut answer = Vec::new();
                    let end = client.read_to_end(&mut answer);
                    let body = answer.iter().rev().take_while(|byte| **byte == b'x').count();
                    assert_eq!(body, size, "{request}: {end:?}");
                });
            }
        }
    });
}

/// Sends as many bytes as the target says: as a response, as one that does not wait for the request's body, or behind a
/// switch of protocols.
fn send_many(exchange: &mut Exchange) {
    let size: usize = exchange.target().trim_start_matches('/').parse().unwrap();
    let body = "x".repeat(size);
    match (exchange.method(), exchange.header("upgrade")) {
        (_, Some(_)) => {
            exchange.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n{body}"
            ));
            exchange.half_close();
            exchange.hang();
        }
        ("POST", _) => {
            exchange.send(format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: {size}\r\n\r\n{body}"));
            exchange.hang();
        }
        _ => exchange.answer(&body),
    }
}

/// Over HTTP/2, too, the end is said in TLS: to one that does not speak it although it has agreed to, and to one that has
/// been idle.
#[test]
fn http2_ends_with_a_close_notify() {
    if engine() == Engine::Pingora {
        return;
    }
    let (authority, endpoint) = (Authority::new(), Endpoint::named("a"));
    let proxy = with_tls(&endpoint, &authority, "").listener("timeouts: { keep_alive: 500ms }").start();
    for bytes in
        [&b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], &[PREFACE, &frame(SETTINGS, 0, 0, [])].concat()]
    {
        let mut client = authority.client().alpn(&["h2"]).connect(&proxy.address(), "a.example").unwrap();
        client.write_all(bytes).unwrap();
        client.read_to_end(&mut Vec::new()).expect("an end that is said");
    }
}
