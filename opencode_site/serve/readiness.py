"""When each process is really of use, found out by using it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

INTERVAL = 0.02
"""Seconds between two looks. Each costs about a millisecond, and only while the server starts."""
ANSWER_PATIENCE = 5.0


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    """Returns when `ready` says so; the caller sets the limit."""
    while not await ready():
        await asyncio.sleep(INTERVAL)


async def valkey_answers(path: Path) -> bool:
    """Whether the broker answers a PING on its socket."""
    try:
        return await _ask(asyncio.open_unix_connection(str(path)), b"PING\r\n", b"+PONG")
    except OSError:
        return False


async def web_answers(host: str, port: int, *, tls: bool) -> bool:
    """Whether an HTTP request is answered, whatever the answer.

    The listening socket is open before the web process exists: the request waits in its queue meanwhile.
    """
    context = None
    if tls:
        # The certificate is ours, and for the name that others use.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    try:
        return await _ask(
            asyncio.open_connection(host, port, ssl=context), request.encode("idna"), b"HTTP/1."
        )
    except OSError:
        return False


async def _ask(
    connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], request: bytes, beginning: bytes
) -> bool:
    reader, writer = await connecting
    try:
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(len(beginning)), ANSWER_PATIENCE)
    except TimeoutError:
        return False
    finally:
        writer.close()
    return answer == beginning
