"""Compares the verdicts of a suite run: compare.py INDEX_JSON SERVER. The agents are `SERVER direct` and `SERVER proxied`;
what the suite says of a case, and how the connection was closed, must be the same for both. Prints a line for each
difference, and one with the counts."""

import collections
import json
import sys


def main():
    with open(sys.argv[1]) as file:
        index = json.load(file)
    direct, proxied = (index[f"{sys.argv[2]} {way}"] for way in ("direct", "proxied"))
    different = 0
    for case in sorted(direct.keys() | proxied.keys(), key=lambda case: [int(part) for part in case.split(".")]):
        verdicts = [
            tuple(of.get(case, {}).get(key) for key in ("behavior", "behaviorClose", "remoteCloseCode"))
            for of in (direct, proxied)
        ]
        if verdicts[0] != verdicts[1]:
            different += 1
            print(f"{case}: direct {verdicts[0]}, proxied {verdicts[1]}")
    behaviours = collections.Counter(verdict["behavior"] for verdict in direct.values())
    counts = ", ".join(f"{count} {behaviour}" for behaviour, count in sorted(behaviours.items()))
    print(f"{len(direct)} cases direct ({counts}), {len(proxied)} proxied, {different} with another verdict")
    sys.exit(0 if direct and len(direct) == len(proxied) and not different else 1)


main()
