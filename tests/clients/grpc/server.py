"""A gRPC server for the matrix of clients: server.py PORT [CERTIFICATE KEY]. Messages are plain bytes, and any service has the
same methods, so that the path of a call may choose a pool."""

import signal
import sys
import threading
from concurrent import futures

import grpc

cancelled = threading.Semaphore(0)


def send_back_metadata(context):
    """What the client sends under `echo-…` comes back in the headers and in the trailers."""
    echoed = [(key, value) for key, value in context.invocation_metadata() if key.startswith("echo-")]
    context.send_initial_metadata(echoed)
    context.set_trailing_metadata([(f"trailing-{key}", value) for key, value in echoed])


def fail_if_asked(context):
    """`code` is the status to end with, before anything was sent: the response is trailers only."""
    asked = dict(context.invocation_metadata())
    if code := asked.get("code"):
        status = next(status for status in grpc.StatusCode if status.value[0] == int(code))
        context.set_trailing_metadata([("why-bin", b"\x00\xff")])
        # Not all of it is ASCII: it travels percent-encoded.
        context.abort(status, f"why: {status.name}, ä/%")


def unary(request, context):
    fail_if_asked(context)
    send_back_metadata(context)
    return request


def client_stream(requests, context):
    send_back_metadata(context)
    count = total = 0
    for request in requests:
        count, total = count + 1, total + len(request)
    return f"{count} {total}".encode()


def server_stream(request, context):
    """COUNT SIZE: so many messages; with a `code`, it is the end of them."""
    send_back_metadata(context)
    count, size = map(int, request.split())
    for number in range(count):
        yield number.to_bytes(size, "big")
    fail_if_asked(context)


def both(requests, context):
    send_back_metadata(context)
    yield from requests


def slow(request, context):
    """Sends one message, and nothing more; `waited` tells of calls that were given up."""
    gone = threading.Event()
    # Not behind the first message: where the end comes at once, nobody gets there.
    context.add_callback(lambda: (cancelled.release(), gone.set()))
    yield b"begun"
    gone.wait(20)


def waited(_request, context):
    return b"yes" if cancelled.acquire(timeout=5) else b"no"


def remaining(_request, context):
    """The deadline as it has arrived, in seconds."""
    return f"{context.time_remaining() or -1:.3f}".encode()


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Slow": grpc.unary_stream_rpc_method_handler(slow),
    "Waited": grpc.unary_unary_rpc_method_handler(waited),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
}


class AnyService(grpc.GenericRpcHandler):
    def service(self, call):
        return METHODS.get(call.method.rpartition("/")[2])


def main():
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(64), handlers=[AnyService()], options=options)
    address = f"127.0.0.1:{sys.argv[1]}"
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as certificate, open(sys.argv[3], "rb") as key:
            server.add_secure_port(address, grpc.ssl_server_credentials([(key.read(), certificate.read())]))
    else:
        server.add_insecure_port(address)
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    server.wait_for_termination()


main()
