"""The blocking client of `websockets`, with TLS in one thread.

It reads in one thread and writes in another. OpenSSL forbids that on one connection, and Python 3.11 lets it
happen: of 2 000 handshakes one was never answered, since it was never sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from websockets.sync import client
from websockets.sync.client import ClientConnection

CHUNK = 1 << 16


def connect(url: str, *, tls: ssl.SSLContext | None = None, **options: Any) -> ClientConnection:
    """`websockets.sync.client.connect`, which raises `OSError` if nobody listens."""
    if tls is not None:
        parts = urlsplit(url)
        url = parts._replace(scheme="ws").geturl()
        outside = socket.create_connection((parts.hostname, parts.port), timeout=10)
        options["sock"], far = socket.socketpair()
        # A daemon, since a test that has failed may leave its client open.
        threading.Thread(target=lambda: asyncio.run(_pass_on(far, outside, tls)), daemon=True).start()
    connection: ClientConnection = client.connect(url, **options)
    return connection


async def _pass_on(far: socket.socket, outside: socket.socket, context: ssl.SSLContext) -> None:
    """Carries bytes to a TLS server, and back, until one of the two ends."""
    inner_reader, inner_writer = await asyncio.open_connection(sock=far)
    writers = [inner_writer]
    try:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(
                sock=outside, ssl=context, server_hostname="127.0.0.1"
            )
            writers.append(writer)
            ways = [_copy(inner_reader, writer), _copy(reader, inner_writer)]
            await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when="FIRST_COMPLETED")
    finally:
        for each in writers:
            each.close()
        outside.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one of the two is at its end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
