#!/usr/bin/env python3
"""What compression costs, beside nginx: gzip of the same bodies at the same level.

Both proxies stand before the same origin, with one worker each, and take turns in every round. The figure is the processor
time of the proxy for a response, less what the same response takes without compression, and how large it becomes.
"""

import argparse
import http.client
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from peers import ROOT
from process import Process

ORIGIN, NGINX, EVENKEEL = 21_500, 21_501, 21_502
LEVELS = [1, 4, 6, 9]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evenkeel", default=str(ROOT / "target/release/evenkeel"))
    parser.add_argument("--requests", type=int, default=400, help="of each body, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--proxy-cpus", default="0", help="processors of the proxy; '' for any")
    parser.add_argument("--load-cpus", default="1", help="processors of clients and origin; '' for any")
    return parser.parse_args()


def bodies():
    """Texts of this repository, as large as pages, scripts and answers of an API are."""
    pages = "".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    sources = "".join(path.read_text() for path in sorted((ROOT / "src/exchange").glob("*.rs")))
    lock = (ROOT / "Cargo.lock").read_text()
    return {"page.html": pages[:100_000], "script.js": sources[:300_000], "answer.json": lock[:20_000]}


def nginx(folder, name, server):
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{name}-{kind};" for kind in kinds)
    path = folder / f"{name}.conf"
    types = "types { text/html html; text/javascript js; application/json json; }"
    path.write_text(
        f"worker_processes 1; daemon off; pid {folder}/{name}.pid; events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; {temporary} {types} keepalive_requests 1000000;\n{server}\n}}\n"
    )
    return ["nginx", "-p", str(folder), "-e", f"{folder}/{name}.log", "-c", str(path)]


def nginx_proxy(folder, level):
    compress = f"gzip on; gzip_proxied any; gzip_types text/javascript application/json; gzip_comp_level {level};"
    return nginx(
        folder,
        "nginx",
        f"upstream origin {{ server 127.0.0.1:{ORIGIN}; keepalive 8; }}\n"
        f"server {{ listen 127.0.0.1:{NGINX}; {compress if level else ''} location / {{ proxy_pass http://origin;"
        " proxy_http_version 1.1; proxy_set_header Connection ''; } }",
    )


def evenkeel_proxy(binary, folder, level):
    compress = f"compress: {{ encodings: [gzip], level: {level} }}, " if level else ""
    path = folder / "evenkeel.yaml"
    path.write_text(
        f"server: {{ threads: 1, state: off }}\nadmin: {{ listen: 'unix:{folder}/admin.sock' }}\n"
        f"access_log: {{ output: off }}\nlisteners: [{{ name: bench, address: '127.0.0.1:{EVENKEEL}' }}]\n"
        f"routes: [{{ name: bench, {compress}pool: origin }}]\npools: {{ origin: ['127.0.0.1:{ORIGIN}'] }}\n"
    )
    return [binary, "run", "-c", str(path)]


def started(command, port, cpus, log):
    process = Process(command, cpus, log=open(log, "ab"))
    end = time.monotonic() + 20
    while time.monotonic() < end and not process.has_ended():
        try:
            ask(port, "/answer.json")
            return process
        except OSError:
            time.sleep(0.05)
    process.stop()
    raise SystemExit(f"{command[0]} does not serve: {log.read_text()[-500:]}")


def ask(port, path):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    client.request("GET", path, headers={"Accept-Encoding": "gzip"})
    answer = client.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{path} is answered {answer.status}")
    return answer.getheader("Content-Encoding"), len(answer.read())


def cost(process, port, path, options):
    """Processor time of a response in microseconds, and its size."""
    encoding, size = ask(port, path)
    load = ["h2load", "--h1", "-n", str(options.requests), "-c", "4", "-H", "accept-encoding: gzip"]
    pinned = ["taskset", "-c", options.load_cpus] if options.load_cpus else []
    before = process.cpu_us()
    told = subprocess.run([*pinned, *load, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True).stdout
    if f"{options.requests} 2xx" not in told:
        raise SystemExit(f"not all were answered: {told}")
    return (process.cpu_us() - before) / options.requests, size, encoding


def measured(folder, options, names):
    """Costs by subject, level and body: a list, one of each round."""
    costs, sizes = {}, {}
    subjects = {
        "nginx": (NGINX, lambda level: nginx_proxy(folder, level)),
        "evenkeel": (EVENKEEL, lambda level: evenkeel_proxy(options.evenkeel, folder, level)),
    }
    for _ in range(options.rounds):
        for level in [0, *LEVELS]:
            for subject, (port, command) in subjects.items():
                process = started(command(level), port, options.proxy_cpus, folder / f"{subject}.out")
                try:
                    for name in names:
                        took, size, encoding = cost(process, port, f"/{name}", options)
                        if (encoding == "gzip") != (level > 0):
                            raise SystemExit(f"{subject} at level {level} says {encoding}")
                        costs.setdefault((subject, level, name), []).append(took)
                        sizes[subject, level, name] = size
                finally:
                    process.stop()
    return costs, sizes


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder, texts = Path(name), bodies()
        # The workers of nginx are nobody's.
        folder.chmod(0o755)
        for file, text in texts.items():
            (folder / file).write_text(text)
        serve = f"server {{ listen 127.0.0.1:{ORIGIN}; root {folder}; }}"
        origin = started(nginx(folder, "origin", serve), ORIGIN, options.load_cpus, folder / "origin.out")
        try:
            costs, sizes = measured(folder, options, texts)
        finally:
            origin.stop()
    print("| body | level | nginx, us | evenkeel, us | nginx, bytes | evenkeel, bytes |\n|---|---|---|---|---|---|")
    for file, text in texts.items():
        for level in LEVELS:
            own = lambda subject, level: statistics.median(costs[subject, level, file])
            extra = {subject: own(subject, level) - own(subject, 0) for subject in ("nginx", "evenkeel")}
            size = {subject: sizes[subject, level, file] for subject in ("nginx", "evenkeel")}
            print(
                f"| {file}, {len(text.encode()):,} | {level} | {extra['nginx']:,.0f} | {extra['evenkeel']:,.0f} "
                f"| {size['nginx']:,} | {size['evenkeel']:,} |"
            )


if __name__ == "__main__":
    main()
