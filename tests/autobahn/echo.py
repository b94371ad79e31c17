"""A WebSocket server that sends back what it is sent: echo.py PORT. The library keeps the protocol's rules; nothing is
limited or compressed here."""

import asyncio
import sys

import websockets


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except websockets.ConnectionClosed:
        pass


async def main():
    async with websockets.serve(
        echo, "127.0.0.1", int(sys.argv[1]), compression=None, max_size=None, ping_interval=None
    ):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
