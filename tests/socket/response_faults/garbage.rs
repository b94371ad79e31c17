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
