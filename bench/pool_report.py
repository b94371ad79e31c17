"""What was measured of pools with bad endpoints, as tables and pictures."""

import math
from pathlib import Path
from statistics import mean

from report import machine

BEGIN, END = "<!-- compared: begin -->", "<!-- compared: end -->"
# The cases, which have tables of their own.
HALF, OVERLOAD = "half failing", "overload"
PARTS = ("normal", "during", "after")


def tables(results):
    parts = [fault_table(results, name) for name in results["scenarios"] if name not in (HALF, OVERLOAD)]
    cases = {HALF: half_table, OVERLOAD: overload_table}
    parts += [cases[name](results, name) for name in results["scenarios"] if name in cases]
    return "\n\n".join(part for part in parts if part)


def runs_of(results, scenario):
    return [run for run in results["runs"] if run["scenario"] == scenario]


def table(results, name, columns, rows):
    head = [f"**{name}**: {results['scenarios'][name]}", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(head + rows) if rows else ""


def normal(results, subject, figure):
    """Of all its runs with faults: before the fault, they are alike."""
    values = [run["normal"][figure] for run in results["runs"] if run["subject"] == subject and "after" in run]
    values = [value for value in values if value is not None]
    return mean(values) if values else None


def fault_table(results, name):
    rows = []
    for run in runs_of(results, name):
        failed = sum(run[part]["failed"] for part in ("during", "after"))
        requests = sum(run[part]["requests"] for part in ("during", "after"))
        times = [
            " / ".join(ms(normal(results, run["subject"], figure) if part == "normal" else run[part][figure]) for part in PARTS)
            for figure in ("p50", "p99")
        ]
        before = normal(results, run["subject"], "by_others")
        others = percent(run["during"]["by_others"] / before if before else None)
        rows.append(f"| {run['subject']} | {failed:,} | {failed / max(1, requests):.3%} | {' | '.join(times)} "
                    f"| {percent(run['bad_share'])} | {right_after(run)} | {others} |")
    return table(results, name, ["failed", "of all", "p50 ms normal / during / after", "p99 ms normal / during / after",
                                 "its share during", "its share is right after", "throughput of the others"], rows)


def half_table(results, name):
    rows = []
    for run in runs_of(results, name):
        during = run["during"]
        rows.append(f"| {run['subject']} | {run['first_second']['attempts']:.2f} | {during['attempts']:.2f} | {during['failed']:,} "
                    f"| {during['failed'] / max(1, during['requests']):.3%} | {ms(run['normal']['p99'])} / {ms(during['p99'])} |")
    return table(results, name, ["attempts a request, first second", "in all", "failed", "of all", "p99 ms normal / during"], rows)


def overload_table(results, name):
    rows = []
    for run in runs_of(results, name):
        during, usual = run["during"], run["normal"]["served_p99"]
        times = f"{during['served_p99'] / usual:.1f}" if usual and during["served_p99"] else ""
        rows.append(f"| {run['subject']} | {during['goodput'] / run['capacity']:.1%} "
                    f"| {during['high_failed']:,} of {during['high']:,} | {during['high_failed'] / max(1, during['high']):.2%} "
                    f"| {ms(usual)} / {ms(during['served_p99'])} | {times} |")
    return table(results, name, ["served, of capacity", "high priority, failed", "of those",
                                 "p99 ms of what is served, normal / during", "times"], rows)


def ms(seconds):
    if seconds is None:
        return "–"
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def percent(part):
    return "–" if part is None else f"{part:.1%}"


def right_after(run):
    return f"not in {run['phases']['after']} s" if run["right_after"] is None else f"{run['right_after']:.1f} s"


def write(results, docs):
    """Puts the tables into docs/balance.md, between its marks, and the pictures beside it."""
    page = Path(docs) / "balance.md"
    text = page.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    folder = Path(docs) / "balance"
    folder.mkdir(exist_ok=True)
    parts = [method(results)]
    for name in results["scenarios"]:
        runs = runs_of(results, name)
        if runs and name not in (HALF, OVERLOAD):
            (folder / f"{name}.svg").write_text(picture(f"{name}: {results['scenarios'][name]}", runs))
            parts.append(f"![{name}: p99, and the share of the bad endpoint, by second](balance/{name}.svg)")
    parts.append(tables(results))
    page.write_text(f"{text[:begin]}\n\n" + "\n\n".join(parts) + f"\n\n{text[end:]}")


def method(results):
    told, versions = results["method"], {}
    for subject, version in results["versions"].items():
        versions.setdefault(subject.split()[0], version)
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    shorter = "" if told["scale"] == told["rate"] == 1 else f" A try, with times of {told['scale']} and {told['rate']} of the load."
    return (f"Measured on {told['date']}, {machine()}; {told['threads']} worker each, probes by {told['probe'].upper()}. "
            f"{named}.{shorter}")


WIDTH, LEFT, RIGHT, PANEL, GAP, TOP = 900, 70, 880, 190, 62, 64
BOTTOM = 62
# Told apart on light and on dark ground (Okabe and Ito, and one more); evenkeel's are thick, the others' dashed.
LINES = {
    "evenkeel round_robin": ("#56b4e9", ""),
    "evenkeel least_requests": ("#0072b2", ""),
    "evenkeel least_time": ("#cc79a7", ""),
    "evenkeel told the same": ("#8a63d2", ""),
    "nginx": ("#009e73", "7 3"),
    "HAProxy": ("#e69f00", "3 3"),
    "HAProxy marking down": ("#b8a000", "3 3"),
    "Envoy": ("#d55e00", "9 3 2 3"),
}
STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 16px }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .fault { fill: #afb8c1; opacity: 0.25 }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #30363d }
    .fault { fill: #6e7681 }
  }
</style>"""


class Panel:
    """One plot over the seconds: `place` says how high a value is, from 0 to 1."""

    def __init__(self, top, title, runs, marks, place):
        self.top, self.title, self.runs, self.marks, self.place = top, title, runs, marks, place
        seconds = [one["second"] for one in runs[0]["seconds"]]
        self.first, self.last = seconds[0], seconds[-1] + 1

    def x(self, second):
        return LEFT + (RIGHT - LEFT) * (second - self.first) / (self.last - self.first)

    def y(self, value):
        return self.top + PANEL * (1 - min(1, max(0, self.place(value))))

    def svg(self, figure):
        begin, end = self.x(0), self.x(self.runs[0]["phases"]["fault"])
        parts = [f'<rect class="fault" x="{begin:.1f}" y="{self.top}" width="{end - begin:.1f}" height="{PANEL}"/>',
                 f'<text x="{LEFT}" y="{self.top - 10}">{self.title}</text>']
        for label, value in self.marks:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
                         f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        for second in range(math.ceil(self.first / 5) * 5, self.last + 1, 5):
            parts.append(f'<text x="{self.x(second):.1f}" y="{self.top + PANEL + 18}" text-anchor="middle">{second} s</text>')
        for run in self.runs:
            colour, dash = LINES[run["subject"]]
            for points in self.pieces(run, figure):
                parts.append(f'<polyline class="line" stroke="{colour}" stroke-dasharray="{dash}" points="{points}"/>')
        return "\n".join(parts)

    def pieces(self, run, figure):
        """The points of its line, which is broken where there is no value."""
        pieces = [[]]
        for one in run["seconds"]:
            value = one[figure]
            if value is None:
                pieces.append([])
            else:
                pieces[-1].append(f"{self.x(one['second'] + 0.5):.1f},{self.y(value):.1f}")
        return [" ".join(piece) for piece in pieces if piece]


def picture(title, runs):
    """p99 by second, above the share of the bad one; the time of the fault is shaded."""
    times = [("10 ms", 0.01), ("100 ms", 0.1), ("1 s", 1), ("5 s", 5)]
    largest = max(one["bad_share"] or 0 for run in runs for one in run["seconds"])
    shares = [(f"{part} %", part / 100) for part in range(0, 101, 10 if largest <= 0.5 else 20)]
    limit = max(0.3, min(1, math.ceil(largest * 10) / 10))
    shares = [mark for mark in shares if mark[1] <= limit]
    upper = Panel(TOP, "p99 by second of sending, until the client gives up after 5 s", runs, times,
                  lambda value: math.log(max(value, 0.005) / 0.005) / math.log(5 / 0.005))
    lower = Panel(TOP + PANEL + GAP, "share of the requests that the bad endpoint is sent", runs, shares,
                  lambda value: value / limit)
    height = TOP + 2 * PANEL + GAP + BOTTOM + 22 * math.ceil(len(runs) / 4)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">
{STYLE}
<text class="title" x="10" y="24">{title}</text>
{upper.svg("p99")}
{lower.svg("bad_share")}
{legend(runs, TOP + 2 * PANEL + GAP + 50)}
</svg>
"""


def legend(runs, top):
    parts = []
    for index, run in enumerate(runs):
        x, y = LEFT + index % 4 * 205, top + index // 4 * 22
        colour, dash = LINES[run["subject"]]
        parts.append(f'<path class="line" stroke="{colour}" stroke-dasharray="{dash}" d="M{x} {y - 4}h28"/>'
                     f'<text x="{x + 35}" y="{y}">{run["subject"]}</text>')
    return "\n".join(parts)
