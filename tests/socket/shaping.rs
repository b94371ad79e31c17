//! Rewrites and header edits: what endpoints get is what was matched, and nobody gets around it.

use crate::harness::http2::{self, connect, runtime};
use crate::harness::{Endpoint, Exchange, Proxy, ProxyBuilder, lacks};

/// An endpoint that answers with its name and the head that it has got.
fn mirror(name: &'static str) -> Endpoint {
    Endpoint::scripted(name, move |exchange: &mut Exchange| {
        let head = exchange.raw_head().to_owned();
        exchange.answer(&format!("{name}\n{head}"));
    })
}

/// An admin area of its own, an API below a prefix, users by an expression, and the rest.
fn shaped(endpoints: &[Endpoint; 2]) -> ProxyBuilder {
    let [admin, web] = endpoints;
    Proxy::config()
        .routes(&[
            "name: admin, match: { paths: [/admin] }, pool: admin",
            "name: api, match: { paths: [/api] }, pool: web, rewrite: { strip_prefix: /api }, \
             request_headers: { set: { X-Auth-User: 'svc-{client}', X-Query: '<{query}>' }, add: { X-Via: one }, \
             remove: [X-Debug] }",
            "name: users, match: { paths: [/u] }, pool: web, rewrite: { regex: '^/u/([a-z0-9]+)', to: '/users/{1}' }",
            "name: rest, pool: web",
        ])
        .pool("admin", [admin])
        .pool("web", [web])
}

/// The endpoint that answered, the target that it has got, and the values of its fields with these letters.
struct Got {
    name: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Got {
    fn of(text: &str) -> Got {
        let mut lines = text.lines();
        let name = lines.next().unwrap_or_default().to_owned();
        let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (letters(name), value.trim_end().to_owned())).collect();
        Got { name, target, fields }
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let wanted = letters(name);
        self.fields.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| value.as_str()).collect()
    }
}

/// A name as CGI has it.
fn letters(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Rows 1, 2 and 4: what is stripped, replaced and matched is one form of the path, and what would leave it is 400.
#[test]
fn a_rewrite_leads_to_no_other_route() {
    let endpoints = ["admin", "web"].map(mirror);
    let proxy = shaped(&endpoints).start();
    for (target, expected) in [
        ("/api/x?a=/../b", Some(("web", "/x?a=/../b"))),
        ("/api", Some(("web", "/"))),
        ("/api/", Some(("web", "/"))),
        ("//api//x", Some(("web", "/x"))),
        ("/%61pi/x", Some(("web", "/x"))),
        ("/apis/x", Some(("web", "/apis/x"))),
        ("/API/x", Some(("web", "/API/x"))),
        ("/api%2Fx", Some(("web", "/api%2Fx"))),
        ("/api/../admin", Some(("admin", "/admin"))),
        ("/api/%2e%2e/admin", Some(("admin", "/admin"))),
        ("/api/.%2E/%61dmin/x", Some(("admin", "/admin/x"))),
        ("/api../admin", Some(("web", "/api../admin"))),
        ("/api%2f..%2fadmin", None),
        ("/api/..;/admin", None),
        ("/api/%5c../admin", None),
        ("/api/..%2fadmin", None),
        ("/api/../../admin", None),
        ("/u/7", Some(("web", "/users/7"))),
        ("/u/%37%41/x", Some(("web", "/users/7A/x"))),
        ("/u/%2e%2e/admin", Some(("admin", "/admin"))),
        ("/u/a%2Fb", Some(("web", "/users/a%2Fb"))),
    ] {
        let response = proxy.client().get(target);
        let got = Got::of(response.text());
        match expected {
            Some((name, seen)) => assert_eq!((&*got.name, &*got.target), (name, seen), "{target}"),
            None => assert_eq!(response.status, 400, "{target}"),
        }
    }
    let record = proxy.record("/api/x?a=/../b");
    assert_eq!((record.text("rewritten"), record.text("path"), record.text("route")), ("/x", "", "api"));
    let record = proxy.record("//api//x");
    assert_eq!((record.text("rewritten"), record.text("path")), ("/x", "/api/x"));
}

/// Row 4: an escape passes no matcher, whatever its kind.
#[test]
fn escapes_pass_no_matcher() {
    let endpoints = ["admin", "web"].map(mirror);
    let [admin, web] = &endpoints;
    let proxy = Proxy::config()
        .routes(&[
            "name: exact, match: { paths: [{ exact: /e/admin.php }] }, pool: admin",
            "name: regex, match: { paths: [{ regex: '^/r/[a-z]+[.]php$' }] }, pool: admin",
            "name: prefix, match: { paths: [/p/admin] }, pool: admin",
            "name: rest, pool: web",
        ])
        .pool("admin", [admin])
        .pool("web", [web])
        .start();
    for (target, name, seen) in [
        ("/e/admin%2ephp", "admin", "/e/admin.php"),
        ("/%65/%61dmin%2Ephp", "admin", "/e/admin.php"),
        ("/x/%2e%2e/e/admin.php", "admin", "/e/admin.php"),
        ("/r/%61dmin.php", "admin", "/r/admin.php"),
        ("/r/./admin%2ephp", "admin", "/r/admin.php"),
        ("/p/%61dmin/x", "admin", "/p/admin/x"),
        ("/p/x/%2E./admin", "admin", "/p/admin"),
        // These are other paths, to the router and to the endpoint alike.
        ("/e/%41dmin.php", "web", "/e/Admin.php"),
        ("/p%2fadmin", "web", "/p%2Fadmin"),
        ("/r/%41.php", "web", "/r/A.php"),
        ("/p/%2561dmin", "web", "/p/%2561dmin"),
    ] {
        let got = Got::of(proxy.client().get(target).expect(200).text());
        assert_eq!((&*got.name, &*got.target), (name, seen), "{target}");
    }
}

/// Row 1: expressions that cut a path in its middle make no path that an endpoint reads otherwise.
#[test]
fn what_a_rewrite_makes_is_judged_again() {
    let endpoint = mirror("web");
    let proxy = Proxy::config()
        .routes(&[
            "name: cut, match: { paths: [{ regex: ^/cut }] }, pool: web, rewrite: { regex: ^/cut, to: '' }",
            "name: dots, match: { paths: [/dots] }, pool: web, rewrite: { regex: '^/dots/([.a]*)x', to: '/{1}' }",
            "name: escape, match: { paths: [/escape] }, pool: web, rewrite: { regex: '%C3', to: '%' }",
            "name: whole, match: { paths: [{ regex: '^/whole/(.*)$' }] }, pool: web, rewrite: { path: '/w/{1}' }",
            "name: add, match: { paths: [/add] }, pool: web, rewrite: { strip_prefix: /add, add_prefix: /v1/x }",
        ])
        .pool("web", [&endpoint])
        .start();
    for (target, expected) in [
        ("/cut/x", Some("/x")),
        ("/cutx", None),
        ("/cut", None),
        ("/cut../admin", None),
        ("/cut.%2e/admin", None),
        ("/dots/ax/b", Some("/a/b")),
        ("/dots/..x/admin", None),
        ("/dots/.x/admin", None),
        ("/escape/%C3%A9", None),
        ("/escape/x", Some("/escape/x")),
        ("/whole/a/b", Some("/w/a/b")),
        ("/whole/?q", Some("/w/?q")),
        ("/add", Some("/v1/x")),
        ("/add/y?z", Some("/v1/x/y?z")),
    ] {
        let response = proxy.client().get(target);
        match expected {
            Some(seen) => assert_eq!(Got::of(response.expect(200).text()).target, seen, "{target}"),
            None => {
                response.expect(400);
                let record = proxy.record(target);
                assert_eq!(record.cause(), "bad_request", "{target}");
                assert!(record.text("detail").contains("rewritten path"), "{target}: {record:?}");
            }
        }
    }
}

/// Row 13 and its neighbours: nothing is left of what a client sends under a name that the route sets or removes.
#[test]
fn all_spellings_of_a_name_are_one() {
    let endpoints = ["admin", "web"].map(mirror);
    let proxy = shaped(&endpoints).start();
    for name in ["X-Auth-User", "x-auth-user", "X_Auth_User", "X.Auth.User", "x_AUTH.user", "X-Auth_User"] {
        let fields = format!(
            "{name}: admin\r\n{name}: root\r\nX_Debug: 1\r\nx.debug: 2\r\nX-Via: client\r\nX_Other: kept\r\n"
        );
        let response = proxy.client().request("GET", "/api/x?q=1", &fields).expect(200);
        let got = Got::of(response.text());
        assert_eq!(got.all("x-auth-user"), ["svc-127.0.0.1"], "{name}");
        assert_eq!(got.all("x-debug"), [""; 0], "{name}");
        assert_eq!(got.all("x-query"), ["<q=1>"]);
        assert_eq!(got.all("x-via"), ["client", "one"]);
        assert_eq!(got.all("x-other"), ["kept"]);
        assert_eq!(got.all("x-forwarded-prefix"), ["/api"]);
    }
    // Other routes leave them alone.
    let response = proxy.client().request("GET", "/x", "X_Auth_User: me\r\nX-Debug: 1\r\n").expect(200);
    let got = Got::of(response.text());
    assert_eq!((got.all("x-auth-user"), got.all("x-debug")), (vec!["me"], vec!["1"]));
}

/// Row 13's neighbour: nor is anything left in trailers, which some endpoints merge into the header.
#[test]
fn trailers_have_no_managed_field() {
    if lacks("trailers") {
        return;
    }
    let endpoint = Endpoint::scripted("web", |exchange: &mut Exchange| {
        let mut body = String::new();
        while !body.contains("0\r\n") || !body.ends_with("\r\n\r\n") {
            body.push_str(&String::from_utf8_lossy(&exchange.receive()));
        }
        let length = body.len();
        exchange
            .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"));
        exchange.close();
    });
    let proxy = Proxy::config()
        .routes(&["pool: web, request_headers: { set: { X-Auth-User: a }, remove: [X-Debug] }"])
        .pool("web", [&endpoint])
        .start();
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\
         X_Auth.User: admin\r\nx-auth-user: admin\r\nX_Debug: 1\r\nX-Own: 1\r\n\r\n",
    );
    let response = client.response().expect(200);
    assert_eq!(response.text().to_ascii_lowercase(), "1\r\na\r\n0\r\nx-own: 1\r\n\r\n");
}

/// Row 14: a client cannot remove what evenkeel or the route writes by naming it in `Connection`.
#[test]
fn connection_removes_no_managed_field() {
    let endpoints = ["admin", "web"].map(mirror);
    let proxy = shaped(&endpoints).start();
    let names = [
        "X-Real-IP",
        "x_real_ip",
        "X-Forwarded-For",
        "X-Forwarded-Prefix",
        "x.forwarded.prefix",
        "Forwarded",
        "X-Request-Id",
        "X-Auth-User",
        "X_Auth_User",
        "x.auth.user",
        "X-Via",
        "Host",
        "X-Evenkeel-Hops",
        "x-query",
    ];
    for connection in names.iter().map(|name| (*name).to_owned()).chain([names.join(", ")]) {
        let fields = format!("Connection: {connection}, X-Own\r\nX-Own: 1\r\nX-Auth-User: admin\r\n");
        let response = proxy.client().request("GET", "/api/x", &fields).expect(200);
        let got = Got::of(response.text());
        for (name, value) in [
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-prefix", "/api"),
            ("x-auth-user", "svc-127.0.0.1"),
            ("x-via", "one"),
            ("host", "test.example"),
            ("x-evenkeel-hops", "1"),
        ] {
            assert_eq!(got.all(name), [value], "{connection}: {name}");
        }
        assert_eq!((got.all("x-request-id").len(), got.all("x-own").len()), (1, 0), "{connection}");
    }
}

/// Row 8's neighbour: a prefix that a stranger claims is gone; one of a trusted proxy is in front of the stripped one.
#[test]
fn a_forwarded_prefix_is_ours() {
    for (listener, expected) in
        [("trusted_proxies: []", "/api"), ("trusted_proxies: [127.0.0.1]", "/outer/api")]
    {
        let endpoints = ["admin", "web"].map(mirror);
        let proxy = shaped(&endpoints).listener(listener).start();
        let response = proxy.client().request("GET", "/api/x", "X-Forwarded-Prefix: /outer/\r\n").expect(200);
        assert_eq!(Got::of(response.text()).all("x-forwarded-prefix"), [expected]);
        for bad in ["//evil.example", "/a/../b", "evil", "/a, /b", "/a%2fb"] {
            let fields = format!("X_Forwarded_Prefix: {bad}\r\nX-Forwarded-Prefix: {bad}\r\n");
            let response = proxy.client().request("GET", "/api/x", &fields).expect(200);
            assert_eq!(Got::of(response.text()).all("x-forwarded-prefix"), ["/api"], "{bad}");
        }
    }
}

/// The host of a rewrite is what the endpoint sees, whatever the pool says; the client's is in X-Forwarded-Host.
#[test]
fn the_host_can_be_another_one() {
    let endpoint = mirror("web");
    let proxy = Proxy::config()
        .routes(&["pool: web, rewrite: { host: legacy.internal:81 }"])
        .pool("web", [&endpoint])
        .with("host: endpoint")
        .start();
    let got = Got::of(proxy.get("/x").expect(200).text());
    assert_eq!(
        (got.all("host"), got.all("x-forwarded-host")),
        (vec!["legacy.internal:81"], vec!["test.example"])
    );
}

/// The same over HTTP/2, whose clients have one target more to get wrong.
#[test]
fn http2_clients_are_rewritten_too() {
    let endpoints = ["admin", "web"].map(mirror);
    let proxy = shaped(&endpoints).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for (path, expected) in
            [("/api/x?y", Some("/x?y")), ("/api/..%2fadmin", None), ("/u/7/z", Some("/users/7/z"))]
        {
            let request = http::Request::get(format!("http://test.example{path}"))
                .header("x_auth_user", "admin")
                .body(())
                .expect("a request");
            let response = http2::request(&client, request, &[]).await;
            match expected {
                None => assert_eq!(response.status, 400, "{path}"),
                Some(target) => {
                    let got = Got::of(str::from_utf8(&response.body).expect("text"));
                    assert_eq!(got.target, target, "{path}");
                    let user = if path.starts_with("/api") { "svc-127.0.0.1" } else { "admin" };
                    assert_eq!(got.all("x-auth-user"), [user], "{path}");
                }
            }
        }
    });
}

// === ten thousand requests against a model ===

/// What a request comes to, by the words of the documentation alone.
#[derive(Debug, PartialEq)]
enum Model {
    Refused,
    Seen(&'static str, String),
}

/// A path in its normal form, piece by piece; `None`: it is refused.
fn normal(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        match byte {
            b'%' => {
                let digits =
                    path.get(at..at + 2).filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
                let value = u8::from_str_radix(digits, 16).ok()?;
                at += 2;
                match value {
                    0..=31 | 127 => return None,
                    b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                        out.push(value as char)
                    }
                    _ => out.push_str(&format!("%{value:02X}")),
                }
            }
            b'\\' => return None,
            b'[' | b']' | b'{' | b'}' | b'^' | b'|' => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(byte as char),
        }
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut is_open = true;
    let all: Vec<&str> = out.split('/').skip(1).collect();
    for (index, segment) in all.iter().enumerate() {
        is_open = index + 1 == all.len() && matches!(*segment, "" | "." | "..");
        match *segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            other if is_disguised(other) => return None,
            other => segments.push(other),
        }
    }
    let slash = if is_open && !segments.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", segments.join("/")))
}

/// Dots behind which a server that decodes slashes or cuts parameters finds a dot segment.
fn is_disguised(segment: &str) -> bool {
    let read = segment.replace("%2F", "/").replace("%5C", "/");
    let parts = read.split('/').map(|part| part.replace("%3B", ";"));
    parts.into_iter().any(|part| matches!(part.split(';').next(), Some("." | "..")))
}

fn model(target: &str) -> Model {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (target, String::new()),
    };
    let Some(path) = normal(path) else { return Model::Refused };
    let below =
        |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/admin").is_some() {
        return Model::Seen("admin", format!("{path}{query}"));
    }
    if let Some(rest) = below("/api") {
        let rest = if rest.is_empty() { "/" } else { rest };
        return Model::Seen("web", format!("{rest}{query}"));
    }
    if below("/u").is_some() {
        let rest = path.strip_prefix("/u/").unwrap_or_default();
        let is_name = rest.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
        let path = if is_name { format!("/users/{rest}") } else { path };
        return Model::Seen("web", format!("{path}{query}"));
    }
    Model::Seen("web", format!("{path}{query}"))
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

const PIECES: [&str; 44] = [
    "/", "/", "/", "//", "/api", "/api", "api", "/admin", "admin", "/u/", "/u", "x", "..", "..", ".", "%2e",
    "%2E%2e", "%2f", "%2F", "%5c", "\\", ";", ";v=1", "%3b", "%3B", "%61", "%41pi", "%61dmin", "%252e",
    "%00", "%0a", "%7f", "%", "%4", "..;", "[x]", "|", "~", "%7E", "a-b_c", "%C3%a9", "77", "@", ":",
];
const QUERIES: [&str; 6] = ["", "", "?a=1", "?/../admin", "?%2e%2e/%00", "?x=//y"];
const NAMES: [&str; 10] = [
    "X-Auth-User",
    "x_auth_user",
    "X.Auth.User",
    "X-Auth_User",
    "X-Debug",
    "x_debug",
    "X.DEBUG",
    "X-Forwarded-Prefix",
    "x_forwarded.prefix",
    "X-Other",
];
const CONNECTIONS: [&str; 6] =
    ["X-Auth-User", "x_auth_user", "X-Real-IP", "x-forwarded-prefix", "X-Via, x-query", "keep-alive"];

/// Ten thousand mutated targets and sets of fields: no request gets around its route, and each endpoint sees exactly what
/// was matched and written.
#[test]
fn ten_thousand_requests_do_as_the_model_says() {
    let endpoints = ["admin", "web"].map(mirror);
    let proxy = shaped(&endpoints).start();
    let mut random = Random(2026);
    let mut client = proxy.client();
    let (mut refused, mut of_admin, mut stripped) = (0, 0, 0);
    for _ in 0..10_000 {
        let mut target = random.of(&["/", "/api", "/api", "/u/", "/admin", "//", "/x"]).to_owned();
        (0..random.below(6)).for_each(|_| target.push_str(random.of(&PIECES)));
        target.push_str(random.of(&QUERIES));
        let mut fields = String::new();
        for _ in 0..random.below(4) {
            fields.push_str(&format!("{}: client\r\n", random.of(&NAMES)));
        }
        if random.below(3) == 0 {
            fields.push_str(&format!("Connection: {}\r\n", random.of(&CONNECTIONS)));
        }
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n"));
        let response = client.response();
        if response.header("connection").is_some_and(|value| value.contains("close")) {
            client = proxy.client();
        }
        let expected = model(&target);
        if response.status == 400 {
            assert_eq!(expected, Model::Refused, "{target}\n{fields}");
            refused += 1;
            continue;
        }
        let got = Got::of(response.expect(200).text());
        let Model::Seen(name, seen) = expected else {
            panic!("{target} must be refused, not {}", got.target)
        };
        assert_eq!((&*got.name, &*got.target), (name, &*seen), "{target}\n{fields}");
        of_admin += usize::from(name == "admin");
        let api = got.all("x-via") == ["one"];
        stripped += usize::from(api);
        if api {
            assert_eq!(got.all("x-auth-user"), ["svc-127.0.0.1"], "{target}\n{fields}");
            assert_eq!(got.all("x-debug"), [""; 0], "{target}\n{fields}");
        }
        let prefix: &[&str] = if api { &["/api"] } else { &[] };
        assert_eq!(got.all("x-forwarded-prefix"), prefix, "{target}\n{fields}");
        assert_eq!(got.all("x-real-ip"), ["127.0.0.1"], "{target}\n{fields}");
    }
    assert!(refused > 1000 && of_admin > 300 && stripped > 500, "{refused} {of_admin} {stripped}");
    let seen: usize = endpoints.iter().map(Endpoint::count).sum();
    assert_eq!(seen, 10_000 - refused, "a refused request has reached an endpoint");
}
