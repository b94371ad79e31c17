//! Which request heads are accepted, and how they are interpreted.

use crate::config::Limits;
use crate::exchange::Failure;
use crate::http1::head::{Parse, Refusal, Request};
use crate::message::{Framing, Version};

pub(super) const LIMITS: Limits = Limits {
    header_bytes: 32 * 1024,
    header_count: 100,
    target_bytes: 8 * 1024,
    body_bytes: None,
    body_rate: None,
};

fn parse(bytes: &[u8]) -> (Request, Parse) {
    let mut head = Request::default();
    let parse = head.parse(bytes, &LIMITS);
    (head, parse)
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>) -> (Failure, &'static str) {
    match parse(bytes.as_ref()).1 {
        Parse::Refused(Refusal { failure, reason }) => (failure, reason),
        other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes.as_ref())),
    }
}

#[track_caller]
fn bad(bytes: impl AsRef<[u8]>, reason: &str) {
    assert_eq!(
        refused(&bytes),
        (Failure::BadRequest, reason),
        "{:?}",
        String::from_utf8_lossy(bytes.as_ref())
    );
}

/// A head with these fields, Host included.
fn with(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

fn to(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

#[track_caller]
fn accepted(bytes: impl AsRef<[u8]>) -> Request {
    let (head, parse) = parse(bytes.as_ref());
    let length = bytes.as_ref().len();
    assert_eq!(parse, Parse::Complete { length }, "{}", String::from_utf8_lossy(bytes.as_ref()));
    head
}

#[test]
fn a_whole_head_and_its_parts() {
    let bytes = b"POST /a/b?c=d HTTP/1.1\r\nHost: A.example:81\r\nX-One:  1 \r\nx-one:\t\r\n\
                  Content-Length: 7\r\nConnection: X, keep-alive , ,close\r\n\r\n";
    let head = accepted(bytes);
    let view = head.view(bytes);
    assert_eq!((view.method(), view.target(), view.version()), ("POST", &b"/a/b?c=d"[..], Version::Http11));
    assert_eq!((view.authority(), view.path(), view.query()), ("A.example:81", "/a/b", Some("c=d")));
    assert_eq!(view.framing(), Framing::Length(7));
    assert!(!view.keep_alive());
    assert_eq!(view.connection().collect::<Vec<_>>(), ["X", "keep-alive", "close"]);
    assert_eq!(view.values("x-one").collect::<Vec<_>>(), [&b"1"[..], b""]);
    assert_eq!(view.header("X-ONE"), Some(&b"1"[..]));
    assert_eq!(view.sizes().sum::<usize>(), bytes.len() - "POST /a/b?c=d HTTP/1.1\r\n\r\n".len());
}

#[test]
fn the_request_line() {
    const LINE: &str = "\r\nHost: a.example\r\n\r\n";
    for (line, reason) in [
        ("GET", "request line without a target"),
        ("GET /", "request line without a version"),
        ("GET / ", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET  / HTTP/1.1", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET /  HTTP/1.1", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET / HTTP/1.1 ", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET /a b HTTP/1.1", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET / HTTP/0.9", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET / HTTP/1.2", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET / HTTP/2.0", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET / http/1.1", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET / HTTP/1.1\r", "no HTTP/1.0 or HTTP/1.1 behind the target"),
        ("GET /\tHTTP/1.1", "request line without a version"),
        (" GET / HTTP/1.1", "bad byte in the method"),
        ("G@T / HTTP/1.1", "bad byte in the method"),
        ("GET\t/ HTTP/1.1", "bad byte in the method"),
        ("G\u{e9}T / HTTP/1.1", "bad byte in the method"),
        ("\0GET / HTTP/1.1", "bad byte in the method"),
        ("GET / HTTP/1.1\nX: 1", "line feed without carriage return"),
    ] {
        bad(format!("{line}{LINE}"), reason);
    }
    accepted(format!("{} / HTTP/1.1{LINE}", "M".repeat(32)));
    bad(format!("{} / HTTP/1.1{LINE}", "M".repeat(33)), "the method is too long");
}

#[test]
fn one_empty_line_before_the_request_line_is_passed_over() {
    accepted(format!("\r\n{}", to("/")));
    bad(format!("\r\n\r\n{}", to("/")), "request line without a target");
    bad(format!("\n{}", to("/")), "request line without a target");
    bad(format!("\r{}", to("/")), "bad byte in the method");
}

#[test]
fn which_bytes_a_target_may_have() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("/-._~:@!$&'()*+,;=%20/", "/-._~:@!$&'()*+,;=%20/", None),
        ("/a|b?c|d", "/a|b", Some("c|d")),
        ("/{}[]^?{}[]^", "/{}[]^", Some("{}[]^")),
        ("/?a[]=1&b=`\\", "/", Some("a[]=1&b=`\\")),
        ("/a?100%", "/a", Some("100%")),
        ("//b", "//b", None),
    ] {
        let bytes = to(target);
        let head = accepted(&bytes);
        let view = head.view(bytes.as_bytes());
        assert_eq!((view.path(), view.query(), view.target()), (path, query, target.as_bytes()));
    }
    for (target, reason) in [
        ("/\0", "NUL in the target"),
        ("/a\tb", "blank in the target"),
        ("/a\rb", "control byte in the target"),
        ("/a\x7fb", "control byte in the target"),
        ("/?a\x01b", "control byte in the target"),
        ("/\u{e9}", "byte beyond ASCII in the target"),
        ("/?\u{e9}", "byte beyond ASCII in the target"),
        ("/a#b", "fragment in the target"),
        ("/?a#b", "fragment in the target"),
        ("/\"", "unsafe byte in the target"),
        ("/<", "unsafe byte in the target"),
        ("/>", "unsafe byte in the target"),
        ("/`", "unsafe byte in the target"),
        ("/\\..\\x", "unsafe byte in the target"),
        ("/?\"", "unsafe byte in the target"),
        ("/?<script>", "unsafe byte in the target"),
        ("/%", "bad percent escape in the path"),
        ("/%4", "bad percent escape in the path"),
        ("/%4g", "bad percent escape in the path"),
        ("/%00", "bad percent escape in the path"),
        ("", "empty target"),
        ("x", "target is neither a path nor an http URL"),
        ("a.example:80", "target is neither a path nor an http URL"),
        ("ftp://a.example/", "target is neither a path nor an http URL"),
        ("?x", "target is neither a path nor an http URL"),
        ("*", "target * for a method other than OPTIONS"),
        ("**", "target is neither a path nor an http URL"),
    ] {
        bad(to(target), reason);
    }
}

#[test]
fn the_asterisk_is_for_options() {
    let bytes = "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(accepted(bytes).view(bytes.as_bytes()).path(), "*");
}

#[test]
fn connect_is_refused_with_a_cause_of_its_own() {
    for target in ["a.example:443", "/", "*", ""] {
        let bytes = format!("CONNECT {target} HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
        assert_eq!(refused(bytes), (Failure::MethodNotAllowed, "CONNECT is not served"));
    }
}

#[test]
fn an_absolute_target_agrees_with_host() {
    for (method, target, host, authority, path, query) in [
        ("GET", "http://a.example/x?y", "a.example", "a.example", "/x", Some("y")),
        ("GET", "HTTP://A.example", "a.EXAMPLE:80", "A.example", "/", None),
        ("GET", "https://a.example:443?y", "a.example", "a.example:443", "/", Some("y")),
        ("GET", "http://a.example:8080/", "a.example:8080", "a.example:8080", "/", None),
        ("GET", "http://[::1]:80/|", "[::1]", "[::1]:80", "/|", None),
        ("OPTIONS", "http://a.example", "a.example", "a.example", "*", None),
        ("OPTIONS", "http://a.example?", "a.example", "a.example", "/", Some("")),
    ] {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = accepted(&bytes);
        let view = head.view(bytes.as_bytes());
        assert_eq!((view.authority(), view.path(), view.query()), (authority, path, query));
    }
    for (target, reason) in [
        ("http://b.example/", "Host and target disagree"),
        ("http://a.example:81/", "Host and target disagree"),
        ("https://a.example:80/", "Host and target disagree"),
        ("http://a.example./", "Host and target disagree"),
        ("https://a.example:80", "Host and target disagree"),
        ("http:///x", "no host in the target"),
        ("http://?x", "no host in the target"),
        ("http://u@a.example/", "user information in the host"),
        ("http://u:p@a.example/", "bad port in the host"),
        ("http://a.example:0/", "bad port in the host"),
        ("http:/a.example/", "target is neither a path nor an http URL"),
        ("http://a.example#x", "fragment in the target"),
    ] {
        bad(to(target), reason);
    }
}

#[test]
fn exactly_one_valid_host() {
    for host in [
        "a",
        "a:",
        "[::1]:",
        "A-b.c_d~e.",
        "a.example:65535",
        "127.0.0.1:1",
        "[2001:DB8::1]",
        "[::1]:8080",
        "xn--a",
    ] {
        accepted(format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n"));
    }
    let missing = |bytes: &str| refused(bytes);
    assert_eq!(missing("GET / HTTP/1.1\r\n\r\n"), (Failure::MissingHost, "no Host"));
    assert_eq!(missing("GET / HTTP/1.1\r\nHost: \t\r\n\r\n"), (Failure::MissingHost, "empty Host"));
    assert_eq!(missing("GET / HTTP/1.0\r\nHost:\r\n\r\n"), (Failure::MissingHost, "empty Host"));
    for (host, reason) in [
        ("a, b", "more than one host in the host field"),
        ("a,b", "more than one host in the host field"),
        ("a/x", "path in the host"),
        ("u@a", "user information in the host"),
        ("u:p@a", "bad port in the host"),
        ("a:0", "bad port in the host"),
        ("a:65536", "bad port in the host"),
        ("a:000080", "bad port in the host"),
        ("a:+80", "bad port in the host"),
        ("a:80:80", "bad port in the host"),
        ("a b", "bad byte in the host"),
        ("a%41", "bad byte in the host"),
        ("a*", "bad byte in the host"),
        ("a\u{e9}", "bad byte in the host"),
        (":80", "empty label in the host"),
        (".", "empty label in the host"),
        (".a", "empty label in the host"),
        ("a..b", "empty label in the host"),
        ("a..", "empty label in the host"),
        ("[::1", "bad address in the host"),
        ("[]", "bad address in the host"),
        ("[1.2.3.4]", "bad address in the host"),
        ("[fe80::1%25eth0]", "bad address in the host"),
        ("[v1.x]", "bad address in the host"),
        ("[::1]x", "bad byte in the host"),
        ("::1", "bad port in the host"),
    ] {
        bad(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), reason);
    }
    bad(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(256)), "the host is too long");
    bad(with("Host: a.example\r\n"), "more than one Host");
    bad(with("hOsT:\r\n"), "more than one Host");
}

#[test]
fn http_1_0_needs_no_host() {
    let bytes = "GET / HTTP/1.0\r\n\r\n";
    let head = accepted(bytes);
    assert_eq!(head.view(bytes.as_bytes()).authority(), "");
    let bytes = "GET http://a.example/ HTTP/1.0\r\n\r\n";
    assert_eq!(accepted(bytes).view(bytes.as_bytes()).authority(), "a.example");
}

#[test]
fn field_lines() {
    for line in ["X:", "X: ", "X:a", "X:\t a \t", "X: \u{e9}\u{fffd}", "!#$%&'*+-.^_`|~1: x", "X: a:b \"c\""]
    {
        accepted(with(&format!("{line}\r\n")));
    }
    for (lines, reason) in [
        ("X : 1\r\n", "blank before the colon of a field"),
        ("X\t: 1\r\n", "blank before the colon of a field"),
        ("X Y: 1\r\n", "blank before the colon of a field"),
        ("X\r\n", "field line without a colon"),
        (": 1\r\n", "field without a name"),
        ("X: 1\r\n 2\r\n", "folded or indented field line"),
        ("X: 1\r\n\t2\r\n", "folded or indented field line"),
        ("X: 1\r\n \r\n", "folded or indented field line"),
        ("X(: 1\r\n", "bad byte in a field name"),
        ("X\0: 1\r\n", "bad byte in a field name"),
        ("\u{e9}: 1\r\n", "bad byte in a field name"),
        ("X\r: 1\r\n", "bad byte in a field name"),
        ("X: a\0b\r\n", "NUL in a field value"),
        ("X: a\rb\r\n", "carriage return without line feed"),
        ("X: a\r\r\n", "carriage return without line feed"),
        ("X: a\x01\r\n", "control byte in a field value"),
        ("X: a\x7f\r\n", "control byte in a field value"),
        ("X: a\n", "line feed without carriage return"),
        ("\n", "line feed without carriage return"),
    ] {
        bad(with(lines), reason);
    }
    bad(" X: 1\r\nGET / HTTP/1.1\r\n\r\n", "bad byte in the method");
    bad("GET / HTTP/1.1\r\n Host: a.example\r\n\r\n", "folded or indented field line");
    bad("GET / HTTP/1.1\r\nHost: a.example\r\n\n", "line feed without carriage return");
}

#[test]
fn the_framing_of_a_request() {
    for (fields, framing) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("content-length:\t0012 \r\n", Framing::Length(12)),
        ("Content-Length: 9223372036854775807\r\n", Framing::Length(i64::MAX as u64)),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
    ] {
        let bytes = with(fields);
        assert_eq!(accepted(&bytes).view(bytes.as_bytes()).framing(), framing, "{fields}");
    }
    const NUMBER: &str = "Content-Length is not a number";
    const CODING: &str = "Transfer-Encoding other than chunked";
    for (fields, reason) in [
        ("Content-Length:\r\n", NUMBER),
        ("Content-Length: +5\r\n", NUMBER),
        ("Content-Length: -5\r\n", NUMBER),
        ("Content-Length: 0x5\r\n", NUMBER),
        ("Content-Length: 5 5\r\n", NUMBER),
        ("Content-Length: 5,5\r\n", NUMBER),
        ("Content-Length: 5, 6\r\n", NUMBER),
        ("Content-Length: 5.0\r\n", NUMBER),
        ("Content-Length: 5_0\r\n", NUMBER),
        ("Content-Length: \u{665}\r\n", NUMBER),
        ("Content-Length: 9223372036854775808\r\n", "Content-Length is too large"),
        ("Content-Length: 99999999999999999999999\r\n", "Content-Length is too large"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "more than one Content-Length"),
        ("Content-Length: 5\r\nX: 1\r\ncontent-length: 6\r\n", "more than one Content-Length"),
        ("Transfer-Encoding:\r\n", CODING),
        ("Transfer-Encoding: gzip\r\n", CODING),
        ("Transfer-Encoding: identity\r\n", CODING),
        ("Transfer-Encoding: gzip, chunked\r\n", CODING),
        ("Transfer-Encoding: chunked, chunked\r\n", CODING),
        ("Transfer-Encoding: chunked,\r\n", CODING),
        ("Transfer-Encoding: ,chunked\r\n", CODING),
        ("Transfer-Encoding: chunked;q=1\r\n", CODING),
        ("Transfer-Encoding: \"chunked\"\r\n", CODING),
        ("Transfer-Encoding: xchunked\r\n", CODING),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "more than one Transfer-Encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CODING),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding and Content-Length"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "Transfer-Encoding and Content-Length"),
    ] {
        bad(with(fields), reason);
    }
    bad("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in an HTTP/1.0 message");
}

#[test]
fn whether_the_connection_goes_on() {
    for (version, fields, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: y, CLOSE\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: close, keep-alive\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(accepted(&bytes).view(bytes.as_bytes()).keep_alive(), keep_alive, "{bytes}");
    }
}

#[test]
fn what_is_an_upgrade() {
    for (request, upgrade) in [
        ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", true),
        (
            "GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: a/1, b\r\nContent-Length: 0\r\n",
            true,
        ),
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n", false),
        ("GET / HTTP/1.1\r\nConnection: upgrade\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", false),
        ("POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: tcp\r\nContent-Length: 1\r\n", true),
        ("GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", false),
        ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket, H2C\r\n", false),
        ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: HTTP/2.0\r\n", false),
    ] {
        let bytes = format!("{request}Host: a\r\n\r\n");
        assert_eq!(accepted(&bytes).view(bytes.as_bytes()).is_upgrade(), upgrade, "{bytes}");
    }
}

/// Each name in `Connection` is compared with every field.
#[test]
fn connection_nominates_only_so_many() {
    let with = |names: usize| {
        let names = (0..names).map(|n| format!("x{n}")).collect::<Vec<_>>().join(",");
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: {names}\r\n\r\n")
    };
    accepted(with(63));
    bad(with(64), "too many names in Connection");
}

/// The limits hold for incomplete heads, too: a line that never ends is refused.
#[test]
fn limits_hold_before_the_end() {
    let limits =
        Limits { header_bytes: 20, header_count: 2, target_bytes: 5, body_bytes: None, body_rate: None };
    let too_long =
        Parse::Refused(Refusal { failure: Failure::TargetTooLong, reason: "the target is too long" });
    let too_many = Parse::Refused(Refusal { failure: Failure::HeadersTooLarge, reason: "too many fields" });
    let too_large =
        Parse::Refused(Refusal { failure: Failure::HeadersTooLarge, reason: "too many bytes of fields" });
    for (bytes, expected) in [
        ("GET /1234", Parse::Partial),
        ("GET /1234\r", Parse::Partial),
        ("GET /12345", too_long),
        ("GET /12345 HTTP/1.1\r\n", too_long),
        ("GET / HTTP/1.1\r\nHost: 890123456789\r\n\r\n", Parse::Complete { length: 38 }),
        ("GET / HTTP/1.1\r\nHost: 8901234567890\r\n\r\n", too_large),
        ("GET / HTTP/1.1\r\nHost: 89012345678901", Parse::Partial),
        ("GET / HTTP/1.1\r\nHost: 890123456789012", too_large),
        ("GET / HTTP/1.1\r\nHost:a\r\nB:\r\n\r\n", Parse::Complete { length: 30 }),
        ("GET / HTTP/1.1\r\nHost:a\r\nB:\r\nC:\r\n\r\n", too_many),
        ("GET / HTTP/1.1\r\nHost:a\r\nB:\r\nC", too_many),
        ("GET / HTTP/1.1\r\nHost:a\r\nB:\r\n\r", Parse::Partial),
    ] {
        assert_eq!(Request::default().parse(bytes.as_bytes(), &limits), expected, "{bytes:?}");
    }
}

#[test]
fn a_head_can_be_used_again() {
    let first = b"GET /|long?query HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n";
    let second = b"GET http://b.example HTTP/1.1\r\nHost: b.example\r\n\r\n";
    let third = b"HEAD /third HTTP/1.1\r\nHost: c.example\r\n\r\n";
    let mut head = Request::default();
    for bytes in [&first[..], &second[..], b"bad\r\n", &third[..]] {
        head.parse(bytes, &LIMITS);
    }
    let view = head.view(third);
    assert_eq!((view.method(), view.path(), view.query()), ("HEAD", "/third", None));
    assert_eq!((view.authority(), view.framing(), view.fields().count()), ("c.example", Framing::None, 1));
}

/// Bytes after the head are ignored.
#[test]
fn a_head_ends_where_it_ends() {
    let head = to("/");
    let both = format!("{head}\0\n garbage");
    assert_eq!(parse(both.as_bytes()).1, Parse::Complete { length: head.len() });
}

#[test]
fn of_a_refused_head_there_is_what_was_read() {
    let bytes = b"GET /x HTTP/1.1\r\nHost: a.example\r\nBad Field: 1\r\n\r\n";
    let (head, parse) = parse(bytes);
    assert!(matches!(parse, Parse::Refused(_)));
    let view = head.view(bytes);
    assert_eq!((view.method(), view.target()), ("GET", &b"/x"[..]));
    assert_eq!(view.header("host"), Some(&b"a.example"[..]));
}

#[test]
fn another_path_takes_the_place_of_the_one_sent() {
    let bytes = to("/a/../b?c|d");
    let mut head = accepted(&bytes);
    for bad in ["/b ", "/b?", "/b\r\n", "/b|"] {
        assert!(!head.set_path(bad), "{bad:?}");
    }
    assert!(head.set_path("/b"));
    let view = head.view(bytes.as_bytes());
    assert_eq!((view.path(), view.query()), ("/b", Some("c|d")));
    assert_eq!(view.target(), b"/a/../b?c|d");
}

#[test]
fn who_takes_trailers() {
    for (fields, trailers) in [
        ("", false),
        ("TE: trailers\r\n", true),
        ("te: gzip;q=0.5 , Trailers\r\nConnection: TE\r\n", true),
        ("TE: gzip\r\nTE: trailers\r\n", true),
        ("TE: gzip, trailersx\r\n", false),
        ("TE: trailers;q=1\r\n", false),
        ("TE:\r\n", false),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(accepted(&bytes).view(bytes.as_bytes()).takes_trailers(), trailers, "{fields}");
        let bytes = bytes.replace("HTTP/1.1", "HTTP/1.0");
        assert!(!accepted(&bytes).view(bytes.as_bytes()).takes_trailers(), "{fields}");
    }
}
