//! Faults 6, 7 and 17: the body ends too early. The client must never take it for a whole one.

use std::thread;
use std::time::Duration;

use crate::harness::{End, Endpoint, Exchange, Proxy};

/// An endpoint with a fault at `/x` that is well otherwise.
fn faulty(script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
    Endpoint::scripted("faulty", move |exchange| match exchange.target() {
        "/x" => script(exchange),
        _ => exchange.answer("well"),
    })
}

/// Plays the fault: the client gets the body's beginning and a cut, and the log says `response_cut`.
fn is_cut(script: impl Fn(&mut Exchange) + Send + Sync + 'static) {
    let endpoint = faulty(script);
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    let response = client.get("/x");
    assert_eq!(response.status, 200);
    assert_ne!(response.end, End::Whole, "a cut body looked whole");
    assert!(b"half".starts_with(&response.body), "{:?}", response.body);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (200, "response_cut"));
    assert_eq!(record.number("bytes_out"), response.body.len() as u64);
    assert_eq!(endpoint.count_of("/x"), 1, "what has begun to be answered is not repeated");
    proxy.is_unharmed(endpoint.open());
    assert_eq!(proxy.endpoint_status(endpoint.address()).unwrap()["failures"], 1);
}

/// Fault 6: a reset in the middle of a body of known length.
#[test]
fn a_reset_in_a_body_of_known_length() {
    is_cut(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
        thread::sleep(Duration::from_millis(50));
        exchange.reset();
    });
}

/// Faults 6 and 17: a close before the length is reached.
#[test]
fn a_close_in_a_body_of_known_length() {
    is_cut(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
        exchange.close();
    });
}

/// Fault 7: a close between two chunks; the client gets no last chunk.
#[test]
fn a_close_between_chunks() {
    is_cut(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        exchange.close();
    });
}

/// Fault 7: a close inside of a chunk.
#[test]
fn a_close_inside_a_chunk() {
    is_cut(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nhalf");
        exchange.close();
    });
}

/// Fault 7: a reset between two chunks.
#[test]
fn a_reset_between_chunks() {
    is_cut(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        thread::sleep(Duration::from_millis(50));
        exchange.reset();
    });
}

/// Fault 7: what comes is no chunk at all.
#[test]
fn a_chunk_of_garbage() {
    is_cut(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnot-a-size\r\n");
        exchange.hang();
    });
}

/// The same for a client of HTTP/1.0, which knows the end by the close alone: there a cut is told by a reset or by the
/// length, never by a clean end.
#[test]
fn a_cut_chunked_body_does_not_end_cleanly_for_http_1_0() {
    let endpoint = faulty(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        exchange.close();
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.0\r\nHost: test.example\r\n\r\n");
    let record = {
        let _ = client.try_response_to("GET");
        proxy.record("/x")
    };
    assert_eq!(record.cause(), "response_cut");
    proxy.is_unharmed(endpoint.open());
}

/// Fifty of each in a row leave no descriptor behind.
#[test]
fn cuts_leak_nothing() {
    let endpoint = Endpoint::scripted("faulty", |exchange| match exchange.number() % 5 {
        _ if exchange.target() != "/x" => exchange.answer("well"),
        0 => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
            exchange.close();
        }
        1 => {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            exchange.close();
        }
        2 => {
            exchange.send("HTTP/1.1 200 OK\r\nConten");
            exchange.reset();
        }
        3 => {
            exchange.send("nothing that is HTTP\r\n\r\n");
            exchange.close();
        }
        _ => exchange.close(),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    for _ in 0..250 {
        let _ = proxy.client().request("POST", "/x", "Content-Length: 0\r\n");
    }
    assert_eq!(endpoint.count(), 250);
    proxy.is_unharmed(endpoint.open());
}
