"""A counting endpoint: it reads requests in one of two ways, keeps the bytes of each, and answers with a number.

`strict` reads as RFC 9112 has it and refuses the rest. `lenient` reads as careless servers do: any line end, folded
lines, blanks and control bytes around names and values, `_` for `-`, `chunked` found anywhere, chunk sizes up to the
first byte that is no digit.
"""

import re
import socket
import threading
from dataclasses import dataclass

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(TOKEN + rb" [!-~]+ HTTP/1\.[01]")
FIELD_LINE = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")
JUNK = bytes([*range(33), 0x7F, 0x85, 0xA0])


class Refused(Exception):
    """What the strict reading does not accept."""


class Ended(Exception):
    """The connection is over."""


@dataclass(frozen=True)
class Seen:
    number: int
    raw: bytes

    @property
    def line(self) -> bytes:
        return self.raw.lstrip(b"\r\n").split(b"\r\n")[0]


class Endpoint:
    """Listens on a port of its own. `seen`: whole requests; `refused`: what the strict reading did not accept."""

    def __init__(self, lenient: bool):
        self.lenient = lenient
        self.lock = threading.Lock()
        self.seen: list[Seen] = []
        self.refused: list[tuple[str, bytes]] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        reader = (Lenient if self.lenient else Strict)(connection)
        try:
            while True:
                reader.request()
                with self.lock:
                    seen = Seen(len(self.seen), reader.taken())
                    self.seen.append(seen)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Seen: %d\r\nX-Line: %s\r\n\r\n" % (seen.number, seen.line[:60].hex().encode())
                )
        except Refused as reason:
            with self.lock:
                self.refused.append((str(reason), reader.taken() + bytes(reader.buffer)))
            _try_send(connection, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except (Ended, OSError):
            pass
        finally:
            connection.close()


def _try_send(connection, data):
    try:
        connection.sendall(data)
    except OSError:
        pass


class Reader:
    def __init__(self, connection):
        self.connection = connection
        self.buffer = bytearray()
        self.raw = bytearray()

    def taken(self) -> bytes:
        raw = bytes(self.raw)
        self.raw.clear()
        return raw

    def fill(self):
        more = self.connection.recv(65536)
        if not more:
            raise Ended
        self.buffer += more

    def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.fill()
        part = bytes(self.buffer[:count])
        del self.buffer[:count]
        self.raw += part
        return part

    def leave(self):
        """Says that the body may come, to whoever waits for that."""
        self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


class Strict(Reader):
    def line(self) -> bytes:
        while (at := self.buffer.find(b"\n")) < 0:
            self.fill()
        line = self.take(at + 1)
        if not line.endswith(b"\r\n"):
            raise Refused("bare line feed")
        return line[:-2]

    def request(self):
        line = self.line()
        if not REQUEST_LINE.fullmatch(line):
            raise Refused("request line")
        fields = self.fields()
        hosts, lengths, encodings = (fields.get(name, []) for name in (b"host", b"content-length", b"transfer-encoding"))
        if len(hosts) != 1:
            raise Refused("host")
        if len(lengths) > 1 or len(encodings) > 1 or (lengths and encodings):
            raise Refused("framing fields")
        if lengths and not re.fullmatch(rb"[0-9]{1,19}", lengths[0]):
            raise Refused("content length")
        if encodings and encodings[0].lower() != b"chunked":
            raise Refused("transfer encoding")
        if fields.get(b"expect") and (encodings or lengths):
            self.leave()
        if encodings:
            self.chunks()
        elif lengths:
            self.take(int(lengths[0]))

    def fields(self) -> dict[bytes, list[bytes]]:
        fields: dict[bytes, list[bytes]] = {}
        while line := self.line():
            match = FIELD_LINE.fullmatch(line)
            if not match:
                raise Refused("field line")
            fields.setdefault(match[1].lower(), []).append(match[2])
        return fields

    def chunks(self):
        while True:
            match = CHUNK_LINE.fullmatch(self.line())
            if not match:
                raise Refused("chunk line")
            size = int(match[1], 16)
            if size == 0:
                self.fields()
                return
            self.take(size)
            if self.take(2) != b"\r\n":
                raise Refused("chunk end")


class Lenient(Reader):
    def line(self) -> bytes:
        while not (found := re.search(rb"\r\n|\n|\r(?=.)", self.buffer, re.DOTALL)):
            self.fill()
        return self.take(found.end())[: found.start()]

    def request(self):
        line = self.line()
        while not line.strip(JUNK):
            line = self.line()
        fields = self.fields()
        encodings = b",".join(fields.get(b"transfer-encoding", []))
        lengths = re.findall(rb"[0-9]+", b",".join(fields.get(b"content-length", [])))
        chunked = b"chunked" in encodings.translate(None, JUNK).lower()
        if b"100-continue" in b"".join(fields.get(b"expect", [])) and (chunked or lengths):
            self.leave()
        if chunked:
            self.chunks()
        elif lengths:
            self.take(int(lengths[-1]))

    def fields(self) -> dict[bytes, list[bytes]]:
        fields: dict[bytes, list[bytes]] = {}
        last: list[bytes] = []
        while line := self.line():
            if line[:1] in (b" ", b"\t") and last:
                last[-1] += b" " + line.strip(JUNK)
            name, _, value = line.partition(b":")
            last = fields.setdefault(name.strip(JUNK).replace(b"_", b"-").lower(), [])
            last.append(value.strip(JUNK))
        return fields

    def chunks(self):
        while True:
            digits = re.match(rb"[\s\x00]*(?:0[xX])?([0-9A-Fa-f]+)", self.line())
            size = int(digits[1], 16) if digits else 0
            if size == 0:
                self.fields()
                return
            self.take(size)
            self.line()
