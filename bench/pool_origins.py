"""The endpoints of a pool whose capacity is known: each works on a few requests at a time and queues the rest, with times
of service drawn as `evenkeel simulate` draws them. Each is a process, so that it can be slow, fail, be stopped and be
killed.

Times are those of a virtual worker: where the process is late by a millisecond, its next request begins as if it were not,
so that neither the timer nor the processor changes the capacity.
"""

import asyncio
import mmap
import os
import random
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

from process import Process

# Of the control file: the factor of the times of service, and the status to answer with at once; 0: none.
CONTROL = struct.Struct("=dq")
COUNT = struct.Struct("=Q")
# Requests are counted by tenths of a second.
TICKS_PER_SECOND = 10
TICKS = 4_000
FILE_SIZE = CONTROL.size + TICKS * COUNT.size
# Beyond this lateness, a process has not worked but has been stopped.
STALL = 0.05
HEALTH = b"GET /health "
BODY = b"x" * 100
SCRIPT = Path(__file__).resolve()


class Origin:
    """One of them, seen from outside. What it counts is in a file that outlives it."""

    def __init__(self, number, port, folder, workers, service, cpus):
        self.number, self.port, self.cpus = number, port, cpus
        self.address = f"127.0.0.1:{port}"
        path = Path(folder) / f"origin-{number}"
        path.write_bytes(CONTROL.pack(1.0, 0) + bytes(FILE_SIZE - CONTROL.size))
        self.command = [sys.executable, "-S", str(SCRIPT), str(number), str(port), str(path), str(workers), str(service)]
        self.shared = mapped(path)
        self.start = time.monotonic()
        self.process = None
        self.run()

    def run(self):
        self.process = Process([*self.command, str(self.start)], self.cpus)

    def is_there(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def be_slow(self, factor):
        self.shared[: CONTROL.size] = CONTROL.pack(factor, 0)

    def fail(self, status):
        self.shared[: CONTROL.size] = CONTROL.pack(1.0, status)

    def be_well(self):
        self.shared[: CONTROL.size] = CONTROL.pack(1.0, 0)

    def halt(self):
        os.kill(self.process.child.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.child.pid, signal.SIGCONT)

    def kill(self):
        os.kill(self.process.child.pid, signal.SIGKILL)
        self.process.child.wait()

    def counts(self, since, ticks):
        """Requests that it has taken in each tenth of a second from this time on."""
        first = round((since - self.start) * TICKS_PER_SECOND)
        return [COUNT.unpack_from(self.shared, CONTROL.size + (first + n) * COUNT.size)[0] for n in range(ticks)]

    def end(self):
        if not self.process.has_ended():
            self.go_on()
        self.process.stop()


def mapped(path):
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), FILE_SIZE)


class Workers:
    """So many requests at a time, and one queue behind them. A request whose client has gone is worked on like any other,
    as most servers do."""

    def __init__(self, loop, shared, number, limit, service):
        self.loop, self.shared, self.limit, self.service = loop, shared, limit, service
        self.random = random.Random(number)
        self.busy, self.queue = 0, deque()

    def slowness(self):
        return CONTROL.unpack_from(self.shared, 0)[0]

    def take(self, answer):
        if self.busy < self.limit:
            self.begin(answer, self.loop.time())
        else:
            self.queue.append(answer)

    def begin(self, answer, start):
        self.busy += 1
        end = start + self.random.expovariate(1 / self.service) * self.slowness()
        self.loop.call_at(end, self.finish, answer, end)

    def finish(self, answer, end):
        self.busy -= 1
        answer()
        if self.queue:
            now = self.loop.time()
            self.begin(self.queue.popleft(), end if now - end < STALL else now)


class Connection(asyncio.Protocol):
    def __init__(self, workers, head, start):
        self.workers, self.head, self.start = workers, head, start
        self.transport, self.received = None, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while b"\r\n\r\n" in self.received:
            request, self.received = self.received.split(b"\r\n\r\n", 1)
            self.request(request)

    def request(self, head):
        status = CONTROL.unpack_from(self.workers.shared, 0)[1]
        if not head.startswith(HEALTH):
            tick = int((self.workers.loop.time() - self.start) * TICKS_PER_SECOND)
            place = CONTROL.size + tick * COUNT.size
            COUNT.pack_into(self.workers.shared, place, COUNT.unpack_from(self.workers.shared, place)[0] + 1)
        if status:
            self.answer(status)
        elif head.startswith(HEALTH):
            self.answer(200)
        else:
            self.workers.take(lambda: self.answer(200))

    def answer(self, status):
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %d Status\r\n%s" % (status, self.head) + BODY)


async def serve(number, port, shared, workers, service, start):
    loop = asyncio.get_running_loop()
    queue = Workers(loop, shared, number, workers, service)
    head = b"X-Origin: %d\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % (number, len(BODY))
    server = await loop.create_server(lambda: Connection(queue, head, start), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    number, port, path, workers, service, start = sys.argv[1:]
    asyncio.run(serve(int(number), int(port), mapped(path), int(workers), float(service), float(start)))
