//! The answers that are ours: in the form that the client accepts, short, and silent about the endpoints.

use crate::harness::{Endpoint, Proxy, Response, nobody_listens};

fn refused(proxy: &Proxy, target: &str, accept: &str) -> Response {
    let fields = if accept.is_empty() { String::new() } else { format!("Accept: {accept}\r\n") };
    proxy.client().request("GET", target, &fields).expect(503)
}

#[test]
fn the_form_follows_accept() {
    let dead = nobody_listens();
    let proxy = Proxy::to([&dead]).start();

    for accept in ["", "*/*", "text/plain"] {
        let response = refused(&proxy, "/text", accept);
        assert!(response.header("content-type").unwrap().starts_with("text/plain"), "{accept}");
        assert!(response.text().contains("503"), "{}", response.text());
    }
    for accept in ["application/json", "application/json, text/plain;q=0.5"] {
        let response = refused(&proxy, "/json", accept);
        assert!(response.header("content-type").unwrap().starts_with("application/json"), "{accept}");
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(
            (body["status"].as_u64(), body["error"].as_str()),
            (Some(503), Some("Service Unavailable"))
        );
    }
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let response = refused(&proxy, "/html", browser);
    assert!(response.header("content-type").unwrap().starts_with("text/html"));
    assert!(response.text().contains("<html") && response.text().contains("503"), "{}", response.text());
}

/// A HEAD is refused without a body, and its connection goes on.
#[test]
fn a_refused_head_has_no_body() {
    let endpoint = Endpoint::named("a");
    let proxy =
        Proxy::config().routes(&["name: a, match: { paths: [/a] }, pool: a"]).pool("a", [&endpoint]).start();
    let mut client = proxy.client();
    client.request("HEAD", "/nowhere", "").expect(404);
    client.get("/a").expect(200);
}

/// Whatever goes wrong behind, nothing of it shows: no address, no port, no word of the library or the operating
/// system.
#[test]
fn no_answer_shows_what_is_behind() {
    let closing = Endpoint::scripted("closing", |exchange| {
        exchange.drain_body();
        exchange.close();
    });
    let hanging = Endpoint::scripted("hanging", |exchange| {
        exchange.hang();
    });
    let garbage = Endpoint::scripted("garbage", |exchange| {
        exchange.send("garbage\r\n\r\n");
        exchange.close();
    });
    let dead = nobody_listens();
    let proxy = Proxy::config()
        .routes(&[
            "name: r1, match: { paths: [/closing] }, pool: closing",
            "name: r2, match: { paths: [/hanging] }, pool: hanging",
            "name: r3, match: { paths: [/garbage] }, pool: garbage",
            "name: r4, match: { paths: [/dead] }, pool: dead",
        ])
        .pool("closing", [&closing])
        .pool("hanging", [&hanging])
        .with("timeouts: { response: 300ms }")
        .pool("garbage", [&garbage])
        .pool("dead", [&dead])
        .start();
    for (target, status, endpoint) in [
        ("/closing", 502, &closing),
        ("/hanging", 504, &hanging),
        ("/garbage", 502, &garbage),
        ("/dead", 503, &dead),
    ] {
        for accept in ["text/plain", "application/json", "text/html"] {
            let response =
                proxy.client().request("GET", target, &format!("Accept: {accept}\r\n")).expect(status);
            let whole = format!("{}{}", response.head.raw, response.text()).to_ascii_lowercase();
            let port = endpoint.port().to_string();
            for secret in ["127.0.0.1", port.as_str(), "pingora", "os error", "refused", "upstream"] {
                assert!(!whole.contains(secret), "{target} shows {secret}:\n{whole}");
            }
        }
    }
}

/// The operator, in contrast, is told: the log's line has a detail.
#[test]
fn the_log_has_the_detail() {
    let dead = nobody_listens();
    let proxy = Proxy::to([&dead]).start();
    proxy.get("/x").expect(503);
    let record = proxy.record("/x");
    assert_eq!(record.cause(), "connect_failed");
    assert!(
        record.text("detail").to_ascii_lowercase().contains("refused"),
        "detail: {}",
        record.text("detail")
    );
}

/// A record has everything that its reader may ask for.
#[test]
fn a_record_is_complete() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send(
        "POST /path?q=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1\r\nReferer: http://x.example/\r\n\
         Content-Length: 4\r\n\r\nbody",
    );
    client.response().expect(200);
    let record = proxy.record("/path?q=1");
    for (field, value) in [
        ("listener", "default"),
        ("method", "POST"),
        ("host", "shop.example"),
        ("protocol", "HTTP/1.1"),
        ("user_agent", "test/1"),
        ("referer", "http://x.example/"),
        ("route", "default"),
        ("pool", "default"),
    ] {
        assert_eq!(record.text(field), value, "{field}");
    }
    assert_eq!((record.number("bytes_in"), record.number("bytes_out")), (4, 1));
    assert_eq!((record.number("generation"), record.status()), (1, 200));
    assert!(record.seconds("duration_seconds") > 0.0);
    let time = record.text("time");
    assert!(time.ends_with('Z') && time.len() == "2026-01-02T03:04:05.123456Z".len(), "{time}");
    let attempt = &record.0["attempts"][0];
    assert!(
        attempt["connect_seconds"].as_f64().is_some() && attempt["first_byte_seconds"].as_f64().is_some()
    );
    // The second one needs no connection.
    client.get("/second").expect(200);
    assert!(proxy.record("/second").0["attempts"][0]["connect_seconds"].is_null());
}
