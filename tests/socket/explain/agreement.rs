//! Ten thousand random requests: what `explain` says of each is what its line in the access log says, and what its endpoint
//! has seen.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::{Asked, explained};
use crate::harness::{
    Client, Endpoint, Engine, Proxy, ProxyBuilder, Record, engine, eventually, nobody_listens,
};

/// Requests of one config, and configs of one test.
const REQUESTS: usize = 500;
const WORLDS: u64 = 5;

/// The same numbers each time: a failure can be played again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// That many times of a hundred.
    fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them, or nothing, as often as that.
    fn maybe(&mut self, percent: usize, of: &[&str]) -> String {
        if self.is(percent) { self.one(of).to_owned() } else { String::new() }
    }
}

const POOLS: [&str; 6] = ["p0", "p1", "p2", "ejects", "down", "open"];

const CLIENTS: [&str; 6] = ["10.0.0.1", "10.0.0.2", "10.9.0.1", "192.0.2.7", "198.51.100.3", "2001:db8::9"];

/// What a route matches, as the inside of `{ }`; "": everything.
fn conditions(random: &mut Random) -> String {
    let conditions = [
        random
            .maybe(50, &["hosts: [a.example]", "hosts: ['*.example']", "hosts: ['*.b.example', a.example]"]),
        random.maybe(
            70,
            &[
                "paths: [/x]",
                "paths: [/x/y]",
                "paths: [{ exact: /x }]",
                "paths: [{ regex: '^/r([0-9])$' }]",
                "paths: [/api, /z]",
            ],
        ),
        random.maybe(20, &["methods: [GET, OPTIONS]", "methods: [POST, DELETE, OPTIONS]"]),
        random.maybe(
            20,
            &[
                "headers: { X-Env: canary }",
                "headers: { X-Env: { regex: '^sta' } }",
                "headers: { X-User: { present: true } }",
            ],
        ),
        random.maybe(20, &["query: { v: '1' }", "query: { v: { regex: '[12]' }, id: { present: true } }"]),
        random.maybe(15, &["clients: [10.0.0.0/8]", "clients: [192.0.2.0/24, '2001:db8::/32']"]),
        random.maybe(
            10,
            &["not: [{ paths: [/x/y] }]", "not: [{ headers: { X-Env: canary } }, { methods: [POST] }]"],
        ),
    ];
    conditions.into_iter().filter(|condition| !condition.is_empty()).collect::<Vec<_>>().join(", ")
}

/// What a route does with its requests.
fn action(random: &mut Random) -> String {
    let (one, other) = (random.one(&POOLS), random.one(&POOLS[..3]));
    match random.below(20) {
        0 => "redirect: { to: 'https://{host}/new{path}{?query}', status: 307 }".to_owned(),
        1 => "respond: { status: 418, body: tea }".to_owned(),
        2..5 if one != other => {
            let shares = format!("[{{ pool: {one}, weight: 30 }}, {{ pool: {other}, weight: 70 }}]");
            let sticky = random.maybe(50, &[", sticky: { header: X-User }", ", sticky: client"]);
            format!("split: {{ pools: {shares}{sticky} }}")
        }
        _ => format!("pool: {one}"),
    }
}

/// What a route changes of the requests that it forwards.
fn changes(random: &mut Random) -> [String; 2] {
    let rewrites = [
        "rewrite: { strip_prefix: /x, add_prefix: /v1 }",
        "rewrite: { regex: '[0-9]', to: '' }",
        "rewrite: { path: '/w{path}', host: endpoint }",
        "rewrite: { strip_prefix: /api, host: fixed.example }",
    ];
    let edits = [
        "request_headers: { set: { X-User: '{client}' }, remove: [X-Env] }",
        "request_headers: { add: { X-Via: '{method} {path}' } }",
    ];
    [random.maybe(25, &rewrites), random.maybe(25, &edits)]
}

/// A route, as the inside of `{ }`.
fn route(random: &mut Random, number: usize, users: &str) -> String {
    let (conditions, action) = (conditions(random), action(random));
    let forwards = action.starts_with("pool") || action.starts_with("split");
    let basic = format!("auth: {{ basic: {users} }}");
    let rates = [
        "rate_limit: { rate: 1/h, burst: 3 }",
        "rate_limit: [{ rate: 1/h, burst: 9, by: route, dry_run: true }, \
         { rate: 1/h, burst: 2, by: { header: X-User } }]",
        "rate_limit: { rate: 2/h, burst: 4, by: { cookie: session } }",
    ];
    let mut policies = vec![
        random.maybe(15, &["allow: [10.0.0.0/8, '2001:db8::/32']", "deny: [10.9.0.0/16, 192.0.2.7]"]),
        random.maybe(15, &rates),
        random.maybe(10, &[&basic]),
        random.maybe(15, &["cors: { origins: ['https://app.example'] }"]),
        random.maybe(10, &["limits: { target_size: 12 }", "limits: { header_count: 8 }"]),
        random.maybe(3, &["enabled: false"]),
    ];
    if forwards {
        policies.extend(changes(random));
    }
    let matches = if conditions.is_empty() { conditions } else { format!(", match: {{ {conditions} }}") };
    let policies = policies.into_iter().filter(|policy| !policy.is_empty());
    format!(
        "name: r{number}{matches}, {action}{}",
        policies.map(|policy| format!(", {policy}")).collect::<String>()
    )
}

/// As many as may stand together: a route that gets no requests because of another one is an error in a config.
fn routes_of(random: &mut Random, users: &str) -> Vec<String> {
    let mut routes: Vec<String> = Vec::new();
    for number in 0..24 {
        routes.push(route(random, number, users));
        let pools: String = POOLS.iter().map(|pool| format!("  {pool}: [10.0.0.1:80]\n")).collect();
        let list: String = routes.iter().map(|route| format!("  - {{ {route} }}\n")).collect();
        let text = format!("listeners: [{{ address: ':80' }}]\nroutes:\n{list}pools:\n{pools}");
        if let Err(report) = evenkeel::config::parse(&text, "t") {
            assert!(report.to_string().contains("gets no requests"), "{report}");
            routes.pop();
        }
    }
    assert!(routes.len() >= 8, "{routes:?}");
    routes
}

const BALANCES: [&str; 8] = [
    "round_robin",
    "least_requests",
    "random",
    "{ hash: client }",
    "{ hash: path }",
    "{ hash: { header: X-User } }",
    "{ hash: { cookie: session } }",
    "{ hash: { query: id } }",
];

/// A config, the endpoints behind it, and a running proxy in which some of them are drained, ejected, down or unreachable.
struct World {
    endpoints: Vec<Endpoint>,
    proxy: Proxy,
}

impl World {
    fn new(random: &mut Random) -> World {
        let good: Vec<Endpoint> = ["a", "b", "c", "d"].map(Endpoint::named).into_iter().collect();
        let bad = Endpoint::scripted("bad", |exchange| exchange.status("503 Service Unavailable", "", "bad"));
        let gone: Vec<Endpoint> = (0..3).map(|_| nobody_listens()).collect();
        let builder = Proxy::config();
        let users = crate::auth::write_users(builder.folder(), &[("alice", "open sesame")]);
        let key = builder.folder().join("key");
        std::fs::write(&key, "01".repeat(32)).unwrap();
        let mut routes = routes_of(random, &users);
        routes.extend([
            "name: tea, match: { hosts: [other.test], paths: [/other] }, respond: { status: 418 }".to_owned(),
            "name: setup-ejects, match: { hosts: [setup.test], paths: [/ejects] }, pool: ejects".to_owned(),
            "name: setup-gone, match: { hosts: [setup.test], paths: [/gone] }, pool: p2".to_owned(),
        ]);
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let mut builder = builder.routes(&routes).listener("trusted_proxies: [127.0.0.1]");
        builder = builder
            .listener(random.one(&["paths: { merge_slashes: true }", "paths: { merge_slashes: false }"]));
        for pool in ["p0", "p1"] {
            let weighted = |(index, endpoint): (usize, &Endpoint), random: &mut Random| match random.below(5)
            {
                0 if index > 0 => endpoint.backup(),
                weight => endpoint.weight(weight.max(1) as u16),
            };
            let members: Vec<String> = good.iter().enumerate().map(|one| weighted(one, random)).collect();
            let balances = if pool == "p1" { &BALANCES[..3] } else { &BALANCES };
            builder = builder.pool(pool, members).with(&format!("balance: {}", random.one(balances)));
        }
        builder = builder.with(&format!("sticky: {{ cookie: stay, key: {} }}", key.display()));
        builder =
            builder.pool("p2", [gone[0].address(), good[0].address(), good[1].address(), good[2].address()]);
        builder = builder.with(&format!("balance: {}", random.one(&BALANCES[..3]))).with("outliers: off");
        builder = builder.pool("ejects", [bad.address(), good[0].address(), good[1].address()]);
        builder = builder.with("outliers: { failures: 3, time: 1h, max_time: 1h }");
        builder = builder.pool("down", [&gone[1]]).health_check("type: tcp, interval: 1s");
        let fails_open = [gone[1].address(), gone[2].address()];
        builder = builder.pool("open", fails_open).health_check("type: tcp, interval: 1s");
        builder = builder.with("when_none_healthy: { fail_open: true }").with("retry: { limit: 0 }");
        World::prepared(builder, good, bad, gone, random)
    }

    fn prepared(
        builder: ProxyBuilder,
        good: Vec<Endpoint>,
        bad: Endpoint,
        gone: Vec<Endpoint>,
        random: &mut Random,
    ) -> World {
        let proxy = builder.start();
        let state = |pool: &str, endpoint: &Endpoint| {
            let status = proxy.status();
            let pools = status["pools"].as_array().expect("pools").clone();
            let pool = pools.into_iter().find(|one| one["name"] == pool).expect("the pool");
            let endpoints = pool["endpoints"].as_array().expect("endpoints").clone();
            let found =
                endpoints.into_iter().find(|one| one["address"] == endpoint.address()).expect("a member");
            found["state"].as_str().expect("a state").to_owned()
        };
        let setup = |path: &str| {
            let fields = "Connection: close\r\n\r\n";
            proxy.client().send(format!("GET {path} HTTP/1.1\r\nHost: setup.test\r\n{fields}")).response();
        };
        eventually("an endpoint to be ejected", || {
            setup("/ejects");
            (state("ejects", &bad) == "ejected").then_some(())
        });
        eventually("an endpoint to be unreachable", || {
            setup("/gone");
            (state("p2", &gone[0]) == "unreachable").then_some(())
        });
        for (pool, endpoint) in [("down", &gone[1]), ("open", &gone[1]), ("open", &gone[2])] {
            eventually("an endpoint to be unhealthy", || {
                (state(pool, endpoint) == "unhealthy").then_some(())
            });
        }
        let drained = &good[random.below(good.len())];
        let pool = random.one(&["p0", "p1"]);
        let said = proxy.command(&["drain", drained.address(), "--pool", pool, "--for", "1h"]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        World { endpoints: good.into_iter().chain([bad]).chain(gone).collect(), proxy }
    }
}

fn request(random: &mut Random, number: usize, cookies: &[String]) -> Asked {
    let paths = [
        "/x",
        "/x/y",
        "/x/y/z",
        "/xy",
        "/x//y",
        "/x/../api",
        "/%78",
        "/..",
        "/x/%2e%2e/%2e%2e/z",
        "/r1",
        "/r22",
        "/api",
        "/api/v1",
        "/z/",
        "/other",
        "/",
        "/x/caf%c3%a9",
        "/a;b/c",
        "/x/..;/y",
    ];
    let query = random.maybe(60, &["?v=1", "?v=2&id=7", "?id=8", "?id=9&v=3", "?v"]);
    let mut asked = Asked {
        method: random.one(&["GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PATCH"]).into(),
        host: random
            .one(&[
                "a.example",
                "A.example:8080",
                "b.example",
                "c.b.example",
                "other.test",
                "[2001:db8::1]:81",
            ])
            .into(),
        target: format!("{}{query}", random.one(&paths)),
        fields: Vec::new(),
    };
    asked = asked.with("X-Request-Id", &format!("n{number}"));
    asked = asked.with("Connection", random.one(&["close", "close, x-env", "close"]));
    for (percent, name, values) in [
        (80, "X-Forwarded-For", &CLIENTS[..]),
        (40, "X-Env", &["canary", "stable", "staging"]),
        (60, "X-User", &["u1", "u2", "u3", "u4", ""]),
        (40, "Cookie", &["session=s1", "a=b; session=s2", "session=s3; x=y"]),
        (20, "Origin", &["https://app.example", "https://evil.example"]),
        (15, "Access-Control-Request-Method", &["PUT"]),
        // alice:open sesame, and a wrong password.
        (30, "Authorization", &["Basic YWxpY2U6b3BlbiBzZXNhbWU=", "Basic YWxpY2U6eA==", "Bearer x"]),
        (10, "X-Debug", &["1"]),
        (5, "X-Padding", &["0123456789012345678901234567890123456789"]),
    ] {
        if random.is(percent) {
            asked = asked.with(name, random.one(values));
        }
    }
    if !cookies.is_empty() && random.is(50) {
        asked = asked.with("Cookie", &cookies[random.below(cookies.len())]);
    }
    if asked.method == "POST" {
        asked = asked.with("Content-Length", "0");
    }
    asked
}

/// The explanations and requests of one world, by the ids of the requests.
fn play(world: &World, random: &mut Random) -> HashMap<String, (Asked, Value)> {
    let mut cookies: Vec<String> = Vec::new();
    let mut played = HashMap::new();
    let address = world.proxy.address();
    for number in 0..REQUESTS {
        let asked = request(random, number, &cookies);
        let explanation = explained(&world.proxy, &asked);
        let mut client = Client::connect(&address);
        let lines: String = asked.lines().iter().map(|line| format!("{line}\r\n")).collect();
        client.send(format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n",
            asked.method, asked.target, asked.host
        ));
        let response = client.response_to(&asked.method);
        // The connection is closed when the request has given back all that it had.
        client.rest();
        let new = response.head.all("set-cookie").into_iter().find(|cookie| cookie.starts_with("stay="));
        cookies.extend(new.and_then(|cookie| cookie.split(';').next()).map(str::to_owned));
        cookies.dedup();
        played.insert(format!("n{number}"), (asked, explanation));
    }
    played
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What differs between an explanation and the line in the log.
fn differences(explanation: &Value, record: &Record) -> Vec<String> {
    let answer = &explanation["answer"];
    let client = record.text("client");
    let client = client.parse::<SocketAddr>().map_or(client.to_owned(), |address| address.ip().to_string());
    let forwarded = text(answer, "verdict") == "forward";
    let endpoint = record.endpoints().into_iter().next().unwrap_or_default();
    let mut pairs = vec![
        ("route", text(answer, "route").to_owned(), record.text("route").to_owned()),
        ("pool", text(answer, "pool").to_owned(), record.text("pool").to_owned()),
        ("endpoint", text(answer, "endpoint").to_owned(), endpoint),
        ("refused_by", text(answer, "refused_by").to_owned(), record.text("refused_by").to_owned()),
        ("limited", text(answer, "limited").to_owned(), record.text("limited").to_owned()),
        ("action", text(answer, "action").to_owned(), record.text("action").to_owned()),
        ("path", text(&explanation["path"], "normal").to_owned(), record.text("path").to_owned()),
        (
            "rewritten",
            text(&explanation["path"], "rewritten").to_owned(),
            record.text("rewritten").to_owned(),
        ),
        ("client", text(&explanation["request"], "client").to_owned(), client),
    ];
    if !forwarded {
        let status = answer["status"].as_u64().unwrap_or_default();
        pairs.push(("status", status.to_string(), record.status().to_string()));
        pairs.push(("cause", text(answer, "cause").to_owned(), record.cause().to_owned()));
    }
    let differs = pairs.into_iter().filter(|(_, explained, logged)| explained != logged);
    differs
        .map(|(what, explained, logged)| format!("{what}: explained {explained:?}, logged {logged:?}"))
        .collect()
}

/// The fields of a head, sorted.
fn sorted(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    fields.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    fields.sort();
    fields
}

/// What differs between the fields of an explanation and those that the endpoint has seen.
fn field_differences(explanation: &Value, seen: &[(String, String)]) -> Option<String> {
    let after = explanation["headers"]["after"].as_array().cloned().unwrap_or_default();
    let after = after.iter().map(|field| (text(field, "name").to_owned(), text(field, "value").to_owned()));
    let (explained, seen) = (sorted(after.collect()), sorted(seen.to_vec()));
    // The explanation hides what may be a secret of the config, and nothing of this is one.
    (explained != seen).then(|| format!("fields: explained {explained:?}, seen {seen:?}"))
}

fn agree(seed: u64) {
    let mut random = Random(seed);
    let (mut compared, mut forwarded, mut by_verdict) = (0, 0, HashMap::<String, usize>::new());
    for _ in 0..WORLDS {
        let world = World::new(&mut random);
        let played = play(&world, &mut random);
        let records = eventually("a record of each request", || {
            let mut records = world.proxy.records();
            records.retain(|record| played.contains_key(record.text("request_id")));
            (records.len() >= REQUESTS).then_some(records)
        });
        let seen: HashMap<String, Vec<(String, String)>> = world
            .endpoints
            .iter()
            .flat_map(Endpoint::requests)
            .filter_map(|seen| Some((seen.header("x-request-id")?.to_owned(), seen.head.fields)))
            .collect();
        for record in records {
            let Some((asked, explanation)) = played.get(record.text("request_id")) else { continue };
            let mut differs = differences(explanation, &record);
            let fields = seen.get(record.text("request_id"));
            if let Some(fields) = fields.filter(|_| engine() == Engine::Native) {
                differs.extend(field_differences(explanation, fields));
                forwarded += 1;
            }
            assert!(
                differs.is_empty(),
                "seed {seed}, {asked:?}:\n{}\n{explanation:#}\n{:#}",
                differs.join("\n"),
                record.0
            );
            compared += 1;
            *by_verdict.entry(text(&explanation["answer"], "verdict").to_owned()).or_default() += 1;
        }
    }
    assert_eq!(compared, REQUESTS * WORLDS as usize, "each of them was compared");
    // What is compared is not all the same.
    for verdict in ["forward", "refuse", "answer"] {
        assert!(by_verdict.contains_key(verdict), "{by_verdict:?}");
    }
    assert!(forwarded > 100 || engine() != Engine::Native, "{forwarded}");
}

#[test]
fn of_ten_thousand_requests_the_first_quarter_agrees_with_the_log() {
    agree(1);
}

#[test]
fn of_ten_thousand_requests_the_second_quarter_agrees_with_the_log() {
    agree(2);
}

#[test]
fn of_ten_thousand_requests_the_third_quarter_agrees_with_the_log() {
    agree(3);
}

#[test]
fn of_ten_thousand_requests_the_last_quarter_agrees_with_the_log() {
    agree(4);
}
