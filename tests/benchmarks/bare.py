"""The baselines: servers that do nothing but carry frames. `bare.py asgi|websockets PORT`, by path.

They answer every message with one prepared text, the reply to `ping` as ours would send it, without decoding
what they got: less than any real server does. `{"fan": N, "text": …}` lets the ASGI function send the text N
times to everybody who is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from daphne.server import Server  # type: ignore[import-untyped]
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

PONG = '{"type":"pong","timestamp":1642152600000,"server_time":"2024-01-15T10:30:00.000Z"}'
_everybody: list[Any] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A bare ASGI function."""
    reply = {"type": "websocket.send", "text": PONG}
    while True:
        message = await receive()
        if message["type"] == "websocket.receive":
            if message["text"].startswith('{"fan"'):
                await _fan_out(**json.loads(message["text"]))
            else:
                await send(reply)
        elif message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
            _everybody.append(send)
        else:
            _everybody.remove(send)
            return


async def _fan_out(fan: int, text: str) -> None:
    for _ in range(fan):
        for send in _everybody:
            await send({"type": "websocket.send", "text": text})


async def _answer(connection: ServerConnection) -> None:
    # A client that leaves without a word is none of what is measured.
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            await connection.send(PONG)


async def _serve_websockets(port: int) -> None:
    async with serve(_answer, "127.0.0.1", port, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "asgi":
        Server(application, endpoints=[f"tcp:{sys.argv[2]}:interface=127.0.0.1"], verbosity=0).run()
    else:
        asyncio.run(_serve_websockets(int(sys.argv[2])))
