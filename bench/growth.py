#!/usr/bin/env python3
"""How the cost of a request grows with routes, endpoints, connections and health checks, and what a reload of many costs.

evenkeel has a processor of its own, the load and the one origin have another. Cases take turns in every round, and what
is told is the median of the rounds; a round counts only if every answer was right.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import growth_report
from growth_parts import PARTS, PORT, Bench
from origins import Everywhere
from peers import ROOT
from subject import Tools

# Ten thousand endpoints have ten thousand connections.
DESCRIPTORS = 16_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="comma separated; what the others gave before stays in the results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--proxy-cpus", default="0", help="processors of evenkeel; '' for any")
    parser.add_argument("--load-cpus", default="1", help="processors of load and origin; '' for any")
    parser.add_argument("--evenkeel", default=str(target() / "evenkeel"))
    parser.add_argument("--tools", default=str(Path.home() / ".cache/evenkeel-peers/bin"))
    parser.add_argument("--results", default="", help="a file that keeps what was measured, part by part")
    parser.add_argument("--write", action="store_true", help="write docs/growth.md and its plots")
    return parser.parse_args()


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def enough_descriptors():
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        sys.exit(f"10,000 endpoints want {DESCRIPTORS} descriptors, and the limit is {hard}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def warn_of_tracking():
    """Health checks of ten thousand endpoints fill a usual table, and then packets are lost."""
    count = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    if count.exists() and int(count.read_text()) > 0:
        print("connections are tracked here: a network of its own does without: unshare -n sh -c 'ip link set lo up; ...'",
              file=sys.stderr)


def main():
    args = arguments()
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    wanted = [name.strip() for name in args.parts.split(",") if name.strip()]
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"there is no {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    enough_descriptors()
    warn_of_tracking()
    kept = Path(args.results) if args.results else None
    results = json.loads(kept.read_text()) if kept and kept.exists() else {}
    tools = Tools(Path(args.evenkeel), Path(args.tools) / "load", Path(args.tools) / "forwarder", args.proxy_cpus, args.load_cpus)
    with tempfile.TemporaryDirectory(prefix="evenkeel-growth-") as folder:
        # nginx's workers are somebody else.
        Path(folder).chmod(0o755)
        origin = Everywhere(Path(folder) / "origin", PORT + 950, args.load_cpus)
        try:
            bench = Bench(tools, Path(folder), origin, args.rounds, args.scale)
            for name in wanted:
                rows = list(PARTS[name](bench))
                results[name] = {"date": time.strftime("%Y-%m-%d"), "rounds": args.rounds, "rows": rows}
                if kept:
                    kept.write_text(json.dumps(results, indent=1))
        finally:
            origin.stop()
    print(growth_report.tables({name: results[name] for name in wanted}))
    if args.write:
        growth_report.write(results, ROOT / "docs")


if __name__ == "__main__":
    main()
