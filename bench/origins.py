"""What stands behind the proxies: one nginx with three ports, which counts what it is asked."""

import os
import re
import time
import urllib.request
from pathlib import Path

from process import Process

SIZES = {"/100": 100, "/10k": 10_000, "/1m": 1_000_000}
UPLOAD = "/upload"


class Origins:
    def __init__(self, folder, port, cpus):
        self.folder = Path(folder)
        self.addresses = [f"127.0.0.1:{port + n}" for n in range(3)]
        self.status = f"http://127.0.0.1:{port + 3}/"
        for path, size in SIZES.items():
            (self.folder / path.strip("/")).write_bytes(os.urandom(size))
        command = ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", self.config(port)]
        self.process = Process(command, cpus, log=open(f"{folder}/output.log", "wb"))
        time.sleep(1)
        if self.process.has_ended():
            raise SystemExit(f"the origins do not start: {(self.folder / 'output.log').read_text()}")

    def config(self, port):
        listen = " ".join(f"listen 127.0.0.1:{port + n} backlog=4096;" for n in range(3))
        temporary = " ".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = self.folder / "origins.conf"
        path.write_text(f"""
            worker_processes 1;
            worker_rlimit_nofile 19000;
            daemon off;
            pid {self.folder}/nginx.pid;
            events {{ worker_connections 18000; }}
            http {{
                access_log off; tcp_nodelay on; {temporary} client_max_body_size 0;
                keepalive_timeout 300s; keepalive_requests 1000000000; open_file_cache max=10;
                proxy_http_version 1.1; proxy_set_header Connection "";
                server {{
                    {listen} root {self.folder};
                    location = {UPLOAD} {{
                        # Whoever passes a request on reads all of it first; this one counts twice.
                        client_body_buffer_size 256k; proxy_pass_request_body off; proxy_set_header Content-Length "";
                        proxy_pass http://taken;
                    }}
                }}
                upstream taken {{ server 127.0.0.1:{port + 3}; keepalive 64; }}
                server {{
                    listen 127.0.0.1:{port + 3};
                    location / {{ stub_status; }}
                    location = {UPLOAD} {{ return 200 "taken\\n"; }}
                }}
            }}
            """)
        return str(path)

    def served(self):
        """Requests since the start; each question is one itself."""
        with urllib.request.urlopen(self.status, timeout=5) as answer:
            return int(re.search(r"\n \d+ \d+ (\d+)", answer.read().decode()).group(1))

    def stop(self):
        self.process.stop()


class Everywhere:
    """One origin that answers on every address of loopback: as many endpoints as anybody wants. It answers whatever the
    path is with 100 bytes."""

    def __init__(self, folder, port, cpus):
        self.port = port
        self.folder = Path(folder)
        self.folder.mkdir()
        config = self.folder / "origin.conf"
        config.write_text(f"""
            worker_processes 1;
            worker_rlimit_nofile 20000;
            daemon off;
            pid {folder}/nginx.pid;
            events {{ worker_connections 19900; }}
            http {{
                access_log off; tcp_nodelay on; keepalive_timeout 600s; keepalive_requests 1000000000;
                server {{ listen 0.0.0.0:{port} backlog=4096; location / {{ return 200 "{'x' * 100}"; }} }}
            }}
            """)
        command = ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)]
        self.process = Process(command, cpus, log=open(f"{folder}/output.log", "wb"))
        time.sleep(1)
        if self.process.has_ended():
            raise SystemExit(f"the origin does not start: {(self.folder / 'output.log').read_text()}")

    def endpoints(self, count, first=0):
        """So many addresses of it, all of them different."""
        numbers = range(first, first + count)
        return [f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:{self.port}" for n in numbers]

    def stop(self):
        self.process.stop()
