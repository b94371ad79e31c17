//! `response_cookies`.

use crate::harness::{Endpoint, Proxy};

#[test]
fn cookies_change_their_path_their_domain_and_their_flags() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.answer_with(
            "Set-Cookie: a=1; Path=/app/x; Domain=internal.example; Expires=Wed, 21 Oct 2037 07:28:00 GMT\r\n\
             Set-Cookie: __Host-b=2; Path=/; Secure\r\n",
            "",
        );
    });
    let routes = ["name: default, pool: default, response_cookies: { path: { from: /app, to: / }, \
         domain: { from: internal.example, to: example.com }, secure: on, http_only: on, same_site: strict }"];
    let proxy = Proxy::to([&endpoint]).routes(&routes).start();
    let response = proxy.get("/").expect(200);
    let expected = [
        "a=1; Path=/x; Domain=example.com; Expires=Wed, 21 Oct 2037 07:28:00 GMT; Secure; HttpOnly; SameSite=Strict",
        "__Host-b=2; Path=/; Secure; HttpOnly; SameSite=Strict",
    ];
    assert_eq!(response.head.all("set-cookie"), expected);
}

/// The change applies to what the endpoint's address has become, and another one has nothing to do with it.
#[test]
fn a_hidden_domain_can_be_changed_further() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.answer_with("Set-Cookie: a=1; Domain=localhost; Path=/\r\n", "");
    });
    let name = format!("localhost:{}", endpoint.port());
    let routes = ["name: default, pool: default, \
         response_cookies: { domain: [{ from: test.example, to: example.com }, { from: x.example, to: off }] }"];
    let proxy = Proxy::to([&name]).routes(&routes).start();
    let response = proxy.get("/").expect(200);
    assert_eq!(response.head.all("set-cookie"), ["a=1; Domain=example.com; Path=/"]);
}
