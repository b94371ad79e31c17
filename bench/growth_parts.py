"""How the cost of a request grows, part by part. Each part gives rows: dicts of figures, one for each measurement."""

import json
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from origins import Everywhere
from peers import ROOT
from process import Process
from subject import Subject, Tools, Wrong, cost, load, load_command, outcome

PORT = 22_000
ROUTES = (1, 100, 10_000)
ENDPOINTS = (3, 100, 10_000)
CONNECTIONS = (1, 10, 100, 1_000, 5_000)
CHECKED = 1_000
MANY = 10_000
RELOADS = 20

ONE_ROUTE = "routes: [{ pool: pool }]\n"


@dataclass
class Bench:
    tools: Tools
    folder: Path
    origin: Everywhere
    rounds: int
    scale: float
    started: int = 0

    def subject(self, config, **more):
        self.started += 1
        folder = self.folder / f"run-{self.started}"
        return Subject(self.tools, folder, PORT + self.started % 900, config, **more)

    def targets(self, lines):
        path = self.folder / "targets"
        path.write_text("\n".join(lines) + "\n")
        return path

    def requests(self, count, connections=0):
        return max(int(count * self.scale), 2 * connections)

    def one_target(self):
        return self.targets(["bench.example /100"])


def interleaved(bench, cases):
    """Each case once in every round: its figures, with the round."""
    for number in range(bench.rounds):
        for case in cases:
            yield {"round": number, **case()}


def pool(endpoints, **settings):
    """As a file has it, one line for each endpoint."""
    text = "".join(f"\n    {key}: {value}" for key, value in settings.items())
    return f"pools:\n  pool:{text}\n    endpoints:\n" + "".join(f"      - {endpoint}\n" for endpoint in endpoints)


def measured(bench, subject, targets, connections, requests, warm):
    """Processor time and times of answers of one load on a subject, which it ends."""
    address = f"127.0.0.1:{subject.port}"
    try:
        if warm:
            load(bench.tools, address, targets, connections, "--requests", warm)
        us, told = cost(subject.process, lambda: load(bench.tools, address, targets, connections, "--requests", requests))
        return {"cpu_us": us, "p50_us": told["p50_us"], "p99_us": told["p99_us"], "memory": subject.process.memory()}
    finally:
        subject.stop()


# === Routes ===


def route(number):
    """One of three kinds in turns, its target beside it."""
    match number % 3:
        case 0:
            host = f"h{number}.example.com"
            return f"hosts: [{host}]", f"{host} /any/path"
        case 1:
            return f"hosts: [api.example.com], paths: [/p{number}]", f"api.example.com /p{number}/some/thing"
        case _:
            return f"paths: [{{ exact: /e{number} }}]", f"www.example.com /e{number}"


def routes(count, generation=0):
    rules = (route(number)[0] for number in range(count))
    return "routes:\n" + "".join(f"  - {{ name: r{number}-{generation}, match: {{ {rule} }}, pool: pool }}\n" for number, rule in enumerate(rules))


def by_routes(bench):
    backends = pool(bench.origin.endpoints(3))

    def of(count):
        targets = bench.targets(route(number)[1] for number in range(count))
        subject = bench.subject(routes(count) + backends)
        return {"size": count, **measured(bench, subject, targets, 64, bench.requests(60_000), max(2 * count, 6_000))}

    yield from interleaved(bench, [lambda count=count: of(count) for count in ROUTES])


# === Endpoints ===


def by_endpoints(bench):
    targets = bench.one_target()

    def of(count):
        endpoints = bench.origin.endpoints(count)
        subject = bench.subject(ONE_ROUTE + pool(endpoints, health_check="off", timeouts="{ keep_alive: 10m }"))
        return {"size": count, "who": "evenkeel", **measured(bench, subject, targets, 64, bench.requests(60_000), max(2 * count, 6_000))}

    def floor(count):
        subject = Forwarder(bench, bench.origin.endpoints(count))
        return {"size": count, "who": "forwarder", **measured(bench, subject, targets, 64, bench.requests(60_000), max(2 * count, 6_000))}

    yield from interleaved(bench, [lambda of=kind, count=count: of(count) for count in ENDPOINTS for kind in (of, floor)])


class Forwarder:
    """The floor: what moving bytes costs, with nothing of a proxy."""

    def __init__(self, bench, endpoints):
        bench.started += 1
        self.port = PORT + bench.started % 900
        origins = bench.folder / "origins"
        origins.write_text("\n".join(endpoints) + "\n")
        self.process = Process([str(bench.tools.forwarder), f"127.0.0.1:{self.port}", str(origins)], bench.tools.proxy_cpus)
        time.sleep(0.3)

    def stop(self):
        self.process.stop()


# === Connections ===


def by_connections(bench):
    targets = bench.one_target()
    backends = ONE_ROUTE + pool(bench.origin.endpoints(3), health_check="off")

    def requests(count):
        return bench.requests(20_000 if count == 1 else 60_000, count)

    def of(count):
        subject = bench.subject(backends)
        return {"size": count, "who": "evenkeel", **measured(bench, subject, targets, count, requests(count), max(2 * count, 6_000))}

    def floor(count):
        subject = Forwarder(bench, bench.origin.endpoints(3))
        return {"size": count, "who": "forwarder", **measured(bench, subject, targets, count, requests(count), max(2 * count, 6_000))}

    yield from interleaved(bench, [lambda of=kind, count=count: of(count) for count in CONNECTIONS for kind in (of, floor)])


# === Health checks ===


def by_health_checks(bench):
    """What checks cost on their own, and what they do to others' requests, one of which comes each millisecond."""
    targets = bench.one_target()
    seconds = max(2, int(8 * bench.scale))

    def of(checks):
        subject = bench.subject(ONE_ROUTE + pool(bench.origin.endpoints(CHECKED), health_check=checks))
        try:
            time.sleep(1)
            before = probes(subject), subject.process.cpu_us()
            time.sleep(seconds)
            # The question costs something, too.
            spent = subject.process.cpu_us() - before[1]
            made = probes(subject) - before[0]
            address = f"127.0.0.1:{subject.port}"
            load(bench.tools, address, targets, 8, "--requests", 2 * CHECKED)
            told = load(bench.tools, address, targets, 8, "--rate", 1_000, "--seconds", seconds)
            row = {"checks": checks, "checks_per_second": made / seconds, "cpu_ms": spent / 1000 / seconds}
            row["us_per_check"] = spent / made if made else None
            return {**row, **{name: told[name] for name in ("p50_us", "p99_us", "p999_us", "max_us")}}
        finally:
            subject.stop()

    http = "{ type: http, path: /health }"
    yield from interleaved(bench, [lambda kind=kind: of(kind) for kind in ("off", "{ type: tcp }", http)])


def probes(subject):
    status = json.loads(subject.ask("GET", "/status")[1])
    return sum(one["checks_passed"] + one["checks_failed"] for pool in status["pools"] for one in pool["endpoints"])


# === Reloads ===


def by_reloads(bench):
    """Every route, or every endpoint, is another one after each reload."""
    few, many = bench.origin.endpoints(3), bench.origin.endpoints(MANY)
    # Half of them stay: what a fleet does in a bad hour.
    others = bench.origin.endpoints(MANY, first=MANY // 2)
    configs = {
        "10,000 routes": [routes(MANY, generation) + pool(few) for generation in (0, 1)],
        "10,000 endpoints": [ONE_ROUTE + pool(endpoints) for endpoints in (many, others)],
        "10,000 weights": [
            ONE_ROUTE + pool([f"{{ address: '{one}', weight: {1 + (n + shift) % 7} }}" for n, one in enumerate(many)])
            for shift in (0, 3)
        ],
        "3 endpoints": [ONE_ROUTE + pool(bench.origin.endpoints(3, first=shift)) for shift in (0, 1)],
    }
    yield from interleaved(bench, [lambda kind=kind, pair=pair: reloaded(bench, kind, pair) for kind, pair in configs.items()])


def reloaded(bench, kind, pair):
    line = route(0)[1] if "routes" in kind else "bench.example /100"
    targets = bench.targets([line])
    subject = bench.subject(pair[0])
    address, pid = f"127.0.0.1:{subject.port}", subject.process.child.pid
    steady = ("--rate", 1_000)
    try:
        # Every endpoint has its connection, so that nobody waits for a new one below.
        warm = 2 * MANY if "10,000" in kind and "routes" not in kind else 2_000
        load(bench.tools, address, targets, 8, "--requests", warm)
        quiet = load(bench.tools, address, targets, 8, *steady, "--seconds", 2)
        before = subject.process.memory()
        forget_peak(pid)
        with Steady(bench, address, targets, 8, *steady, "--seconds", 4) as client:
            time.sleep(1)
            spent = subject.process.cpu_us()
            seconds = [subject.reload(pair[1])]
            spent = subject.process.cpu_us() - spent
        peak, once = status_of(pid, "VmHWM"), subject.process.memory()
        for number in range(RELOADS - 1):
            seconds.append(subject.reload(pair[number % 2]))
        time.sleep(1)
        return {
            "kind": kind, "start_s": subject.seconds_to_start, "first_s": seconds[0], "median_s": sorted(seconds)[len(seconds) // 2],
            "cpu_ms": spent / 1000, "before": before, "peak": peak, "after": once, "after_all": subject.process.memory(),
            "quiet_max_us": quiet["max_us"], "quiet_p99_us": quiet["p99_us"],
            "max_us": client.told["max_us"], "p99_us": client.told["p99_us"],
        }
    finally:
        subject.stop()


class Steady:
    """A load beside whatever else is done; what it says is in `told` after."""

    def __init__(self, bench, *arguments):
        self.command = load_command(bench.tools, *arguments)

    def __enter__(self):
        self.child = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.child.kill()
        output, errors = self.child.communicate(timeout=60)
        if not kind:
            self.told = outcome(self.child.returncode, output, errors)


def status_of(pid, name):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def forget_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")


# === Features ===


def by_features(bench):
    """A ladder: each step has one thing more."""
    three, match = bench.origin.endpoints(3), "hosts: [bench.example], paths: [/100], methods: [GET], headers: { user-agent: load }"
    targets = bench.one_target()

    def measure(name, subject):
        return {"step": name, **measured(bench, subject, targets, 64, bench.requests(80_000), 6_000)}

    def of(name, config, log):
        return lambda: measure(name, bench.subject(config, log=log))

    bare, checked = pool(three, health_check="off"), pool(three)
    matched = f"routes: [{{ name: one, match: {{ {match} }}, pool: pool }}]\n"
    yield from interleaved(bench, [
        lambda: measure("forwarder", Forwarder(bench, three)),
        of("no log, no checks, one route", ONE_ROUTE + bare, False),
        of("with health checks", ONE_ROUTE + checked, False),
        of("with conditions on the route", matched + checked, False),
        of("with the access log", matched + checked, True),
    ])


# === Picks ===


def by_picks(bench):
    """Nanoseconds of a pick, by a test of the release build."""
    test = ["cargo", "test", "--release", "--locked", "--lib", "--", "--ignored", "--nocapture", "--exact", "pool::tests::what_a_pick_costs"]
    for number in range(bench.rounds):
        told = subprocess.run(test, capture_output=True, text=True, cwd=ROOT)
        lines = [line.split()[1:] for line in told.stdout.splitlines() if line.startswith("picks: ")]
        if told.returncode != 0 or not lines:
            raise Wrong(told.stdout[-500:] + told.stderr[-500:])
        for count, turns, selection, balancer in lines:
            yield {"round": number, "size": int(count), "turns": float(turns), "selection": float(selection), "balancer": float(balancer)}


# === Workers ===


def by_workers(bench):
    """One worker and two, where all processors are for all. The load takes its share of them, so only the processor time
    of a request can be compared, not how many there are."""
    everywhere = replace(bench, tools=replace(bench.tools, proxy_cpus="", load_cpus=""))
    targets = bench.one_target()
    backends = ONE_ROUTE + pool(bench.origin.endpoints(3), health_check="off")

    def of(threads, rate):
        subject = everywhere.subject(backends, threads=threads)
        bench.started = everywhere.started
        address = f"127.0.0.1:{subject.port}"
        pace = ("--rate", rate, "--seconds", max(1, int(4 * bench.scale))) if rate else ("--requests", bench.requests(80_000))
        try:
            load(everywhere.tools, address, targets, 64, "--requests", 6_000)
            us, told = cost(subject.process, lambda: load(everywhere.tools, address, targets, 64, *pace))
            return {"threads": threads, "rate": rate, "cpu_us": us, "per_second": told["requests"] / told["seconds"],
                    "p50_us": told["p50_us"], "p99_us": told["p99_us"]}
        finally:
            subject.stop()

    yield from interleaved(bench, [lambda threads=threads, rate=rate: of(threads, rate) for rate in (2_000, 8_000, 0) for threads in (1, 2)])


PARTS = {
    "routes": by_routes,
    "endpoints": by_endpoints,
    "connections": by_connections,
    "health": by_health_checks,
    "reloads": by_reloads,
    "features": by_features,
    "picks": by_picks,
    "workers": by_workers,
}
