"""Answers to basic requests."""

from __future__ import annotations

from opencode_site.ws.connection import Connection
from opencode_site.ws.schemas.basic import Ping, Pong, now


async def ping(connection: Connection, request: Ping) -> Pong:
    """Echoes the client's timestamp, or gives the server's in epoch milliseconds."""
    moment = now()
    timestamp = int(moment.timestamp() * 1000) if request.timestamp is None else request.timestamp
    return Pong.model_construct(timestamp=timestamp, server_time=moment)
