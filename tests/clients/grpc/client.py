"""gRPC's own Python client, as rows of the matrix: each way to the proxy with each way to the endpoint.

    client.py TLS_PORT H2C_PORT CA SERVER_COMMAND_OF_DYING...

The service names the pool: `h2c.Echo` and `tls.Echo` are served, `dying.Echo` by a server that this program starts and kills,
`nobody.Echo` by nobody.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time

import grpc
from cells import cell

TLS_PORT, H2C_PORT, CA, DYING = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
BIG = os.urandom(1 << 20) * 4
TINY = 100_000
PATIENCE = 60


def channel(way):
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
    if way == "h2c":
        return grpc.insecure_channel(f"127.0.0.1:{H2C_PORT}", options)
    with open(CA, "rb") as ca:
        credentials = grpc.ssl_channel_credentials(ca.read())
    # The name of the certificate is in no DNS.
    options.append(("grpc.ssl_target_name_override", "one.test"))
    options.append(("grpc.default_authority", f"one.test:{TLS_PORT}"))
    return grpc.secure_channel(f"127.0.0.1:{TLS_PORT}", credentials, options)


def equal(seen, expected):
    if seen != expected:
        raise AssertionError(f"expected {expected!r:.200}, saw {seen!r:.200}")


def status_of(call):
    """The status and details of a call that must fail."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            answer = list(answer)
    except grpc.RpcError as error:
        return error.code(), error.details(), error
    raise AssertionError(f"it succeeded: {answer!r:.100}")


def unavailable(call):
    """The status where the proxy itself has to say that there is nobody."""
    code, details, _ = status_of(call)
    equal(code, grpc.StatusCode.UNAVAILABLE)
    return details


class Checks:
    def __init__(self, channel, pool):
        self.channel, self.pool = channel, pool
        self.unary = channel.unary_unary(f"/{pool}.Echo/Unary")
        self.client_stream = channel.stream_unary(f"/{pool}.Echo/ClientStream")
        self.server_stream = channel.unary_stream(f"/{pool}.Echo/ServerStream")
        self.both = channel.stream_stream(f"/{pool}.Echo/Both")
        self.slow = channel.unary_stream(f"/{pool}.Echo/Slow")
        self.waited = channel.unary_unary(f"/{pool}.Echo/Waited")
        self.remaining = channel.unary_unary(f"/{pool}.Echo/Remaining")

    def one_to_one(self):
        for message in (b"", b"hello", BIG):
            equal(self.unary(message, timeout=PATIENCE), message)
        calls = [self.unary.future(str(number).encode(), timeout=PATIENCE) for number in range(200)]
        equal([call.result() for call in calls], [str(number).encode() for number in range(200)])
        return "empty, small, 4 MiB; 200 at once"

    def many_to_one(self):
        answer = self.client_stream((BIG[:1000] for _ in range(1000)), timeout=PATIENCE)
        equal(answer, b"1000 1000000")
        return "1,000 messages of 1,000 bytes"

    def one_to_many(self):
        got = list(self.server_stream(b"1000 1000", timeout=PATIENCE))
        equal(got, [number.to_bytes(1000, "big") for number in range(1000)])
        return "1,000 messages of 1,000 bytes"

    def many_to_many(self):
        # Each message is sent after the one before has come back: nothing may wait for more.
        more = threading.Semaphore(1)

        def requests():
            for number in range(100):
                assert more.acquire(timeout=10)
                yield str(number).encode()

        got = []
        for message in self.both(requests(), timeout=PATIENCE):
            got.append(message)
            more.release()
        equal(got, [str(number).encode() for number in range(100)])
        return "100 messages, in turns"

    def deadline(self):
        left = float(self.remaining(b"", timeout=30))
        assert 25 < left < 31, left
        begun = time.monotonic()
        code, details, _ = status_of(lambda: self.slow(b"", timeout=0.5))
        took = time.monotonic() - begun
        equal(code, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert took < 2, took
        equal(self.waited(b"", timeout=PATIENCE), b"yes")
        return f"reaches the endpoint ({left:.2f} s of 30), and ends the call in time at both"

    def statuses(self):
        codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
        for code in codes:
            details, metadata = f"why: {code.name}, ä/%", [("code", str(code.value[0]))]
            seen, said, error = status_of(lambda: self.unary(b"", metadata=metadata, timeout=PATIENCE))
            equal((seen, said), (code, details))
            equal(dict(error.trailing_metadata())["why-bin"], b"\x00\xff")
            # The same at the end of a stream, behind messages.
            seen, said, _ = status_of(lambda: self.server_stream(b"3 10", metadata=metadata, timeout=PATIENCE))
            equal((seen, said), (code, details))
        return f"{len(codes)} codes, as trailers only and behind messages"

    def unknown_method(self):
        method = self.channel.unary_unary(f"/{self.pool}.Echo/Nothing")
        code, _, _ = status_of(lambda: method(b"", timeout=PATIENCE))
        equal(code, grpc.StatusCode.UNIMPLEMENTED)
        return "UNIMPLEMENTED for a method that nobody has"

    def cancel(self):
        call = self.slow(b"", timeout=PATIENCE)
        equal(next(call), b"begun")
        call.cancel()
        equal(call.code(), grpc.StatusCode.CANCELLED)
        equal(self.waited(b"", timeout=PATIENCE), b"yes")
        return "the endpoint hears of it"

    def metadata(self):
        sent = [("echo-text", "plain, with a comma"), ("echo-bits-bin", bytes(range(256))), ("echo-twice", "1"), ("echo-twice", "2")]
        for method, body in ((self.unary, b"x"), (self.client_stream, iter([b"x"]))):
            _, call = method.with_call(body, metadata=sent, timeout=PATIENCE)
            initial = [(key, value) for key, value in call.initial_metadata() if key.startswith("echo-")]
            trailing = [(key, value) for key, value in call.trailing_metadata() if key.startswith("trailing-")]
            equal(sorted(initial), sorted(sent))
            equal(sorted(trailing), sorted((f"trailing-{key}", value) for key, value in sent))
        return "there and back, in headers and trailers, -bin included"

    def tiny(self):
        begun = time.monotonic()
        message = b"12345"
        seen = sum(1 for got in self.both((message for _ in range(TINY)), timeout=10 * PATIENCE) if got == message)
        equal(seen, TINY)
        return f"{TINY:,} of five bytes there and back on one stream, {time.monotonic() - begun:.1f} s"

    def nobody(self):
        method = self.channel.unary_unary("/nobody.Echo/Unary")
        return f"UNAVAILABLE ({unavailable(lambda: method(b'', timeout=PATIENCE))})"

    def dying(self):
        """A call that it has not answered when it dies, one in whose answer it dies, one behind that."""
        unary, slow = self.channel.unary_unary("/dying.Echo/Unary"), self.channel.unary_stream("/dying.Echo/Slow")
        server = subprocess.Popen(DYING)
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    equal(unary(b"x", timeout=5), b"x")
                    break
                except grpc.RpcError:
                    assert time.monotonic() < deadline, "it does not come up"
                    time.sleep(0.1)
            begun = slow(b"", timeout=PATIENCE)
            equal(next(begun), b"begun")
            silent = self.channel.unary_unary("/dying.Echo/Waited").future(b"", timeout=PATIENCE)
            time.sleep(0.3)
        finally:
            server.kill()
            server.wait()
        equal(status_of(lambda: list(begun))[0], grpc.StatusCode.UNAVAILABLE)
        unavailable(silent.result)
        unavailable(lambda: unary(b"x", timeout=5))
        return "UNAVAILABLE before, within and after an answer"


async def main():
    for way in ("tls", "h2c"):
        for pool in ("h2c", "tls"):
            row = f"grpc-{way}-to-{pool}"
            with channel(way) as connection:
                checks = Checks(connection, pool)
                columns = {
                    "unary": checks.one_to_one,
                    "client stream": checks.many_to_one,
                    "server stream": checks.one_to_many,
                    "both ways": checks.many_to_many,
                    "deadline": checks.deadline,
                    "statuses": checks.statuses,
                    "no method": checks.unknown_method,
                    "cancel": checks.cancel,
                    "metadata": checks.metadata,
                    "tiny messages": checks.tiny,
                    "dying endpoint": checks.dying,
                    "no endpoint": checks.nobody,
                }
                for column, check in columns.items():
                    await cell(row, column, lambda check=check: asyncio.to_thread(check))


asyncio.run(main())
