"""Honest clients at a steady pace: honest.py PORT SECONDS RATE CONNECTIONS [h2].

Each connection sends its GETs at fixed times, whether or not others are late; what is measured is from the time at which
a request was due to its last byte, so that a server that stalls is not asked less. Prints one line:
`REQUESTS FAILED P50 P99 MAX`, the times in milliseconds.
"""

import asyncio
import sys
import time

REQUEST = b"GET /honest HTTP/1.1\r\nHost: honest.example\r\n\r\n"
PATIENCE = 5

# HTTP/2 by prior knowledge (RFC 9113): the preface with empty SETTINGS, and the fields of the same request.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
FIELDS = b"\x82\x86\x04\x07/honest\x01\x0ehonest.example"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Http2:
    """Connections of HTTP/2, by what they are written to."""

    def __init__(self):
        self.next = {}

    async def exchange(self, reader, writer):
        if writer not in self.next:
            writer.write(PREFACE)
        stream = self.next.get(writer, 1)
        self.next[writer] = stream + 2
        writer.write(frame(HEADERS, 5, stream, FIELDS))
        over = False
        while not over:
            head = await reader.readexactly(9)
            kind, flags = head[3], head[4]
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if kind == HEADERS and payload[0] != 0x88:
                raise ConnectionError(f"not 200: {payload[:4].hex()}")
            if kind in (RST_STREAM, GOAWAY):
                raise ConnectionError(f"refused: {payload.hex()}")
            if kind in (SETTINGS, PING) and not flags & 1:
                writer.write(frame(kind, 1, 0, payload if kind == PING else b""))
            if kind == DATA and payload:
                writer.write(frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))
            over = kind in (DATA, HEADERS) and flags & 1


async def exchange(reader, writer):
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(head.split(b"\r\n")[0].decode("latin-1"))
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    await reader.readexactly(int(fields[b"content-length"]))


async def client(port, start, seconds, interval, offset, times, failures, exchange):
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
    speak = Http2().exchange if sys.argv[5:] == ["h2"] else exchange
    times, failures = [], []
    interval = connections / rate
    start = time.monotonic() + 0.1
    await asyncio.gather(
        *(
            client(port, start, seconds, interval, interval * n / connections, times, failures, speak)
            for n in range(connections)
        )
    )
    times = sorted(times) or [float("nan")]
    at = lambda share: 1000 * times[min(len(times) - 1, int(len(times) * share))]
    print(f"{len(times)} {len(failures)} {at(0.5):.2f} {at(0.99):.2f} {at(1):.2f}")
    for failure in failures[:5]:
        print(failure, file=sys.stderr)


asyncio.run(main())
