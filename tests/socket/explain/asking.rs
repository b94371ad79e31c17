//! Asking: what the command prints of a running process, what is refused, and that nothing is consumed.

use serde_json::Value;

use super::{Asked, explained};
use crate::auth::write_users;
use crate::harness::{Endpoint, Proxy, eventually, nobody_listens};

/// What asking must not change: everything that the process says of itself but times and the admin server's own work.
fn said(proxy: &Proxy) -> (Value, Vec<String>) {
    let mut status = proxy.status();
    status["uptime_seconds"] = Value::Null;
    let metrics = proxy.metrics();
    let counted = metrics.lines().filter(|line| {
        ["evenkeel_requests", "evenkeel_endpoint", "evenkeel_pool", "evenkeel_rate", "evenkeel_route"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    (status, counted.map(str::to_owned).collect())
}

/// A thousand questions take no turn, no token and no permit, and are in no log and no metric.
#[test]
fn asking_a_thousand_times_changes_nothing() {
    let endpoints = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to(&endpoints)
        .routes(&["name: api, pool: default, rate_limit: { rate: 1/h, burst: 5 }, limits: { requests: 2 }"])
        .with("limits: { endpoint_requests: 4 }")
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/1").expect(200).text(), "a");
    assert_eq!(client.get("/2").expect(200).text(), "b");
    proxy.records_of("/2", 1);
    eventually("both requests to be over", || {
        let in_flight = |endpoint: &Value| endpoint["in_flight"].as_u64().unwrap_or_default();
        let status = proxy.status();
        let endpoints = status["pools"][0]["endpoints"].as_array().expect("endpoints");
        (endpoints.iter().map(in_flight).sum::<u64>() == 0).then_some(())
    });
    let before = said(&proxy);
    for _ in 0..1_000 {
        let explanation = explained(&proxy, &Asked::get("/asked"));
        assert_eq!(explanation["answer"]["endpoint"], endpoints[2].address());
    }
    assert_eq!(said(&proxy), before);
    assert_eq!(proxy.records().len(), 2, "what is only asked is in no log");
    let limit = explained(&proxy, &Asked::get("/asked"))["steps"][0].clone();
    assert_eq!(limit["policy"], "rate limit");
    assert!(limit["text"].as_str().expect("a text").contains("3 of 5 left at once"), "{limit}");
    // Round robin goes on where it was, and as many pass as the limit has left.
    let texts: Vec<String> = (0..3).map(|_| client.get("/3").expect(200).text().to_owned()).collect();
    assert_eq!(texts, ["c", "a", "b"]);
    client.get("/4").expect(429);
    let refused = explained(&proxy, &Asked::get("/asked"));
    assert_eq!(
        (&refused["answer"]["status"], &refused["answer"]["limited"]),
        (&429.into(), &"client".into())
    );
}

/// The one command that an operator types: the answer is in its first lines.
#[test]
fn the_command_says_where_a_request_goes_and_why() {
    let (a, gone) = (Endpoint::named("a"), nobody_listens());
    let proxy = Proxy::to([&a, &gone])
        .health_check("type: tcp, interval: 1s")
        .routes(&[
            "name: api, match: { paths: [/api] }, pool: default, rewrite: { strip_prefix: /api }",
            "name: office, match: { paths: [/office] }, pool: default, allow: [10.0.0.0/8]",
        ])
        .start();
    proxy.wait_until(gone.address(), "unhealthy");
    let said = proxy.command(&["explain", "http://www.example/api//v1", "-H", "X-A: b"]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""));
    let text = said.stdout;
    let answer = format!("-> to endpoint {} of pool default, by route api\n", a.address());
    assert!(text.starts_with("GET http://www.example/api//v1 from 127.0.0.1, HTTP/1.1\n"), "{text}");
    assert!(text.contains(&answer), "{text}");
    for words in [
        "path      /api//v1, matched as /api/v1\n",
        "routes    > api     any host, prefix\n",
        "  office  path /api/v1 is not /office/...\n",
        "policies  rewrite  path /v1, without the prefix /api\n",
        "+ x-forwarded-prefix: /api\n",
        "pool      default, round_robin: picks by turn 1 of 1, if no other request comes before\n",
        "100.0 % of the traffic\n",
        "  unhealthy for ",
        "    last probes: ",
        " UTC failed: connection refused",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.lines().count() <= 30, "it fits on a screen: {text}");
    let said = proxy.command(&["explain", "http://www.example/office", "--from", "192.0.2.7"]);
    let answer = "-> 403 Forbidden: client 192.0.2.7 is in no network of `route allow`, by route office\n";
    assert!(said.stdout.contains(answer), "{}", said.stdout);
    assert!(said.stdout.contains("not reached: pool\n"), "{}", said.stdout);
    let said = proxy.command(&["explain", "POST", "http://www.example/none", "--json"]);
    let explanation: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(explanation["answer"]["cause"], "no_route");
    assert_eq!(explanation["request"]["method"], "POST");
    assert_eq!(explanation["generation"], 1);
}

/// Each is told with a remedy, and with the exit code of wrong arguments.
#[test]
fn wrong_questions_are_refused_by_the_command_and_by_the_address() {
    let endpoint = Endpoint::named("a");
    let proxy =
        Proxy::to([&endpoint]).listen("default", "127.0.0.1:0").listen("other", "127.0.0.1:0").start();
    for (arguments, words) in [
        (&["explain", "/x"][..], "has no host"),
        (&["explain", "GET", "http://a/", "-H", "X-A"], "is not written as 'Name: value'"),
        (&["explain", "http://a/", "--from", "localhost"], "is no IP address"),
        (
            &["explain", "http://a/", "--listener", "web"],
            "there is no listener web: the listeners are default (127",
        ),
        (&["explain", "http://a:1/"], "several listeners have http, and none of them port 1"),
        (&["explain", "https://a/"], "no listener has TLS"),
        (&["explain", "http://a/", "--listener", "other", "--http2"], "needs `h2c: true`"),
    ] {
        let said = proxy.command(arguments);
        assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(words), "{}", said.stderr);
    }
    let port = proxy.address_of("other").rsplit_once(':').expect("a port").1.to_owned();
    let said = proxy.command(&["explain", &format!("http://a:{port}/"), "--json"]);
    let explanation: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(explanation["listener"]["name"], "other");
    for (target, status, words) in [
        ("/api/v1/explain", 400, "`url` is missing"),
        ("/api/v1/explain?url=x", 400, "has no scheme"),
        ("/api/v1/explain?url=http%3A%2F%2Fa%2F&listener=other", 200, "\"endpoint\":"),
    ] {
        let response = proxy.admin(target);
        assert_eq!(response.status, status, "{target}: {}", response.text());
        assert!(response.text().contains(words), "{}", response.text());
    }
}

/// Whoever may read the status may ask: the config's secrets are in no answer.
#[test]
fn no_answer_has_a_secret_of_the_config() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]);
    let users = write_users(builder.folder(), &[("alice", "open sesame")]);
    let proxy = builder
        .routes(&[
            "name: keyed, match: { headers: { X-Api-Key: k3y-in-config } }, pool: default",
            "name: api, match: { paths: [/api] }, pool: default, \
             request_headers: { set: { Authorization: Bearer t0ken-in-config } }",
            &format!("name: login, match: {{ paths: [/login] }}, pool: default, auth: {{ basic: {users} }}"),
        ])
        .start();
    for asked in [
        Asked::get("/api").with("X-Api-Key", "wrong"),
        Asked::get("/api").with("Authorization", "Bearer mine"),
        Asked::get("/login").with("Authorization", "Basic YWxpY2U6eA=="),
    ] {
        let text = explained(&proxy, &asked).to_string();
        for secret in ["k3y-in-config", "t0ken-in-config", "$2b$"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let explanation = explained(&proxy, &Asked::get("/api").with("Authorization", "Bearer mine"));
    let after = explanation["headers"]["after"].to_string();
    assert!(after.contains(r#"{"name":"authorization","value":"***"}"#), "{after}");
}
