//! Paths: each has one form, which is what routes match and what endpoints see.

use crate::harness::frames::{FrameClient, HEADERS, WHOLE, field, frame};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, ProxyBuilder};

/// A pool for everything, and one for what is under `/admin`.
fn guarded(admin: &Endpoint, rest: &Endpoint, listener: &str) -> ProxyBuilder {
    let builder = Proxy::config()
        .routes(&["name: rest, pool: rest", "name: admin, match: { paths: [/admin] }, pool: admin"])
        .pool("rest", [rest])
        .pool("admin", [admin]);
    if listener.is_empty() { builder } else { builder.listener(listener) }
}

/// Target sent, endpoint that gets it, and target that the endpoint sees.
type Case = (&'static str, &'static str, &'static str);

#[track_caller]
fn all_arrive(listener: &str, cases: &[Case]) {
    let endpoints = ["admin", "rest"].map(Endpoint::named);
    let mut proxy = guarded(&endpoints[0], &endpoints[1], listener).start();
    let mut client = proxy.client();
    for (target, name, seen) in cases {
        assert_eq!(client.get(target).expect(200).text(), *name, "{target}");
        let endpoint = endpoints.iter().find(|endpoint| endpoint.name == *name).unwrap();
        assert_eq!(endpoint.requests().last().unwrap().target(), *seen, "{target}");
    }
    proxy.is_unharmed(endpoints.iter().map(Endpoint::open).sum());
}

#[track_caller]
fn all_are_refused(listener: &str, targets: &[&str]) {
    let endpoints = ["admin", "rest"].map(Endpoint::named);
    let mut proxy = guarded(&endpoints[0], &endpoints[1], listener).start();
    for target in targets {
        proxy.get(target).expect(400);
        let record = proxy.record(target);
        assert_eq!((record.status(), record.cause()), (400, "bad_request"), "{target}");
        assert!(record.text("detail").contains("path"), "{target}: {record:?}");
        assert_eq!((record.text("route"), record.text("path")), ("", ""), "{target}");
    }
    assert_eq!(endpoints.iter().map(Endpoint::count).sum::<usize>(), 0);
    proxy.is_unharmed(0);
}

/// However a path is written, a prefix route is not passed by, and the endpoint sees what was matched. The query is
/// none of that.
#[test]
fn the_endpoint_sees_what_was_matched() {
    all_arrive(
        "",
        &[
            ("/admin/x", "admin", "/admin/x"),
            ("//admin", "admin", "/admin"),
            ("/x/../admin", "admin", "/admin"),
            ("/x/%2e%2E/admin?a=%2e%2e//b", "admin", "/admin?a=%2e%2e//b"),
            ("/./%61dm%69n/./", "admin", "/admin/"),
            ("/admin/../x", "rest", "/x"),
            ("/admin/..", "rest", "/"),
            ("/admin%2fx", "rest", "/admin%2Fx"),
            ("/admin;v=1/x", "rest", "/admin;v=1/x"),
            ("/group%2Fproject/%e2%82%ac?x=%2f", "rest", "/group%2Fproject/%E2%82%AC?x=%2f"),
            ("/a%5cb", "rest", "/a%5Cb"),
            ("/", "rest", "/"),
        ],
    );
}

/// What browsers do not escape in a path is escaped; a query stays as it is, because it may be signed.
#[test]
fn raw_bytes_are_escaped_before() {
    all_arrive(
        "",
        &[
            ("/a|b/../c|d", "rest", "/c%7Cd"),
            ("/[x]{y}^", "rest", "/%5Bx%5D%7By%7D%5E"),
            ("/x?filter[a]=1&j={}|^`\\", "rest", "/x?filter[a]=1&j={}|^`\\"),
            ("/{x}?[a]", "rest", "/%7Bx%7D?[a]"),
        ],
    );
}

/// HTTP/2 knows no other form of a path, and endpoints of either protocol get the same.
#[test]
fn paths_over_http2_have_the_same_form() {
    let targets = [
        ("/x{y}", "exact", "/x%7By%7D"),
        ("/x%7by%7D?a[]=1", "exact", "/x%7By%7D?a[]=1"),
        ("/a|b/../c^[d]", "rest", "/c%5E%5Bd%5D"),
        ("/x?j={}|^`\\[]", "rest", "/x?j={}|^`\\[]"),
    ];
    let (exact, rest) = (Endpoint::named("exact"), Endpoint::named("rest"));
    let (exact2, rest2) = (Http2Endpoint::named("exact"), Http2Endpoint::named("rest"));
    let proxy = Proxy::config()
        .listener("h2c: true")
        .pool("exact", [&exact])
        .pool("rest", [&rest])
        .pool("exact2", [&exact2])
        .with("protocol: h2")
        .pool("rest2", [&rest2])
        .with("protocol: h2")
        .routes(&[
            "name: exact, match: { hosts: [one], paths: [{ exact: '/x%7By%7D' }] }, pool: exact",
            "name: rest, match: { hosts: [one] }, pool: rest",
            "name: exact2, match: { hosts: [two], paths: [{ exact: '/x%7By%7D' }] }, pool: exact2",
            "name: rest2, match: { hosts: [two] }, pool: rest2",
        ])
        .start();
    let mut stream = 1;
    let mut client = FrameClient::connect(&proxy.address());
    for (target, name, seen) in targets {
        for host in ["one", "two"] {
            let head = [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", target)];
            let block: Vec<u8> = head.iter().flat_map(|(name, value)| field(name, value)).collect();
            client.send(frame(HEADERS, WHOLE, stream, block));
            let answer = client.next_of(HEADERS).unwrap();
            assert_eq!((answer.stream, answer.status()), (stream, Some(200)), "{target}");
            stream += 2;
        }
        let endpoint = if name == "exact" { &exact } else { &rest };
        assert_eq!(endpoint.requests().last().unwrap().target(), seen, "{target}");
        let endpoint = if name == "exact" { &exact2 } else { &rest2 };
        let uri = endpoint.seen().last().unwrap().uri.clone();
        assert_eq!(uri.path_and_query().unwrap().as_str(), seen, "{target} over HTTP/2");
    }
}

#[test]
fn what_servers_read_differently_is_400() {
    all_are_refused(
        "",
        &[
            "/..",
            "/x/../../admin",
            "/%2e%2e/admin",
            "/..;/admin",
            "/x/..;y=1/admin",
            "/.;/admin",
            "/x/..%2fadmin",
            "/x%5c..%5cadmin",
            "/..%3b/admin",
        ],
    );
}

#[test]
fn controls_backslashes_and_bad_escapes_are_400() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    for target in ["/a%00b", "/a%0d%0ab", "/%7f", "/%", "/%zz", "/a%2", "/a\\b", "/..\\x"] {
        proxy.get(target).expect(400);
        assert_eq!(proxy.record(target).cause(), "bad_request");
    }
    assert_eq!(endpoint.count(), 0);
}

#[test]
fn slashes_may_count() {
    all_arrive(
        "paths: { merge_slashes: false, escaped_slashes: decode }",
        &[
            ("//admin", "rest", "//admin"),
            ("/a//b/./c", "rest", "/a//b/c"),
            ("/admin%2Fx", "admin", "/admin/x"),
            ("/x%2f..%2fadmin", "admin", "/admin"),
        ],
    );
}

#[test]
fn escaped_slashes_may_be_refused() {
    let listener = "paths: { escaped_slashes: refuse }";
    all_are_refused(listener, &["/group%2Fproject", "/a%5cb"]);
    all_arrive(listener, &[("/x?a=%2F", "rest", "/x?a=%2F")]);
}

/// Targets in absolute form have paths too, and `*` is none.
#[test]
fn every_form_of_target() {
    let endpoints = ["admin", "rest"].map(Endpoint::named);
    let proxy = guarded(&endpoints[0], &endpoints[1], "").start();
    let mut client = proxy.client();
    client.send("GET http://test.example/x/../%61dmin?q HTTP/1.1\r\nHost: test.example\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "admin");
    assert_eq!(endpoints[0].requests()[0].target(), "/admin?q");
    assert_eq!(endpoints[0].requests()[0].header("host"), Some("test.example"));
    client.send("OPTIONS * HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.response_to("OPTIONS").expect(200);
    assert_eq!(endpoints[1].requests()[0].target(), "*");
}

/// The log has the target as sent, and the path where it is another one.
#[test]
fn the_log_has_both() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.get("/x/../y?z=..").expect(200);
    assert_eq!(proxy.record("/x/../y?z=..").text("path"), "/y");
    proxy.get("/y?z=..").expect(200);
    assert!(proxy.record("/y?z=..").0.get("path").is_none());
}
