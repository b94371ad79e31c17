//! `Location` where the endpoint's paths have another prefix than the client's.

use crate::harness::{Endpoint, Proxy};

#[test]
fn a_redirect_gets_the_prefix_that_was_stripped() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let own = exchange.header("host").unwrap_or_default().to_owned();
        let location = match exchange.target() {
            "/v1/own" => format!("http://{own}/v1/login"),
            "/v1/known" => "/api/login".to_owned(),
            "/v1/other" => "https://other.example/v1/x".to_owned(),
            _ => "/v1/login?next=/v1/x".to_owned(),
        };
        exchange.status(
            "302 Found",
            &format!("Location: {location}\r\nContent-Location: /v1/a\r\nRefresh: 5; url={location}\r\n"),
            "",
        );
    });
    let proxy = Proxy::to([&endpoint])
        .with("host: endpoint")
        .routes(&["name: default, pool: default, match: { paths: [/api] }, rewrite: { strip_prefix: /api, add_prefix: /v1 }"])
        .start();
    for (target, location) in [
        ("/api/own", "http://test.example/api/login"),
        ("/api/known", "/api/login"),
        ("/api/other", "https://other.example/v1/x"),
        ("/api/x", "/api/login?next=/v1/x"),
    ] {
        let response = proxy.get(target).expect(302);
        assert_eq!(response.header("location"), Some(location), "{target}");
        assert_eq!(response.header("content-location"), Some("/api/a"), "{target}");
        assert_eq!(response.header("refresh"), Some(format!("5; url={location}").as_str()), "{target}");
    }
}
