//! Large bodies: they flow, they are not kept.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Proxy, SOON};

const MEGABYTE: usize = 1_000_000;

/// What may be held of a body on its way, with all of the kernel's pieces and the allocator's slack.
const MEMORY: usize = 24 * MEGABYTE;

/// A hundred megabytes of pattern, so that a piece that is lost, doubled or moved is seen.
fn pattern(offset: usize, length: usize) -> Vec<u8> {
    (offset..offset + length).map(|n| (n % 251) as u8).collect()
}

/// An endpoint whose `/big` is so many megabytes of it.
fn sender(megabytes: usize) -> Endpoint {
    Endpoint::scripted("a", move |exchange| {
        if exchange.target() != "/big" {
            return exchange.answer("small");
        }
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", megabytes * MEGABYTE));
        for n in 0..megabytes {
            exchange.send(pattern(n * MEGABYTE, MEGABYTE));
        }
    })
}

/// Reads a pattern of this length and compares each piece of it.
#[track_caller]
fn expect_pattern(client: &mut Client, length: usize) {
    for offset in (0..length).step_by(MEGABYTE) {
        assert!(client.bytes(MEGABYTE) == pattern(offset, MEGABYTE), "differs within {offset} + 1 MB");
    }
}

/// 100 MB to the client: all of it arrives as it was, and the proxy's memory does not grow with it.
#[test]
fn a_hundred_megabytes_down() {
    let endpoint = sender(100);
    let proxy = Proxy::to([&endpoint]).start();
    proxy.get("/small").expect(200);
    let before = proxy.memory();
    let mut client = proxy.client();
    client.send("GET /big HTTP/1.1\r\nHost: test.example\r\n\r\n");
    assert_eq!(client.head_only().content_length(), Some(100 * MEGABYTE));
    expect_pattern(&mut client, 100 * MEGABYTE);
    proxy.grew_less_than(MEMORY, before);
    let record = proxy.record("/big");
    assert_eq!((record.number("bytes_out"), record.cause()), (100 * MEGABYTE as u64, ""));
    client.get("/after").expect(200);
}

/// 100 MB from the client, in chunks, to an endpoint that reads more slowly than they could come.
#[test]
fn a_hundred_megabytes_up() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.get("/small").expect(200);
    let before = proxy.memory();
    let mut client = proxy.client();
    client.send("POST /big HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = pattern(0, MEGABYTE);
    for _ in 0..100 {
        client.send(format!("{:x}\r\n", piece.len())).send(&piece).send("\r\n");
    }
    client.send("0\r\n\r\n");
    client.response().expect(200);
    proxy.grew_less_than(MEMORY, before);
    let seen = endpoint.seen("/big");
    assert!(seen.whole);
    assert_eq!(seen.body_length, 100 * MEGABYTE);
    assert_eq!(proxy.record("/big").number("bytes_in"), 100 * MEGABYTE as u64);
}

/// A slow reader slows the endpoint down: what it has not read is not piled up in the proxy.
#[test]
fn a_slow_reader_holds_the_endpoint_back() {
    let endpoint = sender(60);
    let proxy = Proxy::to([&endpoint]).start();
    proxy.get("/small").expect(200);
    let before = proxy.memory();
    let mut client = proxy.client();
    client.send("GET /big HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.head_only();
    // Time enough to pile up sixty megabytes, if it were of the piling kind.
    thread::sleep(Duration::from_millis(1500));
    proxy.grew_less_than(MEMORY, before);
    expect_pattern(&mut client, 60 * MEGABYTE);
}

/// An upload is passed on as it comes: the endpoint has its first piece long before the client has sent its last.
#[test]
fn an_upload_is_not_gathered_first() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    endpoint.wait_within(SOON, "the first piece", |state| {
        state.requests.first().is_some_and(|seen| seen.body == b"first")
    });
    client.send("4\r\nlast\r\n0\r\n\r\n");
    client.response().expect(200);
}

/// Both directions at once: an endpoint that answers while it still reads.
#[test]
fn both_directions_flow_at_once() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("begun ");
        exchange.drain_body();
        exchange.chunk("and done");
        exchange.send("0\r\n\r\n");
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 10\r\n\r\nfirst");
    client.until(b"begun ");
    client.send("other");
    client.until(b"and done\r\n0\r\n\r\n");
    assert_eq!(endpoint.seen("/x").body, b"firstother");
    assert_eq!(proxy.record("/x").cause(), "");
}

/// A response's first piece is with the client at once, whether its length is known or not.
#[test]
fn a_response_is_not_gathered_first() {
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let gate = crate::harness::Gate::closed();
        let opened = gate.clone();
        let chunked = framing.contains("chunked");
        let endpoint = Endpoint::scripted("a", move |exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            if chunked {
                exchange.chunk("first");
                opened.wait();
                exchange.chunk("other");
                exchange.send("0\r\n\r\n");
            } else {
                exchange.send("first");
                opened.wait();
                exchange.send("other");
            }
        });
        let proxy = Proxy::to([&endpoint]).start();
        let mut client = proxy.client();
        let start = Instant::now();
        client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
        client.until(b"first");
        assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
        gate.open();
        client.until(b"other");
    }
}
