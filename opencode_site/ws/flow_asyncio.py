"""The brakes of a connection of Uvicorn's, at asyncio's transport."""

from __future__ import annotations

import asyncio
import socket

from opencode_site.ws.flow import READ_BYTES, SEND_BUFFER, Flow


class AsyncioFlow(Flow):
    """The transport tells the protocol when its buffer is full and when it is empty."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._written = 0
        transport.set_write_buffer_limits(high=READ_BYTES, low=0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    write_now = write

    def _pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _taken_so_far(self) -> int:
        return self._written - self._transport.get_write_buffer_size()
