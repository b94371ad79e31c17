"""Compares the verdicts of some plays: compare.py SERVER WAY DIFFERING INDEX_JSON... The agents are `SERVER direct` and
`SERVER WAY`. What the suite says of a case, and how the connection was closed, may be another thing each time, with and
without the proxy: which frame was faster is part of some verdicts. So a case differs when none of its verdicts is one that
both ways have had. Prints the differences and the counts of the first play, and writes the cases that differ to the file
DIFFERING, as a JSON list."""

import collections
import json
import sys

SHOWN = 20


def verdicts(plays, agent):
    """The verdicts of each case, from all plays that it was part of."""
    found = collections.defaultdict(set)
    for play in plays:
        for case, verdict in play[agent].items():
            found[case].add(tuple(verdict.get(key) for key in ("behavior", "behaviorClose", "remoteCloseCode")))
    return found


def main():
    server, way, out = sys.argv[1:4]
    plays = []
    for path in sys.argv[4:]:
        with open(path) as file:
            plays.append(json.load(file))
    direct, proxied = (verdicts(plays, f"{server} {which}") for which in ("direct", way))
    cases = sorted(direct.keys() | proxied.keys(), key=lambda case: [int(part) for part in case.split(".")])
    differing = [case for case in cases if direct[case].isdisjoint(proxied[case])]
    for case in differing[:SHOWN]:
        print(f"{case}: direct {sorted(direct[case], key=str)}, {way} {sorted(proxied[case], key=str)}")
    behaviours = collections.Counter(verdict["behavior"] for verdict in plays[0][f"{server} direct"].values())
    counts = ", ".join(f"{count} {behaviour}" for behaviour, count in sorted(behaviours.items()))
    played = {which: len(plays[0][f"{server} {which}"]) for which in ("direct", way)}
    print(f"{played['direct']} cases direct ({counts}), {played[way]} {way}, {len(differing)} with another verdict")
    with open(out, "w") as file:
        json.dump(differing, file)
    # No case at all is no result.
    sys.exit(0 if played["direct"] else 1)


main()
