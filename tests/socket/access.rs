//! Who may ask: `allow` and `deny`, through every way in.

use crate::harness::http2::{self, connect, get_of, runtime};
use crate::harness::{Endpoint, Proxy, ProxyBuilder};

const TRUSTING: &str = "trusted_proxies: [127.0.0.1]";

/// An endpoint, and a proxy with these routes to it that believes the tests about their clients.
fn proxy(routes: &[&str]) -> (Endpoint, ProxyBuilder) {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]).routes(routes).listener(TRUSTING).listener("h2c: true");
    (endpoint, builder)
}

fn from(client: &str) -> String {
    format!("X-Forwarded-For: {client}\r\n")
}

#[test]
fn lists_of_a_route() {
    let (endpoint, builder) = proxy(&[
        "name: admin, match: { paths: [/admin] }, allow: [10.0.0.0/8, 'fd00::/8'], deny: [10.9.0.0/16], pool: default",
        "name: rest, deny: [192.0.2.7], pool: default",
    ]);
    let proxy = builder.start();
    // On one connection: a refusal does not end it.
    let mut client = proxy.client();
    let cases = [
        ("/admin/1", "10.1.2.3", ""),
        ("/admin/2", "::ffff:10.1.2.3", ""),
        ("/admin/3", "fd00::1", ""),
        ("/admin/4", "10.9.0.1", "route deny 10.9.0.0/16"),
        ("/admin/5", "::ffff:10.9.0.1", "route deny 10.9.0.0/16"),
        ("/admin/6", "192.0.2.1", "route allow"),
        ("/admin/7", "2001:db8::1", "route allow"),
        // Only the last one that a trusted proxy has not written counts.
        ("/admin/8", "10.1.2.3, 192.0.2.1", "route allow"),
        ("/rest/1", "192.0.2.7", "route deny 192.0.2.7"),
        ("/rest/2", "192.0.2.8", ""),
    ];
    for (target, address, refused_by) in cases {
        let response = client.request("GET", target, &from(address));
        assert_eq!(response.status, if refused_by.is_empty() { 200 } else { 403 }, "{target} {address}");
        let record = proxy.record(target);
        assert_eq!(record.text("refused_by"), refused_by, "{target}");
        assert_eq!(record.cause(), if refused_by.is_empty() { "" } else { "denied" }, "{target}");
    }
    assert_eq!(endpoint.count(), cases.iter().filter(|(.., by)| by.is_empty()).count());
    assert_eq!(proxy.metric("evenkeel_requests_denied_total", &["list=\"route_allow\""]), 3.0);
    assert_eq!(proxy.metric("evenkeel_requests_denied_total", &["list=\"route_deny\""]), 3.0);
}

/// They come first: for what has no route, and before a redirect to HTTPS.
#[test]
fn lists_of_a_listener() {
    let (endpoint, builder) = proxy(&["name: a, match: { paths: [/a] }, allow: [10.0.0.0/8], pool: default"]);
    let proxy = builder
        .listener("deny: [10.9.0.0/16]")
        .listener("allow: [10.0.0.0/8, 192.0.2.0/24]")
        .listener("redirect_https: 443")
        .start();
    let ask = |target: &str, address: &str, fields: &str| {
        let fields = format!("{}X-Forwarded-Proto: {fields}\r\n", from(address));
        let status = proxy.client().request("GET", target, &fields).status;
        (status, proxy.record(target).text("refused_by").to_owned())
    };
    for (target, address, scheme, expected) in [
        ("/a/1", "10.1.1.1", "https", (200, "")),
        ("/a/2", "10.1.1.1", "http", (308, "")),
        ("/a/3", "10.9.1.1", "https", (403, "listener deny 10.9.0.0/16")),
        ("/a/4", "10.9.1.1", "http", (403, "listener deny 10.9.0.0/16")),
        ("/a/5", "198.51.100.1", "https", (403, "listener allow")),
        ("/a/6", "192.0.2.1", "https", (403, "route allow")),
        ("/none/1", "198.51.100.1", "https", (403, "listener allow")),
        ("/none/2", "192.0.2.1", "https", (404, "")),
    ] {
        let (status, refused_by) = ask(target, address, scheme);
        assert_eq!((status, refused_by.as_str()), expected, "{target} {address} {scheme}");
    }
    assert_eq!(endpoint.count(), 1);
}

/// Rows 4 and 19 of the public mistakes: no spelling of the path, and no field that a stranger sends, opens a door.
#[test]
fn nobody_gets_around_a_list() {
    let endpoint = Endpoint::named("a");
    let routes = [
        "name: admin, match: { paths: [/admin] }, allow: [10.0.0.0/8], pool: default",
        "name: exact, match: { paths: [{ exact: /x/secret }] }, deny: ['0.0.0.0/0', '::/0'], pool: default",
        "name: regex, match: { paths: [{ regex: '^/r/[a-z]+$' }] }, deny: [127.0.0.0/8], pool: default",
        "name: rest, pool: default",
    ];
    let proxy = Proxy::to([&endpoint]).routes(&routes).start();
    let fields = "X-Forwarded-For: 10.1.2.3\r\nForwarded: for=10.1.2.3\r\nX-Real-IP: 10.1.2.3\r\n\
                  X-Client-IP: 10.1.2.3\r\nTrue-Client-IP: 10.1.2.3\r\nX_Forwarded_For: 10.1.2.3\r\n";
    for target in [
        "/admin",
        "/admin/",
        "//admin",
        "/%61dmin",
        "/%61%64min/x",
        "/x/../admin",
        "/x/%2e%2e/admin/y",
        "/./admin",
        "/x/secret",
        "/x/%73ecret",
        "/x/./secret",
        "/y/../x//secret",
        "/r/abc",
        "/r/%61bc",
        "/r/x/../abc",
    ] {
        for fields in ["", fields] {
            assert_eq!(proxy.client().request("GET", target, fields).status, 403, "{target} {fields}");
        }
    }
    assert_eq!(endpoint.count(), 0);
    proxy.get("/x/other").expect(200);
}

/// Row 23 of the public mistakes: how a body is framed changes nothing, nor does the version of HTTP.
#[test]
fn a_list_holds_for_every_framing() {
    let (endpoint, builder) = proxy(&["name: a, allow: [10.0.0.0/8], pool: default"]);
    let proxy = builder.start();
    for (address, status) in [("10.1.2.3", 200), ("192.0.2.1", 403)] {
        for body in [
            "Content-Length: 5\r\n\r\nhello",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Content-Length: 0\r\n\r\n",
        ] {
            let mut client = proxy.client();
            client.send(format!("POST /body HTTP/1.1\r\nHost: x\r\n{}{body}", from(address)));
            assert_eq!(client.response().status, status, "{address} {body:?}");
        }
        let runtime = runtime();
        let connection = runtime.block_on(connect(&proxy.address()));
        for body in [&[][..], &["hello"]] {
            let mut request = get_of("/h2");
            *request.method_mut() = http::Method::POST;
            request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
            let answer = runtime.block_on(http2::request(&connection, request, body));
            assert_eq!(answer.status, status, "{address} over HTTP/2");
        }
    }
    assert_eq!(endpoint.count(), 5);
}
