"""What was measured, as tables and plots."""

import os
import platform
import statistics
from pathlib import Path

from loads import SCENARIOS

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SELF, REFERENCE = "evenkeel", "nginx"


def medians(results):
    """By scenario, peer and figure: the median of the rounds, and how far they are apart in parts of it."""
    values = {}
    for one in results["rounds"]:
        for figure, value in one.items():
            if figure not in ("round", "scenario", "peer") and value is not None:
                values.setdefault((one["scenario"], one["peer"], figure), []).append(value)
    return {
        key: (statistics.median(all_of_them), (max(all_of_them) - min(all_of_them)) / (statistics.median(all_of_them) or 1))
        for key, all_of_them in values.items()
    }


def tables(results):
    found = medians(results)
    peers = list(results["versions"])
    parts = []
    for scenario in SCENARIOS:
        rows = [row(found, scenario.name, peer) for peer in peers if (scenario.name, peer, "cpu_us") in found]
        if rows:
            head = f"| | CPU us a request | to {REFERENCE} | spread | requests/s | p50 ms | p99 ms | memory MiB |"
            parts.append("\n".join([f"**{scenario.name}**: {scenario.what}\n", head, "|---|---|---|---|---|---|---|---|", *rows]))
    rows = [
        f"| {peer} | {found['idle', peer, 'idle_bytes'][0]:,.0f} | {found['idle', peer, 'idle_cpu_ms'][0]:.2f} "
        f"| {found['idle', peer, 'alone_cpu_ms'][0]:.2f} |"
        for peer in peers
        if ("idle", peer, "idle_bytes") in found
    ]
    if rows:
        parts.append("\n".join(["**idle**: 4,000 connections on which nothing happens\n",
                                "| | bytes a connection | CPU ms a second | with no connection |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def row(found, scenario, peer):
    get = lambda figure: found.get((scenario, peer, figure), (None, None))
    cpu, spread = get("cpu_us")
    reference = found.get((scenario, REFERENCE, "cpu_us"), (None,))[0]
    ratio = f"{cpu / reference:.2f}" if reference else ""
    ms = lambda figure: "" if get(figure)[0] is None else f"{get(figure)[0] / 1000:.2f}"
    return (f"| {peer} | {cpu:.1f} | {ratio} | {spread:.0%} | {get('rate')[0]:,.0f} | {ms('p50_us')} | {ms('p99_us')} "
            f"| {get('memory')[0] / 2**20:.0f} |")


def write(results, docs):
    """Puts the tables into docs/performance.md, between its marks, and the plots beside it."""
    page = Path(docs) / "performance.md"
    text = page.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    found, folder = medians(results), Path(docs) / "performance"
    folder.mkdir(exist_ok=True)
    pictures = []
    for name, scenario, figure, title, unit in PLOTS:
        bars = [(peer, found[scenario, peer, figure][0]) for peer in results["versions"] if (scenario, peer, figure) in found]
        if bars:
            (folder / f"{name}.svg").write_text(plot(title, unit, bars))
            pictures.append(f"![{title}](performance/{name}.svg)")
    measured = "\n\n".join([method(results), *pictures, tables(results)])
    page.write_text(f"{text[:begin]}\n\n{measured}\n\n{text[end:]}")


def method(results):
    told = results["method"]
    versions = ", ".join(f"{peer} {version}" for peer, version in results["versions"].items())
    return (f"Measured on {told['date']}, {machine()}; {told['threads']} worker each, "
            f"medians of {told['rounds']} interleaved rounds. {versions}.")


def machine():
    return f"{cpu_model()}, Linux {platform.release().split('-')[0]}"


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{os.cpu_count()} x {line.split(':', 1)[1].strip()}"
    return f"{os.cpu_count()} processors"


PLOTS = [
    ("small", "100 B", "cpu_us", "CPU time of a request of 100 bytes", "us"),
    ("large", "1 MB", "cpu_us", "CPU time of a request of a megabyte", "us"),
    ("http2", "HTTP/2", "cpu_us", "CPU time of a request over TLS and HTTP/2", "us"),
    ("handshakes", "handshakes", "cpu_us", "CPU time of a TLS handshake and its request", "us"),
    ("idle", "idle", "idle_bytes", "Memory of an idle connection", "bytes"),
]

WIDTH, LEFT, BAR, GAP, TOP = 740, 175, 22, 10, 54

# Readable on light and on dark.
STYLE = """<style>
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 16px }
  .own { fill: #0969da }
  .other { fill: #afb8c1 }
  path { stroke-width: 2.5 }
  path.own { fill: none; stroke: #0969da }
  path.other { fill: none; stroke: #afb8c1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .own { fill: #4493f8 }
    .other { fill: #545d68 }
    path.own { stroke: #4493f8 }
    path.other { stroke: #545d68 }
  }
</style>"""


def plot(title, unit, bars):
    """Horizontal bars, the shortest first: it is the best."""
    bars = sorted(bars, key=lambda bar: bar[1])
    longest = max(value for _, value in bars) or 1
    height = TOP + len(bars) * (BAR + GAP) + GAP
    parts = []
    for index, (peer, value) in enumerate(bars):
        y = TOP + index * (BAR + GAP)
        length = max(1, (WIDTH - LEFT - 110) * value / longest)
        kind = "own" if peer.startswith(SELF) else "other"
        number = f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
        parts.append(f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{peer}</text>'
                     f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3"/>'
                     f'<text x="{LEFT + length + 8:.1f}" y="{y + 16}">{number} {unit}</text>')
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">
{STYLE}
<text class="title" x="10" y="24">{title}</text>
<text x="10" y="42">less is better</text>
{chr(10).join(parts)}
</svg>
"""
