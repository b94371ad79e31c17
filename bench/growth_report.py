"""How cost grows, as tables and plots."""

import math
import statistics
from pathlib import Path

from report import STYLE, machine


def medians(rows, *keys):
    """By the values of `keys`: the median of every figure, the others counting only where they are numbers."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return {
        key: {name: statistics.median(one[name] for one in group) for name in group[0] if name not in ("round", *keys) and group[0][name] is not None}
        for key, group in groups.items()
    }


def table(head, rows):
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)])


def number(value, digits=1):
    return "–" if value is None else f"{value:,.{digits}f}"


def mib(value):
    return f"{value / 2**20:,.0f}"


def ms(us):
    return number(us / 1000, 2)


def by_size(what):
    """For parts with one figure for each size."""

    def tell(rows):
        found = medians(rows, "size")
        first = next(iter(found.values()))["cpu_us"]
        body = [
            [f"{size:,}", number(one["cpu_us"]), f"{one['cpu_us'] / first:.2f}", ms(one["p50_us"]), ms(one["p99_us"]), mib(one["memory"])]
            for (size,), one in found.items()
        ]
        return table([what, "CPU us a request", "to the first", "p50 ms", "p99 ms", "memory MiB"], body)

    return tell


def beside_floor(what):
    def tell(rows):
        found = medians(rows, "size", "who")
        body = []
        for size in dict.fromkeys(size for size, _ in found):
            own, floor = found[size, "evenkeel"], found[size, "forwarder"]
            body.append([f"{size:,}", number(own["cpu_us"]), number(floor["cpu_us"]), number(own["cpu_us"] - floor["cpu_us"]),
                         ms(own["p50_us"]), ms(own["p99_us"]), mib(own["memory"])])
        return table([what, "CPU us a request", "forwarder", "difference", "p50 ms", "p99 ms", "memory MiB"], body)

    return tell


def health(rows):
    found = medians(rows, "checks")
    names = {"off": "off", "{ type: tcp }": "TCP", "{ type: http, path: /health }": "HTTP"}
    body = [
        [names.get(kind, kind), number(one["checks_per_second"], 0), number(one["cpu_ms"], 2), number(one.get("us_per_check")),
         ms(one["p50_us"]), ms(one["p99_us"]), ms(one["p999_us"]), ms(one["max_us"])]
        for (kind,), one in found.items()
    ]
    return table(["checks", "a second", "CPU ms a second", "CPU us a check", "p50 ms", "p99 ms", "p99.9 ms", "worst ms"], body)


def reloads(rows):
    found = medians(rows, "kind")
    body = [
        [kind, number(one["start_s"], 2), number(one["median_s"], 2), number(one["cpu_ms"], 0),
         " / ".join(mib(one[name]) for name in ("before", "peak", "after", "after_all")),
         f"{ms(one['p99_us'])} ({ms(one['quiet_p99_us'])})", f"{ms(one['max_us'])} ({ms(one['quiet_max_us'])})"]
        for (kind,), one in found.items()
    ]
    return table(["what is another one", "start s", "reload s", "CPU ms", "MiB before / peak / after / after 20",
                  "p99 ms meanwhile (else)", "worst ms meanwhile (else)"], body)


def features(rows):
    found = medians(rows, "step")
    floor = found["forwarder",]["cpu_us"]
    body, before = [], floor
    for (step,), one in found.items():
        body.append([step, number(one["cpu_us"]), f"{one['cpu_us'] - before:+.1f}", f"{one['cpu_us'] - floor:+.1f}", ms(one["p50_us"])])
        before = one["cpu_us"]
    return table(["", "CPU us a request", "to the step before", "to the forwarder", "p50 ms"], body)


def picks(rows):
    found = medians(rows, "size")
    body = [[f"{size:,}", *(number(one[way], 0) for way in ("turns", "selection", "balancer"))] for (size,), one in found.items()]
    return table(["endpoints", "the pool's turns, lease included, ns", "`BackendSelection`, ns", "`LoadBalancer::select_with`, ns"], body)


def workers(rows):
    found = medians(rows, "rate", "threads")
    body = []
    for rate in dict.fromkeys(rate for rate, _ in found):
        one, two = found[rate, 1], found[rate, 2]
        body.append([f"{rate:,} a second" if rate else "as many as there can be", number(one["cpu_us"]), number(two["cpu_us"]),
                     f"{2 * one['cpu_us'] / two['cpu_us']:.2f}", f"{ms(one['p99_us'])} / {ms(two['p99_us'])}",
                     f"{one['per_second']:,.0f} / {two['per_second']:,.0f}"])
    return table(["requests", "CPU us, one worker", "two workers", "work of two to one", "p99 ms", "requests/s"], body)


SECTIONS = {
    "routes": ("Routes", by_size("routes")),
    "endpoints": ("Endpoints", beside_floor("endpoints")),
    "connections": ("Connections", beside_floor("connections")),
    "health": ("Health checks", health),
    "reloads": ("Reloads", reloads),
    "features": ("Features", features),
    "picks": ("Picking an endpoint", picks),
    "workers": ("Two workers", workers),
}


def tables(results):
    return "\n\n".join(f"**{SECTIONS[name][0]}**\n\n{SECTIONS[name][1](part['rows'])}" for name, part in results.items())


# === The page ===

# Part, title of the plot, what grows, and whose lines there are.
PLOTS = [
    ("routes", "CPU time of a request by the number of routes", "routes", {"evenkeel": None}),
    ("endpoints", "CPU time of a request by the number of endpoints", "endpoints", {"evenkeel": "evenkeel", "forwarder": "forwarder"}),
    ("connections", "CPU time of a request by the number of connections", "connections", {"evenkeel": "evenkeel", "forwarder": "forwarder"}),
]


def write(results, docs):
    """Puts the tables into docs/growth.md, each between its marks, and the plots beside it."""
    page, folder = Path(docs) / "growth.md", Path(docs) / "growth"
    folder.mkdir(exist_ok=True)
    text = page.read_text()
    for name, part in results.items():
        pictures = [picture(folder, part["rows"], *plotted) for plotted in PLOTS if plotted[0] == name]
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        said = f"{part['date']}, {machine()}, medians of {part['rounds']} rounds:"
        measured = "\n\n".join([said, *pictures, SECTIONS[name][1](part["rows"])])
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n\n{measured}\n\n{end}{after}"
    page.write_text(text)


def picture(folder, rows, name, title, what, lines):
    found = medians(rows, *(["size", "who"] if all(lines.values()) else ["size"]))
    series = {
        label: [(key[0], one["cpu_us"]) for key, one in found.items() if who is None or key[1] == who]
        for label, who in lines.items()
    }
    (folder / f"{name}.svg").write_text(curves(title, what, series))
    return f"![{title}](growth/{name}.svg)"


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 740, 320, 60, 130, 70, 50


def curves(title, what, series):
    """Lines over a logarithmic axis; the vertical one starts at zero, so that flat looks flat."""
    sizes = sorted({size for line in series.values() for size, _ in line})
    most = max(value for line in series.values() for _, value in line) * 1.1
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])
    x = lambda size: LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(size) - first) / (last - first)
    y = lambda value: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most
    parts = [f'<path class="other" style="stroke-width: 1" d="M{LEFT} {TOP} V{y(0):.1f} H{WIDTH - RIGHT}"/>']
    parts += [f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{size:,}</text>' for size in sizes]
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM + 40}" text-anchor="end">{what}</text>')
    for label, line in series.items():
        # The number of the upper line stands above it, that of the lower one below.
        kind, beside = ("own", -10) if label == "evenkeel" else ("other", 21)
        points = " L".join(f"{x(size):.1f} {y(value):.1f}" for size, value in line)
        parts.append(f'<path class="{kind}" d="M{points}"/>')
        for size, value in line:
            parts.append(f'<circle class="{kind}" cx="{x(size):.1f}" cy="{y(value):.1f}" r="4"/>'
                         f'<text x="{x(size):.1f}" y="{y(value) + beside:.1f}" text-anchor="middle">{value:.1f}</text>')
        parts.append(f'<text x="{x(line[-1][0]) + 24:.1f}" y="{y(line[-1][1]) + 5:.1f}">{label}</text>')
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">
{STYLE}
<text class="title" x="10" y="24">{title}</text>
<text x="10" y="42">us; less is better</text>
{chr(10).join(parts)}
</svg>
"""
