//! Which response heads are accepted, and how they are interpreted.

use crate::exchange::Failure;
use crate::http1::head::{Parse, Refusal, Response};
use crate::message::{Framing, Onward, Version};

#[track_caller]
fn accepted(bytes: impl AsRef<[u8]>) -> Response {
    let mut head = Response::default();
    let length = bytes.as_ref().len();
    let parse = head.parse(bytes.as_ref());
    assert_eq!(parse, Parse::Complete { length }, "{}", String::from_utf8_lossy(bytes.as_ref()));
    head
}

#[track_caller]
fn bad(bytes: impl AsRef<[u8]>, reason: &'static str) {
    let refused = Parse::Refused(Refusal { failure: Failure::BadResponse, reason });
    let parse = Response::default().parse(bytes.as_ref());
    assert_eq!(parse, refused, "{:?}", String::from_utf8_lossy(bytes.as_ref()));
}

fn with(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
}

#[test]
fn a_whole_head_and_its_parts() {
    let bytes = "HTTP/1.0 404 Not \u{e9}\tFound\r\nA: 1\r\nb:2\r\n\r\n".as_bytes();
    let head = accepted(bytes);
    let view = head.view(bytes);
    assert_eq!((view.status(), view.reason()), (404, "Not \u{e9}\tFound".as_bytes()));
    assert_eq!(view.version(), Version::Http10);
    assert_eq!(view.fields().collect::<Vec<_>>(), [(&b"A"[..], &b"1"[..]), (b"b", b"2")]);
}

#[test]
fn the_status_line() {
    for (line, reason) in
        [("HTTP/1.1 200", ""), ("HTTP/1.1 200 ", ""), ("HTTP/1.1 999 x", "x"), ("HTTP/1.0 100 a b", "a b")]
    {
        let bytes = format!("{line}\r\n\r\n");
        assert_eq!(accepted(&bytes).view(bytes.as_bytes()).reason(), reason.as_bytes());
    }
    const LINE: &str = "no HTTP/1.0 or HTTP/1.1 status line";
    for (line, reason) in [
        ("", LINE),
        ("garbage", LINE),
        ("<html>", LINE),
        ("\r\nHTTP/1.1 200 OK", LINE),
        ("http/1.1 200 OK", LINE),
        ("HTTP/0.9 200 OK", LINE),
        ("HTTP/1.2 200 OK", LINE),
        ("HTTP/2 200 OK", LINE),
        ("HTTP/1.1  200 OK", LINE),
        ("HTTP/1.1 20 OK", LINE),
        ("HTTP/1.1 099 OK", LINE),
        ("HTTP/1.1 2x0 OK", LINE),
        ("HTTP/1.1 2000 OK", "bad byte in the status line"),
        ("HTTP/1.1 200OK", "bad byte in the status line"),
        ("HTTP/1.1 200\tOK", "bad byte in the status line"),
        ("HTTP/1.1 200 O\0K", "bad byte in the status line"),
        ("HTTP/1.1 200 OK\r", "bad byte in the status line"),
    ] {
        bad(format!("{line}\r\n\r\n"), reason);
    }
    bad("HTTP/1.1 200 OK\n\r\n", "line feed without carriage return");
}

/// Some servers say a length twice: it is one length, and goes on as one.
#[test]
fn a_length_may_be_repeated() {
    for fields in ["Content-Length: 5\r\nContent-Length: 05\r\n", "Content-Length: 5, 5\r\n"] {
        let bytes = with(fields);
        let mut response = Response::default();
        assert!(matches!(response.parse(bytes.as_bytes()), Parse::Complete { .. }), "{fields}");
        assert_eq!(response.view(bytes.as_bytes()).framing("GET"), Framing::Length(5), "{fields}");
    }
}

/// Another protocol is refused at its first byte that differs, without waiting for a line end.
#[test]
fn what_cannot_become_a_status_line_is_refused_at_once() {
    assert_eq!(Response::default().parse(b"HTTP/1.1 2"), Parse::Partial);
    bad("H2", "no HTTP/1.0 or HTTP/1.1 status line");
    bad("SSH-2.0-", "no HTTP/1.0 or HTTP/1.1 status line");
}

#[test]
fn broken_framing_is_refused() {
    for (fields, reason) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "more than one Content-Length"),
        ("Content-Length: 5, 6\r\n", "more than one Content-Length"),
        ("Content-Length: 5,\r\n", "Content-Length is not a number"),
        ("Content-Length: -1\r\n", "Content-Length is not a number"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding and Content-Length"),
        ("Transfer-Encoding: gzip\r\n", "Transfer-Encoding other than chunked"),
        ("Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding other than chunked"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "more than one Transfer-Encoding"),
        ("A: 1\r\n 2\r\n", "folded or indented field line"),
        ("A : 1\r\n", "blank before the colon of a field"),
        ("A: 1\n", "line feed without carriage return"),
        ("A: \0\r\n", "NUL in a field value"),
        ("A: b\rc\r\n", "carriage return without line feed"),
    ] {
        bad(with(fields), reason);
    }
    bad("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in an HTTP/1.0 message");
}

#[test]
fn the_limits_of_a_response() {
    accepted(with(&format!("Connection: {}\r\n", ["x"; 64].join(","))));
    bad(with(&format!("Connection: {}\r\n", ["x"; 65].join(","))), "too many names in Connection");
    accepted(with(&"A: 1\r\n".repeat(200)));
    bad(with(&"A: 1\r\n".repeat(201)), "too many fields");
    // The line, 17 bytes, and the field's own 7 around the value.
    accepted(with(&format!("AB: {}\r\n", "x".repeat(64 * 1024 - 17 - 6))));
    bad(with(&format!("AB: {}\r\n", "x".repeat(64 * 1024 - 17 - 5))), "too many bytes of fields");
    bad(format!("HTTP/1.1 200 {}", "x".repeat(64 * 1024)), "the status line is too long");
}

#[test]
fn the_body_of_a_response() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (method, status, fields, framing) in [
        ("GET", 200, length, Framing::Length(5)),
        ("GET", 200, chunked, Framing::Chunked),
        ("GET", 200, "", Framing::UntilClose),
        ("HEAD", 200, length, Framing::None),
        ("HEAD", 200, chunked, Framing::None),
        ("HEAD", 200, "", Framing::None),
        ("head", 200, length, Framing::Length(5)),
        ("GET", 100, length, Framing::None),
        ("GET", 101, "", Framing::None),
        ("GET", 103, "", Framing::None),
        ("GET", 204, length, Framing::None),
        ("GET", 205, "", Framing::UntilClose),
        ("GET", 304, length, Framing::None),
        ("POST", 404, length, Framing::Length(5)),
        ("CONNECT", 200, length, Framing::None),
        ("CONNECT", 407, length, Framing::Length(5)),
    ] {
        let bytes = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
        let head = accepted(&bytes);
        assert_eq!(head.view(bytes.as_bytes()).framing(method), framing, "{method} {bytes}");
    }
}

#[test]
fn how_a_response_goes_on() {
    use Framing::{Chunked, Length, None, UntilClose};
    use Version::{Http10, Http11};
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (method, status, fields, client, announced, body) in [
        ("GET", 200, length, Http11, Length(5), Length(5)),
        ("GET", 200, length, Http10, Length(5), Length(5)),
        ("GET", 200, chunked, Http11, Chunked, Chunked),
        ("GET", 200, chunked, Http10, UntilClose, UntilClose),
        ("GET", 200, "", Http11, Chunked, Chunked),
        ("GET", 200, "", Http10, UntilClose, UntilClose),
        ("HEAD", 200, length, Http11, Length(5), None),
        ("HEAD", 200, chunked, Http11, Chunked, None),
        ("HEAD", 200, chunked, Http10, None, None),
        ("HEAD", 200, "", Http11, None, None),
        ("GET", 304, length, Http11, Length(5), None),
        ("GET", 204, length, Http11, None, None),
        ("GET", 204, chunked, Http11, None, None),
        ("GET", 103, length, Http11, None, None),
        ("GET", 101, "", Http11, None, None),
    ] {
        let bytes = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
        let onward = accepted(&bytes).view(bytes.as_bytes()).onward(method, client);
        assert_eq!(onward, Onward { announced, body }, "{method} {bytes}");
    }
}

#[test]
fn which_connections_serve_again() {
    for (line, fields, reusable) in [
        ("HTTP/1.1 200", "Content-Length: 5\r\n", true),
        ("HTTP/1.1 200", "Transfer-Encoding: chunked\r\n", true),
        ("HTTP/1.1 200", "", false),
        ("HTTP/1.1 200", "Content-Length: 5\r\nConnection: x, Close\r\n", false),
        ("HTTP/1.0 200", "Content-Length: 5\r\n", false),
        ("HTTP/1.0 200", "Content-Length: 5\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 204", "", true),
        ("HTTP/1.1 204", "Content-Length: 0\r\n", true),
        ("HTTP/1.1 204", "Content-Length: 5\r\n", false),
        ("HTTP/1.1 204", "Transfer-Encoding: chunked\r\n", false),
        ("HTTP/1.1 304", "Content-Length: 5\r\n", true),
    ] {
        let bytes = format!("{line} x\r\n{fields}\r\n");
        assert_eq!(accepted(&bytes).view(bytes.as_bytes()).is_reusable("GET"), reusable, "{bytes}");
    }
    let bytes = with("Content-Length: 5\r\n");
    assert!(accepted(&bytes).view(bytes.as_bytes()).is_reusable("HEAD"));
}
