"""The proxies: each in a process of its own, on a port of its own, in front of one endpoint.

Their limits are set alike, so that what they differ in is how they read; and none takes a client that has said all for one
that has gone. Everything else is as they come.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

EVENKEEL = """\
server: {{ threads: 1 }}
admin: {{ listen: off }}
log: {{ level: warn }}
access_log: {{ output: "{folder}/access.log", format: json, queue: 65536 }}
listeners: [{{ name: test, address: "127.0.0.1:{port}", half_close: true }}]
routes: [{{ name: all, pool: all }}]
pools:
  all: {{ endpoints: ["127.0.0.1:{endpoint}"], health_check: off, retry: off }}
"""

NGINX = """\
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 256; }}
http {{
  access_log off; large_client_header_buffers 4 64k; client_header_timeout 4s; client_body_timeout 4s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream all {{ server 127.0.0.1:{endpoint}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://all; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_ignore_client_abort on; proxy_next_upstream off;
    }}
  }}
}}
"""

HAPROXY = """\
global
  nbthread 1
  tune.bufsize 131072
  tune.http.maxhdr 256
defaults
  mode http
  timeout connect 4s
  timeout client 4s
  timeout server 4s
  timeout http-request 4s
  http-reuse always
listen all
  bind 127.0.0.1:{port}
  server one 127.0.0.1:{endpoint}
"""

EVENKEEL_BINARY = os.environ.get("EVENKEEL", "target/debug/evenkeel")

# Name: binary, config, arguments, and how it is asked for its version.
KINDS = {
    "evenkeel": (EVENKEEL_BINARY, EVENKEEL, ["run", "-c"], "--version"),
    "nginx": ("nginx", NGINX, ["-e", "stderr", "-c"], "-v"),
    "haproxy": ("haproxy", HAPROXY, ["-db", "-f"], "-v"),
}


def find(kind: str) -> str | None:
    """The binary of a kind, if this machine has it; daemons may be beyond a user's path."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return shutil.which(KINDS[kind][0], path=path)


def version(kind: str) -> str:
    done = subprocess.run([find(kind), KINDS[kind][3]], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).splitlines()[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Subject:
    """A running proxy."""

    def __init__(self, kind: str, endpoint_port: int, folder: Path):
        self.kind = kind
        self.folder = folder
        self.port = free_port()
        _, config, arguments, _ = KINDS[kind]
        file = folder / "config.yaml"
        file.write_text(config.format(folder=folder, port=self.port, endpoint=endpoint_port))
        said = (folder / "said").open("wb")
        self.process = subprocess.Popen([find(kind), *arguments, str(file)], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.alive():
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{self.kind} did not start: {(self.folder / 'said').read_text(errors='replace')}")

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
