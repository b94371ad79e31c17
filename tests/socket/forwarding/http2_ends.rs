//! How HTTP/2 connections begin and end, seen by a client that speaks in frames of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Proxy};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Sends the preface and empty SETTINGS, then nothing more: it does not even answer a PING.
fn silent(proxy: &Proxy) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).unwrap();
    stream
}

/// The frames until the server closes the connection, as type and payload.
fn frames(mut stream: TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server closes the connection");
    let mut frames = Vec::new();
    let mut rest = bytes.as_slice();
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        frames.push((*kind, after[..length].to_vec()));
        rest = &after[length..];
    }
    frames
}

fn setting(frames: &[(u8, Vec<u8>)], wanted: u8) -> Option<u32> {
    let (_, settings) = frames.iter().find(|(kind, _)| *kind == SETTINGS)?;
    let one = settings.chunks(6).find(|one| one[..2] == [0, wanted])?;
    Some(u32::from_be_bytes(one[2..].try_into().unwrap()))
}

/// The listener's own time for idle connections holds, and its limits are told at the start.
#[test]
fn idle_connections_are_closed_in_the_listeners_time() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .listener("h2c: true")
        .listener("timeouts: { keep_alive: 1s }")
        .listener("limits: { header_size: 5KiB }")
        .start();
    let begun = Instant::now();
    let frames = frames(silent(&proxy));
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&begun.elapsed()));
    assert_eq!((setting(&frames, 3), setting(&frames, 6)), (Some(100), Some(5 * 1024)));
}

/// An old connection's client is told to come anew; one that says nothing to that is not waited for.
#[test]
fn old_connections_are_sent_away() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").listener("timeouts: { age: 1s }").start();
    let begun = Instant::now();
    let frames = frames(silent(&proxy));
    assert!((Duration::from_millis(900)..Duration::from_secs(6)).contains(&begun.elapsed()));
    assert!(frames.iter().any(|(kind, _)| *kind == GOAWAY), "{frames:?}");
}
