//! What a route does with a request beside sending it to a pool: redirects, fixed answers, and shares of pools.

use crate::harness::{Endpoint, Proxy, ProxyBuilder, Response, eventually};

/// These routes, of which the last one may send the rest to the pool `web`.
fn routed(endpoint: &Endpoint, routes: &[&str]) -> ProxyBuilder {
    Proxy::config().routes(routes).pool("web", [endpoint])
}

fn ask(proxy: &Proxy, host: &str, target: &str) -> Response {
    let mut client = proxy.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response()
}

/// www to apex, old paths to new ones, and a path of the same host; the query goes along where it is asked for.
#[test]
fn redirects() {
    let endpoint = Endpoint::named("web");
    let proxy = routed(
        &endpoint,
        &[
            "name: www, match: { hosts: [www.a.example] }, redirect: 'https://a.example{path}{?query}'",
            "name: old, match: { paths: [{ regex: '^/old/(?P<id>[0-9]+)$' }] }, \
             redirect: { to: '/new/{id}?from={1}', status: 301 }",
            "name: any-host, match: { hosts: ['*.b.example'] }, redirect: { to: 'https://{host}:{port}{path}', status: 307 }",
            "name: rest, pool: web",
        ],
    )
    .start();
    for (host, target, status, location) in [
        ("www.a.example", "/x/./y?a=b&c", 308, "https://a.example/x/y?a=b&c"),
        ("WWW.A.example:8080", "//evil.example", 308, "https://a.example/evil.example"),
        ("www.a.example", "/?", 308, "https://a.example/?"),
        ("x", "/old/77", 301, "/new/77?from=77"),
        ("X.B.Example:81", "/%41?q", 307, "https://x.b.example:81/A"),
    ] {
        let response = ask(&proxy, host, target).expect(status);
        assert_eq!(response.header("location"), Some(location), "{host}{target}");
        let record = proxy.record(target);
        assert_eq!((record.text("action"), record.text("pool"), record.cause()), ("redirect", "", ""));
        assert!(!record.text("route").is_empty() && record.attempts().is_empty());
    }
    assert_eq!(ask(&proxy, "a.example", "/x").expect(200).text(), "web");
    assert_eq!(endpoint.count(), 1);
}

/// Row 16: a Location never names a host that the client has chosen, and never ends its line.
#[test]
fn no_client_chooses_where_a_redirect_goes() {
    let endpoint = Endpoint::named("web");
    let proxy = routed(
        &endpoint,
        &[
            "name: cut, match: { paths: [{ regex: '^/cut(.*)$' }] }, redirect: '/{1}'",
            "name: tail, match: { paths: [{ regex: '^/tail/(.*)$' }] }, redirect: 'https://a.example/{1}{?query}'",
            "name: path, redirect: '{path}{?query}'",
            "name: host, match: { paths: [/host] }, redirect: 'https://{host}{path}'",
        ],
    )
    .listener("trusted_proxies: [127.0.0.1]")
    .listener("paths: { merge_slashes: false }")
    .start();
    for (target, location) in [
        ("/cut/evil.example", "/evil.example"),
        ("/cut//evil.example", "/evil.example"),
        ("/cut/%2f/evil.example", "/%2F/evil.example"),
        ("//evil.example/%2e%2e", "/"),
        ("//evil.example", "/evil.example"),
        ("///evil.example/x", "/evil.example/x"),
        ("/tail/@evil.example", "https://a.example/@evil.example"),
        ("/x?%0d%0aSet-Cookie:%20a=b", "/x?%0d%0aSet-Cookie:%20a=b"),
        ("/x?//evil.example", "/x?//evil.example"),
    ] {
        let mut client = proxy.client();
        let fields = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: //evil.example\r\nX-Original-URL: //evil.example\r\n";
        let response = client.request("GET", target, fields).expect(308);
        assert_eq!(response.header("location"), Some(location), "{target}");
        assert_eq!(response.header("set-cookie"), None);
    }
    for (host, status) in
        [("good.example", 308), ("a@evil.example", 400), ("evil.example/x", 400), ("a\tb", 400)]
    {
        let response = ask(&proxy, host, "/host").expect(status);
        let expected = (status == 308).then_some("https://good.example/host");
        assert_eq!(response.header("location"), expected, "{host}");
    }
    let mut client = proxy.client();
    client.send("GET /host HTTP/1.1\r\nHost: good.example\r\nX-Forwarded-Host: evil.example\r\n\r\n");
    assert_eq!(client.response().header("location"), Some("https://good.example/host"));
    assert_eq!(endpoint.count(), 0);
}

/// Health answers, robots.txt, a maintenance page, and a bare status; each with its length, and no body for HEAD.
#[test]
fn fixed_answers() {
    let endpoint = Endpoint::named("web");
    let builder = Proxy::config();
    let robots = builder.folder().join("robots.txt");
    std::fs::write(&robots, "User-agent: *\nDisallow: /\n").expect("a file");
    let file =
        format!("name: robots, match: {{ paths: [/robots.txt] }}, respond: {{ file: {} }}", robots.display());
    let proxy = builder
        .routes(&[
            "name: health, match: { paths: [/healthz] }, respond: { body: ok }",
            &file,
            "name: api, match: { paths: [{ regex: '^/api/(.*)$' }] }, \
             respond: { status: 503, body: '{\"down\":true}', content_type: application/json, \
             headers: { Retry-After: 3600, X-Asked: '{1}{?query}', Cache-Control: no-cache } }",
            "name: gone, match: { paths: [/gone] }, respond: 410",
            "name: nothing, match: { paths: [/nothing] }, respond: 204",
            "name: rest, pool: web",
        ])
        .pool("web", [&endpoint])
        .start();
    let mut client = proxy.client();
    for method in ["GET", "HEAD"] {
        for (target, status, kind, body) in [
            ("/healthz", 200, Some("text/plain; charset=utf-8"), "ok"),
            ("/robots.txt", 200, Some("text/plain; charset=utf-8"), "User-agent: *\nDisallow: /\n"),
            ("/api/x?y", 503, Some("application/json"), "{\"down\":true}"),
            ("/nothing", 204, None, ""),
        ] {
            let response = client.request(method, target, "").expect(status);
            assert_eq!(response.header("content-type"), kind, "{target}");
            assert_eq!(response.text(), if method == "HEAD" { "" } else { body }, "{target}");
            let length = body.len().to_string();
            let expected = (status != 204).then_some(length.as_str());
            assert_eq!(response.header("content-length"), expected, "{method} {target}");
            assert_eq!(response.header("server"), Some("evenkeel"));
        }
    }
    let down = client.get("/api/x?y").expect(503);
    let field = |name: &str| down.header(name).map(str::to_owned);
    assert_eq!(
        ["retry-after", "x-asked", "cache-control"].map(field),
        ["3600", "x?y", "no-cache"].map(|v| Some(v.to_owned()))
    );
    assert!(client.get("/gone").expect(410).text().contains("410 Gone"));
    let record = proxy.record("/gone");
    assert_eq!((record.text("action"), record.text("route"), record.cause()), ("respond", "gone", ""));
    // A request's body is read or given up as before other answers of evenkeel's own.
    let mut client = proxy.client();
    assert_eq!(client.upload("POST", "/healthz", b"0123456789").expect(200).text(), "ok");
    assert_eq!(endpoint.count(), 0);
}

/// Each pool gets its share, one of weight 0 nothing, and a retry stays in the pool that was chosen.
#[test]
fn shares_of_pools() {
    let endpoints = ["a", "b", "c"].map(Endpoint::named);
    let [a, b, c] = &endpoints;
    let proxy = Proxy::config()
        .routes(&[
            "name: most, match: { paths: [/most] }, split: [{ pool: a, weight: 75 }, { pool: b, weight: 25 }]",
            "name: all, match: { paths: [/all] }, split: [{ pool: a, weight: 0 }, { pool: c }]",
        ])
        .pool("a", [a])
        .pool("b", [b])
        .pool("c", [c])
        .start();
    let mut client = proxy.client();
    for _ in 0..400 {
        client.get("/most").expect(200);
    }
    let share = a.count();
    assert!((250..350).contains(&share) && share + b.count() == 400, "{share} of 400");
    for _ in 0..20 {
        assert_eq!(client.get("/all").expect(200).text(), "c");
    }
    assert!(proxy.records_of("/all", 20).iter().all(|record| record.text("pool") == "c"));
}

/// A client stays in its pool, over reloads and where weights change: more of `b` takes nobody away from it.
#[test]
fn clients_stay_in_their_pool() {
    let endpoints = ["a", "b"].map(Endpoint::named);
    let [a, b] = &endpoints;
    let route =
        "split: { pools: [{ pool: a, weight: 70 }, { pool: b, weight: 30 }], sticky: { header: X-User } }";
    let proxy = Proxy::config().routes(&[route]).pool("a", [a]).pool("b", [b]).start();
    let pools = |users: std::ops::Range<usize>| -> Vec<String> {
        let mut client = proxy.client();
        users
            .map(|user| client.request("GET", "/", &format!("X-User: {user}\r\n")).text().to_owned())
            .collect()
    };
    let first = pools(0..200);
    assert!(first.contains(&"a".to_owned()) && first.contains(&"b".to_owned()));
    assert_eq!(pools(0..200), first);
    let config =
        proxy.config_text().replace("weight: 70", "weight: 30").replace("b, weight: 30", "b, weight: 70");
    proxy.reload(&config);
    let second = pools(0..200);
    let left: Vec<usize> = (0..200).filter(|user| first[*user] == "b" && second[*user] == "a").collect();
    assert_eq!(left, [0; 0], "they have left the pool that grows");
    assert!(
        second.iter().filter(|pool| *pool == "b").count() > first.iter().filter(|pool| *pool == "b").count()
    );
}

/// A browser brings the cookie back that its first response has set, and so stays where it was drawn.
#[test]
fn a_cookie_keeps_clients_in_their_pool() {
    let endpoints = ["a", "b"].map(Endpoint::named);
    let [a, b] = &endpoints;
    let route = "split: { pools: [{ pool: a }, { pool: b }], sticky: { set_cookie: variant, ttl: 30d } }";
    let proxy = Proxy::config().routes(&[route]).pool("a", [a]).pool("b", [b]).start();
    let mut client = proxy.client();
    let mut get = |fields: &str| {
        let response = client.request("GET", "/", fields).expect(200);
        (response.text().to_owned(), response.header("set-cookie").map(str::to_owned))
    };
    let mut drawn = Vec::new();
    for _ in 0..40 {
        let (pool, cookie) = get("");
        let (pair, attributes) =
            cookie.as_deref().and_then(|cookie| cookie.split_once("; ")).expect("a cookie");
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000");
        for _ in 0..5 {
            assert_eq!(get(&format!("Cookie: x=1; {pair}\r\n")), (pool.clone(), None));
        }
        drawn.push(pool);
    }
    assert!(drawn.iter().any(|pool| pool == "a") && drawn.iter().any(|pool| pool == "b"), "{drawn:?}");
    // What is none of ours is drawn anew.
    for value in ["", "a", "0123456789abcdeg", "+123456789abcdef", "00112233445566778"] {
        assert!(get(&format!("Cookie: variant={value}\r\n")).1.is_some(), "{value}");
    }
}

/// HTTP to HTTPS, but for the challenges of ACME and what else is excepted.
#[test]
fn https_has_exceptions() {
    let endpoint = Endpoint::named("web");
    let challenge = "/.well-known/acme-challenge/token";
    for (listener, served) in [
        ("redirect_https: 443", &[challenge, "/.well-known/acme-challenge"][..]),
        ("redirect_https: { except: [/healthz/] }", &["/healthz", "/healthz/x"]),
    ] {
        let proxy = routed(&endpoint, &["name: rest, pool: web"]).listener(listener).start();
        for target in served {
            assert_eq!(proxy.get(target).expect(200).text(), "web", "{target}");
        }
        for target in ["/", "/healthzy", "/.well-known/acme-challenge/../x", "/.well-known/acme-challengex"] {
            let response = proxy.get(target).expect(308);
            assert!(response.header("location").is_some_and(|to| to.starts_with("https://test.example/")));
        }
    }
}

/// A request that waits is answered here, where a reload says so meanwhile.
#[test]
fn a_maintenance_page_reaches_those_who_wait() {
    let mut endpoint = Endpoint::named("web");
    let proxy = Proxy::to([&endpoint]).with("when_none_healthy: { wait: 10s }").start();
    endpoint.stop();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    eventually("a request that waits", || (proxy.status()["pools"][0]["waiting"] == 1).then_some(()));
    let config = proxy.config_text().replace("pool: default }", "respond: { status: 503, body: at noon } }");
    let config: String = config
        .lines()
        .take_while(|line| !line.starts_with("pools:"))
        .map(|line| format!("{line}\n"))
        .collect();
    proxy.reload(&config);
    assert_eq!(client.response().expect(503).text(), "at noon");
    assert_eq!(proxy.record("/x").text("action"), "respond");
}
