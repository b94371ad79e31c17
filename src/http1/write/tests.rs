use http::HeaderName;

use super::*;
use crate::config::Limits;
use crate::http1::head::{Parse, Request, Response};

const LIMITS: Limits = Limits {
    header_bytes: 32 * 1024,
    header_count: 100,
    target_bytes: 8 * 1024,
    body_bytes: None,
    body_rate: None,
};

/// Edits that set these fields.
fn set(fields: &[(&'static str, &str)]) -> Edits {
    let mut edits = Edits::default();
    fields.iter().for_each(|(name, value)| edits.set(HeaderName::from_static(name), value));
    edits
}

fn form(edits: &Edits) -> RequestForm<'_> {
    RequestForm { edits, framing: Framing::None, upgrade: false, trailers: false, host: "fallback" }
}

#[track_caller]
fn sent(bytes: &str, form: &RequestForm<'_>) -> String {
    let mut head = Request::default();
    assert!(matches!(head.parse(bytes.as_bytes(), &LIMITS), Parse::Complete { .. }), "{bytes}");
    let mut out = Vec::new();
    request(&mut out, &head.view(bytes.as_bytes()), form);
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn answered(bytes: &str, form: &ResponseForm<'_>) -> String {
    let mut head = Response::default();
    assert!(matches!(head.parse(bytes.as_bytes()), Parse::Complete { .. }), "{bytes}");
    let mut out = Vec::new();
    response(&mut out, &head.view(bytes.as_bytes()), form);
    String::from_utf8(out).unwrap()
}

#[test]
fn fields_keep_their_case_and_order() {
    let bytes = "GET /a?b HTTP/1.1\r\nHOST: a\r\nx-B:  1 \r\nX-a:\r\nx-b: 2\r\n\r\n";
    assert_eq!(
        sent(bytes, &form(&Edits::default())),
        "GET /a?b HTTP/1.1\r\nHOST: a\r\nx-B: 1\r\nX-a: \r\nx-b: 2\r\n\r\n"
    );
}

#[test]
fn targets_go_on_in_origin_form() {
    for (method, target, expected) in [
        ("GET", "http://a/x?y", "/x?y"),
        ("GET", "http://a", "/"),
        ("GET", "http://a?y", "/?y"),
        ("OPTIONS", "http://a", "*"),
        ("OPTIONS", "*", "*"),
        ("GET", "/a?c[]=1|`\\", "/a?c[]=1|`\\"),
        ("GET", "/?", "/?"),
    ] {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            sent(&bytes, &form(&Edits::default())),
            format!("{method} {expected} HTTP/1.1\r\nHost: a\r\n\r\n")
        );
    }
}

#[test]
fn edits_apply_in_order() {
    let mut edits = Edits::default();
    edits.append(HeaderName::from_static("x-a"), b"gone");
    edits.remove(HeaderName::from_static("x-a"));
    edits.append(HeaderName::from_static("x-a"), b"1");
    edits.set(HeaderName::from_static("x-b"), "old");
    edits.set(HeaderName::from_static("x-b"), "new");
    edits.append(HeaderName::from_static("x-a"), b"2");
    edits.append(HeaderName::from_static("accept"), b"more");
    edits.set(HeaderName::from_static("x-c"), "gone");
    edits.remove(HeaderName::from_static("x-c"));
    let bytes = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 0\r\nAccept: first\r\nX-B: 0\r\nX-C: 0\r\nX-D: 0\r\n\r\n";
    assert_eq!(
        sent(bytes, &form(&edits)),
        "GET / HTTP/1.1\r\nHost: a\r\nAccept: first\r\nX-D: 0\r\n\
         x-a: 1\r\nx-b: new\r\nx-a: 2\r\naccept: more\r\n\r\n"
    );
}

/// To a CGI-like endpoint, `X_Forwarded_For` is `X-Forwarded-For`.
#[test]
fn an_underscore_smuggles_nothing_in() {
    let edits = set(&[("x-forwarded-for", "1.2.3.4")]);
    let bytes = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 9.9.9.9\r\nx-forwarded_FOR: 9.9.9.9\r\n\
                 Content_Length: 7\r\nTransfer_Encoding: chunked\r\nMY_OWN: 1\r\n\r\n";
    assert_eq!(
        sent(bytes, &form(&edits)),
        "GET / HTTP/1.1\r\nHost: a\r\nMY_OWN: 1\r\nx-forwarded-for: 1.2.3.4\r\n\r\n"
    );
}

#[test]
fn framing_and_connection_are_written_anew() {
    let edits = set(&[("connection", "close"), ("content-length", "77"), ("transfer-encoding", "gzip")]);
    let bytes = "POST / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
                 HTTP2-Settings: x\r\nContent-Length: 007\r\nTrailer: X\r\n\r\n";
    let with = |framing, upgrade| sent(bytes, &RequestForm { framing, upgrade, ..form(&edits) });
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(with(Framing::Length(7), false), format!("{head}Content-Length: 7\r\n\r\n"));
    assert_eq!(with(Framing::None, true), format!("{head}Connection: upgrade\r\n\r\n"));
    assert_eq!(
        with(Framing::Chunked, false),
        format!("{head}Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n")
    );
}

#[test]
fn trailers_are_asked_for_by_name_and_for_one_connection() {
    let mut edits = Edits::default();
    edits.remove(HeaderName::from_static("te"));
    let with = |upgrade| {
        let form = RequestForm { upgrade, trailers: true, ..form(&edits) };
        sent("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, trailers\r\nConnection: TE\r\n\r\n", &form)
    };
    let head = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n";
    assert_eq!(with(false), format!("{head}Connection: TE\r\n\r\n"));
    assert_eq!(with(true), format!("{head}Connection: upgrade, TE\r\n\r\n"));
}

#[test]
fn http_1_0_goes_on_as_1_1() {
    let bytes = "POST /x HTTP/1.0\r\nExpect: 100-continue\r\nX: 1\r\n\r\n";
    assert_eq!(sent(bytes, &form(&Edits::default())), "POST /x HTTP/1.1\r\nX: 1\r\nHost: fallback\r\n\r\n");
    let edits = set(&[("host", "b")]);
    assert_eq!(sent(bytes, &form(&edits)), "POST /x HTTP/1.1\r\nX: 1\r\nhost: b\r\n\r\n");
}

#[test]
fn a_host_of_an_edit_is_the_only_one() {
    let edits = set(&[("host", "b")]);
    assert_eq!(sent("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &form(&edits)), "GET / HTTP/1.1\r\nhost: b\r\n\r\n");
}

#[test]
fn responses() {
    let edits = Edits::default();
    let form = ResponseForm {
        edits: &edits,
        framing: Framing::Length(5),
        connection: Connection::Silent,
        upgrade: false,
        date: Some("now"),
    };
    let bytes = "HTTP/1.0 200\r\nServer: x\r\nContent-Length: 0005\r\nConnection: close\r\n\r\n";
    assert_eq!(
        answered(bytes, &form),
        "HTTP/1.1 200 \r\nServer: x\r\nDate: now\r\nContent-Length: 5\r\n\r\n"
    );
    for (connection, upgrade, expected) in [
        (Connection::Close, false, "Connection: close\r\n"),
        (Connection::Close, true, "Connection: close, upgrade\r\n"),
        (Connection::KeepAlive, false, "Connection: keep-alive\r\n"),
        (Connection::KeepAlive, true, "Connection: keep-alive, upgrade\r\n"),
        (Connection::Silent, true, "Connection: upgrade\r\n"),
    ] {
        let form = ResponseForm { connection, upgrade, framing: Framing::UntilClose, date: None, ..form };
        assert_eq!(answered(bytes, &form), format!("HTTP/1.1 200 \r\nServer: x\r\n{expected}\r\n"));
    }
}

#[test]
fn a_response_has_one_date() {
    let edits = set(&[("server", "us")]);
    let form = ResponseForm {
        edits: &edits,
        framing: Framing::Chunked,
        connection: Connection::Silent,
        upgrade: false,
        date: Some("now"),
    };
    assert_eq!(
        answered("HTTP/1.1 404 Not here\r\nDATE: then\r\nServer: x\r\n\r\n", &form),
        "HTTP/1.1 404 Not here\r\nDATE: then\r\nserver: us\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}
