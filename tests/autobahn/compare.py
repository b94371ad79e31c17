"""Compares the verdicts of a run: compare.py INDEX_JSON SERVER WAY DIFFERING. The agents are `SERVER direct` and `SERVER WAY`;
what the suite says of a case, and how the connection was closed, must be the same for both. Prints the differences and the
counts, and writes the cases that differ to the file DIFFERING, as a JSON list."""

import collections
import json
import sys

SHOWN = 20


def main():
    with open(sys.argv[1]) as file:
        index = json.load(file)
    direct, proxied = (index[f"{sys.argv[2]} {way}"] for way in ("direct", sys.argv[3]))
    differing = []
    for case in sorted(direct.keys() | proxied.keys(), key=lambda case: [int(part) for part in case.split(".")]):
        verdicts = [
            tuple(of.get(case, {}).get(key) for key in ("behavior", "behaviorClose", "remoteCloseCode"))
            for of in (direct, proxied)
        ]
        if verdicts[0] != verdicts[1]:
            differing.append(case)
            if len(differing) <= SHOWN:
                print(f"{case}: direct {verdicts[0]}, {sys.argv[3]} {verdicts[1]}")
    behaviours = collections.Counter(verdict["behavior"] for verdict in direct.values())
    counts = ", ".join(f"{count} {behaviour}" for behaviour, count in sorted(behaviours.items()))
    print(f"{len(direct)} cases direct ({counts}), {len(proxied)} {sys.argv[3]}, {len(differing)} with another verdict")
    with open(sys.argv[4], "w") as file:
        json.dump(differing, file)
    # No case at all is no result.
    sys.exit(0 if direct else 1)


main()
