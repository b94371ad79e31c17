//! `response_headers` and `security_headers`.

use crate::harness::{Endpoint, Proxy, nobody_listens};

/// An endpoint whose responses have these fields.
fn with_fields(fields: &'static str) -> Endpoint {
    Endpoint::scripted("a", move |exchange| exchange.answer_with(fields, "hello"))
}

const EDITS: &str = "name: default, pool: default, response_headers: { \
     set: { X-Set: one, Server: shop, Cache-Control: \"max-age=60\" }, \
     add: { X-Added: [two, three], Set-Cookie: own=1 }, \
     remove: [X-Powered-By, x-debug] }";

#[test]
fn fields_are_removed_then_set_then_added() {
    let endpoint = with_fields(
        "X-Powered-By: PHP\r\nX-DEBUG: 1\r\nX-Debug: 2\r\nX_Debug: 3\r\nX-Set: theirs\r\nx-set: again\r\n\
         Set-Cookie: theirs=1\r\nX-Added: zero\r\n",
    );
    let proxy = Proxy::to([&endpoint]).routes(&[EDITS]).start();
    let response = proxy.get("/").expect(200);
    assert_eq!(response.text(), "hello");
    assert_eq!(response.header("x-set"), Some("one"));
    assert_eq!(response.header("server"), Some("shop"));
    assert_eq!(response.header("cache-control"), Some("max-age=60"));
    assert_eq!(response.head.all("x-added"), ["zero", "two", "three"]);
    assert_eq!(response.head.all("set-cookie"), ["theirs=1", "own=1"]);
    for gone in ["x-powered-by", "x-debug", "x_debug"] {
        assert!(!response.head.has(gone), "{}", response.head.raw);
    }
}

/// A response that evenkeel makes itself is the route's, too.
#[test]
fn a_failure_has_the_fields_of_its_route() {
    let proxy = Proxy::to([nobody_listens()]).routes(&[EDITS]).start();
    let response = proxy.get("/").expect(503);
    assert_eq!((response.header("x-set"), response.header("server")), (Some("one"), Some("shop")));
    assert_eq!(response.header("cache-control"), Some("max-age=60"));
    assert_eq!(response.head.all("x-added"), ["two", "three"]);
    assert_eq!(response.head.content_length(), Some(response.body.len()));
}

/// `103 Early Hints` is the endpoint's, and the final response is edited once.
#[test]
fn interim_responses_stay_as_they_are() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.send("HTTP/1.1 103 Early Hints\r\nX-Set: hint\r\n\r\n");
        exchange.answer("hello");
    });
    let proxy = Proxy::to([&endpoint]).routes(&[EDITS]).start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let response = client.response().expect(200);
    assert_eq!(response.interim, [103]);
    assert_eq!((response.header("x-set"), response.head.all("x-added").len()), (Some("one"), 2));
}

const CAUTIOUS: [(&str, &str); 5] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

#[test]
fn one_word_sets_all_security_headers() {
    let endpoint = with_fields("");
    let routes = ["name: default, pool: default, security_headers: on"];
    let proxy = Proxy::to([&endpoint]).routes(&routes).start();
    let response = proxy.get("/").expect(200);
    for (name, value) in CAUTIOUS {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    let failed = Proxy::to([nobody_listens()]).routes(&routes).start().get("/").expect(503);
    for (name, value) in CAUTIOUS {
        assert_eq!(failed.header(name), Some(value), "{name}");
    }
}

/// What an endpoint says for itself is better informed; what the config says by name is said on purpose.
#[test]
fn a_response_keeps_its_own_security_headers_unless_they_are_set() {
    let endpoint = with_fields(
        "X-FRAME-OPTIONS: DENY\r\nReferrer-Policy: no-referrer\r\nCross_Origin_Opener_Policy: unsafe-none\r\n",
    );
    let routes = ["name: default, pool: default, security_headers: on, response_headers: { \
         set: { Referrer-Policy: same-origin }, remove: [Permissions-Policy] }"];
    let proxy = Proxy::to([&endpoint]).routes(&routes).start();
    let response = proxy.get("/").expect(200);
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    assert_eq!(response.header("referrer-policy"), Some("same-origin"));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    // No browser takes the one for the other.
    assert_eq!(response.header("cross-origin-opener-policy"), Some("same-origin"));
    assert!(!response.head.has("permissions-policy"));
}
