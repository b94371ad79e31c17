"""The endpoint behind the matrix of clients over TLS: endpoint.py PORT. It speaks HTTP/1.1 without TLS, and says in its
reports what has arrived."""

import asyncio
import hashlib
import sys
import time

from aiohttp import WSMsgType, web

PORT = int(sys.argv[1])
PIECE = 64 * 1024


async def report(request):
    """What was asked, by whom it was carried, and the sum of the body."""
    digest, length = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        length += len(piece)
    return web.json_response(
        {
            "method": request.method,
            "version": f"HTTP/{request.version.major}.{request.version.minor}",
            "scheme": request.headers.get("X-Forwarded-Proto"),
            "host": request.host,
            "query": request.query_string,
            "body_bytes": length,
            "sha256": digest.hexdigest(),
        }
    )


async def echo(request):
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    return response


async def bytes_of(request):
    """`?size=` bytes, none of whose pieces is like another; X-Sha256 says what they must add up to."""
    size = int(request.query["size"])
    pieces = [number.to_bytes(8, "big") * (PIECE // 8) for number in range(-(-size // PIECE))]
    whole = b"".join(pieces)[:size]
    headers = {"X-Sha256": hashlib.sha256(whole).hexdigest(), "Content-Length": str(size)}
    return web.Response(body=whole, headers=headers, content_type="application/octet-stream")


async def events(request):
    """Each event says when it was sent, in seconds since 1970."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    for _ in range(int(request.query["count"])):
        await response.write(f"data: {time.time():.6f}\n\n".encode())
        await asyncio.sleep(int(request.query["ms"]) / 1000)
    return response


async def redirect(request):
    """As an application does that knows only its own address."""
    raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{PORT}/report?{request.query_string}")


async def fail(request):
    status = int(request.query["status"])
    return web.Response(status=status, text=f"this is a {status}")


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


async def main():
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/report", report)
    app.router.add_post("/echo", echo)
    app.router.add_get("/bytes", bytes_of)
    app.router.add_get("/events", events)
    app.router.add_route("*", "/redirect", redirect)
    app.router.add_get("/fail", fail)
    app.router.add_get("/socket", echo_messages)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
