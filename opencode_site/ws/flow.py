"""One connection's brakes: what waits for a client, in either direction, never grows without limit.

Whatever server carries the frames: see `flow_twisted` for Daphne's and `flow_asyncio` for Uvicorn's.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

from opencode_site.ws.frames import text_frame

Message = dict[str, Any]
Answer = Callable[[str, Callable[[str], None]], bool]
"""Takes a text and what sends a reply; whether it has answered, or leaves that to the application."""

INBOX_MESSAGES, INBOX_BYTES = 64, 256 * 1024
"""What may wait for the application; beyond it the socket is not read until half of it is left."""
READ_BYTES = 16 * 1024
"""Of one client, read before others are looked at; waiting for it, before its connection counts as full."""
STALLED_AFTER, STALLED_BELOW = 8.0, 64 * 1024
"""A client that has taken fewer bytes in so many seconds, while there is something for it, is cut."""
SEND_BUFFER = 256 * 1024
"""Bytes that the kernel may hold for one client (Linux doubles it for its own needs). Left to itself it grows
to some MB, and a client that reads nothing is noticed only when its replies have filled that."""


class Flow(ABC):
    """One connection's brakes."""

    def __init__(self) -> None:
        self._inbox: deque[Message] = deque()
        self._size = 0
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._behind = self._reading_paused = False
        self._taken, self._since = 0, 0.0
        self._answer: Answer | None = None

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Sends bytes after those that wait."""

    @abstractmethod
    def write_now(self, data: bytes) -> None:
        """The same for what is likely to be all that is sent in this turn of the loop."""

    @abstractmethod
    def _pause_reading(self) -> None: ...

    @abstractmethod
    def _resume_reading(self) -> None:
        """Called also when the connection is about to end."""

    @abstractmethod
    def _taken_so_far(self) -> int:
        """The bytes that the client's kernel or ours has taken."""

    # From the client

    def let_answer(self, answer: Answer) -> None:
        """What may answer a text while the application waits for one."""
        self._answer = answer

    def hear(self, texts: list[str]) -> None:
        """Takes texts; the first may be answered past the application's `receive` and `send`."""
        rest = texts[1:] if self._is_answered(texts[0]) else texts
        for text in rest:
            self.put_nowait({"type": "websocket.receive", "text": text})

    def _is_answered(self, text: str) -> bool:
        arrived = self._arrived
        if self._answer is None or arrived is None or arrived.done() or self._drained is not None:
            return False
        return self._answer(text, self._send_now)

    def _send_now(self, reply: str) -> None:
        self.write_now(text_frame(reply))

    def put_nowait(self, message: Message) -> None:
        """Takes a message for the application; called by the server."""
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

    @property
    def full(self) -> bool:
        """Whether the socket's buffer is."""
        return self._drained is not None

    async def drained(self) -> None:
        """Returns when the buffer is empty, or the connection at its end."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def pause(self) -> None:
        """The buffer is full."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
            self._taken, self._since = self._taken_so_far(), time.monotonic()
            # Answers to pings go past the application: whoever does not read them may not send more.
            self._read_or_not()

    def resume(self) -> None:
        """The buffer is empty."""
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None
            self._read_or_not()

    def end(self) -> None:
        """The connection is at its end."""
        self._answer = None
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

    # Both

    @property
    def reading_paused(self) -> bool:
        """Whether what the client sends is left in the socket."""
        return self._reading_paused

    def _read_or_not(self) -> None:
        pause = self._behind or self.full
        if pause != self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._pause_reading()
            else:
                self._resume_reading()


def _size(message: Message) -> int:
    return len(message.get("text") or message.get("bytes") or "")
