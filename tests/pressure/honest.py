"""Honest clients at a steady pace: honest.py PORT SECONDS RATE CONNECTIONS.

Each connection sends its GETs at fixed times, whether or not others are late; what is measured is from the time at which
a request was due to its last byte, so that a server that stalls is not asked less. Prints one line:
`REQUESTS FAILED P50 P99 MAX`, the times in milliseconds.
"""

import asyncio
import sys
import time

REQUEST = b"GET /honest HTTP/1.1\r\nHost: honest.example\r\n\r\n"
PATIENCE = 5


async def exchange(reader, writer):
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(head.split(b"\r\n")[0].decode("latin-1"))
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    await reader.readexactly(int(fields[b"content-length"]))


async def client(port, start, seconds, interval, offset, times, failures):
    due = start + offset
    streams = None
    while due < start + seconds:
        await asyncio.sleep(max(0, due - time.monotonic()))
        try:
            if streams is None:
                streams = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PATIENCE)
            await asyncio.wait_for(exchange(*streams), PATIENCE)
            times.append(time.monotonic() - due)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as failure:
            failures.append(repr(failure))
            streams = None
        due += interval
    if streams:
        streams[1].close()


async def main():
    port, seconds, rate, connections = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    times, failures = [], []
    interval = connections / rate
    start = time.monotonic() + 0.1
    await asyncio.gather(
        *(
            client(port, start, seconds, interval, interval * n / connections, times, failures)
            for n in range(connections)
        )
    )
    times = sorted(times) or [float("nan")]
    at = lambda share: 1000 * times[min(len(times) - 1, int(len(times) * share))]
    print(f"{len(times)} {len(failures)} {at(0.5):.2f} {at(0.99):.2f} {at(1):.2f}")
    for failure in failures[:5]:
        print(failure, file=sys.stderr)


asyncio.run(main())
