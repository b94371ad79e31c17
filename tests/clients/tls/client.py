"""Python's clients over TLS, each as a row of the matrix: httpx, aiohttp, urllib, websockets.

    client.py PORT CA
"""

import asyncio
import hashlib
import http.client
import json
import os
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import NamedTuple

import aiohttp
import httpx
import websockets
from cells import cell

PORT, CA = int(sys.argv[1]), sys.argv[2]
BIG = os.urandom(1 << 20) * 20
SMALL = bytes(range(256)) * 4
# Later than this, an event was held up; a machine that is busy has three tries.
LATE = 0.050


class Answer(NamedTuple):
    status: int
    version: str
    headers: dict
    body: bytes
    url: str


class Httpx:
    def __init__(self, version):
        self.row, self.version = f"httpx-{version}", version
        self.client = httpx.AsyncClient(
            http2=version == "2", verify=trusting(CA), timeout=30, follow_redirects=True, trust_env=False
        )

    async def ask(self, method, url, body=None, headers=None):
        answer = await self.client.request(method, url, content=body, headers=headers)
        version = answer.http_version.removeprefix("HTTP/")
        return Answer(answer.status_code, version, answer.headers, answer.content, str(answer.url))

    async def arrivals(self, url):
        async with self.client.stream("GET", url) as answer:
            assert answer.status_code == 200, answer
            return [(time.time(), line) async for line in answer.aiter_lines()]

    def streamed(self, pieces):
        async def generator():
            for piece in pieces:
                yield piece

        return generator()

    async def close(self):
        await self.client.aclose()


class Aiohttp:
    row, version = "aiohttp-1.1", "1.1"

    def __init__(self):
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(CA)))

    async def ask(self, method, url, body=None, headers=None, expect=False):
        async with self.session.request(method, url, data=body, headers=headers, expect100=expect) as answer:
            version = f"{answer.version.major}.{answer.version.minor}"
            return Answer(answer.status, version, answer.headers, await answer.read(), str(answer.url))

    async def arrivals(self, url):
        async with self.session.get(url) as answer:
            assert answer.status == 200, answer
            return [(time.time(), line.decode()) async for line in answer.content]

    streamed = Httpx.streamed

    async def close(self):
        await self.session.close()


class Urllib:
    """It has no connections to keep, and blocks."""

    row, version = "urllib-1.1", "1.1"

    def __init__(self):
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting(CA))]
        self.opener = urllib.request.build_opener(*handlers)

    def _open(self, method, url, body=None, headers=None):
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        request = urllib.request.Request(url, data=body, headers=headers, method=method)
        try:
            return self.opener.open(request, timeout=30)
        except urllib.error.HTTPError as answer:
            return answer

    async def ask(self, *args, **keywords):
        def blocking():
            with self._open(*args, **keywords) as answer:
                response = answer if isinstance(answer, http.client.HTTPResponse) else answer.fp
                version = {11: "1.1", 10: "1.0"}[response.version]
                return Answer(answer.status, version, answer.headers, answer.read(), answer.url)

        return await asyncio.to_thread(blocking)

    async def arrivals(self, url):
        def blocking():
            with self._open("GET", url) as answer:
                assert answer.status == 200, answer
                return [(time.time(), line.decode()) for line in answer]

        return await asyncio.to_thread(blocking)

    def streamed(self, pieces):
        return iter(pieces)

    async def close(self):
        self.opener.close()


def trusting(ca):
    return ssl.create_default_context(cafile=ca)


def names_are_here():
    """The names of the certificates are in no DNS."""
    resolve = socket.getaddrinfo

    def resolve_here(host, *args, **keywords):
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name and name.endswith(".test") else host, *args, **keywords)

    socket.getaddrinfo = resolve_here


def at(row, target, name="one.test", cell=""):
    """The log tells by the query whose request it was."""
    return f"https://{name}:{PORT}{target}{'&' if '?' in target else '?'}row={row}&cell={cell}"


def equal(seen, expected):
    if seen != expected:
        raise AssertionError(f"expected {expected!r:.200}, saw {seen!r:.200}")


class Checks:
    """What every client does."""

    def __init__(self, client, keeps=True):
        self.client, self.row, self.keeps = client, client.row, keeps

    async def ask(self, method, target, body=None, name="one.test", cell="", **keywords):
        answer = await self.client.ask(method, at(self.row, target, name, cell), body, **keywords)
        equal(answer.version, self.client.version)
        return answer

    async def report(self, method, target, body=None, **keywords):
        answer = await self.ask(method, target, body, **keywords)
        equal(answer.status, 200)
        report = json.loads(answer.body)
        equal((report["version"], report["scheme"], report["method"]), ("HTTP/1.1", "https", method))
        return report

    async def get(self):
        report = await self.report("GET", "/report?x=1")
        equal(report["host"], f"one.test:{PORT}")
        missing = await self.ask("GET", "/fail?status=418")
        equal((missing.status, missing.body), (418, b"this is a 418"))
        return "200, 418"

    async def post(self):
        answer = await self.ask("POST", "/echo", SMALL)
        equal((answer.status, answer.body), (200, SMALL))
        return f"{len(SMALL)} bytes there and back"

    async def upload(self):
        report = await self.report("POST", "/report", BIG)
        equal((report["body_bytes"], report["sha256"]), (len(BIG), hashlib.sha256(BIG).hexdigest()))
        return f"{len(BIG) >> 20} MiB"

    async def streamed_upload(self):
        pieces = [BIG[at : at + 70_000] for at in range(0, len(BIG), 70_000)]
        report = await self.report("POST", "/report", self.client.streamed(pieces))
        equal((report["body_bytes"], report["sha256"]), (len(BIG), hashlib.sha256(BIG).hexdigest()))
        return f"{len(BIG) >> 20} MiB in {len(pieces)} pieces"

    async def download(self):
        answer = await self.ask("GET", f"/bytes?size={20 << 20}")
        equal((answer.status, len(answer.body)), (200, 20 << 20))
        equal(hashlib.sha256(answer.body).hexdigest(), answer.headers["X-Sha256"])
        return "20 MiB"

    async def redirect(self):
        answer = await self.ask("GET", "/redirect?to=there")
        equal(answer.status, 200)
        assert answer.url.startswith(f"https://one.test:{PORT}/report?"), answer.url
        assert "to=there" in json.loads(answer.body)["query"], answer.body
        return "307, followed to the proxy by https"

    async def head(self):
        answer = await self.ask("HEAD", "/bytes?size=1234567")
        equal((answer.status, answer.headers["Content-Length"], answer.body), (200, "1234567", b""))
        equal((await self.ask("GET", "/bytes?size=10")).body, bytes(10))
        return "a length, no body, and the next request is served"

    async def keep_alive(self):
        for number in range(20):
            report = await self.report("GET", f"/report?number={number}", cell="keep-alive")
            assert f"number={number}&" in report["query"], report
        return "20 requests"

    async def names(self):
        for name in ("one.test", "two.test"):
            report = await self.report("GET", "/report", name=name)
            equal(report["host"], f"{name}:{PORT}")
        try:
            await self.ask("GET", "/report", name="three.test")
        except Exception as error:  # Each client has its own.
            assert "CERTIFICATE_VERIFY_FAILED" in str(error), error
            return "two names, each with its certificate; a third one is refused"
        raise AssertionError("a certificate of another name was accepted")

    async def parallel(self):
        async def one(number):
            body = f"{self.row} {number}\n".encode() * 1000
            answer = await self.ask("POST", f"/echo?number={number}", body, cell="parallel")
            equal((answer.status, answer.body), (200, body))

        await asyncio.gather(*(one(number) for number in range(200)))
        return "200 at once, none mixed up"

    async def events(self):
        for _ in range(3):
            lines = await self.client.arrivals(at(self.row, "/events?count=20&ms=50"))
            sent = [(at, float(line.removeprefix("data:"))) for at, line in lines if line.startswith("data:")]
            equal(len(sent), 20)
            worst = max(arrived - begun for arrived, begun in sent)
            if worst < LATE:
                return f"20, the latest after {worst * 1000:.0f} ms"
        raise AssertionError(f"an event came {worst * 1000:.0f} ms after it was sent")

    async def run(self, *more):
        common = {
            "GET": self.get,
            "POST": self.post,
            "upload": self.upload,
            "streamed upload": self.streamed_upload,
            "download": self.download,
            "redirect": self.redirect,
            "HEAD": self.head,
            **({"keep-alive": self.keep_alive} if self.keeps else {}),
            "names": self.names,
            "parallel": self.parallel,
            "events": self.events,
        }
        for column, check in [*common.items(), *more]:
            await cell(self.row, column, check)
        await self.client.close()


async def expect_of_aiohttp(checks):
    # It does not send the body before it is told to.
    answer = await checks.client.ask("POST", at(checks.row, "/report"), BIG, expect=True)
    equal((answer.status, json.loads(answer.body)["body_bytes"]), (200, len(BIG)))
    return "20 MiB after 100 Continue"


async def socket_of_aiohttp(checks):
    async with checks.client.session.ws_connect(at(checks.row, "/socket"), max_msg_size=0) as socket:
        await socket.send_str("hello")
        equal(await socket.receive_str(), "hello")
        await socket.send_bytes(BIG)
        equal(await socket.receive_bytes(), BIG)
        await socket.send_str("bye")
        equal((await socket.receive()).type, aiohttp.WSMsgType.CLOSE)
        equal(socket.close_code, 4001)
    return "text, 20 MiB, the endpoint's close code"


async def socket_of_websockets():
    def connect(number=0):
        url = at("websockets-1.1", f"/socket?number={number}").replace("https:", "wss:")
        return websockets.connect(url, ssl=trusting(CA), max_size=None, ping_interval=None, proxy=None)

    async with connect() as socket:
        await socket.send(BIG)
        equal(await socket.recv(), BIG)
        await asyncio.wait_for(await socket.ping(), 5)
    sockets = await asyncio.gather(*(connect(number) for number in range(50)))
    for number, socket in enumerate(sockets):
        await socket.send(str(number))
    equal([await socket.recv() for socket in sockets], [str(number) for number in range(50)])
    await asyncio.gather(*(socket.close() for socket in sockets))
    return "20 MiB, a ping, and 50 at once, none mixed up"


async def main():
    names_are_here()
    await Checks(Httpx("1.1")).run()
    await Checks(Httpx("2")).run()
    checks = Checks(Aiohttp())
    await checks.run(
        ("Expect", lambda: expect_of_aiohttp(checks)),
        ("WebSocket", lambda: socket_of_aiohttp(checks)),
    )
    await Checks(Urllib(), keeps=False).run()
    await cell("websockets-1.1", "WebSocket", socket_of_websockets)


asyncio.run(main())
