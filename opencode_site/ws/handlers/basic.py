"""Answers to basic requests."""

from __future__ import annotations

from typing import Annotated

import orjson

from monitoring.times import now_text
from opencode_site.ws.connection import Connection
from opencode_site.ws.schemas.basic import Ping, Pong


def ping(connection: Connection, request: Ping) -> Annotated[str, Pong]:
    """Echoes the client's timestamp, or gives the server's in epoch milliseconds: by hand, quickly."""
    text, milliseconds = now_text()
    timestamp = milliseconds if request.timestamp is None else request.timestamp
    pong = {"type": "pong", "timestamp": timestamp, "server_time": text}
    if request.request_id is not None:
        pong["request_id"] = request.request_id
    return orjson.dumps(pong).decode()
