"""What the proxies are asked, and by whom: h2load, ab, and a load of ours for steady rates (h2load sends those in bursts).
Every response counts and is of the right size."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from origins import SIZES, UPLOAD

# As a browser sends them.
BROWSER = [
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-encoding: gzip, deflate, br, zstd",
    "accept-language: en-GB,en;q=0.8,de;q=0.5",
    "cookie: session=8f3b2c1d9e7a6f5b4c3d2e1f0a9b8c7d; theme=dark; consent=functional%2Canalytics; id=" + "x" * 120,
    "referer: https://www.example.com/products/list?page=3&sort=price",
    "sec-fetch-dest: document",
    "sec-fetch-mode: navigate",
    "sec-fetch-site: same-origin",
    "upgrade-insecure-requests: 1",
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
]


# Different in each request would be fairer, but h2load cannot: HPACK makes little of those that repeat.
FORTY = [f"x-field-{number}: {'v' * 20}{number}" for number in range(30)] + BROWSER


@dataclass
class Scenario:
    name: str
    what: str
    requests: int
    connections: int
    path: str = "/100"
    tls: bool = False
    # A connection for each request.
    new: bool = False
    http2: bool = False
    # Of one connection at a time.
    streams: int = 1
    upload: int = 0
    headers: tuple = ()
    # Requests a second, instead of as many as there can be.
    rate: int = 0


@dataclass
class Outcome:
    requests: int
    seconds: float
    # In microseconds; nothing where the tool does not say.
    p50: float = None
    p99: float = None


class WrongAnswers(Exception):
    pass


SCENARIOS = [
    Scenario("100 B", "100 bytes, 64 connections", 60_000, 64),
    Scenario("10 kB", "10,000 bytes, 64 connections", 40_000, 64, "/10k"),
    Scenario("1 MB", "1,000,000 bytes, 16 connections", 3_000, 16, "/1m"),
    Scenario("upload", "100,000 bytes up, 16 connections", 10_000, 16, UPLOAD, upload=100_000),
    Scenario("headers", "100 bytes, a browser's header fields, 64 connections", 40_000, 64, headers=tuple(BROWSER)),
    Scenario("1000 connections", "100 bytes, 1,000 connections", 60_000, 1000),
    Scenario("new connections", "100 bytes, a connection for each request, 32 at a time", 20_000, 32, new=True),
    Scenario("2000 a second", "100 bytes, 2,000 requests a second, 64 connections", 10_000, 64, rate=2_000),
    Scenario("8000 a second", "100 bytes, 8,000 requests a second, 64 connections", 40_000, 64, rate=8_000),
    Scenario("TLS", "100 bytes over TLS, 64 connections", 40_000, 64, tls=True),
    Scenario("HTTP/2", "100 bytes over TLS and HTTP/2, 64 connections", 40_000, 64, tls=True, http2=True),
    Scenario("HTTP/2 10 streams", "100 bytes over TLS and HTTP/2, 10 streams on each of 64 connections", 60_000, 64, tls=True, http2=True, streams=10),
    Scenario("HTTP/2 10 kB", "10,000 bytes over TLS and HTTP/2, 64 connections", 30_000, 64, "/10k", tls=True, http2=True),
    Scenario("HTTP/2 40 fields", "100 bytes over TLS and HTTP/2, forty header fields, 64 connections", 30_000, 64, tls=True, http2=True, headers=tuple(FORTY)),
    Scenario("handshakes", "100 bytes, a TLS connection for each request, 32 at a time", 4_000, 32, tls=True, new=True),
]


def run(scenario, port, cpus, folder, tools, scale=1.0, limit=60):
    """Puts one load on the proxy at `port`. Raises `WrongAnswers` if one response is missing or wrong."""
    requests = max(scenario.connections * 4, int(scenario.requests * scale))
    if scenario.rate:
        return steady(scenario, port, cpus, folder, tools, requests, limit)
    load = by_ab if scenario.new else by_h2load
    return load(scenario, port, cpus, folder, requests, limit)


def url(scenario, port):
    return f"{'https' if scenario.tls else 'http'}://127.0.0.1:{port}{scenario.path}"


def told(command, cpus, limit):
    pinned = ["taskset", "-c", cpus] if cpus else []
    done = subprocess.run([*pinned, *command], capture_output=True, text=True, timeout=limit)
    return done.stdout + done.stderr


def number(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise WrongAnswers(f"the load says nothing of {pattern!r}:\n{text[-500:]}")
    return float(found.group(1))


def by_h2load(scenario, port, cpus, folder, requests, limit):
    log = folder / "requests.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-n", str(requests), "-c", str(scenario.connections), "-t", "1", f"--log-file={log}"]
    if not scenario.http2:
        command.append("--h1")
    if scenario.streams > 1:
        command += ["-m", str(scenario.streams)]
    if scenario.upload:
        body = folder / "body"
        body.write_bytes(b"x" * scenario.upload)
        command.append(f"--data={body}")
    for field in scenario.headers:
        command += ["-H", field]
    text = told([*command, url(scenario, port)], cpus, limit)
    succeeded = number(r"(\d+) succeeded", text)
    fine = number(r"status codes: (\d+) 2xx", text)
    data = number(r"\((\d+)\) data", text)
    expected = requests * SIZES.get(scenario.path, len("taken\n"))
    if (succeeded, fine, data) != (requests, requests, expected):
        raise WrongAnswers(f"{fine:.0f} of {requests} answers, {data:.0f} of {expected} bytes\n{text[-500:]}")
    times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    log.unlink()
    finished = re.search(r"finished in ([\d.]+)(us|ms|s)", text)
    seconds = float(finished.group(1)) * {"us": 1e-6, "ms": 1e-3, "s": 1}[finished.group(2)]
    return Outcome(requests, seconds, at(0.5), at(0.99))


def by_ab(scenario, port, cpus, _folder, requests, limit):
    command = ["ab", "-q", "-n", str(requests), "-c", str(scenario.connections)]
    text = told([*command, url(scenario, port)], cpus, limit)
    complete = number(r"Complete requests:\s+(\d+)", text)
    failed = number(r"Failed requests:\s+(\d+)", text)
    data = number(r"HTML transferred:\s+(\d+)", text)
    if (complete, failed, data) != (requests, 0, requests * SIZES[scenario.path]) or "Non-2xx" in text:
        raise WrongAnswers(f"{complete:.0f} answers, {failed:.0f} failed\n{text[-500:]}")
    return Outcome(requests, number(r"Time taken for tests:\s+([\d.]+)", text))


def steady(scenario, port, cpus, folder, tools, requests, limit):
    targets = folder / "targets"
    targets.write_text(f"127.0.0.1 {scenario.path}\n")
    command = [str(Path(tools) / "bin/load"), "--address", f"127.0.0.1:{port}", "--targets", str(targets),
               "--connections", str(scenario.connections), "--requests", str(requests), "--rate", str(scenario.rate),
               "--body", str(SIZES[scenario.path])]
    text = told(command, cpus, limit)
    try:
        found = json.loads(text)
    except ValueError:
        raise WrongAnswers(text[-500:]) from None
    if found["requests"] != requests:
        raise WrongAnswers(f"{found['requests']} of {requests} answers")
    return Outcome(requests, found["seconds"], found["p50_us"], found["p99_us"])
