//! `cors`: which pages of other origins may read responses.

use crate::harness::{Endpoint, Proxy, Response, nobody_listens};

const ROUTE: &str = "name: default, pool: default, cors: { \
     origins: [https://app.example.com, \"https://*.dev.example.com\"], methods: [GET, PUT], \
     headers: [Content-Type, Authorization], expose: [X-Total], credentials: on, max_age: 1h }";

/// An endpoint that lets everybody in.
fn open() -> Endpoint {
    Endpoint::scripted("a", |exchange| {
        exchange.answer_with(
            "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
             Access-Control-Expose-Headers: X-Secret\r\nVary: Accept\r\n",
            "hello",
        );
    })
}

fn from(proxy: &Proxy, method: &str, origin: &str, fields: &str) -> Response {
    proxy.client().request(method, "/", &format!("Origin: {origin}\r\n{fields}"))
}

const ASKS: &str = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: content-type\r\n";

#[test]
fn a_preflight_is_answered_here() {
    let endpoint = open();
    let proxy = Proxy::to([&endpoint]).routes(&[ROUTE]).start();
    let response = from(&proxy, "OPTIONS", "https://app.example.com", ASKS).expect(204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "content-type, authorization"),
        ("access-control-max-age", "3600"),
        ("vary", "Origin"),
    ] {
        assert_eq!(response.header(name), Some(value), "{}", response.head.raw);
    }
    assert!(!response.head.has("content-length") && !response.head.has("content-type"));
    assert!(!response.head.has("access-control-expose-headers"));
    assert_eq!(proxy.record("/").text("action"), "cors_preflight");
    assert!(endpoint.requests().is_empty());
}

#[test]
fn only_the_origins_of_the_list_are_let_in() {
    let endpoint = open();
    let proxy = Proxy::to([&endpoint]).routes(&[ROUTE]).start();
    for (origin, is_allowed) in [
        ("https://app.example.com", true),
        ("https://a.dev.example.com", true),
        ("https://a.b.dev.example.com", true),
        ("https://dev.example.com", false),
        ("https://adev.example.com", false),
        ("https://evil.example/.dev.example.com", false),
        ("https://evil.example#.dev.example.com", false),
        ("https://evil.example:1@a.dev.example.com", false),
        ("https://.dev.example.com", false),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://app.example.com.evil.example", false),
        ("https://APP.example.com", false),
        ("null", false),
        ("", false),
    ] {
        for (method, fields, status) in [("GET", "", 200), ("OPTIONS", ASKS, 204)] {
            let response = from(&proxy, method, origin, fields).expect(status);
            let expected = is_allowed.then_some(origin);
            assert_eq!(response.header("access-control-allow-origin"), expected, "{origin}");
            assert_eq!(response.head.has("access-control-allow-credentials"), is_allowed, "{origin}");
            assert_eq!(response.head.all("vary").last(), Some(&"Origin"), "{origin}");
        }
    }
}

/// What the endpoint says would count beside ours, and is more than the config allows.
#[test]
fn what_the_endpoint_says_is_replaced() {
    let endpoint = open();
    let proxy = Proxy::to([&endpoint]).routes(&[ROUTE]).start();
    let response = from(&proxy, "GET", "https://app.example.com", "").expect(200);
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(response.header("access-control-expose-headers"), Some("x-total"));
    assert_eq!(response.head.all("vary"), ["Accept", "Origin"]);
    let same_site = proxy.get("/").expect(200);
    assert!(!same_site.head.raw.to_ascii_lowercase().contains("access-control"), "{}", same_site.head.raw);
    assert_eq!(same_site.head.all("vary"), ["Accept", "Origin"]);
}

/// Browsers ask without a password: behind authentication, no page could ever call the route.
#[test]
fn a_preflight_needs_no_password_and_the_request_does() {
    let endpoint = open();
    let builder = Proxy::to([&endpoint]);
    let users = builder.folder().join("users");
    std::fs::write(&users, "ann:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n").unwrap();
    let page = builder.folder().join("401.html");
    std::fs::write(&page, "<h1>who?</h1>").unwrap();
    let route =
        format!("{ROUTE}, auth: {{ basic: {} }}, errors: {{ 4xx: {} }}", users.display(), page.display());
    let proxy = builder.routes(&[&route]).start();
    from(&proxy, "OPTIONS", "https://app.example.com", ASKS).expect(204);
    let refused = from(&proxy, "GET", "https://app.example.com", "").expect(401);
    assert_eq!(refused.text(), "<h1>who?</h1>");
    assert!(refused.head.has("www-authenticate"), "{}", refused.head.raw);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example.com"));
    from(&proxy, "OPTIONS", "https://app.example.com", "").expect(401);
    assert!(endpoint.requests().is_empty());
}

/// A page may learn why its request failed.
#[test]
fn a_failure_can_be_read_too() {
    let proxy = Proxy::to([nobody_listens()]).routes(&[ROUTE]).start();
    let response = from(&proxy, "GET", "https://app.example.com", "").expect(503);
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example.com"));
}

#[test]
fn an_options_that_is_no_preflight_goes_to_the_endpoint() {
    let endpoint = open();
    let proxy = Proxy::to([&endpoint]).routes(&[ROUTE]).start();
    from(&proxy, "OPTIONS", "https://app.example.com", "").expect(200);
    proxy.client().request("OPTIONS", "/", ASKS).expect(200);
    assert_eq!(endpoint.requests().len(), 2);
}

#[test]
fn any_origin_and_any_field() {
    let endpoint = open();
    let routes = ["name: default, pool: default, cors: { origins: \"*\", headers: \"*\" }"];
    let proxy = Proxy::to([&endpoint]).routes(&routes).start();
    let response = from(&proxy, "GET", "null", "").expect(200);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("vary"), Some("Accept"));
    assert!(!response.head.has("access-control-allow-credentials"));
    let asks = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-a,authorization\r\n";
    let preflight = from(&proxy, "OPTIONS", "https://x.example", asks).expect(204);
    assert_eq!(preflight.header("access-control-allow-headers"), Some("x-a,authorization"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, HEAD, POST"));
    assert_eq!(preflight.header("access-control-max-age"), Some("600"));
    let odd = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: <b>\r\n";
    let preflight = from(&proxy, "OPTIONS", "https://x.example", odd).expect(204);
    assert!(!preflight.head.has("access-control-allow-headers"));
}
