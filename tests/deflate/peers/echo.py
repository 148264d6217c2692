"""An echo peer on top of the Python package `websockets`, told what to do line by line.

serve SERVER_NO CLIENT_NO SERVER_BITS CLIENT_BITS      answers: port NUMBER
connect URL SERVER_NO CLIENT_NO SERVER_BITS CLIENT_BITS    answers: closed, when that is so

The flags are 0 or 1; bits are a number, or - for none.
"""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)


def parameters(words):
    server_no, client_no, server_bits, client_bits = words
    return {
        "server_no_context_takeover": server_no == "1",
        "client_no_context_takeover": client_no == "1",
        "server_max_window_bits": None if server_bits == "-" else int(server_bits),
        "client_max_window_bits": None if client_bits == "-" else int(client_bits),
    }


async def echo(ws):
    async for message in ws:
        # Every other message in fragments.
        if len(message) % 2:
            third = len(message) // 3
            await ws.send(iter([message[:third], message[third:]]))
        else:
            await ws.send(message)


async def main():
    loop = asyncio.get_running_loop()
    server = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, *words = line.split()
        if server is not None:
            server.close()
            server = None
        if what == "serve":
            extension = ServerPerMessageDeflateFactory(**parameters(words))
            server = await serve(
                echo, "127.0.0.1", 0, compression=None, extensions=[extension], max_size=None
            )
            print("port", server.sockets[0].getsockname()[1], flush=True)
        else:
            offer = parameters(words[1:])
            # A client always says that it knows the parameter, as browsers do.
            offer["client_max_window_bits"] = offer["client_max_window_bits"] or True
            extension = ClientPerMessageDeflateFactory(**offer)
            async with connect(
                words[0], compression=None, extensions=[extension], max_size=None, proxy=None
            ) as ws:
                await echo(ws)
            print("closed", flush=True)


asyncio.run(main())
