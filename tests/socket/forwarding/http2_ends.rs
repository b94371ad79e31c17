//! How HTTP/2 connections begin and end, seen by a client that says nothing more after its SETTINGS, not even to a PING.

use std::time::{Duration, Instant};

use crate::harness::frames::*;
use crate::harness::{Endpoint, Proxy};

fn setting(frames: &[Frame], wanted: u8) -> Option<u32> {
    let settings = frames.iter().find(|frame| frame.kind == SETTINGS)?;
    let one = settings.payload.chunks(6).find(|one| one[..2] == [0, wanted])?;
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
    let frames = FrameClient::connect(&proxy.address()).rest();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&begun.elapsed()));
    assert_eq!((setting(&frames, 3), setting(&frames, 6)), (Some(100), Some(5 * 1024)));
}

/// What one connection may do at a time is told at its start, and held to.
#[test]
fn the_listeners_limits_are_told() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.hang();
    });
    let proxy = Proxy::to([&endpoint])
        .listener("h2c: true")
        .listener("http2: { max_streams: 2, stream_window: 32KiB, connection_window: 128KiB }")
        .listener("timeouts: { keep_alive: 1s }")
        .start();
    let frames = FrameClient::connect(&proxy.address()).rest();
    assert_eq!((setting(&frames, 3), setting(&frames, 4)), (Some(2), Some(32 * 1024)));
    let window = frames.iter().find(|frame| frame.kind == WINDOW_UPDATE).expect("a larger window");
    let more = u32::from_be_bytes(window.payload[..].try_into().unwrap());
    assert_eq!((window.stream, more), (0, 128 * 1024 - 65_535));
    let mut client = FrameClient::connect(&proxy.address());
    for stream in [1, 3, 5] {
        client.send(frame(HEADERS, WHOLE, stream, [0x82, 0x86, 0x84, 0x41, 1, b'a']));
    }
    let refused = std::iter::from_fn(|| client.next()).find(|frame| frame.kind == RST_STREAM).unwrap();
    // REFUSED_STREAM: the client may send it again.
    assert_eq!((refused.stream, refused.error()), (5, Some(7)));
}

/// An old connection's client is told to come anew; one that says nothing to that is not waited for.
#[test]
fn old_connections_are_sent_away() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").listener("timeouts: { age: 1s }").start();
    let begun = Instant::now();
    let frames = FrameClient::connect(&proxy.address()).rest();
    assert!((Duration::from_millis(900)..Duration::from_secs(6)).contains(&begun.elapsed()));
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
}
