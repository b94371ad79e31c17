"""Python's clients through the proxy: httpx, aiohttp, websockets.

    client.py BASE_URL PORT

Serves an aiohttp application on PORT (the proxy routes /python to it) and asks it, and the demo endpoints, through
BASE_URL. Prints one `ok` line a check; an assertion ends the run.
"""

import asyncio
import sys
import time

import aiohttp
import httpx
import websockets
from aiohttp import WSMsgType, web

BASE, PORT = sys.argv[1], int(sys.argv[2])
WS = BASE.replace("http://", "ws://") + "/python/ws"
MEGABYTE = bytes(range(256)) * 4096


def ok(what):
    print(f"ok      {what}", flush=True)


# --- the endpoint -----------------------------------------------------------------------------------------------


async def echo_body(request):
    """Sends the body back as it comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    return response


async def echo_messages(request):
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT and message.data == "bye":
            await socket.close(code=4001, message=b"as asked")
        elif message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def redirect(_request):
    """As an application does that knows only its own address."""
    raise web.HTTPFound(f"http://127.0.0.1:{PORT}/python/target")


async def target(request):
    return web.Response(text=f"at {request.path}, forwarded for {request.headers.get('X-Forwarded-For')}")


async def empty(_request):
    return web.Response(status=204)


async def serve():
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/python/echo", echo_body)
    app.router.add_get("/python/ws", echo_messages)
    app.router.add_get("/python/redirect", redirect)
    app.router.add_get("/python/target", target)
    app.router.add_get("/python/empty", empty)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    return runner


# --- the clients ------------------------------------------------------------------------------------------------


def sync_httpx():
    with httpx.Client(base_url=BASE, timeout=20) as client:
        names = [client.get("/", headers={"Accept": "application/json"}).json()["endpoint"] for _ in range(99)]
        assert sorted(set(names)) == ["a", "b", "c"], set(names)
        assert {name: names.count(name) for name in "abc"} == {"a": 33, "b": 33, "c": 33}, names
        ok("httpx: 99 requests on one connection, 33 an endpoint")

        answer = client.post("/", content=(MEGABYTE[:70000] for _ in range(20)), headers={"Accept": "application/json"})
        assert answer.json()["body_bytes"] == 1_400_000, answer.text
        ok("httpx: an upload from a generator (chunked)")

        with client.stream("GET", "/big?size=20MiB") as answer:
            assert sum(len(piece) for piece in answer.iter_bytes()) == 20 << 20
        ok("httpx: a streamed download")

        with client.stream("GET", "/events?count=3&ms=400") as answer:
            lines = answer.iter_lines()
            first = next(line for line in lines if line.startswith("data:"))
            begin = time.monotonic()
            rest = [line for line in lines if line.startswith("data:")]
            # Held back, they would all be there with the first.
            assert time.monotonic() - begin > 0.4, "the first event waited for the others"
        assert first.startswith("data: event 1 ") and len(rest) == 2, (first, rest)
        ok("httpx: server-sent events one by one")

        assert client.get("/fail?status=503").status_code == 503
        assert client.head("/big").headers["content-length"] == "10485760"
        ok("httpx: an error of the endpoint, and HEAD")


async def async_httpx():
    async with httpx.AsyncClient(base_url=BASE, timeout=20, follow_redirects=True) as client:
        answers = await asyncio.gather(*(client.get("/", params={"n": n}) for n in range(200)))
        assert all(answer.status_code == 200 for answer in answers)
        ok("httpx: 200 requests at once")

        answer = await client.get("/python/redirect")
        assert answer.status_code == 200, answer
        assert str(answer.url) == f"{BASE}/python/target", answer.url
        assert answer.text == "at /python/target, forwarded for 127.0.0.1", answer.text
        ok("httpx: a redirect to the endpoint's own address stays at the proxy")

        assert (await client.get("/python/empty")).status_code == 204
        answer = await client.post("/python/echo", content=MEGABYTE * 8)
        assert answer.content == MEGABYTE * 8
        ok("httpx: 204, and 8 MiB there and back")


async def with_aiohttp():
    async with aiohttp.ClientSession(BASE) as session:

        async def get(number):
            async with session.get("/", params={"n": number}) as answer:
                return answer.status, await answer.text()

        answers = await asyncio.gather(*(get(number) for number in range(200)))
        assert all(status == 200 and "Hello from" in text for status, text in answers)
        ok("aiohttp: 200 requests at once")

        async with session.post("/python/echo", data=MEGABYTE, expect100=True) as answer:
            assert await answer.read() == MEGABYTE
        ok("aiohttp: Expect: 100-continue")

        async def pieces():
            for _ in range(50):
                yield MEGABYTE[:10000]

        async with session.post("/python/echo", data=pieces()) as answer:
            assert await answer.read() == MEGABYTE[:10000] * 50
        ok("aiohttp: a chunked upload, a chunked answer")

        async with session.ws_connect("/python/ws", max_msg_size=0) as socket:
            await socket.send_str("hello")
            assert (await socket.receive_str()) == "hello"
            await socket.send_bytes(MEGABYTE)
            assert (await socket.receive_bytes()) == MEGABYTE
            await socket.ping()
            await socket.send_str("bye")
            assert (await socket.receive()).type == WSMsgType.CLOSE
            assert socket.close_code == 4001, socket.close_code
        ok("aiohttp: a WebSocket, closed by the endpoint with its own code")


async def with_websockets():
    async with websockets.connect(WS, max_size=None, ping_interval=None) as socket:
        for text in ["one", "zwei", "три"]:
            await socket.send(text)
            assert await socket.recv() == text
        await socket.send(MEGABYTE * 4)
        assert await socket.recv() == MEGABYTE * 4
        await asyncio.wait_for(await socket.ping(), 5)
        ok("websockets: text, 4 MiB of binary, ping and pong")

        await asyncio.sleep(3)
        await socket.send("still there?")
        assert await socket.recv() == "still there?"
        ok("websockets: lives through 3 s of silence")

    sockets = await asyncio.gather(*(websockets.connect(WS) for _ in range(50)))
    for number, socket in enumerate(sockets):
        await socket.send(str(number))
    assert [await socket.recv() for socket in sockets] == [str(number) for number in range(50)]
    await asyncio.gather(*(socket.close() for socket in sockets))
    ok("websockets: 50 at once, none mixed up")


async def main():
    runner = await serve()
    await asyncio.to_thread(sync_httpx)
    await async_httpx()
    await with_aiohttp()
    await with_websockets()
    await runner.cleanup()


asyncio.run(main())
