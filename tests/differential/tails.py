"""A second look at payloads of several requests.

A peer that refuses the second of four says nothing about the fourth. Here the requests that a peer did not come to are
played again at the head of a payload of their own.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import subjects
from endpoint import Endpoint
from play import play


class Bench:
    """One of each proxy, for the few payloads that are looked at twice."""

    def __init__(self, stack: ExitStack, kinds: list[str]):
        self.played = 0
        self.sides = {}
        for kind in kinds:
            endpoint = Endpoint(lenient=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="evk-diff-"))
            subject = subjects.Subject(kind, endpoint.port, Path(folder))
            stack.callback(subject.stop)
            self.sides[kind] = (subject, endpoint)

    def passed(self, kind: str, sent: bytes) -> int:
        subject, endpoint = self.sides[kind]
        self.played += 1
        return play(self.played, sent, subject.port, endpoint).passed

    def tail(self, sent: bytes, requests: int) -> bytes:
        """What is left once evenkeel has taken so many requests: the shortest beginning that holds them is found by halving."""
        low, high = 0, len(sent)
        while low < high:
            middle = (low + high) // 2
            if self.passed("evenkeel", sent[:middle]) >= requests:
                high = middle
            else:
                low = middle + 1
        return sent[low:]

    def refused_by_both(self, sent: bytes) -> bytes | None:
        """The first request of the payload that evenkeel passes and both peers refuse, with what follows it."""
        while self.passed("evenkeel", sent) > 0:
            if all(self.passed(kind, sent) == 0 for kind in self.sides if kind != "evenkeel"):
                return sent
            sent = self.tail(sent, 1)
        return None
