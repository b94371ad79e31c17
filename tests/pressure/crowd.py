"""A crowd of clients: crowd.py PORT COUNT. Each connects, asks once, and stays, whether it is answered or not.

Prints `here CONNECTED ANSWERED` when nothing has moved for a second, and leaves when its standard input ends, all of it at
once. Its limit of open files is its own.
"""

import resource
import select
import socket
import sys
import time

REQUEST = b"GET /crowd HTTP/1.1\r\nHost: crowd.example\r\n\r\n"
ARRIVE = 20


def begin(port):
    client = socket.socket()
    client.setblocking(False)
    try:
        client.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    return client


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 200, hard), hard))
    poll = select.epoll()
    clients, connected, answered = {}, 0, 0
    for _ in range(count):
        client = begin(port)
        clients[client.fileno()] = client
        poll.register(client, select.EPOLLOUT | select.EPOLLONESHOT)
    started = moved = time.monotonic()
    while time.monotonic() < min(started + ARRIVE, moved + 1):
        for number, event in poll.poll(0.1):
            client = clients[number]
            moved = time.monotonic()
            if event & (select.EPOLLERR | select.EPOLLHUP):
                continue
            if event & select.EPOLLOUT:
                connected += 1
                client.send(REQUEST)
                poll.modify(number, select.EPOLLIN | select.EPOLLONESHOT)
            elif event & select.EPOLLIN:
                answered += client.recv(65536).startswith(b"HTTP/1.1 200 ")
    print(f"here {connected} {answered}", flush=True)
    sys.stdin.read()


main()
