"""The proxies that are compared: how each is told to balance over the same origins, and how it is started.

None of them logs requests, but evenkeel, whose access log is on unless its name says otherwise, and the nginx whose name
says that it does, as nginx does by default: a line of the combined format, written with each request.
"""

import re
import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Place:
    """Where a proxy runs, and what it is to do there."""

    folder: Path
    port: int
    threads: int
    origins: list
    tls: bool
    cert: Path
    key: Path
    both: Path
    tools: Path

    def write(self, name, text):
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return str(path)


@dataclass
class Peer:
    name: str
    # The program, or nothing if it is not here.
    find: callable
    version: callable
    # (place, program) -> command
    command: callable
    env: callable = lambda place: {}
    tls: bool = True


def first_version(*command):
    def version(program):
        told = subprocess.run([program, *command], capture_output=True, text=True)
        # Not of the path that some of them tell, too.
        text = (told.stdout + told.stderr).replace(str(program), "")
        found = re.search(r"\d+\.\d+\.\d+|\d+\.\d+", text)
        return found.group(0) if found else "?"

    return version


def on_path(name):
    return lambda tools: shutil.which(name, path=f"{tools}/bin:{tools}/venv/bin:/usr/sbin:/usr/bin")


def evenkeel(log, engine="native"):
    def command(place, program):
        tls = f"tls: {{ certificates: [{{ cert: {place.cert}, key: {place.key} }}] }}" if place.tls else ""
        output = place.folder / "access.log" if log else "off"
        return [program, "run", "-c", place.write("evenkeel.yaml", f"""\
            server: {{ threads: {place.threads} }}
            admin: {{ listen: "unix:{place.folder}/admin.sock" }}
            access_log: {{ output: {output}, format: json }}
            listeners:
              - {{ name: bench, address: "127.0.0.1:{place.port}", engine: {engine}, {tls} }}
            routes: [{{ name: bench, pool: origin }}]
            pools: {{ origin: [{", ".join(place.origins)}] }}
            """)]

    return command


def nginx(log):
    return lambda place, program: [program, "-e", f"{place.folder}/error.log", "-p", str(place.folder),
                                   "-c", nginx_config(place, f"{place.folder}/access.log" if log else "off")]


def nginx_config(place, log):
    listen = "ssl http2 backlog=4096" if place.tls else "backlog=4096"
    certificate = f"ssl_certificate {place.cert}; ssl_certificate_key {place.key};" if place.tls else ""
    servers = " ".join(f"server {origin};" for origin in place.origins)
    temporary = " ".join(
        f"{kind}_temp_path {place.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Buffers as large as HAProxy's, and no response on the disk.
    return place.write("nginx.conf", f"""\
        worker_processes {place.threads};
        worker_rlimit_nofile 19000;
        daemon off;
        pid {place.folder}/nginx.pid;
        error_log {place.folder}/error.log error;
        events {{ worker_connections 18000; }}
        http {{
            access_log {log}; tcp_nodelay on; {temporary}
            client_max_body_size 0; client_body_buffer_size 256k;
            keepalive_timeout 300s; keepalive_requests 1000000000;
            upstream origin {{ {servers} keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 300s; }}
            server {{
                listen 127.0.0.1:{place.port} {listen}; {certificate}
                location / {{
                    proxy_pass http://origin; proxy_http_version 1.1;
                    proxy_set_header Connection ""; proxy_set_header Host $host;
                    proxy_buffers 8 16k; proxy_busy_buffers_size 32k; proxy_max_temp_file_size 0;
                }}
            }}
        }}
        """)


def haproxy(place, program):
    secured = f"ssl crt {place.both} alpn h2,http/1.1" if place.tls else ""
    servers = "\n".join(f"            server o{n} {origin}" for n, origin in enumerate(place.origins))
    return [program, "-db", "-q", "-f", place.write("haproxy.cfg", f"""\
        global
            nbthread {place.threads}
            maxconn 9000
        defaults
            mode http
            timeout connect 5s
            timeout client 300s
            timeout server 300s
            timeout http-keep-alive 300s
            http-reuse always
        frontend bench
            bind 127.0.0.1:{place.port} backlog 4096 {secured}
            default_backend origin
        backend origin
            balance roundrobin
""" + servers + "\n")]


def envoy(place, program):
    secured = f"""
              transport_socket:
                name: tls
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
                  common_tls_context:
                    alpn_protocols: [h2, http/1.1]
                    tls_certificates:
                    - {{ certificate_chain: {{ filename: {place.cert} }}, private_key: {{ filename: {place.key} }} }}
    """ if place.tls else ""
    endpoints = "".join(
        f"\n                - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}"
        for host, port in (origin.split(":") for origin in place.origins)
    )
    config = place.write("envoy.yaml", f"""\
        static_resources:
          listeners:
          - name: bench
            address: {{ socket_address: {{ address: 127.0.0.1, port_value: {place.port} }} }}
            filter_chains:
            - filters:
              - name: http
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                  stat_prefix: bench
                  generate_request_id: false
                  http_protocol_options: {{ accept_http_10: true }}
                  route_config:
                    virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: origin, timeout: 300s }} }}]
                  http_filters:
                  - name: router
                    typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}{secured}
          clusters:
          - name: origin
            type: STATIC
            connect_timeout: 5s
            circuit_breakers: {{ thresholds: [{{ max_connections: 90000, max_pending_requests: 90000, max_requests: 90000 }}] }}
            load_assignment:
              cluster_name: origin
              endpoints:
              - lb_endpoints:{endpoints}
        """)
    return [program, "-c", config, "--concurrency", str(place.threads), "--disable-hot-restart", "-l", "error"]


def find_envoy(tools):
    found = sorted(Path(tools).glob("venv/lib/python3*/site-packages/envoy/_bin/envoy"))
    return str(found[0]) if found else on_path("envoy")(tools)


def caddy(place, program):
    scheme, secured = ("https", f"tls {place.cert} {place.key}") if place.tls else ("http", "")
    return [program, "run", "--adapter", "caddyfile", "--config", place.write("Caddyfile", f"""\
        {{
            admin off
            auto_https off
            persist_config off
            log default {{
                output discard
            }}
        }}
        {scheme}://:{place.port} {{
            bind 127.0.0.1
            {secured}
            reverse_proxy {{
                to {" ".join(place.origins)}
                lb_policy round_robin
                transport http {{
                    keepalive_idle_conns_per_host 1024
                    compression off
                }}
            }}
        }}
        """)]


def traefik(place, program):
    servers = "".join(f'\n                  - url: "http://{origin}"' for origin in place.origins)
    secured = f"""
        tls:
          stores:
            default:
              defaultCertificate: {{ certFile: {place.cert}, keyFile: {place.key} }}
    """ if place.tls else ""
    router = "tls: {}" if place.tls else ""
    dynamic = place.write("dynamic.yml", f"""\
        http:
          routers:
            all:
              rule: "PathPrefix(`/`)"
              entryPoints: [web]
              service: origin
              {router}
          services:
            origin:
              loadBalancer:
                servers:{servers}{secured}
        """)
    static = place.write("static.yml", f"""\
        global: {{ checkNewVersion: false, sendAnonymousUsage: false }}
        log: {{ level: ERROR }}
        entryPoints: {{ web: {{ address: "127.0.0.1:{place.port}" }} }}
        serversTransport: {{ maxIdleConnsPerHost: 1024 }}
        providers: {{ file: {{ filename: {dynamic}, watch: false }} }}
        """)
    return [program, f"--configFile={static}"]


def sozu(place, program):
    backends = ", ".join(f'{{ address = "{origin}", backend_id = "o{n}" }}' for n, origin in enumerate(place.origins))
    return [program, "start", "-c", place.write("sozu.toml", f"""\
        command_socket = "{place.folder}/sozu.sock"
        log_level = "error"
        log_target = "stdout"
        worker_count = {place.threads}
        worker_automatic_restart = false
        max_connections = 9000
        max_buffers = 19000
        activate_listeners = true
        front_timeout = 300
        back_timeout = 300
        [[listeners]]
        protocol = "http"
        address = "127.0.0.1:{place.port}"
        [clusters.origin]
        protocol = "http"
        load_balancing = "ROUND_ROBIN"
        frontends = [{{ address = "127.0.0.1:{place.port}", hostname = "127.0.0.1" }}]
        backends = [{backends}]
        """)]


def bare_pingora(place, program):
    secured = ["--cert", str(place.cert), "--key", str(place.key)] if place.tls else []
    return [program, f"127.0.0.1:{place.port}", str(place.threads), ",".join(place.origins), *secured]


def of_go(place):
    home = str(place.folder)
    return {"GOMAXPROCS": str(place.threads), "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}


def built(tools):
    path = ROOT / "target/release/evenkeel"
    return str(path) if path.exists() else None


def another_build(name, program):
    return Peer(name, lambda _: program, first_version("--version"), evenkeel(log=True))


PEERS = [
    Peer("evenkeel", built, first_version("--version"), evenkeel(log=True)),
    Peer("evenkeel without log", built, first_version("--version"), evenkeel(log=False)),
    Peer("evenkeel (engine pingora)", built, first_version("--version"), evenkeel(log=True, engine="pingora")),
    Peer("nginx", on_path("nginx"), first_version("-v"), nginx(log=False)),
    Peer("nginx with log", on_path("nginx"), first_version("-v"), nginx(log=True)),
    Peer("HAProxy", on_path("haproxy"), first_version("-v"), haproxy),
    Peer("bare Pingora", on_path("bare-pingora"), lambda _: "0.9.1", bare_pingora),
    Peer("Envoy", find_envoy, first_version("--version"), envoy),
    Peer("Caddy", on_path("caddy"), first_version("version"), caddy, of_go),
    Peer("Traefik", on_path("traefik"), first_version("version"), traefik, of_go),
    Peer("Sozu", on_path("sozu"), first_version("--version"), sozu, tls=False),
]
