//! Answers that are no HTTP: 502 for the client, and nothing of them passed on.

use crate::harness::{Endpoint, Proxy};

fn is_bad_response(answer: &'static [u8]) {
    let endpoint = Endpoint::scripted("faulty", move |exchange| match exchange.target() {
        "/x" => {
            exchange.send(answer);
            exchange.close();
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint]).with("retry: off").start();
    let response = proxy.get("/x").expect(502);
    assert!(!response.head.raw.contains("secret") && !response.text().contains("secret"));
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (502, "bad_response"));
    assert_eq!(record.results(), ["bad_response"]);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 13: an answer without a status line.
#[test]
fn an_answer_of_http_0_9() {
    is_bad_response(b"<html>secret</html>\r\n\r\n");
}

#[test]
fn binary_garbage() {
    is_bad_response(&[0x16, 0x03, 0x01, 0x00, 0xff, 0x0d, 0x0a, 0x0d, 0x0a]);
}

#[test]
fn a_status_that_is_no_number() {
    is_bad_response(b"HTTP/1.1 OK secret\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_field_that_is_none() {
    is_bad_response(b"HTTP/1.1 200 OK\r\nthis is no field\x00secret\r\n\r\n");
}

/// The log says what was wrong with a header, and does not quote it: it may be long, and somebody's cookies are in it.
#[test]
fn the_log_does_not_quote_the_answer() {
    let endpoint = Endpoint::scripted("faulty", |exchange| {
        let long = "x".repeat(50_000);
        exchange.send(format!("HTTP/1.1 200 OK\r\nSet-Cookie: secret={long}\r\nno field\r\n\r\n"));
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).with("retry: off").start();
    proxy.get("/x").expect(502);
    let record = proxy.record("/x");
    let detail = record.text("detail");
    assert!(!detail.is_empty() && detail.len() < 1000 && !detail.contains("secret"), "{detail}");
}
