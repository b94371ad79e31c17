"""Clients that ask at a rate of their own, whatever became of their requests before: HTTP/1.1 with kept connections, a new
one where none is idle, no retry. A time counts from when the request was to be sent."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field

# How long a client waits for its response.
PATIENCE = 5.0
# What became of a request that has no status.
GAVE_UP, BROKEN = -1, -2
PRIORITIES = ("high", "normal", "low")


@dataclass
class Answers:
    """What became of every request, in the order of their ends."""

    # When each was to be sent, in seconds from the start.
    at: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    status: list = field(default_factory=list)
    # The origin that has answered, or nothing.
    origin: list = field(default_factory=list)
    priority: list = field(default_factory=list)
    # By how much the clients themselves were late.
    lateness: list = field(default_factory=list)


def arrivals(stages, seed=1):
    """Times by chance (Poisson), the same in each run: of stages of so many seconds with so many requests a second. Each has
    a priority: a fifth high, a fifth low."""
    chance, begin, found = random.Random(seed), 0.0, []
    for seconds, rate in stages:
        at = begin + chance.expovariate(rate)
        while at < begin + seconds:
            found.append((at, chance.choices(PRIORITIES, (1, 3, 1))[0]))
            at += chance.expovariate(rate)
        begin += seconds
    return found


class Request:
    __slots__ = ("at", "priority", "connection", "open")

    def __init__(self, at, priority):
        self.at, self.priority, self.connection, self.open = at, priority, None, True


class Connection(asyncio.Protocol):
    def __init__(self, clients, request):
        self.clients, self.request = clients, request
        self.transport, self.received = None, b""

    def connection_made(self, transport):
        self.transport = transport
        if self.request.open:
            self.send(self.request)
        else:
            self.request = None
            transport.close()

    def send(self, request):
        self.request, request.connection, self.received = request, self, b""
        self.transport.write(self.clients.heads[request.priority])

    def data_received(self, data):
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0 or self.request is None:
            return
        head = self.received[:end].lower()
        if len(self.received) < end + 4 + int(value(head, b"content-length") or 0):
            return
        request, self.request = self.request, None
        if value(head, b"connection") == b"close":
            self.transport.close()
        else:
            self.clients.idle.append(self)
        self.clients.ended(request, int(head[9:12]), value(head, b"x-origin"))

    def connection_lost(self, _):
        if self.request is not None:
            request, self.request = self.request, None
            self.clients.ended(request, BROKEN)


def value(head, name):
    begin = head.find(b"\r\n" + name + b":")
    if begin < 0:
        return None
    begin += len(name) + 3
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else len(head)].strip()


class Clients:
    def __init__(self, port):
        self.port, self.loop = port, asyncio.get_running_loop()
        self.answers, self.idle, self.waiting, self.tasks = Answers(), [], deque(), set()
        self.open, self.start = 0, None
        self.heads = {
            priority: f"GET /item HTTP/1.1\r\nHost: shop.example\r\nX-Priority: {priority}\r\n\r\n".encode()
            for priority in PRIORITIES
        }

    async def run(self, times, start):
        """Sends all of them, at these times from `start` of the loop's clock on, and waits for their ends."""
        self.start = start
        for at, priority in times:
            while True:
                now = self.loop.time() - start
                self.give_up(now)
                if now >= at:
                    break
                await asyncio.sleep(min(at - now, 0.1))
            self.answers.lateness.append(now - at)
            self.send(Request(at, priority))
        while self.open:
            self.give_up(self.loop.time() - start)
            await asyncio.sleep(0.02)
        for connection in self.idle:
            connection.transport.close()
        await asyncio.sleep(0)

    def send(self, request):
        self.open += 1
        self.waiting.append(request)
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.send(request)
                return
        task = self.loop.create_task(self.connect(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self, request):
        try:
            await self.loop.create_connection(lambda: Connection(self, request), "127.0.0.1", self.port)
        except OSError:
            if request.open:
                self.ended(request, BROKEN)

    def give_up(self, now):
        while self.waiting and (not self.waiting[0].open or now - self.waiting[0].at > PATIENCE):
            request = self.waiting.popleft()
            if request.open:
                if request.connection:
                    request.connection.request = None
                    request.connection.transport.close()
                self.ended(request, GAVE_UP)

    def ended(self, request, status, origin=None):
        request.open = False
        self.open -= 1
        answers = self.answers
        answers.at.append(request.at)
        answers.seconds.append(self.loop.time() - self.start - request.at)
        answers.status.append(status)
        answers.origin.append(int(origin) if origin else None)
        answers.priority.append(request.priority)
