//! Keys that other proxies have, and what evenkeel has in their place.

/// What to write instead of a key that other proxies have in such a section.
pub(crate) fn remedy(section: &str, key: &str) -> Option<&'static str> {
    let key = normal(key);
    let has = |keys: &str| keys.split(' ').any(|word| normal(word) == key);
    let here = FOREIGN.iter().find(|(place, keys, _)| *place == section && has(keys));
    here.map(|(.., remedy)| *remedy)
        .or_else(|| ABSENT.iter().find(|(keys, _)| has(keys)).map(|(_, remedy)| *remedy))
}

/// What to write instead of a section whose name other proxies have for something else.
pub(crate) fn other_section(section: &str) -> Option<&'static str> {
    (section == "`server`").then_some(SERVER)
}

/// `proxy_pass`, `proxy-pass` and `proxyPass` are one word.
fn normal(key: &str) -> String {
    key.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

const SERVER: &str = "`server` is about the process; write `endpoints` for those behind, and `listen` or `listeners` for addresses that accept clients";
const LISTENERS: &str = "write `listeners: [{ address: \":8080\" }]`";
const SERVERS: &str = "write `listeners` for addresses that accept clients, and for those behind `pools`, or `endpoints` beside `listen`";
const POOLS: &str =
    "write `pools: { api: [10.0.0.1:3000] }`, or `endpoints: [10.0.0.1:3000]` beside `listen`";
const ROUTES: &str = "write `routes: [{ pool: api, match: { paths: [/v1] } }]`";
const MATCH: &str = "write `match: { hosts: [api.example.com], paths: [/v1] }`";
const ROUTES_MATCH: &str =
    "hosts and paths are matched by routes: `routes: [{ pool: api, match: { hosts: [api.example.com] } }]`";
const ROUTES_SEND: &str = "routes send requests to pools: `routes: [{ pool: api }]`";
const CLIENT_TLS: &str =
    "write `tls: { certificates: [{ cert: /path/site.pem, key: /path/site.key }] }` at a listener";
const ENDPOINTS: &str = "write `endpoints: [10.0.0.1:3000]`";
const CLIENT_TIMES: &str =
    "write `timeouts: { keep_alive: 75s }` at a listener, for clients, or at a pool, for endpoints";

/// A section as errors call it, keys that it does not have, and the remedy.
const FOREIGN: &[(&str, &str, &str)] = &[
    ("the file", "servers", SERVERS),
    ("the file", "frontend frontends entrypoints virtual_hosts vhosts bind port", LISTENERS),
    (
        "the file",
        "pool upstream upstreams backend backends cluster clusters service services target targets proxy_pass",
        POOLS,
    ),
    ("the file", "location locations rule rules router routers path paths match", ROUTES),
    ("the file", "host hosts server_name", ROUTES_MATCH),
    ("the file", "tls ssl cert certs certificate certificates ssl_certificate", CLIENT_TLS),
    ("the file", "workers worker_processes threads nbthread", "write `server: { threads: 4 }`"),
    ("the file", "worker_connections max_connections maxconn", "write `server: { max_connections: 100000 }`"),
    (
        "the file",
        "resolver resolvers nameserver nameservers dns",
        "that is said at a pool: `pools: { api: { endpoints: [app.internal:80], resolve: { servers: [127.0.0.1:53] } } }`",
    ),
    ("the file", "error_log logging logs", "write `log: { level: info }`"),
    (
        "the file",
        "metrics stats api",
        "write `admin: { listen: 127.0.0.1:9900 }`, which answers /metrics and /status",
    ),
    ("the file", "timeout timeouts keepalive_timeout defaults", CLIENT_TIMES),
    (
        "the file",
        "health_check health_checks balance retry retries",
        "that is said at a pool: `pools: { api: { endpoints: [10.0.0.1:3000], health_check: { type: tcp } } }`",
    ),
    ("the file", "include import", "a config is one file: write it out here"),
    (
        "`server`",
        "listen port address bind",
        "`server` is about the process; write `listeners: [{ address: \":8080\" }]`",
    ),
    (
        "`server`",
        "server_name name host hosts location locations root proxy_pass",
        "`server` is about the process; write `listeners`, `routes` and `pools`",
    ),
    ("`server`", "workers worker_processes", "write `threads: 4`"),
    ("`server`", "worker_connections maxconn", "write `max_connections: 100000`"),
    ("`server`", "grace_period shutdown_timeout graceful_timeout", "write `drain: 30s`"),
    (
        "`server`",
        "user group pid pidfile daemon",
        "remove it: the service manager does that, as `User=` of a systemd unit",
    ),
    ("a listener", "listen port bind", "write `address: \":8080\"`"),
    ("a listener", "host hosts server_name location locations route routes rules path", ROUTES_MATCH),
    (
        "a listener",
        "pool server servers upstream upstreams backend default_backend endpoints service proxy_pass",
        ROUTES_SEND,
    ),
    (
        "a listener",
        "cert key certs certificate certificates ssl ssl_certificate ssl_certificate_key",
        "write `tls: { certificates: [{ cert: /path/site.pem, key: /path/site.key }] }`",
    ),
    (
        "a listener",
        "redirect https_redirect redirect_to_https force_https",
        "write `redirect_https: 443`; routes have `redirect`, too",
    ),
    (
        "a listener",
        "body_size max_body_size client_max_body_size body_limit",
        "write `limits: { body_size: 10MiB }`",
    ),
    ("a listener", "max_connections maxconn max_conns", "write `limits: { connections: 10000 }`"),
    (
        "a listener",
        "timeout keepalive keepalive_timeout idle_timeout",
        "write `timeouts: { keep_alive: 75s }`",
    ),
    (
        "a listener",
        "real_ip set_real_ip_from trusted_ips forwarded_headers",
        "write `trusted_proxies: [10.0.0.0/8]`",
    ),
    (
        "a listener",
        "protocol protocols",
        "HTTP/1.1 is always served, HTTP/2 with `tls`, and without it by `h2c: true`",
    ),
    (
        "a route",
        "host hosts server_name path paths prefix path_prefix method methods headers query location when rule",
        MATCH,
    ),
    (
        "a route",
        "server servers upstream upstreams backend use_backend cluster service services proxy_pass to target endpoints handler",
        "write `pool: api`, and its endpoints at `pools`",
    ),
    ("a route", "retries health_check balance", "that is said at its pool"),
    ("a route's `retry`", "budget", "that is said at its pool: `retry: { budget: { share: 20% } }`"),
    (
        "`retry`",
        "attempts tries retries max_retries count",
        "write `limit: 2`, which counts those after the first",
    ),
    ("`retry`", "per_try_timeout timeout try_timeout", "write `attempt_timeout: 2s`"),
    ("a route", "priority order weight", "remove it: the most specific match wins, whatever the order"),
    (
        "`match`",
        "prefix path_prefix uri location exact regex",
        "write `paths: [/v1]`, or `{ exact: /v1 }` or `{ regex: \"^/v[0-9]+$\" }` in it",
    ),
    ("`match`", "server_name domain domains", "write `hosts: [api.example.com]`"),
    (
        "a pool",
        "server servers upstream upstreams backend backends target targets hosts address addresses members nodes",
        ENDPOINTS,
    ),
    (
        "a pool",
        "algorithm algo lb lb_policy policy method strategy load_balancing load_balancer",
        "write `balance: round_robin`, least_requests, least_time, random or { hash: client }",
    ),
    ("a pool", "check health option", "write `health_check: { type: http, path: /healthz }`"),
    ("a pool", "ssl https scheme", "write `tls: {}` for TLS with its endpoints"),
    ("a pool", "cert key ca", "write `tls: { ca: /path/ca.pem }`"),
    (
        "a pool",
        "max_fails fail_timeout fall rise",
        "write `health_check: { healthy_after: 2, unhealthy_after: 3 }`",
    ),
    ("a pool", "max_connections maxconn max_conns", "write `limits: { requests: 1000 }`"),
    ("a pool", "keepalive", "write `connections: { idle: 1024 }`"),
    (
        "a pool",
        "weight weights backup",
        "write it at an endpoint: `endpoints: [{ address: 10.0.0.1:3000, weight: 2 }]`",
    ),
    (
        "a pool",
        "resolver resolvers nameserver nameservers name_servers dns",
        "write `resolve: { servers: [127.0.0.1:53] }`",
    ),
    ("a pool", "srv dynamic discovery", "write `endpoints: [\"srv:_http._tcp.api.internal\"]`"),
    (
        "a pool",
        "file_sd file_sd_config file_sd_configs",
        "write `endpoints: [{ file: /etc/evenkeel/api.json }]`",
    ),
    (
        "a pool",
        "http_sd http_sd_config http_sd_configs",
        "write `endpoints: [{ http: \"http://sd.internal/targets\" }]`",
    ),
    (
        "`resolve`",
        "valid ttl hold refresh_interval",
        "write `interval: 10s`; a shorter TTL counts all the same",
    ),
    ("a pool", "name", "remove it: a pool's name is its key in `pools`"),
    ("an endpoint", "host server ip port target", "write `address: 10.0.0.1:3000`"),
    (
        "an endpoint",
        "url https",
        "write `address: 10.0.0.1:3000`, or `http: \"https://sd.internal/targets\"` for a list",
    ),
    ("an endpoint", "tls ssl scheme max_fails check health_check timeout", "that is said at its pool"),
    (
        "a listener's `tls`",
        "cert key certs certificate cert_file key_file ssl_certificate ssl_certificate_key",
        "write `certificates: [{ cert: /path/site.pem, key: /path/site.key }]`",
    ),
    (
        "a certificate",
        "certificate cert_file crt chain fullchain pem ssl_certificate",
        "write `cert: /path/site.pem`",
    ),
    ("a certificate", "private_key key_file ssl_certificate_key", "write `key: /path/site.key`"),
    ("`health_check`", "uri url endpoint", "write `type: http` and `path: /healthz`"),
    (
        "`health_check`",
        "status statuses codes expected_status expected_statuses",
        "write `expect: [200-399]`",
    ),
    ("`health_check`", "rise healthy_threshold passes", "write `healthy_after: 2`"),
    ("`health_check`", "fall unhealthy_threshold fails max_fails threshold", "write `unhealthy_after: 3`"),
    ("`limits`", "body max_body_size client_max_body_size request_body", "write `body_size: 10MiB`"),
];

/// What stands at another place, under another name, or is not there, wherever it is asked for.
const ABSENT: &[(&str, &str)] = &[
    (
        "redirect redirects return",
        "write `redirect: \"https://www.example.com{path}{?query}\"` at a route, or `respond: 404`",
    ),
    (
        "rewrites strip_prefix url_rewrite replace_path add_prefix",
        "write `rewrite: { strip_prefix: /api }` at a route",
    ),
    ("gzip compress compression encode brotli", "write `compress: on` at a route"),
    (
        "set_header proxy_set_header header_up",
        "write `request_headers: { set: { X-Name: value } }` at a route",
    ),
    (
        "response_headers add_header header_down",
        "write `response_headers: { set: { X-Name: value } }` at a route",
    ),
    ("proxy_hide_header hide_header", "write `response_headers: { remove: [X-Name] }` at a route"),
    (
        "errors error_page error_pages errorfile",
        "write `errors: { 5xx: /etc/evenkeel/sorry.html }` at a route or a listener",
    ),
    ("rate_limit rate_limits limit_req ratelimit", "write `rate_limit: { rate: 100/s }` at a route"),
    ("auth basic_auth auth_basic", "write `auth: { basic: /etc/evenkeel/users }` at a route"),
    (
        "forward_auth auth_request",
        "write `auth: { forward: { url: \"http://127.0.0.1:9091/api/authz/forward-auth\" } }` at a route",
    ),
    (
        "jwt auth_jwt",
        "write `auth: { jwt: { jwks: \"https://login.example.com/.well-known/jwks.json\" } }` at a route",
    ),
    ("allow ip_allow ip_allow_list ip_white_list", "write `allow: [10.0.0.0/8]` at a route or a listener"),
    ("deny", "write `deny: [192.0.2.0/24]` at a route or a listener"),
    ("cors", "write `cors: { origins: [https://app.example.com] }` at a route"),
    (
        "middleware middlewares",
        "a route has keys for each of them: auth, rate_limit, rewrite, request_headers, compress and others",
    ),
    ("cache proxy_cache plugins", "this version has nothing of that kind"),
    ("mirror mirrors mirroring shadow request_mirror", "write `mirror: { pool: shadow }` at a route"),
    ("limit_rate bandwidth", "write `limits: { response_rate: 1MiB }` at a route"),
    ("proxy_request_buffering request_buffers", "write `buffer_request: 1MiB` at a route"),
    (
        "sticky stickiness session_affinity",
        "write `sticky: { cookie: session, key: /etc/evenkeel/sticky.key }` at a pool",
    ),
    ("ip_hash", "write `balance: { hash: client }` at a pool"),
    ("slow_start", "write `slow_start: 30s` at a pool"),
    ("outlier_detection circuit_breaker", "write `outliers: { failures: 5 }` at a pool; it is on by default"),
    (
        "acme letsencrypt auto_https autocert",
        "this version gets no certificates; it loads anew those that another program renews",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_however_it_is_written() {
        for key in ["proxy_pass", "proxyPass", "proxy-pass", "PROXY_PASS"] {
            assert!(remedy("a route", key).is_some_and(|instead| instead.contains("`pool: api`")), "{key}");
        }
        assert_eq!(remedy("a pool", "servers"), Some(ENDPOINTS));
        assert_eq!(remedy("a pool", "endpoint_"), None);
    }

    #[test]
    fn what_is_absent_is_absent_everywhere() {
        for section in ["the file", "a listener", "a route", "a pool"] {
            assert!(remedy(section, "gzip").is_some(), "{section}");
        }
        assert!(
            remedy("a listener", "redirect")
                .is_some_and(|instead| instead.starts_with("write `redirect_https"))
        );
    }
}
