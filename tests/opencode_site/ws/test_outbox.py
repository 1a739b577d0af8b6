"""What waits for one client: in order, once, and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from opencode_site.ws.outbox import UPDATES_LIMIT, Outbox


class Socket:
    """A client that takes what it is sent while its gate is open."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = False
        self.overloaded = 0
        self.outbox = Outbox(self._send, overloaded=self._overloaded)

    async def _send(self, frame: str) -> None:
        if self.gone:
            raise ConnectionResetError
        self.sent.append(frame)
        await self.gate.wait()

    def _overloaded(self) -> None:
        self.overloaded += 1


def run(test: Callable[[Socket], Coroutine[object, object, None]]) -> None:
    async def with_socket() -> None:
        socket = Socket()
        async with asyncio.timeout(10):
            await test(socket)
            await socket.outbox.stop()

    asyncio.run(with_socket())


def test_sends_replies_and_updates_in_the_order_in_which_they_came() -> None:
    async def test(socket: Socket) -> None:
        socket.gate.clear()
        first = asyncio.ensure_future(socket.outbox.reply("r1"))
        await asyncio.sleep(0)
        socket.outbox.update(["u1", "u2"])
        second = asyncio.ensure_future(socket.outbox.reply("r2"))
        await asyncio.sleep(0)
        socket.outbox.update(["u3"])
        assert socket.sent == ["r1"]
        assert not first.done()
        socket.gate.set()
        await asyncio.gather(first, second)
        await socket.outbox.flush()
        assert socket.sent == ["r1", "u1", "u2", "r2", "u3"]

    run(test)


def test_ends_once_when_updates_do_not_fit() -> None:
    async def test(socket: Socket) -> None:
        socket.gate.clear()
        for _ in range(3):
            socket.outbox.update(["x" * (UPDATES_LIMIT // 3)])
            await asyncio.sleep(0)
        assert socket.overloaded == 0
        waiting = asyncio.ensure_future(socket.outbox.reply("r"))
        await asyncio.sleep(0)
        for _ in range(3):
            socket.outbox.update(["x" * (UPDATES_LIMIT // 2)])
        assert socket.overloaded == 1
        await waiting  # nobody waits for what will never be sent
        await socket.outbox.reply("late")
        assert len(socket.sent) == 1

    run(test)


@pytest.mark.parametrize("direct", [True, False])
def test_drops_everything_when_the_client_has_gone(direct: bool) -> None:
    async def test(socket: Socket) -> None:
        socket.gone = True
        if direct:
            await socket.outbox.reply("r")
        else:
            socket.outbox.update(["u1", "u2"])
            await socket.outbox.flush()
        await socket.outbox.reply("r")
        socket.outbox.update(["u"])
        assert (socket.sent, socket.overloaded) == ([], 0)

    run(test)


def test_gives_others_a_turn_while_it_sends_a_lot() -> None:
    async def test(socket: Socket) -> None:
        socket.outbox.update(map(str, range(1000)))
        turns = 0
        while len(socket.sent) < 1000:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 20

    run(test)
