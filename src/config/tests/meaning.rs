//! Valid files and the config that comes of them: defaults, forms, units.

use std::time::Duration;

use http::Method;

use super::*;
use crate::routing::{EscapedSlashes, HostPattern, PathRules, ValueMatch};
use crate::wait_queue::Priority;

const SHORT: &str = "listen: :8080\nendpoints: [10.0.0.1:3000, 10.0.0.2:3000]\n";

const LONG: &str = "
listeners:
  - name: default
    address: :8080
routes:
  - name: default
    pool: default
pools:
  default:
    balance: round_robin
    endpoints: [10.0.0.1:3000, 10.0.0.2:3000]
    health_check: { type: tcp, interval: 2s, timeout: 1s, healthy_after: 2, unhealthy_after: 3 }
    when_none_healthy: { wait: 0s }
";

/// Whether two configs are equal except for their text.
fn same(a: &Config, b: &Config) -> bool {
    let meaning = |config: &Config| format!("{:?}", Config { text: "".into(), ..config.clone() });
    meaning(a) == meaning(b)
}

#[test]
fn the_short_form_stands_for_the_long_one() {
    assert!(same(&config(SHORT), &config(LONG)));
    assert!(!same(&config(SHORT), &config(&LONG.replace("3000]", "3001]"))));
}

#[test]
fn the_written_form_of_arguments_is_the_same_config() {
    let yaml = long_form_of(":8080", &["10.0.0.1:3000", "10.0.0.2:3000"]);
    assert!(same(&config(SHORT), &config(&yaml)), "{yaml}");
    for endpoints in [["[::1]:3000", "unix:/run/a b.sock"], ["name.local:80", "NAME:81"]] {
        let yaml = long_form_of("[::]:8080", &endpoints);
        let short = format!("listen: '[::]:8080'\nendpoints: ['{}', '{}']\n", endpoints[0], endpoints[1]);
        assert!(same(&config(&short), &config(&yaml)), "{yaml}");
    }
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = config(SHORT);
    assert_eq!(config.server.drain, Duration::from_secs(30));
    assert_eq!(config.server.drain_delay, Duration::ZERO);
    assert!(config.server.threads >= 1);
    assert_eq!(
        config.admin,
        Admin { listen: vec![AdminListen::Default], token: None, metrics_endpoints: 1000 }
    );
    assert_eq!(config.log, Log { level: "info".into(), format: EventFormat::Auto });
    assert_eq!(
        config.access_log,
        AccessLog { output: LogOutput::Stdout, format: AccessFormat::Auto, queue: 8192, options: None }
    );
    let listener = &config.listeners[0];
    assert_eq!(
        listener.limits,
        Limits {
            header_bytes: 32 * 1024,
            header_count: 100,
            target_bytes: 8 * 1024,
            body_bytes: None,
            body_rate: None
        }
    );
    assert_eq!(listener.paths, PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Keep });
    assert_eq!((config.server.max_connections, config.server.max_memory), (None, MaxMemory::OfGroup));
    assert_eq!(listener.connections, ConnectionLimits { all: None, per_client: None });
    let seconds = Duration::from_secs;
    assert_eq!(
        listener.timeouts,
        ClientTimeouts {
            header: seconds(10),
            handshake: Duration::from_secs(10),
            body: seconds(60),
            write: seconds(60),
            keep_alive: seconds(75),
            age: Some(seconds(3600))
        }
    );
    let pool = &config.pools[0];
    assert_eq!(pool.when_none_healthy, WhenNoneHealthy::Wait { limit: Duration::ZERO, queue: 1024 });
    assert_eq!(pool.retry, default_retry());
    assert_eq!(
        pool.timeouts,
        EndpointTimeouts {
            connect: seconds(2),
            response: seconds(60),
            idle: seconds(60),
            write: seconds(60),
            keep_alive: seconds(55),
            tunnel: seconds(3600),
        }
    );
    assert_eq!(pool.connections, EndpointConnections { idle: 1024, age: Some(seconds(3600)), streams: 100 });
    assert_eq!(pool.limits.requests, RequestLimit::Auto);
    let resolve = Resolve { interval: seconds(10), servers: Vec::new() };
    assert_eq!((&pool.host, &pool.resolve), (&HostHeader::Preserve, &resolve));
}

fn pool(keys: &str) -> Pool {
    let text = format!(
        "listeners: [{{ address: \":8080\" }}]\nroutes: [{{ pool: a }}]\npools:\n  a:\n    endpoints: [10.0.0.1:3000]\n{keys}"
    );
    config(&text).pools.remove(0)
}

#[test]
fn a_unix_socket_is_among_the_admin_addresses() {
    let tcp = |port| AdminListen::Tcp(([127, 0, 0, 1], port).into());
    let unix = || AdminListen::Unix("/run/x.sock".into());
    for (written, meant) in [
        ("127.0.0.1:9900", vec![AdminListen::Default, tcp(9900)]),
        ("[127.0.0.1:9900, 127.0.0.1:9901]", vec![AdminListen::Default, tcp(9900), tcp(9901)]),
        ("unix:/run/x.sock", vec![unix()]),
        ("[127.0.0.1:9900, unix:/run/x.sock]", vec![tcp(9900), unix()]),
    ] {
        assert_eq!(
            config(&format!("{SHORT}admin: {{ listen: {written} }}\n")).admin.listen,
            meant,
            "{written}"
        );
    }
}

#[test]
fn off_is_a_word_and_a_boolean() {
    for off in ["off", "false", "\"off\"", "OFF", "False"] {
        assert_eq!(pool(&format!("    health_check: {off}\n")).health_check, None, "{off}");
        assert_eq!(pool(&format!("    retry: {off}\n")).retry.limit, 0, "{off}");
        let text = format!(
            "{SHORT}admin: {{ listen: {off} }}\naccess_log: {{ output: {off} }}\nlog: {{ level: {off} }}\n"
        );
        let config = config(&text);
        assert_eq!(config.log.level, "off");
        assert_eq!((config.admin.listen, config.access_log.output), (Vec::new(), LogOutput::Off), "{off}");
    }
}

#[test]
fn an_http_check_has_its_own_keys() {
    let check = pool(
        "    health_check: { type: http, path: /up?x=1, host: a.b, expect: [204, 300-399], headers: { X-A: b } }\n",
    );
    let check = check.health_check.unwrap();
    let CheckKind::Http { path, host, expect, headers } = check.kind else { panic!("not http") };
    assert_eq!((path.as_str(), host.as_deref()), ("/up?x=1", Some("a.b")));
    assert_eq!(expect, [204..=204, 300..=399]);
    assert_eq!(headers[0].0.as_str(), "x-a");
    let bare = pool("    health_check: { type: http }\n").health_check.unwrap();
    assert_eq!(
        bare.kind,
        CheckKind::Http { path: "/".into(), host: None, expect: vec![200..=399], headers: vec![] }
    );
}

fn default_retry() -> Retry {
    Retry {
        limit: 2,
        on: RetryOn { connect: true, reset: true, timeout: false, statuses: vec![] },
        methods: vec![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE],
        attempt_timeout: None,
        backoff: Duration::from_millis(25),
        budget: Some(RetryBudget { share: 0.2, floor: 10 }),
        hedge: None,
    }
}

#[test]
fn retries_of_a_route_override_those_of_its_pool_key_by_key() {
    let of = |pool: &str, route: &str| {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:80 }}]\nroutes: [{{ pool: p, retry: {route} }}]\n\
             pools: {{ p: {{ endpoints: [10.0.0.1:80], retry: {pool} }} }}\n"
        );
        let config = config(&text);
        config.routes[0].retry.over(&config.pools[0].retry)
    };
    let (own, none) = (Duration::from_secs(1), RetryOn::default());
    let pool = Retry { limit: 5, backoff: Duration::ZERO, budget: None, ..default_retry() };
    let written = "{ limit: 5, backoff: off, budget: off }";
    assert_eq!(of(written, "{}"), pool);
    assert_eq!(of(written, "{ limit: 1 }"), Retry { limit: 1, ..pool.clone() });
    assert_eq!(
        of(written, "{ methods: [POST], backoff: 1s, on: [reset, timeout], attempt_timeout: 1s }"),
        Retry {
            methods: vec![Method::POST],
            backoff: own,
            on: RetryOn { reset: true, timeout: true, ..none.clone() },
            attempt_timeout: Some(own),
            ..pool.clone()
        }
    );
    assert_eq!(of(written, "off"), Retry { limit: 0, on: none.clone(), ..pool });
    assert_eq!(of("off", "{}"), Retry { limit: 0, on: none, ..default_retry() });
    assert_eq!(of("off", "{ limit: 2, on: [connect, reset] }"), default_retry());
    assert_eq!(
        of("{ attempt_timeout: 1s, on: [timeout] }", "{ attempt_timeout: off }").attempt_timeout,
        None
    );
}

#[test]
fn retries_and_waiting() {
    let retry = pool("    retry: { limit: 1, on: [timeout, 502, 503] }\n").retry;
    let on = RetryOn { connect: false, reset: false, timeout: true, statuses: vec![502, 503] };
    assert_eq!(retry, Retry { limit: 1, on, ..default_retry() });
    // What tools that write YAML 1.1 make of it.
    for key in ["true", "True", "\"on\""] {
        assert_eq!(
            pool(&format!("    retry: {{ limit: 1, {key}: [timeout, 502, 503] }}\n")).retry,
            retry,
            "{key}"
        );
    }
    let wait = pool("    when_none_healthy: { wait: 5s }\n").when_none_healthy;
    assert_eq!(wait, WhenNoneHealthy::Wait { limit: Duration::from_secs(5), queue: 1024 });
    let open = pool("    when_none_healthy: { fail_open: true }\n").when_none_healthy;
    assert_eq!(open, WhenNoneHealthy::FailOpen);
}

#[test]
fn the_event_log_may_be_off() {
    assert_eq!(config(&format!("{SHORT}log: {{ level: off }}\n")).log.level, "off");
}

#[test]
fn what_is_written_as_nothing_has_its_default() {
    let text = format!(
        "{SHORT}server:\nadmin: {{ token: null, listen: ~ }}\ntests:\nlog: {{ level: \"${{EMPTY:-}}\" }}\n"
    );
    // A quoted empty text is a text.
    assert!(loaded(&text).is_err());
    let text = text.replace("\"${EMPTY:-}\"", "");
    assert!(same(&config(SHORT), &config(&text)));
}

#[test]
fn variables_stand_inside_values() {
    let text = "listen: :${PORT}\nendpoints: [\"${NAME:-a.local}:${PORT}\"]\nadmin:\n  token: ${EMPTY}\n";
    let config = config(text);
    assert_eq!(config.listeners[0].address, ListenAddress::AnyAddress(8081));
    let address = EndpointAddress::Name { host: "a.local".into(), port: 8081 };
    assert_eq!(config.pools[0].endpoints[0].address, address);
    assert_eq!(config.admin.token, None, "an empty variable is nothing");
}

#[test]
fn anchors_and_aliases_are_followed() {
    let text = "
listeners: [{ address: \":8080\" }]
routes:
  - { name: a, match: { paths: [/a] }, pool: a }
  - { name: b, match: { paths: [/b] }, pool: b }
pools:
  a: { endpoints: [10.0.0.1:3000], health_check: &check { interval: 7s } }
  b: { endpoints: [10.0.0.2:3000], health_check: *check }
";
    let config = config(text);
    let intervals: Vec<_> = config.pools.iter().map(|p| p.health_check.as_ref().unwrap().interval).collect();
    assert_eq!(intervals, [Duration::from_secs(7); 2]);
}

#[test]
fn matches_keep_what_is_written() {
    let text = "
listeners: [{ address: \":8080\" }]
routes:
  - match:
      hosts: [API.example.com., \"*.Example.com\"]
      paths: [/, /v1/, { exact: /x/ }, { prefix: /y }, { regex: ^/z$ }]
      methods: [GET]
      headers: { X-Env: canary, X-Num: 7 }
      query: { V: { present: true } }
    pool: a
pools: { a: [10.0.0.1:3000] }
";
    let route = config(text).routes.remove(0);
    assert_eq!(&*route.name, "default");
    let hosts = [HostPattern::Exact("api.example.com".into()), HostPattern::Wildcard("example.com".into())];
    assert_eq!(route.matches.hosts, hosts);
    let paths = format!("{:?}", route.matches.paths);
    assert_eq!(paths, r#"[Prefix(""), Prefix("/v1"), Exact("/x/"), Prefix("/y"), Regex(Regex("^/z$"))]"#);
    let values: Vec<_> = route.matches.headers.iter().map(|header| header.values[0].clone()).collect();
    assert_eq!(values, ["canary", "7"].map(|value| ValueMatch::Exact(value.into())));
    assert_eq!(route.matches.query[0].name, "V");
}

#[test]
fn routes_have_limits_and_a_timeout() {
    let route = |keys: &str| {
        let keys = format!("routes:\n  - name: default\n    {keys}\n");
        config(&LONG.replace("routes:\n  - name: default\n", &keys)).routes.remove(0)
    };
    let none = route("timeout: off");
    assert_eq!((none.limits, none.timeout), (RouteLimits::default(), None));
    let narrow = route("limits: { header_size: 1KiB, header_count: 5, target_size: 10B, body_size: 1MiB }");
    let expected = RouteLimits {
        header_bytes: Some(1024),
        header_count: Some(5),
        target_bytes: Some(10),
        body: RouteBodyLimit::Bytes(1_048_576),
        ..RouteLimits::default()
    };
    assert_eq!(narrow.limits, expected);
    assert_eq!(route("limits: { body_size: off }").limits.body, RouteBodyLimit::Off);
    let limited = |keys: &str| route(&format!("limits: {{ requests: 9{keys} }}")).limits.requests;
    let queue =
        QueueLimits { length: 1024, wait: Duration::from_secs(1), shed: Some(Duration::from_millis(5)) };
    assert_eq!(limited(""), Some(QueuedLimit { most: 9, queue }));
    let queue = QueueLimits { length: 7, wait: Duration::from_secs(2), shed: None };
    assert_eq!(limited(", queue: 7, wait: 2s, shed: off"), Some(QueuedLimit { most: 9, queue }));
    assert_eq!(route("timeout: 1m30s").timeout, Some(Duration::from_secs(90)));
    assert_eq!(route("buffer_request: 64KiB").buffer_request, Some(65_536));
    let rate = |keys: &str| route(&format!("limits: {{ {keys} }}")).limits.response_rate;
    assert_eq!(rate("response_rate: 1kB"), Some(ResponseRate { rate: 1000, after: 0 }));
    let rate_after = rate("response_rate: 1kB, response_rate_after: 2MiB");
    assert_eq!(rate_after, Some(ResponseRate { rate: 1000, after: 1 << 21 }));
}

#[test]
fn routes_have_a_priority() {
    let priority = |keys: &str| {
        let keys = format!("routes:\n  - name: default\n    limits: {{ requests: 9 }}\n{keys}");
        config(&LONG.replace("routes:\n  - name: default\n", &keys)).routes.remove(0).priority
    };
    assert_eq!(priority(""), RoutePriority::Fixed(Priority::Normal));
    assert_eq!(priority("    priority: high\n"), RoutePriority::Fixed(Priority::High));
    let header = RoutePriority::Header("x-priority".parse().expect("a name"));
    assert_eq!(priority("    priority: { header: X-Priority }\n"), header);
}

#[test]
fn kept_connections_have_limits() {
    let connections = pool("    connections: { idle: 0, age: off }\n").connections;
    assert_eq!(connections, EndpointConnections { idle: 0, age: None, streams: 100 });
}

#[test]
fn connections_have_limits() {
    let text = "server: { max_connections: 1000 }\n".to_owned() + LONG;
    let limits = "    address: :8080\n    limits: { connections: 100, connections_per_client: 10 }\n";
    let config = config(&text.replace("    address: :8080\n", limits));
    assert_eq!(config.server.max_connections, Some(1000));
    assert_eq!(config.listeners[0].connections, ConnectionLimits { all: Some(100), per_client: Some(10) });
}

#[test]
fn an_access_log_with_options() {
    let written = "{ names: otel, fields: [status, client_port], cookies: [lang], request_headers: [X-Tenant], \
                   sample: { slow: 1s, rest: 1% } }";
    let log = config(&format!("{SHORT}access_log: {written}\n")).access_log;
    let options = log.options.expect("it has some");
    assert_eq!(
        (options.names, options.chosen.as_deref()),
        (LogNames::Otel, Some(&["status", "client_port"][..]))
    );
    assert_eq!(
        (&*options.headers.request, &*options.headers.cookies),
        (&["x-tenant".parse().unwrap()][..], &["lang".into()][..])
    );
    let sample = LogSample { errors: 1.0, slow: Some(Duration::from_secs(1)), rest: 0.01 };
    assert_eq!(options.sample, Some(sample));
    for usual in ["{ sample: off }", "{ sample: { slow: 1s } }", "{ names: evenkeel, cookies: [] }"] {
        assert_eq!(config(&format!("{SHORT}access_log: {usual}\n")).access_log.options, None, "{usual}");
    }
}
