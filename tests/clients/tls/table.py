"""Makes the table of a matrix: table.py tls CELLS ACCESS_LOG, or table.py grpc CELLS. CELLS has the lines of all rows
(cells.py).

Over TLS the access log is another witness: each request had the protocol of its row, one after the other they shared a
connection, and the parallel ones of HTTP/2 did. A cell that should be there and is not has failed: no row ends early unseen.
"""

import collections
import json
import re
import sys
import time

TLS_COLUMNS = "GET,POST,upload,streamed upload,download,Expect,redirect,HEAD,keep-alive,names,parallel,events,WebSocket".split(",")

# The columns that a row lacks: its client has no such thing.
TLS_ROWS = {
    "curl-1.1": ["WebSocket"],
    "curl-2": ["Expect", "WebSocket"],
    "nghttp-2": ["redirect", "events", "WebSocket"],
    "h2load-1.1": ["streamed upload", "Expect", "redirect", "HEAD", "names", "events", "WebSocket"],
    "h2load-2": ["streamed upload", "Expect", "redirect", "HEAD", "names", "events", "WebSocket"],
    "httpx-1.1": ["Expect", "WebSocket"],
    "httpx-2": ["Expect", "WebSocket"],
    "aiohttp-1.1": [],
    "urllib-1.1": ["Expect", "keep-alive", "WebSocket"],
    "websockets-1.1": [column for column in TLS_COLUMNS if column != "WebSocket"],
    "java-1.1": [],
    "java-2": ["WebSocket"],
    "node-https-1.1": [],
    "node-http2-2": [],
    "node-fetch-1.1": ["Expect"],
}
GRPC_COLUMNS = (
    "unary,client stream,server stream,both ways,deadline,statuses,no method,cancel,metadata,tiny messages,dying endpoint,"
    "no endpoint"
).split(",")
GRPC_ROWS = {f"grpc-{way}-to-{pool}": [] for way in ("tls", "h2c") for pool in ("h2c", "tls")}

# Connections that those clients may take which use more than one: h2load as it is told; fetch has a pool, and takes another
# one of it after a HEAD.
CONNECTIONS = {("h2load-2", "parallel"): 10, ("node-fetch-1.1", "keep-alive"): 2}


def requests_by_row(log):
    rows = collections.defaultdict(list)
    with open(log) as file:
        for line in file:
            record = json.loads(line)
            if tagged := re.search(r"row=([a-z0-9.-]+)&cell=([a-z-]*)$", record["target"]):
                rows[tagged[1]].append((tagged[2], record))
    return rows


def wrong(row, requests):
    """What the log has against a row."""
    protocol = {"1.1": "HTTP/1.1", "2": "HTTP/2.0"}[row.rpartition("-")[2]]
    if not requests:
        return "the log has none of its requests"
    if others := {record["protocol"] for _, record in requests} - {protocol}:
        return f"some of its requests came by {', '.join(others)}"
    clients = collections.defaultdict(set)
    counts = collections.Counter()
    for tag, record in requests:
        clients[tag].add(record["client"])
        counts[tag] += 1
    for tag, fewest, bound in (("keep-alive", 20, True), ("parallel", 200, protocol == "HTTP/2.0")):
        connections = len(clients[tag])
        too_many = bound and connections > CONNECTIONS.get((row, tag), 1)
        if tag not in TLS_ROWS[row] and (counts[tag] < fewest or too_many):
            return f"{tag}: {counts[tag]} requests on {connections} connections"
    return None


def main():
    columns, rows = {"tls": (TLS_COLUMNS, TLS_ROWS), "grpc": (GRPC_COLUMNS, GRPC_ROWS)}[sys.argv[1]]
    cells, reasons = {}, {}
    with open(sys.argv[2]) as file:
        for line in file:
            if said := re.match(r"(ok|FAILED|skipped|no) +([a-z0-9.-]+) \| ([^|]+?) \| (.*)", line):
                cells[said[2], said[3]] = said[1]
            elif said := re.match(r"skipped ([a-z0-9.-]+): (.*)", line):
                reasons[said[1]] = said[2]
    time.sleep(0.5)  # The log's last lines.
    log = requests_by_row(sys.argv[3]) if len(sys.argv) > 3 else None
    failed = 0
    print(f"\n| row | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    notes = []
    for row, lacks in rows.items():
        if row in reasons:
            print(f"| {row} | skipped: {reasons[row]} |")
            continue
        seen = {column: cells.get((row, column), "–" if column in lacks else "missing") for column in columns}
        if log is None:
            pass
        elif against := wrong(row, log[row]):
            notes.append(f"FAILED  {row} | log | {against}")
        else:
            notes.append(f"ok      {row} | log | {len(log[row])} requests")
        notes += [f"FAILED  {row} | {column} | no verdict" for column, cell in seen.items() if cell == "missing"]
        print(f"| {row} | {' | '.join('yes' if cell == 'ok' else cell for cell in seen.values())} |")
    print()
    for note in notes:
        print(note)
        failed += note.startswith("FAILED")
    sys.exit(1 if failed else 0)


main()
