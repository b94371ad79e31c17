"""Who is compared when endpoints are bad, and how each is told to do what evenkeel does.

What evenkeel does by default, and the others are told: probes every 2 s within 1 s, down after three, up after two; out
after five failures in a row, for 10 s the first time, at most half of the pool; two more attempts, at another endpoint;
retries at most 20 % of the requests. Beyond evenkeel's defaults, the others are told to take an attempt without an answer
within a second, and a 503, for failures to try again: without it they would pass on what evenkeel's passive health has
not caught yet. `evenkeel told the same` is told so, too, and runs where it matters.
"""

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from peers import built, find_envoy, first_version, on_path

# How long an attempt may take where an attempt has a limit.
ATTEMPT = 1
# How many wait beyond what the endpoints work on, where the others need a number for it: as many again.
OVERLOAD_QUEUE = 1


@dataclass
class Place:
    """Where a proxy runs, and over what."""

    folder: Path
    port: int
    threads: int
    endpoints: list
    # tcp or http: how endpoints are probed.
    probe: str
    # Requests in flight that the endpoints can work on, where more are to be refused.
    room: int = None

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass
class Subject:
    name: str
    # (tools) -> the program, or nothing if it is not here.
    find: callable
    version: callable
    # (place, program) -> command
    command: callable
    # The scenarios that it takes part in.
    scenarios: tuple


def evenkeel(balance, same_as_others=False):
    """Its defaults, but for the policy. Its access log is on, as it is by default."""

    def command(place, program):
        lines = [f"balance: {balance}", f"endpoints: [{', '.join(place.endpoints)}]"]
        if place.probe == "http":
            lines.append("health_check: { type: http, path: /health }")
        if same_as_others:
            lines.append(f"retry: {{ on: [connect, reset, timeout, 503], attempt_timeout: {ATTEMPT}s }}")
        if place.room:
            # The queue and its shedding are as they are by default.
            lines.append(f"limits: {{ requests: {place.room} }}")
        pool = "\n".join(f"    {line}" for line in lines)
        priority = ", priority: { header: X-Priority }" if place.room else ""
        return [program, "run", "-c", place.write("evenkeel.yaml", f"""\
server: {{ threads: {place.threads} }}
admin: {{ listen: "unix:{place.folder}/admin.sock" }}
access_log: {{ output: {place.folder}/access.log, format: json }}
listeners: [{{ name: clients, address: "127.0.0.1:{place.port}" }}]
routes: [{{ name: shop, pool: shop{priority} }}]
pools:
  shop:
{pool}
""")]

    return command


def nginx(place, program):
    # The free nginx has no probes, and ejects for a fixed time: max_fails within fail_timeout, then fail_timeout without
    # requests. `zone` makes its counts those of all workers. proxy_next_upstream counts what it names as failures, too.
    servers = "\n".join(f"        server {endpoint} max_fails=5 fail_timeout=10s;" for endpoint in place.endpoints)
    # It has no queue, and no priority: who comes beyond the limit is refused.
    limit = ("limit_conn_zone $server_addr zone=all:1m; limit_conn_status 503;",
             f"limit_conn all {place.room * (1 + OVERLOAD_QUEUE)};") if place.room else ("", "")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {place.folder}/{kind};" for kind in kinds)
    return [program, "-p", str(place.folder), "-e", f"{place.folder}/error.log", "-c", place.write("nginx.conf", f"""\
worker_processes {place.threads};
worker_rlimit_nofile 19000;
daemon off;
pid {place.folder}/nginx.pid;
error_log {place.folder}/error.log error;
events {{ worker_connections 9000; }}
http {{
    access_log off; tcp_nodelay on; {temporary}
    keepalive_requests 1000000000; {limit[0]}
    upstream shop {{
        zone shop 256k;
        least_conn;
{servers}
        keepalive 256; keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{place.port} backlog=4096;
        location / {{
            {limit[1]}
            proxy_pass http://shop; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $host;
            proxy_connect_timeout 2s; proxy_read_timeout {ATTEMPT}s;
            # Without non_idempotent, so that POST is not sent twice; three attempts in all.
            proxy_next_upstream error timeout http_503;
            proxy_next_upstream_tries 3;
        }}
    }}
}}
""")]


def haproxy(retry_on):
    return lambda place, program: [program, "-db", "-q", "-f", place.write("haproxy.cfg", haproxy_config(place, retry_on))]


def haproxy_config(place, retry_on):
    # observe layer7 counts failed attempts and statuses from 500 in a row, and marks down after five; the probes mark up
    # again. It has no time of ejection and no budget of retries. redispatch 1: the first retry goes elsewhere. Before 3.1,
    # an answer that is retried is not counted (https://github.com/haproxy/haproxy/issues/2679): so there are two of it.
    room = f"maxconn {place.room // len(place.endpoints)} maxqueue {place.room // len(place.endpoints)}" if place.room else ""
    servers = "\n".join(f"    server e{n} {endpoint} {room}" for n, endpoint in enumerate(place.endpoints))
    # Its queue is bounded by length and time; it lets in high classes first.
    queue = dedent("""\
        timeout queue 100ms
            http-request set-priority-class int(-10) if { req.hdr(x-priority) high }
            http-request set-priority-class int(10) if { req.hdr(x-priority) low }""") if place.room else ""
    http_check = "option httpchk GET /health" if place.probe == "http" else ""
    return f"""\
global
    nbthread {place.threads}
    maxconn 9000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server {ATTEMPT}s
    timeout http-keep-alive 75s
    timeout check 1s
frontend clients
    bind 127.0.0.1:{place.port} backlog 4096
    default_backend shop
backend shop
    balance leastconn
    {http_check}
    retries 2
    option redispatch 1
    retry-on {retry_on}
    {queue}
    default-server check inter 2s fall 3 rise 2 observe layer7 error-limit 5 on-error mark-down
{servers}
"""


def envoy(place, program):
    return [program, "-c", place.write("envoy.yaml", envoy_config(place)), "--concurrency", str(place.threads),
            "--disable-hot-restart", "-l", "error"]


def envoy_config(place):
    endpoints = "\n".join(
        f"        - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}"
        for host, port in (endpoint.split(":") for endpoint in place.endpoints)
    )
    probe = "http_health_check: { path: /health }" if place.probe == "http" else "tcp_health_check: {}"
    types = "type.googleapis.com/envoy.extensions"
    return f"""\
static_resources:
  listeners:
  - name: clients
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {place.port} }} }}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
{envoy_routes(place)}
          http_filters:
          - name: router
            typed_config: {{ "@type": {types}.filters.http.router.v3.Router }}
  clusters:
  - name: shop
    type: STATIC
    connect_timeout: 2s
    lb_policy: LEAST_REQUEST
    circuit_breakers:
      thresholds:
{envoy_thresholds(place)}
    health_checks:
    - {{ interval: 2s, no_traffic_interval: 2s, timeout: 1s, unhealthy_threshold: 3, healthy_threshold: 2, {probe} }}
    outlier_detection:
      # After the first ejection it takes more than these: https://github.com/envoyproxy/envoy/issues/40697.
      consecutive_5xx: 5
      # 80 % of at least 50 requests, as evenkeel has it; but of one interval, which is also how often it looks who may
      # return.
      failure_percentage_threshold: 20
      enforcing_failure_percentage: 100
      failure_percentage_minimum_hosts: 2
      failure_percentage_request_volume: 50
      interval: 1s
      base_ejection_time: 10s
      max_ejection_time: 300s
      max_ejection_percent: 50
      # Else a probe by TCP would end each ejection at once.
      successful_active_health_check_uneject_host: false
    load_assignment:
      cluster_name: shop
      endpoints:
      - lb_endpoints:
{endpoints}
"""


def envoy_routes(place):
    # No pause before another endpoint, as far as that can be said; never the same endpoint again.
    retry = f"""retry_policy:
                    retry_on: connect-failure,refused-stream,reset,retriable-status-codes
                    retriable_status_codes: [503]
                    num_retries: 2
                    per_try_timeout: {ATTEMPT}s
                    retry_back_off: {{ base_interval: 0.001s, max_interval: 0.002s }}
                    host_selection_retry_max_attempts: 5
                    retry_host_predicate:
                    - name: previous
                      typed_config:
                        "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"""
    rest = f"""\
              - match: {{ prefix: "/" }}
                route:
                  cluster: shop
                  timeout: 60s
                  {retry}"""
    if not place.room:
        return rest
    # It knows two priorities, each with a limit of its own.
    return f"""\
              - match: {{ prefix: "/", headers: [{{ name: x-priority, string_match: {{ exact: high }} }}] }}
                route:
                  cluster: shop
                  priority: HIGH
                  timeout: 60s
                  {retry}
{rest}"""


def envoy_thresholds(place):
    budget = "retry_budget: { budget_percent: { value: 20 }, min_retry_concurrency: 3 }"
    if not place.room:
        return f"      - {{ max_connections: 90000, max_pending_requests: 90000, max_requests: 90000, {budget} }}"
    # Who finds no connection is pending: a queue in order of arrival, without a time.
    threshold = (f"max_connections: {place.room}, max_pending_requests: {place.room * OVERLOAD_QUEUE}, "
                 f"max_requests: {place.room * (1 + OVERLOAD_QUEUE)}, {budget}")
    return f"      - {{ priority: DEFAULT, {threshold} }}\n      - {{ priority: HIGH, {threshold} }}"


def subjects(program):
    """All of them; `program` is the evenkeel to take instead of the one that is built here."""
    find = (lambda _: program) if program else built
    version = first_version("--version")
    faults, cases = ("slow", "failing", "stopped", "killed"), ("half failing", "overload")
    return [
        Subject("evenkeel round_robin", find, version, evenkeel("round_robin"), faults),
        Subject("evenkeel least_requests", find, version, evenkeel("least_requests"), faults + ("overload",)),
        Subject("evenkeel least_time", find, version, evenkeel("least_time"), faults),
        Subject("evenkeel told the same", find, version, evenkeel("least_requests", same_as_others=True),
                ("failing", "stopped", "half failing")),
        Subject("nginx", on_path("nginx"), first_version("-v"), nginx, faults + cases),
        Subject("HAProxy", on_path("haproxy"), first_version("-v"),
                haproxy("conn-failure empty-response response-timeout 503"), faults + cases),
        Subject("HAProxy marking down", on_path("haproxy"), first_version("-v"),
                haproxy("conn-failure empty-response response-timeout"), ("failing", "half failing")),
        Subject("Envoy", find_envoy, first_version("--version"), envoy, faults + cases),
    ]
