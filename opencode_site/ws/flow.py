"""One connection's brakes: what waits for a client, in either direction, never grows without limit."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from typing import Any

from twisted.web.http import HTTPChannel

Message = dict[str, Any]

INBOX_MESSAGES, INBOX_BYTES = 64, 256 * 1024
"""What may wait for the application; beyond it the socket is not read until half of it is left."""
READ_BYTES = 16 * 1024
"""Read of one client before others are looked at (Twisted's own is four times that)."""
STALLED_AFTER, STALLED_BELOW = 8.0, 64 * 1024
"""A client that has taken fewer bytes in so many seconds, while there is something for it, is cut."""
SEND_BUFFER = 256 * 1024
"""Bytes that the kernel may hold for one client (Linux doubles it for its own needs). Left to itself it grows
to some MB, and a client that reads nothing is noticed only when its replies have filled that."""


class Flow:
    """One connection's brakes. Twisted calls it as the producer of what is sent."""

    def __init__(self, protocol: Any) -> None:
        self._traffic = protocol.trafficStats
        self._transport: Any = protocol.transport
        # With TLS there is a layer between.
        self._socket: Any = getattr(protocol.transport, "transport", protocol.transport)
        self._inbox: deque[Message] = deque()
        self._size = 0
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._behind = self._reading_paused = False
        self._taken, self._since = 0, 0.0
        self._direct = self._socket is protocol.transport
        self._written_this_turn = False
        self._bound_buffers()

    def replace_http(self) -> None:
        """Takes the place of Daphne's HTTP channel, which was the producer until the handshake was over."""
        if isinstance(channel := self._socket.producer, HTTPChannel):
            # The channel and its request hold each other: left to the garbage collector, they would wait for
            # it to stop everybody.
            channel.requests.clear()
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)

    def _bound_buffers(self) -> None:
        self._socket.bufferSize = READ_BYTES
        self._socket.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    # From the client

    def put_nowait(self, message: Message) -> None:
        """Takes a message for the application; called by Daphne."""
        self._inbox.append(message)
        self._size += _size(message)
        self._behind = len(self._inbox) > INBOX_MESSAGES or self._size > INBOX_BYTES
        if self._behind:
            self._read_or_not()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def receive(self) -> Message:
        """The application's `receive`. Between several messages of one client everybody else has a turn."""
        if self._inbox:
            await asyncio.sleep(0)
        while not self._inbox:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        message = self._inbox.popleft()
        self._size -= _size(message)
        if self._behind and len(self._inbox) <= INBOX_MESSAGES // 2 and self._size <= INBOX_BYTES // 2:
            self._behind = False
            self._read_or_not()
        return message

    # To the client

    def write(self, data: bytes) -> None:
        """Sends bytes after those that wait.

        What comes first in a turn of the loop goes to the socket at once. Twisted would ask the selector for
        the next turn and then to forget it: 30 % of the CPU of a short reply. What comes after it in the same
        turn waits, as Twisted has it, so that a burst is one call of the kernel.
        """
        self._traffic.outgoingOctetsWireLevel += len(data)
        socket = self._socket
        if self._direct and not (self._written_this_turn or self.writing or socket.disconnecting):
            self._written_this_turn = True
            asyncio.get_running_loop().call_soon(self._end_turn)
            sent = socket.writeSomeData(data)
            if sent == len(data):
                return
            # An error comes again when Twisted writes, and there it ends the connection.
            if isinstance(sent, int):
                data = data[sent:]
        self._transport.write(data)

    def _end_turn(self) -> None:
        self._written_this_turn = False

    @property
    def writing(self) -> bool:
        """Whether bytes wait for the socket."""
        return bool(self._socket.dataBuffer or self._socket._tempDataLen)

    @property
    def full(self) -> bool:
        """Whether the socket's buffer is."""
        return self._drained is not None

    async def drained(self) -> None:
        """Returns when the buffer is empty, or the connection at its end."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def pauseProducing(self) -> None:
        """The buffer is full."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
            self._taken, self._since = self._taken_so_far(), time.monotonic()
            # Answers to pings go past the application: whoever does not read them may not send more.
            self._read_or_not()

    def resumeProducing(self) -> None:
        """The buffer is empty."""
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None
            self._read_or_not()

    def stopProducing(self) -> None:
        """The connection is at its end."""
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def stalled(self) -> bool:
        """Whether the client takes next to nothing of what waits for it."""
        if not self.full:
            return False
        taken, now = self._taken_so_far(), time.monotonic()
        if taken - self._taken >= STALLED_BELOW:
            self._taken, self._since = taken, now
        return now - self._since >= STALLED_AFTER

    def _taken_so_far(self) -> int:
        written: int = self._traffic.outgoingOctetsWireLevel
        socket = self._socket
        waiting: int = len(socket.dataBuffer) - socket.offset + socket._tempDataLen
        return written - waiting

    # Both

    @property
    def reading_paused(self) -> bool:
        """Whether what the client sends is left in the socket."""
        return self._reading_paused

    def _read_or_not(self) -> None:
        pause = self._behind or self.full
        if pause != self._reading_paused and not self._socket.disconnected:
            self._reading_paused = pause
            if pause:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()


def _size(message: Message) -> int:
    return len(message.get("text") or message.get("bytes") or "")
