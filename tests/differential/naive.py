"""A proxy as one must not be: it knows Content-Length and nothing else, and passes on what it gets.

It shows that the judge sees a desynchronisation where there is one: a run that finds none here is worth nothing.
"""

import re
import socket
import threading


class Naive:
    def __init__(self, endpoint_port: int):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.endpoint = socket.create_connection(("127.0.0.1", endpoint_port))
        self.endpoint.settimeout(0.1)
        self.answers = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            with client:
                try:
                    self._serve(client)
                except OSError:
                    pass

    def _serve(self, client):
        client.settimeout(1)
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = client.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: *([0-9]{1,6})\r\n", head + b"\r\n", re.IGNORECASE)
            wanted = int(length[1]) if length else 0
            while len(data) < wanted:
                more = client.recv(65536)
                if not more:
                    return
                data += more
            self.endpoint.sendall(head + b"\r\n\r\n" + data[:wanted])
            data = data[wanted:]
            client.sendall(self._answer())

    def _answer(self) -> bytes:
        while b"\r\n\r\n" not in self.answers:
            more = self.endpoint.recv(65536)
            if not more:
                raise OSError("the endpoint has closed")
            self.answers += more
        answer, _, self.answers = self.answers.partition(b"\r\n\r\n")
        return answer + b"\r\n\r\n"

    def alive(self) -> bool:
        return True

    def stop(self):
        self.listener.close()
