//! `errors` and `intercept_errors`: pages in the place of evenkeel's own, and of endpoints'.

use std::path::Path;

use crate::harness::{Endpoint, Proxy, ProxyBuilder, http2, lacks, nobody_listens};

fn page(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A proxy whose listener has pages for 404 and all 5xx, and whose route one for 503.
fn with_pages(builder: ProxyBuilder, more: &str) -> ProxyBuilder {
    let folder = builder.folder().to_owned();
    let not_found = page(&folder, "404.html", "<h1>nothing here</h1>");
    let sorry = page(&folder, "sorry.json", "{\"sorry\":true}");
    let soon = page(&folder, "503.html", "<h1>back soon</h1>");
    builder.listener(&format!("errors: {{ 404: {not_found}, 5xx: {sorry} }}")).routes(&[&format!(
        "name: default, pool: default, match: {{ paths: [/a] }}, errors: {{ 503: {soon} }}{more}"
    )])
}

#[test]
fn the_page_of_the_route_comes_before_that_of_the_listener() {
    let proxy = with_pages(Proxy::to([nobody_listens()]), "").start();
    let soon = proxy.get("/a").expect(503);
    assert_eq!(
        (soon.text(), soon.header("content-type")),
        ("<h1>back soon</h1>", Some("text/html; charset=utf-8"))
    );
    assert_eq!(soon.header("cache-control"), Some("no-store"));
    let lost = proxy.get("/b").expect(404);
    assert_eq!(lost.text(), "<h1>nothing here</h1>");
    assert_eq!(proxy.record("/b").cause(), "no_route");
}

#[test]
fn a_class_has_its_page_where_a_status_has_none() {
    let mute = Endpoint::scripted("mute", |exchange| {
        exchange.drain_body();
        std::thread::sleep(std::time::Duration::from_millis(600));
    });
    let proxy = with_pages(Proxy::to([&mute]).with("timeouts: { response: 300ms }"), "").start();
    let late = proxy.get("/a").expect(504);
    assert_eq!((late.text(), late.header("content-type")), ("{\"sorry\":true}", Some("application/json")));
}

/// The head is that of the page, without the page.
#[test]
fn a_head_request_gets_the_length_of_the_page() {
    let proxy = with_pages(Proxy::to([nobody_listens()]), "").start();
    let response = proxy.client().request("HEAD", "/a", "").expect(503);
    assert_eq!(response.header("content-length"), Some("18"));
    assert!(response.body.is_empty());
}

/// Row 10 of the list of public mistakes: whoever has no page, or one, is refused all the same, with the same fields.
#[test]
fn a_page_changes_nothing_of_the_verdict() {
    if lacks("`compress`, `intercept_errors`") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        let status = exchange.header("x-status").unwrap_or("200 OK").to_owned();
        exchange.status(
            &status,
            "WWW-Authenticate: Basic realm=\"x\"\r\nRetry-After: 7\r\nSet-Cookie: a=1\r\nETag: \"x\"\r\n\
             Content-Encoding: x\r\nLast-Modified: Tue, 01 Dec 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n",
            "the endpoint's own",
        );
    });
    let builder = Proxy::to([&endpoint]);
    let stop = page(builder.folder(), "stop.html", "<h1>stop</h1>");
    let routes = format!(
        "name: default, pool: default, intercept_errors: on, errors: {{ 4xx: {stop}, 503: {stop} }}, \
         response_headers: {{ set: {{ X-Set: one }} }}"
    );
    let proxy = builder.routes(&[&routes]).start();
    for (status, is_replaced) in [
        ("401 Unauthorized", true),
        ("403 Forbidden", true),
        ("404 Not Found", true),
        ("503 Service Unavailable", true),
        ("500 Internal Server Error", false),
        ("302 Found", false),
        ("200 OK", false),
    ] {
        let fields = format!("X-Status: {status}\r\nAuthorization: Basic abc\r\n");
        let response = proxy.client().request("GET", "/", &fields);
        let code: u16 = status[..3].parse().unwrap();
        let response = response.expect(code);
        assert_eq!(response.text() == "<h1>stop</h1>", is_replaced, "{status}");
        assert_eq!(response.header("www-authenticate"), Some("Basic realm=\"x\""), "{status}");
        assert_eq!(response.header("retry-after"), Some("7"), "{status}");
        assert_eq!((response.header("set-cookie"), response.header("x-set")), (Some("a=1"), Some("one")));
        for of_body in ["etag", "content-encoding", "last-modified"] {
            assert_eq!(response.head.has(of_body), !is_replaced, "{status} {of_body}");
        }
    }
    // The endpoint has seen each request once, and no other.
    assert_eq!(endpoint.requests().len(), 7);
    let head = proxy.client().request("HEAD", "/", "X-Status: 404 Not Found\r\n").expect(404);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("13"), 0));
}

/// What is left of a body that nobody gets does not become the next response.
#[test]
fn a_connection_survives_pages_in_the_place_of_long_bodies() {
    if lacks("`compress`, `intercept_errors`") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/long" => exchange.status("500 Oops", "", &"x".repeat(300_000)),
        "/chunks" => {
            exchange.drain_body();
            exchange.send("HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        }
        _ => exchange.answer("fine"),
    });
    let builder = Proxy::to([&endpoint]);
    let sorry = page(builder.folder(), "sorry.txt", "sorry");
    let routes = format!("name: default, pool: default, intercept_errors: on, errors: {{ 5xx: {sorry} }}");
    let mut proxy = builder.routes(&[&routes]).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/long").expect(500).text(), "sorry");
        assert_eq!(client.get("/chunks").expect(500).text(), "sorry");
        assert_eq!(client.get("/").expect(200).text(), "fine");
    }
    proxy.is_unharmed(endpoint.open());
}

/// A gRPC client reads no pages.
#[test]
fn grpc_gets_no_page() {
    let proxy = with_pages(Proxy::to([nobody_listens()]).listener("h2c: true"), "").start();
    http2::runtime().block_on(async {
        let client = http2::connect(&proxy.address()).await;
        let mut request = http2::get_of("/a");
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let answer = http2::request(&client, request, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert_eq!(answer.headers["grpc-status"], "14");
        assert_eq!(http2::get(&client, "/a").await.body, b"<h1>back soon</h1>");
    });
}
