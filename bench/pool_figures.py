"""What a run says: figures of its phases, and of each of its seconds."""

import math

from pool_clients import GAVE_UP
from pool_origins import TICKS_PER_SECOND

# How far a share may be from the fair one to be right, and for how long it must be.
NEAR, STEADY = 0.2, 2 * TICKS_PER_SECOND


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def of_requests(answers, begin, end, bad=None):
    """Figures of the requests that were to be sent from `begin` to `end`. A time is that of a response of 200, or that after
    which the client gave up; a refusal has none."""
    chosen = [n for n, at in enumerate(answers.at) if begin <= at < end]
    fine = [n for n in chosen if answers.status[n] == 200]
    times = [answers.seconds[n] for n in chosen if answers.status[n] in (200, GAVE_UP)]
    causes = {}
    for n in chosen:
        if answers.status[n] != 200:
            causes[str(answers.status[n])] = causes.get(str(answers.status[n]), 0) + 1
    high = [n for n in chosen if answers.priority[n] == "high"]
    served = [answers.seconds[n] for n in fine]
    return {
        "requests": len(chosen),
        "failed": len(chosen) - len(fine),
        "causes": causes,
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
        "served_p99": percentile(served, 0.99),
        "goodput": len(fine) / (end - begin),
        "by_others": len([n for n in fine if answers.origin[n] != bad]) / (end - begin),
        "high": len(high),
        "high_failed": len([n for n in high if answers.status[n] != 200]),
    }


def share(counts, bad, begin, end):
    """The part of what the origins were asked from tick to tick that the bad one was asked; nothing if nobody was."""
    total = sum(sum(origin[begin:end]) for origin in counts)
    return sum(counts[bad][begin:end]) / total if total else None


def until_right(counts, bad, begin):
    """Seconds from this tick until the bad one's share is near the fair one for two seconds; nothing if it never is."""
    fair, ticks = 1 / len(counts), len(counts[0])
    for tick in range(begin, ticks - STEADY + 1):
        found = share(counts, bad, tick, tick + STEADY)
        if found is not None and abs(found / fair - 1) <= NEAR:
            return (tick - begin) / TICKS_PER_SECOND
    return None


def spread_burst(counts, bad, begin, end):
    """What a stopped process finds in its sockets when it goes on was sent to it before, nobody knows when: it counts for
    all of that time."""
    burst = 0
    for tick in range(end, min(end + 2, len(counts[bad]))):
        burst += max(0, counts[bad][tick] - usual(counts, bad, tick))
        counts[bad][tick] = min(counts[bad][tick], usual(counts, bad, tick))
    for tick in range(begin, end):
        counts[bad][tick] += burst / (end - begin)


def usual(counts, bad, tick):
    """The most that another one was asked in this tick."""
    return max(origin[tick] for n, origin in enumerate(counts) if n != bad)


def series(answers, counts, phases, bad):
    """Each second of a run, from the begin of the fault on."""
    found = []
    for second in range(math.floor(phases.total)):
        one = of_requests(answers, second, second + 1, bad)
        tick = second * TICKS_PER_SECOND
        found.append({
            "second": second - phases.normal,
            **{key: one[key] for key in ("requests", "failed", "p50", "p99", "by_others")},
            "bad_share": share(counts, bad, tick, tick + TICKS_PER_SECOND),
        })
    return found


def of_fault(answers, counts, phases, bad, stopped):
    begin, end = (round(at * TICKS_PER_SECOND) for at in (phases.normal, phases.normal + phases.fault))
    if stopped:
        spread_burst(counts, bad, begin, end)
    return {
        "normal": of_requests(answers, 0, phases.normal, bad),
        "during": of_requests(answers, phases.normal, phases.normal + phases.fault, bad),
        "after": of_requests(answers, phases.normal + phases.fault, phases.total, bad),
        "bad_share": share(counts, bad, begin, end),
        "right_after": until_right(counts, bad, end),
        "seconds": series(answers, counts, phases, bad),
    }


def of_case(answers, counts, phases):
    """The same of a run without a bad one and without a time after."""
    begin, end = (round(at * TICKS_PER_SECOND) for at in (phases.normal, phases.normal + phases.fault))
    during = of_requests(answers, phases.normal, phases.normal + phases.fault)
    during["attempts"] = sum(sum(origin[begin:end]) for origin in counts) / max(1, during["requests"])
    first = of_requests(answers, phases.normal, phases.normal + min(1, phases.fault))
    first["attempts"] = sum(sum(origin[begin : begin + TICKS_PER_SECOND]) for origin in counts) / max(1, first["requests"])
    return {"normal": of_requests(answers, 0, phases.normal), "during": during, "first_second": first,
            "seconds": series(answers, counts, phases, 0)}
