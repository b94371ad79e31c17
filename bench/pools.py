#!/usr/bin/env python3
"""How a pool behaves when endpoints are bad: evenkeel beside nginx, HAProxy and Envoy.

Five endpoints of known capacity, each a process; clients ask for 60 % of what the five can serve, whatever became of their
requests before. One endpoint becomes slow, fails, is stopped or killed, and is well again later. And two cases: half of
the endpoints fail, and twice as much is asked as they can serve. One run after the other, each with endpoints, proxy and
clients of its own; all see the same arrivals and, of each endpoint, the same times of service.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pool_figures
import pool_report
from compare import chosen
from peers import ROOT
from pool_clients import Clients, arrivals
from pool_origins import TICKS_PER_SECOND, Origin
from pool_subjects import Place, subjects
from process import Process

# Each run has a block of ports.
PORT, BLOCK, BLOCKS = 22_000, 10, 100
# Of one endpoint: requests at a time, and seconds for each on average.
WORKERS, SERVICE = 4, 0.010
# Before anything counts: connections are made.
WARM_UP = 0.5
# A run whose clients were later than this, one time in a hundred, says nothing of the proxy.
LATE = 0.02
STATUS = 503


@dataclass
class Phases:
    """In seconds."""

    normal: int
    fault: int
    after: int

    @property
    def total(self):
        return self.normal + self.fault + self.after

    def scaled(self, scale):
        return Phases(*(max(1, round(part * scale)) if part else 0 for part in (self.normal, self.fault, self.after)))


@dataclass
class Scenario:
    name: str
    what: str
    # What is done to the bad ones, and what ends it.
    begin: callable = lambda origin: None
    end: callable = lambda origin: None
    # The figures of normal times are those of all faults together, so that each can be short.
    phases: Phases = None
    endpoints: int = 5
    bad: int = 1
    workers: int = WORKERS
    # Of what the endpoints can serve: what is asked in normal times, and in the fault.
    load: tuple = (0.6, 0.6)
    is_fault: bool = True

    @property
    def capacity(self):
        return self.endpoints * self.workers / SERVICE


FAULT = Phases(normal=2, fault=20, after=14)

SCENARIOS = [
    Scenario("slow", "one of five endpoints takes ten times longer", lambda origin: origin.be_slow(10), Origin.be_well, FAULT),
    Scenario("failing", f"one of five endpoints answers {STATUS} at once", lambda origin: origin.fail(STATUS), Origin.be_well,
             FAULT),
    Scenario("stopped", "one of five endpoints is stopped (SIGSTOP), and goes on later", Origin.halt, Origin.go_on, FAULT),
    Scenario("killed", "one of five endpoints is killed, and started again later", Origin.kill, Origin.run, FAULT),
    # The half that is left has the usual load.
    Scenario("half failing", f"three of six endpoints answer {STATUS} at once", lambda origin: origin.fail(STATUS),
             phases=Phases(normal=2, fault=6, after=0), endpoints=6, bad=3, load=(0.3, 0.3), is_fault=False),
    Scenario("overload", "twice as many requests as five endpoints can serve",
             phases=Phases(normal=3, fault=20, after=0), bad=0, workers=2, load=(0.6, 2.0), is_fault=False),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="", help="only these, comma separated")
    parser.add_argument("--scenarios", default="", help="only these, comma separated")
    parser.add_argument("--scale", type=float, default=1.0, help="of the seconds of each phase")
    parser.add_argument("--rate", type=float, default=1.0, help="of the requests a second: a part of the load meant")
    parser.add_argument("--probe", choices=("tcp", "http"), default="tcp", help="how all but nginx probe endpoints")
    parser.add_argument("--evenkeel", default="", metavar="FILE", help="this build, instead of target/release/evenkeel")
    parser.add_argument("--threads", type=int, default=1, help="workers of each proxy")
    parser.add_argument("--proxy-cpus", default="0", help="processors of the proxy; '' for any")
    parser.add_argument("--load-cpus", default="1", help="processors of clients and endpoints; '' for any")
    parser.add_argument("--tools", default=str(Path.home() / ".cache/evenkeel-peers"))
    parser.add_argument("--json", default="", help="write all seconds of all runs there")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/balance.md, and the pictures beside it")
    parser.add_argument("--keep", default="", metavar="FOLDER", help="keep configs and logs of the proxies there")
    return parser.parse_args()


class DoesNotServe(Exception):
    pass


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder, self.count, self.block = args, folder, 0, -1

    def run(self, subject, program, scenario):
        """One subject in one scenario: its figures."""
        self.count += 1
        folder = self.folder / f"{self.count}-{scenario.name}-{subject.name}".replace(" ", "_")
        folder.mkdir()
        port = self.free_ports(1 + scenario.endpoints)
        origins, proxy = [], None
        try:
            for number in range(scenario.endpoints):
                origins.append(Origin(number, port + 1 + number, folder, scenario.workers, SERVICE, self.args.load_cpus))
            wait_until(lambda: all(origin.is_there() for origin in origins), "the endpoints")
            proxy = self.start(subject, program, scenario, Place(
                folder, port, self.args.threads, [origin.address for origin in origins], self.args.probe,
                scenario.endpoints * scenario.workers if scenario.name == "overload" else None,
            ))
            return asyncio.run(self.measure(scenario, origins, proxy, port))
        finally:
            if proxy:
                proxy.stop()
            for origin in origins:
                origin.end()

    def free_ports(self, count):
        """The first of so many in a row. Others for each run, so that no connection of the one before is in the way; below
        those that connections take by themselves, one of which might be that of an endpoint that is dead."""
        for _ in range(BLOCKS):
            self.block = (self.block + 1) % BLOCKS
            first = PORT + BLOCK * self.block
            if all(is_free(port) for port in range(first, first + count)):
                return first
        raise DoesNotServe("no free ports")

    def start(self, subject, program, scenario, place):
        with open(place.folder / "output.log", "wb") as log:
            proxy = Process(subject.command(place, program), self.args.proxy_cpus, log=log)
        try:
            wait_until(lambda: proxy.has_ended() or answers(place.port), subject.name)
            if proxy.has_ended():
                raise DoesNotServe((place.folder / "output.log").read_text()[-500:])
        except DoesNotServe:
            proxy.stop()
            raise
        return proxy

    async def measure(self, scenario, origins, proxy, port):
        phases = scenario.phases.scaled(self.args.scale)
        rates = [scenario.capacity * load * self.args.rate for load in scenario.load]
        times = arrivals([(WARM_UP, rates[0]), (phases.normal, rates[0]), (phases.fault, rates[1]), (phases.after, rates[0])])
        loop, clients = asyncio.get_running_loop(), Clients(port)
        # All that is measured counts from the end of the warm-up.
        start = loop.time() + 0.1 + WARM_UP
        times = [(at - WARM_UP, priority) for at, priority in times]
        for origin in origins[: scenario.bad]:
            loop.call_at(start + phases.normal, scenario.begin, origin)
            loop.call_at(start + phases.normal + phases.fault, scenario.end, origin)
        well = [origin.process for origin in origins[scenario.bad :]]
        costs = lambda: {
            "clients": time.process_time() * 1e3,
            "proxy": proxy.cpu_us() / 1e3,
            "endpoints": sum(process.cpu_us() for process in well) / 1e3,
        }
        spent = list(costs().values())
        gc.collect()
        gc.freeze()
        gc.disable()
        await clients.run(times, start)
        gc.enable()
        counts = [origin.counts(start, phases.total * TICKS_PER_SECOND) for origin in origins]
        find = pool_figures.of_fault if scenario.is_fault else pool_figures.of_case
        more = (0, scenario.name == "stopped") if scenario.is_fault else ()
        return {
            **find(clients.answers, counts, phases, *more),
            "phases": asdict(phases),
            "rates": rates,
            "capacity": scenario.capacity,
            "late": pool_figures.percentile(clients.answers.lateness, 0.99),
            # In milliseconds of a second; the bad ones are not in it.
            "cpu": {who: (now - before) / phases.total for (who, now), before in zip(costs().items(), spent)},
        }


def wait_until(is_so, what):
    end = time.monotonic() + 20
    while not is_so():
        if time.monotonic() > end:
            raise DoesNotServe(f"{what}: not within 20 s")
        time.sleep(0.02)


def is_free(port):
    with socket.socket() as one:
        # As servers do: what only remembers its last connections is free.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            client.settimeout(1)
            return client.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def main():
    args = arguments()
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    all_of_them = subjects(args.evenkeel)
    names = chosen(args.peers, [subject.name for subject in all_of_them])
    scenarios = [one for one in SCENARIOS if one.name in chosen(args.scenarios, [one.name for one in SCENARIOS])]
    programs = {subject.name: subject.find(args.tools) for subject in all_of_them if subject.name in names}
    for name in (name for name, program in programs.items() if not program):
        print(f"not here: {name} (bench/setup.sh installs it)", file=sys.stderr)
    found = [subject for subject in all_of_them if programs.get(subject.name)]
    if args.load_cpus:
        subprocess.run(["taskset", "-pc", args.load_cpus, str(os.getpid())], check=True, capture_output=True)
    results = {
        "versions": {subject.name: subject.version(programs[subject.name]) for subject in found},
        "scenarios": {one.name: one.what for one in scenarios},
        "method": {"threads": args.threads, "scale": args.scale, "rate": args.rate, "probe": args.probe,
                   "date": time.strftime("%Y-%m-%d")},
        "runs": [],
    }
    with tempfile.TemporaryDirectory(prefix="evenkeel-pools-") as folder:
        # nginx's workers are somebody else.
        Path(folder).chmod(0o755)
        bench = Bench(args, Path(folder))
        try:
            for scenario in scenarios:
                for subject in (subject for subject in found if scenario.name in subject.scenarios):
                    one_run(bench, subject, programs[subject.name], scenario, results)
        finally:
            if args.keep:
                shutil.copytree(folder, args.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
    print(pool_report.tables(results))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))
    if args.write:
        pool_report.write(results, ROOT / "docs")


def one_run(bench, subject, program, scenario, results):
    begin = time.monotonic()
    try:
        figures = bench.run(subject, program, scenario)
    except (DoesNotServe, OSError) as wrong:
        print(f"{scenario.name}, {subject.name}: {wrong}", file=sys.stderr)
        return
    results["runs"].append({"scenario": scenario.name, "subject": subject.name, **figures})
    cpu = ", ".join(f"{who} {ms:.0f}" for who, ms in figures["cpu"].items())
    print(f"{scenario.name}, {subject.name}: {time.monotonic() - begin:.0f} s, ms of processor a second: {cpu}; "
          f"clients late by {figures['late'] * 1e3:.1f} ms (p99)", file=sys.stderr)
    if figures["late"] > LATE:
        print(f"{scenario.name}, {subject.name}: the clients were late: its times say nothing", file=sys.stderr)


if __name__ == "__main__":
    main()
