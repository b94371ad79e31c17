//! How HTTP/2 connections begin and end, seen by a client that says nothing more after its SETTINGS, not even to a PING.

use std::time::{Duration, Instant};

use crate::harness::frames::*;
use crate::harness::{Endpoint, Proxy, lacks, lasted, nobody_listens};

fn setting(frames: &[Frame], wanted: u8) -> Option<u32> {
    let settings = frames.iter().find(|frame| frame.kind == SETTINGS)?;
    let one = settings.payload.chunks(6).find(|one| one[..2] == [0, wanted])?;
    Some(u32::from_be_bytes(one[2..].try_into().unwrap()))
}

/// The listener's own time for idle connections holds, and its limits are told at the start.
#[test]
fn idle_connections_are_closed_in_the_listeners_time() {
    if lacks("idle connections of HTTP/2 clients") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .listener("h2c: true")
        .listener("timeouts: { keep_alive: 1s }")
        .listener("limits: { header_size: 5KiB }")
        .start();
    let begun = Instant::now();
    let frames = FrameClient::connect(&proxy.address()).rest();
    lasted(Duration::from_secs(1), begun.elapsed());
    assert_eq!((setting(&frames, 3), setting(&frames, 6)), (Some(100), Some(5 * 1024)));
}

/// What one connection may do at a time is told at its start, and held to.
#[test]
fn the_listeners_limits_are_told() {
    if lacks("`http2.max_streams`") {
        return;
    }
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
    if lacks("`timeouts.age`") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").listener("timeouts: { age: 1s }").start();
    let begun = Instant::now();
    let frames = FrameClient::connect(&proxy.address()).rest();
    lasted(Duration::from_secs(1), begun.elapsed());
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
}

/// The head of a POST, with a body to follow.
fn post(stream: u32) -> Vec<u8> {
    // :method POST, :scheme http, :path /, :authority a (RFC 7541, appendix A).
    frame(HEADERS, END_HEADERS, stream, [0x83, 0x86, 0x84, 0x41, 1, b'a'])
}

/// A client that is answered before its body has come may still send it: its stream ends as if all had been wanted.
#[test]
fn a_small_rest_of_a_body_is_read_behind_the_answer() {
    if lacks("the rest of a body behind a response") {
        return;
    }
    let early = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        exchange.drain_body();
    });
    let refusing = nobody_listens();
    for (endpoint, status) in [(&early, 403), (&refusing, 503)] {
        let proxy = Proxy::to([endpoint]).listener("h2c: true").start();
        let mut client = FrameClient::connect(&proxy.address());
        client.send(post(1));
        let head = client.next_of(HEADERS).unwrap();
        assert_eq!((head.stream, head.status()), (1, Some(status)));
        // The request is over: only its body is still under way.
        assert_eq!(proxy.record("/").status(), u64::from(status));
        client.send(frame(DATA, END_STREAM, 1, "late"));
        client.send(frame(PING, 0, 0, "question"));
        let until_pong = std::iter::from_fn(|| client.next()).take_while(|frame| frame.kind != PING);
        assert!(until_pong.into_iter().all(|frame| frame.kind != RST_STREAM));
        proxy.metric_becomes("evenkeel_active_requests", 0.0);
    }
}

/// One that sends nothing more, or far too much, has its stream reset without error (RFC 9113, section 8.1).
#[test]
fn a_rest_that_is_large_or_does_not_come_is_not_waited_for() {
    if lacks("the rest of a body behind a response") {
        return;
    }
    let proxy = Proxy::to([&nobody_listens()]).listener("h2c: true").start();
    let mut client = FrameClient::connect(&proxy.address());
    let begun = Instant::now();
    client.send(post(1));
    let reset = client.next_of(RST_STREAM).unwrap();
    assert_eq!((reset.stream, reset.error()), (1, Some(0)));
    lasted(Duration::from_secs(1), begun.elapsed());

    let begun = Instant::now();
    client.send(post(3));
    for part in 0..5 {
        client.send(frame(DATA, 0, 3, [b'x'; 16 * 1024]));
        if part == 2 {
            // What has been read makes room in the window, which all five would overrun.
            let window = std::iter::from_fn(|| client.next())
                .find(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 3);
            assert!(window.is_some());
        }
    }
    let reset = client.next_of(RST_STREAM).unwrap();
    assert_eq!((reset.stream, reset.error()), (3, Some(0)));
    assert!(begun.elapsed() < Duration::from_millis(900));
}
