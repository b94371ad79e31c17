"""Plays the corpus through evenkeel, nginx and HAProxy, and judges what differs. See docs/testing.md.

The run fails if
  (a) anything desynchronises through evenkeel, with either reading of the endpoint, in one piece or in several;
  (b) anything passes evenkeel that both nginx and HAProxy refuse, unless exceptions.txt says why;
  (c) the naive proxy, which must desynchronise, does not: then the judge is blind.
What evenkeel refuses and both others pass is listed as "stricter", for a reader to judge.
"""

import argparse
import collections
import fnmatch
import json
import multiprocessing
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import subjects
from corpus import Payload, corpus
from endpoint import Endpoint
from naive import Naive
from play import Outcome, play
from tails import Bench

HERE = Path(__file__).parent
# "pieces": what is sent to a strict endpoint's proxy arrives in several pieces.
SETUPS = [("evenkeel", "strict"), ("evenkeel", "pieces"), ("evenkeel", "lenient"), ("nginx", "lenient"), ("haproxy", "lenient")]
NAIVE_COUNT = 80
SHOWN = 12


@dataclass(frozen=True)
class Playback:
    """One proxy in front of one endpoint, and what came of each payload."""

    kind: str
    reading: str
    outcomes: list[Outcome]
    # What evenkeel's log says of the requests that it refused.
    refusals: list[tuple[int, float, str]]

    def reason(self, outcome: Outcome) -> str:
        """Ports are used again, so the time counts too."""
        near = [why for port, at, why in self.refusals if port == outcome.client_port and outcome.began - 0.01 < at < outcome.ended + 0.01]
        return near[0] if near else f"no reason in the log, {outcome.status}"


def play_through(task) -> Playback:
    kind, reading, payloads = task
    sys.setswitchinterval(0.0005)
    endpoint = Endpoint(lenient=reading == "lenient")
    with tempfile.TemporaryDirectory(prefix="evk-diff-") as folder:
        subject = Naive(endpoint.port) if kind == "naive" else subjects.Subject(kind, endpoint.port, Path(folder))
        try:
            outcomes = []
            for number, payload in enumerate(payloads):
                outcomes.append(play(number, payload.sent, subject.port, endpoint, reading == "pieces"))
                if not subject.alive():
                    raise RuntimeError(f"{kind} ended at {payload.name}: {payload.sent[:300]!r}")
        finally:
            subject.stop()
        return Playback(kind, reading, outcomes, refusals(Path(folder) / "access.log"))


def refusals(log: Path) -> list[tuple[int, float, str]]:
    """The client's port, the time and the reason of each request that was refused."""
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [
        (int(record["client"].rsplit(":", 1)[1]), datetime.fromisoformat(record["time"]).timestamp(), record.get("detail", record["cause"]))
        for record in records
        if "cause" in record
    ]


def exceptions() -> list[tuple[str, str]]:
    """Patterns of payload names, each with the reason behind it."""
    lines = (HERE / "exceptions.txt").read_text().splitlines()
    pairs = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    return [(pattern, reason.strip()) for pattern, reason in pairs]


class Report:
    def __init__(self, payloads: list[Payload]):
        self.payloads = payloads
        self.passed = self.failed = self.skipped = 0

    def rule(self, name: str, failures: list[tuple[Payload, str]]):
        """A rule over all payloads: each one is a check."""
        self.failed += len(failures)
        self.passed += len(self.payloads) - len(failures)
        print(f"{'FAILED ' if failures else 'ok     '} {name}: {len(failures)} of {len(self.payloads)}")
        for payload, why in failures[:SHOWN]:
            print(f"        {payload.name}: {why}\n          {payload.sent[:260]!r}")
        if len(failures) > SHOWN:
            print(f"        and {len(failures) - SHOWN} more")

    def check(self, name: str, good: bool, told: str):
        self.passed += good
        self.failed += not good
        print(f"{'ok     ' if good else 'FAILED '} {name}: {told}")

    def skip(self, name: str, why: str):
        self.skipped += 1
        print(f"skipped {name}: {why}")

    def end(self) -> int:
        print(f"\n{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


def faults_of(report: Report, playback: Playback) -> list[tuple[Payload, str]]:
    pairs = zip(report.payloads, playback.outcomes, strict=True)
    return [(payload, "; ".join(outcome.faults)) for payload, outcome in pairs if outcome.faults]


def differing(report: Report, strict: Playback, other: Playback) -> list[tuple[Payload, str]]:
    """Payloads of which the endpoint saw other requests there."""
    return [
        (payload, f"{[seen.line[:80] for seen in one.seen]} and {[seen.line[:80] for seen in other.seen]}")
        for payload, one, other in zip(report.payloads, strict.outcomes, other.outcomes, strict=True)
        if [seen.line for seen in one.seen] != [seen.line for seen in other.seen]
    ]


def judge_evenkeel(report: Report, strict: Playback, pieces: Playback, lenient: Playback):
    for playback in (strict, pieces, lenient):
        report.rule(f"(a) no desync, {playback.reading}", faults_of(report, playback))
    report.rule("(a) a strict and a lenient endpoint see the same requests", differing(report, strict, lenient))
    report.rule("(a) they see the same requests however the bytes arrive", differing(report, strict, pieces))
    hung = [(payload, "no end") for payload, one in zip(report.payloads, strict.outcomes, strict=True) if one.hung]
    report.rule("every conversation ends", hung)


def judge_peers(report: Report, ours: Playback, nginx: Playback, haproxy: Playback):
    excepted, suspects = collections.Counter(), []
    rows = zip(report.payloads, ours.outcomes, nginx.outcomes, haproxy.outcomes, strict=True)
    stricter = collections.defaultdict(list)
    for payload, our, one, other in rows:
        if our.passed > max(one.passed, other.passed):
            known = next(((pattern, why) for pattern, why in exceptions() if fnmatch.fnmatchcase(payload.name, pattern)), None)
            if known:
                excepted[known] += 1
            else:
                suspects.append((payload, f"evenkeel {our.passed}, nginx {one.passed} ({one.status}), haproxy {other.passed} ({other.status})"))
        elif our.passed < min(one.passed, other.passed):
            stricter[ours.reason(our)].append(payload)
    with ExitStack() as stack:
        bench = Bench(stack, ["evenkeel", "nginx", "haproxy"])
        laxer = [(payload, why) for payload, why in suspects if bench.refused_by_both(payload.sent) is not None]
    report.rule("(b) nothing passes that both peers refuse", laxer)
    for (pattern, why), count in excepted.items():
        print(f"        excepted: {count} {pattern}: {why}")
    print(f"\nstricter: {sum(map(len, stricter.values()))} payloads pass both peers and not evenkeel, by its reason:")
    for reason, payloads in sorted(stricter.items(), key=lambda item: -len(item[1])):
        families = collections.Counter(payload.family for payload in payloads)
        print(f"  {len(payloads):5} {reason} ({', '.join(f'{name} {count}' for name, count in families.most_common(4))})")
        print(f"        {payloads[0].name} {payloads[0].sent[:160]!r}")


def tell_peers(report: Report, playbacks: list[Playback]):
    """For comparison only: nginx answers HTTP/0.9 without a head, which counts as no answer here."""
    for playback in playbacks:
        found = faults_of(report, playback)
        print(f"{playback.kind}: {len(found)} payloads with a fault" + (", such as" if found else ""))
        for payload, why in found[:3]:
            print(f"        {payload.name}: {why}\n          {payload.sent[:200]!r}")


def counts(report: Report, playbacks: list[Playback]):
    """How much of each family passes whom."""
    total = collections.Counter(payload.family for payload in report.payloads)
    print(f"\n{'family':10} {'payloads':>8}" + "".join(f" {playback.kind + '/' + playback.reading:>17}" for playback in playbacks))
    for family, count in total.items():
        cells = []
        for playback in playbacks:
            pairs = zip(report.payloads, playback.outcomes, strict=True)
            cells.append(sum(1 for payload, outcome in pairs if payload.family == family and outcome.passed))
        print(f"{family:10} {count:8}" + "".join(f" {cell:17}" for cell in cells))
    print(f"{'faults':10} {'':8}" + "".join(f" {sum(1 for outcome in playback.outcomes if outcome.faults):17}" for playback in playbacks) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutations", type=int, default=4000, help="random payloads beside the grammar's")
    parser.add_argument("--only", default="*", help="a pattern of payload names")
    options = parser.parse_args()
    begun = time.monotonic()
    payloads = [payload for payload in corpus(options.seed, options.mutations) if fnmatch.fnmatchcase(payload.name, options.only)]
    report = Report(payloads)

    there = [setup for setup in SETUPS if subjects.find(setup[0])]
    if not subjects.find("evenkeel"):
        raise SystemExit("no evenkeel at " + subjects.EVENKEEL_BINARY)
    for kind in dict.fromkeys(kind for kind, _ in there):
        print(f"{kind}: {subjects.version(kind)}")
    print(f"seed {options.seed}, {len(payloads)} payloads, {len(there)} setups")
    wrong = [payload for payload in corpus(options.seed, 0) if payload.family in ("encoding", "chunk")][:NAIVE_COUNT]
    tasks = [("naive", "lenient", wrong)] + [(kind, reading, payloads) for kind, reading in there]
    with multiprocessing.Pool(len(tasks)) as workers:
        naive, *playbacks = workers.map(play_through, tasks, chunksize=1)

    counts(report, playbacks)
    caught = sum(1 for outcome in naive.outcomes if outcome.faults)
    report.check("the judge sees what a naive proxy does", caught > 20, f"{caught} of {len(wrong)} payloads desynchronise through it")
    of = {(playback.kind, playback.reading): playback for playback in playbacks}
    judge_evenkeel(report, of["evenkeel", "strict"], of["evenkeel", "pieces"], of["evenkeel", "lenient"])
    if ("nginx", "lenient") in of and ("haproxy", "lenient") in of:
        judge_peers(report, of["evenkeel", "lenient"], of["nginx", "lenient"], of["haproxy", "lenient"])
        tell_peers(report, [playback for playback in playbacks if playback.kind != "evenkeel"])
    else:
        report.skip("(b) and stricter", "nginx and HAProxy are both needed (apt-get install nginx-light haproxy)")
    print(f"\n{time.monotonic() - begun:.0f} s")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
