"""Plays one payload through one proxy, and says what each side saw."""

import random
import re
import socket
import time
from dataclasses import dataclass, field

from endpoint import Endpoint, Seen

# How long the first answer is waited for before the next request is sent: some payloads have none.
PAUSE = 0.02
PATIENCE = 6.0
# Enough for a piece to be read before the next one comes, mostly.
BETWEEN = 0.001


@dataclass
class Answer:
    status: int
    # Which of the endpoint's requests it answers; None if the proxy made it.
    seen: int | None
    line: bytes


@dataclass
class Outcome:
    """What came of one payload."""

    answers: list[Answer]
    # The requests of the payload that the endpoint saw; the canary's is not among them.
    seen: list[Seen]
    canary: bool
    # What is wrong, in words; nothing of it may be said of evenkeel.
    faults: list[str] = field(default_factory=list)
    hung: bool = False
    client_port: int = 0
    # Wall-clock seconds.
    began: float = 0.0
    ended: float = 0.0

    @property
    def passed(self) -> int:
        return len(self.seen)

    @property
    def status(self) -> str:
        return ",".join(str(answer.status) for answer in self.answers) or "closed"


def play(number: int, sent: bytes, port: int, endpoint: Endpoint, pieces: bool = False) -> Outcome:
    canary, later = b"/canary-%d" % number, b"/later-%d" % number
    start, began = (len(endpoint.seen), len(endpoint.refused)), time.time()
    received, hung, client_port = converse(port, cut(sent, number) if pieces else [sent], simple(canary))
    said, _, _ = converse(port, [simple(later)], b"")

    with endpoint.lock:
        seen, refused = endpoint.seen[start[0] :], endpoint.refused[start[1] :]
    asked_later = [request for request in seen if target(request.line) == later]
    mine = [request for request in seen if request not in asked_later]
    answers = parse(received)
    own = [request for request in mine if target(request.line) != canary]
    outcome = Outcome(answers, own, len(own) < len(mine), hung=hung, client_port=client_port, began=began, ended=time.time())
    outcome.faults += judge(mine, answers)
    outcome.faults += judge_later(asked_later, parse(said))
    outcome.faults += [f"the strict endpoint refuses what was sent on: {reason}" for reason, _ in refused]
    return outcome


def judge(seen: list[Seen], answers: list[Answer]) -> list[str]:
    """The client must have the answers to exactly those requests that the endpoint saw, in their order."""
    got = [answer.seen for answer in answers if answer.seen is not None]
    numbers = [request.number for request in seen]
    faults = []
    if unanswered := [request for request in seen if request.number not in got]:
        faults.append(f"{len(unanswered)} request(s) that the client has no answer to, such as {unanswered[0].line[:80]!r}")
    if foreign := [number for number in got if number not in numbers]:
        faults.append(f"{len(foreign)} answer(s) to somebody else's request")
    if got != sorted(set(got)):
        faults.append("answers out of order")
    return faults


def judge_later(seen: list[Seen], answers: list[Answer]) -> list[str]:
    if len(seen) != 1:
        return [f"the endpoint saw a later client's request {len(seen)} times"]
    if [answer.seen for answer in answers] != [seen[0].number]:
        return ["a later client did not get its answer"]
    return []


def simple(path: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: desync.example\r\nConnection: close\r\n\r\n" % path


def target(line: bytes) -> bytes:
    return (line.split(b" ") + [b""])[1]


def cut(sent: bytes, seed: int) -> list[bytes]:
    """Up to four pieces; the cuts are anywhere, and often within a line end."""
    rng = random.Random(seed)
    ends = [at + rng.choice((0, 1, 2)) for at, byte in enumerate(sent) if byte in b"\r\n"]
    cuts = sorted(rng.choice(ends) if ends and rng.random() < 0.6 else rng.randint(0, len(sent)) for _ in range(3))
    edges = [0, *cuts, len(sent)]
    return [sent[begin:end] for begin, end in zip(edges, edges[1:], strict=False) if begin < end]


def converse(port: int, first: list[bytes], second: bytes) -> tuple[bytes, bool, int]:
    """Sends the pieces of `first`, a little later `second`, says that this is all, and reads to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_port = client.getsockname()[1]
        received = bytearray()
        deadline = time.monotonic() + PATIENCE
        try:
            for at, piece in enumerate(first):
                if at > 0:
                    time.sleep(BETWEEN)
                client.sendall(piece)
            if second:
                client.settimeout(PAUSE)
                try:
                    received += client.recv(65536)
                except TimeoutError:
                    pass
                client.settimeout(PATIENCE)
                client.sendall(second)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while (left := deadline - time.monotonic()) > 0:
                client.settimeout(left)
                more = client.recv(65536)
                if not more:
                    return bytes(received), False, client_port
                received += more
        except TimeoutError:
            pass
        except OSError:
            return bytes(received), False, client_port
        return bytes(received), True, client_port


HEAD = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


def parse(received: bytes) -> list[Answer]:
    """The final responses of a stream. An announced body is skipped if it is there: the answer to a HEAD has none."""
    answers, at = [], 0
    while match := HEAD.match(received, at):
        at = match.end()
        status, fields = int(match[1]), match[2]
        if 100 <= status < 200:
            continue
        number, line = _field(fields, b"x-seen"), _field(fields, b"x-line")
        answers.append(Answer(status, int(number) if number else None, bytes.fromhex((line or b"").decode())))
        length = _field(fields, b"content-length")
        if length and not received.startswith(b"HTTP/1.", at):
            at += int(length)
    return answers


def _field(fields: bytes, name: bytes) -> bytes | None:
    match = re.search(rb"(?:^|\n)" + name + rb": *([^\r\n]*)\r", fields, re.IGNORECASE)
    return match[1] if match else None
