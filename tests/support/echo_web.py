"""Our server before an application that sends every message back: for tests of WebSocket itself.

Called with the port, and with a limit of bytes for a message where that of the product is not wanted.
"""

from __future__ import annotations

import sys
from typing import Any

import django

django.setup()

from opencode_site.web import WebServer  # noqa: E402 - only after the set-up
from opencode_site.ws import patience  # noqa: E402
from opencode_site.ws.endpoint import Endpoint  # noqa: E402


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application."""
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            content = {name: message.get(name) for name in ("text", "bytes")}
            await send({"type": "websocket.send", **content})
        else:
            return


if __name__ == "__main__":
    if sys.argv[2:]:
        patience.MAX_MESSAGE_BYTES = int(sys.argv[2])
    server = WebServer(
        echo,
        websockets=Endpoint(),
        descriptor=None,
        address=("127.0.0.1", int(sys.argv[1])),
        tls=None,
        ping_interval=20.0,
        ping_timeout=30.0,
    )
    server.run()
