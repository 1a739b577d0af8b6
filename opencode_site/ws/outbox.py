"""What waits to be sent to one client, within bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

UPDATES_LIMIT = 2 * 1024 * 1024
"""Characters of updates that may wait for one client, so that a burst of some thousand log lines passes."""
FRAME_COST = 100
"""Characters that a frame counts for beside its text: what Python needs to hold it."""
FAIR_SHARE = 32
"""Frames in a row after which everybody else gets a turn."""


class Outbox:
    """One client's frames, in order. A reply waits until it is sent, so that a client that does not read its
    replies is not read from either; an update never waits, and what does not fit ends the connection.

    `send` raises `OSError` when the client has gone, `overloaded` is called once when updates do not fit.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], *, overloaded: Callable[[], None]) -> None:
        self._send = send
        self._overloaded = overloaded
        self._waiting: deque[tuple[str, asyncio.Future[None] | None]] = deque()
        self._size = 0
        self._busy = self._closed = False
        self._writer: asyncio.Task[None] | None = None

    async def reply(self, frame: str) -> None:
        """Returns when the frame has been handed to the socket (or never will be)."""
        if self._closed:
            return
        if self._busy:
            sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._append(frame, sent)
            await sent
            return
        self._busy = True
        try:
            await self._send(frame)
        except OSError:
            self.close()
        finally:
            self._busy = False
            self._go_on()

    def update(self, frames: Iterable[str]) -> None:
        """Takes frames to be sent when their turn comes."""
        for frame in frames:
            if self._closed:
                return
            if self._size + len(frame) > UPDATES_LIMIT:
                self.close()
                self._overloaded()
                return
            self._append(frame, None)
        self._go_on()

    @property
    def busy(self) -> bool:
        """Whether something waits to be sent, or nothing is sent any more."""
        return self._busy or self._closed

    @property
    def closed(self) -> bool:
        """Whether nothing is sent any more."""
        return self._closed

    async def flush(self) -> None:
        """Returns when nothing waits any more."""
        while self._writer is not None:
            await asyncio.wait({self._writer})

    def close(self) -> None:
        """Drops what waits, and everything that comes."""
        self._closed = True
        self._size = 0
        while self._waiting:
            _settle(self._waiting.popleft()[1])

    async def stop(self) -> None:
        """Closes, and ends a send that is going on."""
        self.close()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait({self._writer})
        # Whoever made this holds it: a cycle would be left to the garbage collector, which stops everybody.
        del self._send, self._overloaded

    def _append(self, frame: str, sent: asyncio.Future[None] | None) -> None:
        self._waiting.append((frame, sent))
        self._size += len(frame) + FRAME_COST

    def _go_on(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self._writer = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        turn = 0
        try:
            while self._waiting:
                frame, sent = self._waiting.popleft()
                self._size -= len(frame) + FRAME_COST
                try:
                    await self._send(frame)
                finally:
                    _settle(sent)
                turn += 1
                if turn % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
        except OSError:
            self.close()
        finally:
            self._busy, self._writer = False, None


def _settle(sent: asyncio.Future[None] | None) -> None:
    if sent is not None and not sent.done():
        sent.set_result(None)
