#!/usr/bin/env python3
"""evenkeel beside its peers: what a request costs, what an idle connection costs, and how long a response takes.

All proxies balance over the same origins on loopback, with as many workers each. They take turns in every round, and
what is told is the median of the rounds. The figure is processor time, of all threads of the proxy, by request: it
hardly changes with what else the machine does, where requests a second do. A round counts only if every response was
right, and the origins have served exactly as many requests as the clients have sent.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import loads
import report
from origins import Origins
from peers import PEERS, ROOT, Place, another_build
from process import Process

PORT = 21_000
# Idle connections, below the usual limit of descriptors.
IDLE = 4_000
# Seconds in which nobody asks anything.
REST = 5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="", help="only these, comma separated")
    parser.add_argument("--scenarios", default="", help="only these, comma separated; idle is one of them")
    parser.add_argument("--build", action="append", default=[], metavar="NAME=FILE", help="another build of evenkeel beside them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="workers of each proxy")
    parser.add_argument("--proxy-cpus", default="0", help="processors of the proxy; '' for any")
    parser.add_argument("--load-cpus", default="1", help="processors of clients and origins; '' for any")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--tools", default=str(Path.home() / ".cache/evenkeel-peers"))
    parser.add_argument("--json", default="", help="write what was measured there")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its plots")
    return parser.parse_args()


def chosen(wanted, all_of_them):
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = set(names) - set(all_of_them)
    if unknown:
        sys.exit(f"there is no {', '.join(sorted(unknown))}: choose of {', '.join(all_of_them)}")
    return [name for name in all_of_them if not names or name in names]


def certificate(folder):
    cert, key, both = folder / "cert.pem", folder / "key.pem", folder / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )
    both.write_text(cert.read_text() + key.read_text())
    return cert, key, both


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.cert, self.key, self.both = certificate(folder)
        (folder / "origins").mkdir()
        self.origins = Origins(folder / "origins", PORT + 100, args.load_cpus)
        self.count = 0

    def start(self, peer, program, tls):
        self.count += 1
        folder = self.folder / f"run-{self.count}"
        folder.mkdir()
        port = PORT + self.count % 90
        place = Place(folder, port, self.args.threads, self.origins.addresses, tls, self.cert, self.key, self.both,
                      Path(self.args.tools))
        with open(folder / "output.log", "wb") as log:
            proxy = Process(peer.command(place, program), self.args.proxy_cpus, peer.env(place), log)
        end = time.monotonic() + 20
        while time.monotonic() < end and not proxy.has_ended():
            try:
                answer = ask(port, tls)
                if answer == (self.origins.folder / "100").read_bytes():
                    return proxy, port
            except OSError:
                time.sleep(0.05)
        proxy.stop()
        raise loads.WrongAnswers(f"it does not serve: {(folder / 'output.log').read_text()[-500:]}")

    def load(self, peer, program, scenario):
        """One round of one proxy: its figures."""
        proxy, port = self.start(peer, program, scenario.tls)
        try:
            run = lambda scale: loads.run(scenario, port, self.args.load_cpus, self.folder, self.args.tools, scale)
            run(0.1 * self.args.scale)
            served, before = self.origins.served(), proxy.cpu_us()
            outcome = run(self.args.scale)
            cost = proxy.cpu_us() - before
            # The question itself is one.
            served = (self.origins.served() - served - 1) / (2 if scenario.upload else 1)
            if served != outcome.requests:
                raise loads.WrongAnswers(f"the origins have served {served} requests, the clients {outcome.requests}")
            return {
                "cpu_us": cost / outcome.requests,
                "rate": outcome.requests / outcome.seconds,
                "p50_us": outcome.p50,
                "p99_us": outcome.p99,
                "memory": proxy.memory(),
            }
        finally:
            proxy.stop()

    def idle(self, peer, program):
        """What a connection costs on which nothing happens, and what time passes with nothing to do."""
        proxy, port = self.start(peer, program, False)
        clients = []
        try:
            time.sleep(1)
            alone = resting(proxy)
            clients += [kept(port) for _ in range(100)]
            time.sleep(0.5)
            before = proxy.memory()
            clients += [kept(port) for _ in range(IDLE)]
            time.sleep(1)
            memory = (proxy.memory() - before) / IDLE
            return {"idle_bytes": memory, "alone_cpu_ms": alone, "idle_cpu_ms": resting(proxy)}
        finally:
            for client in clients:
                client.close()
            proxy.stop()


def resting(proxy):
    """Milliseconds of processor time in a second in which nobody asks anything."""
    before = proxy.cpu_us()
    time.sleep(REST)
    return (proxy.cpu_us() - before) / 1000 / REST


def ask(port, tls):
    import ssl

    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    scheme = "https" if tls else "http"
    with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/100", timeout=5, context=trusting if tls else None) as answer:
        return answer.read()


def kept(port):
    """A connection that has had one response."""
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.sendall(b"GET /100 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    got = client.recv(4096)
    while not got.endswith(b"\r\n\r\n") and len(got.split(b"\r\n\r\n", 1)[-1]) < 100:
        got += client.recv(4096)
    return client


def main():
    args = arguments()
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    peers = PEERS + [another_build(*build.split("=", 1)) for build in args.build]
    names = chosen(args.peers, [peer.name for peer in peers])
    scenarios = chosen(args.scenarios, [*(scenario.name for scenario in loads.SCENARIOS), "idle"])
    found, missing = [], []
    for peer in (peer for peer in peers if peer.name in names):
        program = peer.find(args.tools)
        (found if program else missing).append((peer, program))
    for peer, _ in missing:
        print(f"not here: {peer.name} (bench/setup.sh installs it)")
    results = {"versions": {peer.name: peer.version(program) for peer, program in found}, "rounds": []}
    with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as folder:
        # nginx's workers are somebody else.
        Path(folder).chmod(0o755)
        bench = Bench(args, Path(folder))
        try:
            for number in range(args.rounds):
                for name in scenarios:
                    scenario = next((one for one in loads.SCENARIOS if one.name == name), None)
                    for peer, program in found:
                        if scenario and scenario.tls and not peer.tls:
                            continue
                        try:
                            figures = bench.load(peer, program, scenario) if scenario else bench.idle(peer, program)
                        except (loads.WrongAnswers, OSError, subprocess.TimeoutExpired) as wrong:
                            print(f"round {number + 1}, {name}, {peer.name}: does not count: {wrong}", file=sys.stderr)
                            continue
                        results["rounds"].append({"round": number, "scenario": name, "peer": peer.name, **figures})
                print(f"round {number + 1} of {args.rounds} is done", file=sys.stderr)
        finally:
            bench.origins.stop()
    results["method"] = {"threads": args.threads, "rounds": args.rounds, "scale": args.scale, "date": time.strftime("%Y-%m-%d")}
    print(report.tables(results))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))
    if args.write:
        report.write(results, ROOT / "docs")


if __name__ == "__main__":
    main()
