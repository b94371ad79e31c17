//! Faults 15 and 16: very many tiny pieces, and more than was announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Endpoint, Engine, Proxy, engine, eventually};

/// Fault 16: more bytes than `Content-Length`. The client gets the announced ones, and what is over reaches nobody,
/// least of all as the answer to somebody else's request.
#[test]
fn surplus_bytes_reach_nobody() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/x" => {
            exchange.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
            );
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut first = proxy.client();
    let mut second = proxy.client();
    for _ in 0..20 {
        assert_eq!(first.get("/x").expect(200).text(), "good");
        assert_eq!(second.get("/other").expect(200).text(), "well");
        assert_eq!(first.get("/mine").expect(200).text(), "well");
    }
    proxy.is_unharmed(endpoint.open());
}

/// Fault 16, late: the surplus comes when the connection is idle in the pool already.
#[test]
fn a_late_surplus_reaches_nobody() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| match exchange.target() {
        "/x" => {
            exchange.answer("good");
            std::thread::sleep(Duration::from_millis(30));
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned");
            counted.fetch_add(1, Ordering::SeqCst);
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for number in 1..=10 {
        assert_eq!(client.get("/x").expect(200).text(), "good");
        // What comes behind the next request's head would be its answer.
        eventually("the surplus", || (sent.load(Ordering::SeqCst) == number).then_some(()));
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(client.get("/other").expect(200).text(), "well");
    }
    proxy.is_unharmed(endpoint.open());
}

/// A body after a response that has none: a 204 with bytes, or the answer to a HEAD.
#[test]
fn a_body_where_none_belongs_reaches_nobody() {
    let endpoint = Endpoint::scripted("a", |exchange| match (exchange.method(), exchange.target()) {
        ("HEAD", _) => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned");
        }
        (_, "/204") => {
            exchange.send("HTTP/1.1 204 No Content\r\n\r\npoisoned");
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for _ in 0..5 {
        client.request("HEAD", "/head", "").expect(200);
        assert_eq!(client.get("/1").expect(200).text(), "well");
        client.get("/204").expect(204);
        assert_eq!(client.get("/2").expect(200).text(), "well");
    }
    proxy.is_unharmed(endpoint.open());
}

const CHUNKS: usize = 100_000;

/// An endpoint that answers `/many` in chunks of one byte, and `/one` with the same body in one chunk.
fn chunking() -> Endpoint {
    let many = "1\r\nx\r\n".repeat(CHUNKS);
    let one = format!("{CHUNKS:x}\r\n{}\r\n", "x".repeat(CHUNKS));
    Endpoint::scripted("a", move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.send(if exchange.target() == "/many" { &many } else { &one });
        exchange.send("0\r\n\r\n");
    })
}

/// Fault 15: 100,000 chunks of one byte arrive as the body that they are.
#[test]
fn a_hundred_thousand_tiny_chunks_are_one_body() {
    let endpoint = chunking();
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client().patient_for(Duration::from_secs(60));
    for target in ["/many", "/one", "/many"] {
        assert_eq!(client.get(target).expect(200).body, vec![b'x'; CHUNKS]);
    }
}

/// Fault 15: what they cost: at most five times what the same body costs in one chunk. Pingora, where it carries, makes
/// a task and a write of each chunk; there the bound is 40 us of a debug build for each.
#[test]
fn tiny_chunks_are_not_dear() {
    let endpoint = chunking();
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client().patient_for(Duration::from_secs(60));
    let mut cost = |target: &str, times: u32| {
        client.get(target).expect(200);
        let before = proxy.processor_time();
        for _ in 0..times {
            client.get(target).expect(200);
        }
        (proxy.processor_time() - before) / times
    };
    let (one, many) = (cost("/one", 100), cost("/many", 2));
    let most = match engine() {
        Engine::Pingora => Duration::from_micros(40) * CHUNKS as u32,
        // Nothing but their lines has to be read, but a debug build takes its time even for that.
        Engine::Native => one * 5 + Duration::from_nanos(1_500) * CHUNKS as u32,
    };
    assert!(many < most, "in one chunk {one:?}, in {CHUNKS} chunks {many:?}");
}
