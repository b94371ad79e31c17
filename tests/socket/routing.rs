//! Routes from end to end: which request comes to which pool.

use http::HeaderValue;

use crate::harness::http2::{self, connect, get_of, runtime};
use crate::harness::{Endpoint, Proxy, ProxyBuilder, lacks};

/// A request, and the pool that gets it; "" for none.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// A pool for each name, of one endpoint that answers with it, and these routes to them.
fn routed(pools: &[&str], routes: &[&str]) -> (Vec<Endpoint>, ProxyBuilder) {
    let endpoints: Vec<Endpoint> = pools.iter().map(|name| Endpoint::named(name)).collect();
    let mut builder = Proxy::config().routes(routes);
    for endpoint in &endpoints {
        builder = builder.pool(&endpoint.name, [endpoint]);
    }
    (endpoints, builder)
}

#[track_caller]
fn holds(proxy: &Proxy, cases: &[Case]) {
    let mut client = proxy.client();
    for (method, host, target, fields, pool) in cases {
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        let response = client.response_to(method);
        let got = if response.status == 404 { "" } else { response.text() };
        assert_eq!(got, *pool, "{method} {host}{target} {fields}");
    }
}

/// An exact host comes before a wildcard, the longer wildcard before the shorter one, any host last; case and port do
/// not matter; a wildcard needs a label.
#[test]
fn hosts() {
    let (_endpoints, builder) = routed(
        &["any", "wild", "wilder", "exact"],
        &[
            "name: any, pool: any",
            "name: wild, match: { hosts: ['*.example.com'] }, pool: wild",
            "name: wilder, match: { hosts: ['*.api.example.com'] }, pool: wilder",
            "name: exact, match: { hosts: [www.example.com, other.example] }, pool: exact",
        ],
    );
    holds(
        &builder.start(),
        &[
            ("GET", "www.example.com", "/", "", "exact"),
            ("GET", "WWW.Example.COM:8080", "/", "", "exact"),
            ("GET", "other.example", "/", "", "exact"),
            ("GET", "shop.example.com", "/", "", "wild"),
            ("GET", "a.b.example.com", "/", "", "wild"),
            ("GET", "v1.api.example.com", "/", "", "wilder"),
            ("GET", "api.example.com", "/", "", "wild"),
            ("GET", "example.com", "/", "", "any"),
            ("GET", "notexample.com", "/", "", "any"),
        ],
    );
}

/// An exact path comes first, then the longest prefix by whole segments, then a regex.
#[test]
fn paths() {
    let (_endpoints, builder) = routed(
        &["short", "long", "exact", "regex"],
        &[
            "name: regex, match: { paths: [{ regex: '^/z[0-9]+$' }] }, pool: regex",
            "name: short, match: { paths: [/v1] }, pool: short",
            "name: long, match: { paths: [{ prefix: /v1/users }] }, pool: long",
            "name: exact, match: { paths: [{ exact: /v1/users/me }] }, pool: exact",
        ],
    );
    holds(
        &builder.start(),
        &[
            ("GET", "x", "/v1", "", "short"),
            ("GET", "x", "/v1/", "", "short"),
            ("GET", "x", "/v1?a=b", "", "short"),
            ("GET", "x", "/v1/usersx", "", "short"),
            ("GET", "x", "/v1/users", "", "long"),
            ("GET", "x", "/v1/users/7", "", "long"),
            ("GET", "x", "/v1/users/me", "", "exact"),
            ("GET", "x", "/v1/users/me/x", "", "long"),
            ("GET", "x", "/v10", "", ""),
            ("GET", "x", "/z42", "", "regex"),
            ("GET", "x", "/z42x", "", ""),
            ("GET", "x", "/", "", ""),
        ],
    );
}

/// Methods, headers and query narrow a match, in this order of precedence; more of them win over fewer.
#[test]
fn methods_headers_and_query() {
    let (_endpoints, builder) = routed(
        &["plain", "post", "canary", "both", "regex", "present", "query"],
        &[
            "name: plain, match: { paths: [/] }, pool: plain",
            "name: post, match: { paths: [/], methods: [POST, PUT] }, pool: post",
            "name: canary, match: { paths: [/], headers: { X-Env: canary } }, pool: canary",
            "name: both, match: { paths: [/], headers: { X-Env: canary, X-Two: '2' } }, pool: both",
            "name: regex, match: { paths: [/], headers: { X-Id: { regex: '^[0-9]+$' } } }, pool: regex",
            "name: present, match: { paths: [/], headers: { X-Any: { present: true } } }, pool: present",
            "name: query, match: { paths: [/], query: { v: '2' } }, pool: query",
        ],
    );
    holds(
        &builder.start(),
        &[
            ("GET", "x", "/", "", "plain"),
            ("PUT", "x", "/", "Content-Length: 0\r\n", "post"),
            ("GET", "x", "/", "x-env: canary\r\n", "canary"),
            ("GET", "x", "/", "X-Env: canary2\r\n", "plain"),
            ("GET", "x", "/", "X-Env: canary\r\nX-Two: 2\r\n", "both"),
            ("GET", "x", "/", "X-Id: 123\r\n", "regex"),
            ("GET", "x", "/", "X-Id: 12a\r\n", "plain"),
            ("GET", "x", "/", "X-Any: whatever\r\n", "present"),
            ("GET", "x", "/?v=2", "", "query"),
            ("GET", "x", "/?a=1&v=2&b", "", "query"),
            ("GET", "x", "/?v=20", "", "plain"),
            ("PUT", "x", "/?v=2", "Content-Length: 0\r\n", "post"),
            ("GET", "x", "/?v=2", "X-Env: canary\r\n", "canary"),
        ],
    );
}

/// Row 4 of the public mistakes: no spelling of a path gets around a condition, whatever its kind, or around its negation.
#[test]
fn no_spelling_gets_around_a_condition() {
    let (_endpoints, builder) = routed(
        &["exact", "prefix", "regex", "outside", "rest"],
        &[
            "name: exact, match: { hosts: [e.x], paths: [{ exact: /admin/a }] }, pool: exact",
            "name: prefix, match: { hosts: [p.x], paths: [/admin] }, pool: prefix",
            "name: regex, match: { hosts: [r.x], paths: [{ regex: '^/admin(/|$)' }] }, pool: regex",
            "name: outside, match: { hosts: [n.x], not: { paths: [/admin, { regex: '^/adm.n/a' }] } }, pool: outside",
            "name: rest, pool: rest",
        ],
    );
    let proxy = builder.start();
    let spellings = [
        "/admin/a",
        "/%61dmin/a",
        "/admin/%61",
        "/x/../admin/a",
        "/x/%2e%2e/admin/a",
        "//admin//a",
        "/./%41/../admin/a",
    ];
    let cases: Vec<Case> = spellings
        .into_iter()
        .flat_map(|path| {
            [("e.x", "exact"), ("p.x", "prefix"), ("r.x", "regex"), ("n.x", "rest")]
                .map(|(host, pool)| ("GET", host, path, "", pool))
        })
        .collect();
    holds(&proxy, &cases);
    // Of paths, case and an escaped slash tell apart; of hosts and header names, case does not.
    holds(
        &proxy,
        &[
            ("GET", "E.X", "/admin/a", "", "exact"),
            ("GET", "e.x", "/Admin/a", "", "rest"),
            ("GET", "p.x", "/admin%2fa", "", "rest"),
            ("GET", "n.x", "/admin%2Fa", "", "outside"),
            ("GET", "n.x", "/public", "", "outside"),
        ],
    );
}

/// Several values, several fields and parameters of one name, negations, and a route that is switched off.
#[test]
fn any_of_several_values_and_negations() {
    let (_endpoints, builder) = routed(
        &["off", "tier", "version", "safe", "rest"],
        &[
            "name: off, enabled: false, match: { methods: [GET] }, pool: off",
            "name: tier, match: { headers: { X-Tier: [gold, { regex: '^plat' }] } }, pool: tier",
            "name: version, match: { query: { v: ['2', '3'] } }, pool: version",
            "name: safe, match: { not: [{ headers: { X-Robot: { present: true } } }, { query: { debug: '1' } }] }, pool: safe",
            "name: rest, pool: rest",
        ],
    );
    holds(
        &builder.start(),
        &[
            ("GET", "x", "/", "", "safe"),
            ("GET", "x", "/", "X-Tier: gold\r\n", "tier"),
            ("GET", "x", "/", "X-Tier: platinum\r\n", "tier"),
            ("GET", "x", "/", "X-Tier: golden\r\n", "safe"),
            ("GET", "x", "/", "X-Tier: tin\r\nX-Tier: gold\r\n", "tier"),
            ("GET", "x", "/?v=3", "", "version"),
            ("GET", "x", "/?v=1&v=2", "", "version"),
            ("GET", "x", "/?v=1", "", "safe"),
            ("GET", "x", "/", "x-robot:\r\n", "rest"),
            ("GET", "x", "/?debug=0&debug=%31", "", "rest"),
            ("GET", "x", "/?debug=0", "", "safe"),
        ],
    );
}

/// Row 19 of the public mistakes: the client is whom a trusted proxy names, never the leftmost of a field that anybody sends.
#[test]
fn clients_are_those_that_are_trusted() {
    let routes = [
        "name: office, match: { clients: [10.1.0.0/16, '2001:db8::/32'] }, pool: office",
        "name: rest, pool: rest",
    ];
    let fields = [
        ("X-Forwarded-For: 10.1.2.3\r\n", "office"),
        ("X-Forwarded-For: ::ffff:10.1.2.3\r\n", "office"),
        ("X-Forwarded-For: 2001:db8::1\r\n", "office"),
        ("X-Forwarded-For: 10.1.2.3, 192.0.2.1\r\n", "rest"),
        ("X-Forwarded-For: 192.0.2.1, 10.1.2.3\r\n", "office"),
        ("Forwarded: for=10.1.2.3\r\n", "office"),
        ("X-Real-IP: 10.1.2.3\r\n", "rest"),
        ("", "rest"),
    ];
    for trusted in [true, false] {
        let (_endpoints, builder) = routed(&["office", "rest"], &routes);
        let builder = if trusted { builder.listener("trusted_proxies: [127.0.0.1]") } else { builder };
        let cases: Vec<Case> = fields
            .iter()
            .map(|(field, pool)| ("GET", "x", "/", *field, if trusted { *pool } else { "rest" }))
            .collect();
        holds(&builder.start(), &cases);
    }
}

/// The host decides before the path, however good the path is.
#[test]
fn the_host_decides_first() {
    let (_endpoints, builder) = routed(
        &["by-path", "by-host"],
        &[
            "name: by-path, match: { paths: [{ exact: /x }] }, pool: by-path",
            "name: by-host, match: { hosts: [a.example], paths: [/] }, pool: by-host",
        ],
    );
    holds(
        &builder.start(),
        &[("GET", "a.example", "/x", "", "by-host"), ("GET", "b.example", "/x", "", "by-path")],
    );
}

/// A target in absolute form is routed by its own host.
#[test]
fn absolute_targets() {
    let (endpoints, builder) =
        routed(&["a"], &["name: a, match: { hosts: [a.example], paths: [/x] }, pool: a"]);
    let proxy = builder.start();
    let mut client = proxy.client();
    client.send("GET http://a.example/x?q=1 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    client.response().expect(200);
    assert_eq!(endpoints[0].requests()[0].header("host"), Some("a.example"));
}

/// The log says which route and pool it was.
#[test]
fn the_log_names_the_route() {
    let (_endpoints, builder) = routed(
        &["one", "two"],
        &[
            "name: first, match: { paths: [/1] }, pool: one",
            "name: second, match: { paths: [/2] }, pool: two",
        ],
    );
    let proxy = builder.start();
    proxy.get("/2").expect(200);
    let record = proxy.record("/2");
    assert_eq!((record.text("route"), record.text("pool")), ("second", "two"));
}

/// The three-line config, as the README has it, and the same as a list.
#[test]
fn the_short_form() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let builder = Proxy::config();
    let folder = builder.folder().display().to_string();
    let text = format!(
        "listen: 127.0.0.1:0\nendpoints: [{a}, {b}]\nadmin: {{ listen: 'unix:{folder}/admin.sock' }}\n"
    );
    let proxy = builder.yaml(text).start();
    proxy.wait_until(a.address(), "healthy");
    proxy.wait_until(b.address(), "healthy");
    let mut answers: Vec<String> = (0..4).map(|_| proxy.get("/").expect(200).text().to_owned()).collect();
    answers.sort();
    assert_eq!(answers, ["a", "a", "b", "b"]);
}

/// Names and values of a request's fields.
type Fields = &'static [(&'static str, &'static [u8])];

/// Values are bytes, whatever they mean; and fields of one name are one value, as an endpoint may read them.
#[test]
fn values_are_bytes_and_lines_are_joined() {
    let (_endpoints, builder) = routed(
        &["traced", "named", "umlaut", "beta", "admin", "two", "rest"],
        &[
            "name: traced, match: { headers: { X-Trace: { present: true } } }, pool: traced",
            "name: named, match: { headers: { X-Name: jürgen } }, pool: named",
            "name: umlaut, match: { headers: { X-Name: { regex: '(?-u)^j\\xfcrgen$' } } }, pool: umlaut",
            "name: beta, match: { headers: { Cookie: { regex: '(^|; )beta=1(;|$)' } } }, pool: beta",
            "name: admin, match: { headers: { X-Role: { regex: admin } } }, pool: admin",
            "name: two, match: { headers: { X-List: 'a, b' } }, pool: two",
            "name: rest, pool: rest",
        ],
    );
    let proxy = builder.listener("h2c: true").start();
    let cases: &[(Fields, &str)] = &[
        (&[("x-trace", b"\xfc")], "traced"),
        (&[("x-trace", b"\xe2\x82\xac")], "traced"),
        (&[("x-trace", b"")], "traced"),
        (&[("x-name", b"j\xc3\xbcrgen")], "named"),
        (&[("x-name", b"j\xfcrgen")], "umlaut"),
        (&[("x-name", b"j\xe4rgen")], "rest"),
        (&[("cookie", b"n=J\xfcrgen; beta=1")], "beta"),
        (&[("cookie", b"a=1"), ("cookie", b"beta=1")], "beta"),
        (&[("cookie", b"a=1"), ("cookie", b"beta=12")], "rest"),
        (&[("x-role", b"user"), ("x-role", b"admin")], "admin"),
        (&[("x-list", b"a"), ("x-other", b"c"), ("x-list", b"b")], "two"),
        (&[("x-list", b"a")], "rest"),
    ];
    let runtime = runtime();
    let over_http2 = runtime.block_on(connect(&proxy.address()));
    let mut client = proxy.client();
    for (fields, pool) in cases {
        let mut request = get_of("/");
        client.send("GET / HTTP/1.1\r\nHost: x\r\n");
        for (name, value) in *fields {
            client.send([name.as_bytes(), b": ", value, b"\r\n"].concat());
            request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        client.send("\r\n");
        assert_eq!(client.response().expect(200).text(), *pool, "{fields:?}");
        let answer = runtime.block_on(http2::request(&over_http2, request, &[]));
        assert_eq!(answer.body, pool.as_bytes(), "{fields:?} over HTTP/2");
    }
}

/// What a client sends is logged, whatever it is; what is not text is escaped.
#[test]
fn bytes_of_any_kind_are_logged() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client
        .send(b"GET /agent HTTP/1.1\r\nHost: x\r\nUser-Agent: J\xfcrgen/1\r\nReferer: \xe2\x82\xac\r\n\r\n");
    client.response().expect(200);
    let record = proxy.record("/agent");
    assert_eq!((record.text("user_agent"), record.text("referer")), ("J\\xfcrgen/1", "€"));
    if lacks("heads that cannot be read") {
        return;
    }
    client.send(b"GET /\xfc HTTP/1.1\r\nHost: \xfc.example\r\n\r\n");
    client.response().expect(400);
    assert_eq!(proxy.record("/\\xfc").text("cause"), "bad_request");
    let mut client = proxy.client();
    client.send(b"GET /host HTTP/1.1\r\nHost: \xfc.example\r\n\r\n");
    client.response().expect(400);
    assert_eq!(proxy.record("/host").text("host"), "\\xfc.example");
}

/// Fault: a listener that is its own endpoint. Where it can be seen it is refused; where not, a request comes back ten times
/// and is answered 508, and nothing else is held up.
#[test]
fn a_circle_of_proxies_ends() {
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Proxy::to([own]).listen("default", &own.to_string()).start_and_fail();
    assert_eq!(refused.code, Some(78));
    assert!(refused.stderr.contains("its requests would go in a circle"), "{}", refused.stderr);

    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .pool("circle", [own])
        .with("host: circle.example")
        .routes(&["name: circle, match: { paths: [/circle] }, pool: circle", "name: default, pool: default"])
        .listen("default", &own.to_string())
        .start();
    proxy.get("/circle").expect(508);
    let records = proxy.records_of("/circle", 11);
    assert_eq!(records.iter().filter(|record| record.cause() == "loop").count(), 1);
    proxy.get("/x").expect(200);
    assert_eq!(endpoint.seen("/x").header("x-evenkeel-hops"), Some("1"));
}

/// RFC 9110, section 7.6.2.
#[test]
fn max_forwards_are_counted_down() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let ask = |method: &str, left: &str| {
        proxy.client().request(method, "/x", &format!("Max-Forwards: {left}\r\n")).status
    };
    assert_eq!((ask("OPTIONS", "0"), ask("TRACE", "0")), (200, 405));
    assert_eq!(endpoint.count(), 0);
    for (method, left, expected) in [("OPTIONS", "2", "1"), ("GET", "0", "0"), ("OPTIONS", "x", "x")] {
        assert_eq!(ask(method, left), 200);
        let seen = endpoint.requests().pop().unwrap();
        assert_eq!(seen.header("max-forwards"), Some(expected), "{method}");
    }
    let records = proxy.records_of("/x", 5);
    assert_eq!(records.iter().filter(|record| record.text("action") == "max_forwards").count(), 1);
}
