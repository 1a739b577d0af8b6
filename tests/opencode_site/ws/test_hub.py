"""The hub hands out every update once, in order, and keeps next to nothing for itself."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from channels.layers import get_channel_layer

from monitoring.events import Channel, Event
from monitoring.models import LogEntry
from opencode_site.ws import hub, streams
from opencode_site.ws.hub import Events, Hub
from opencode_site.ws.streams import heads, page

pytestmark = pytest.mark.django_db(transaction=True)

CHANNEL = Channel.LOG_ENTRIES
BATCH = 50
MB = 1_000_000
PATIENCE = 30.0


class Heard:
    """A listener that remembers which updates it has heard."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def hear(self, channel: Channel, events: Events) -> None:
        self.ids += [number for number, _, _ in events]


class SlowDatabase:
    """The database, with answers that wait until they are let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        for question in (heads, page):
            monkeypatch.setattr(streams, question.__name__, partial(self._answer_late, question))

    async def _answer_late(self, question: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        self.asked.set()
        await self.may_answer.wait()
        return await question(*args, **options)


@pytest.fixture(autouse=True)
def layer(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1_000_000}}
    }


async def stored(count: int, *, size: int = 20) -> list[Event]:
    """New lines of the log, as the updates that tell of them."""
    ((_, start),) = (await heads([CHANNEL])).items()
    await LogEntry.objects.abulk_create(LogEntry(level="info", message="x" * size) for _ in range(count))
    found: list[Event] = []
    while some := await page(CHANNEL, found[-1].id if found else start):
        found += some
    return found


async def tell(events: list[Event]) -> None:
    """Sends them as a worker does, in messages of `BATCH`."""
    layer: Any = get_channel_layer()
    for start in range(0, len(events), BATCH):
        batch = events[start : start + BATCH]
        message = {
            "type": "event.deliver",
            "channel": CHANNEL.value,
            "after": batch[0].id - 1,
            "events": [[event.id, event.facts, event.frame] for event in batch],
        }
        await layer.group_send(CHANNEL.group, message)


def all_received() -> bool:
    """Whether the layer's own queues are empty."""
    layer: Any = get_channel_layer()
    return all(queue.empty() for queue in layer.channels.values())


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not done():
            await asyncio.sleep(0.01)


def with_hub(test: Callable[[Hub, Heard], Coroutine[Any, Any, None]]) -> None:
    """Carries out a test of a hub with one listener."""

    async def run() -> None:
        the_hub, listener = Hub(), Heard()
        await the_hub.listen(listener, {CHANNEL})
        try:
            await test(the_hub, listener)
        finally:
            await the_hub.close()

    asyncio.run(run())


@pytest.mark.parametrize("limit", [0, 3000, hub.WAITING_LIMIT])
def test_hands_out_each_update_once_whatever_does_not_fit(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "WAITING_LIMIT", limit)

    async def test(the_hub: Hub, listener: Heard) -> None:
        events = await stored(1200)
        await tell(events)
        expected = [event.id for event in events]
        await until(lambda: len(listener.ids) >= len(expected))
        assert listener.ids == expected

    with_hub(test)


def test_keeps_little_while_it_waits_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a flood: what it has missed comes from the database while the broker tells of ever more."""

    async def test(the_hub: Hub, listener: Heard) -> None:
        # From now on: the hub looks there by itself, too, and would know them before it is told.
        database = SlowDatabase(monkeypatch)
        events = await stored(10_000, size=1000)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await tell(events[BATCH:])
            await until(database.asked.is_set)
            await until(all_received)
            kept = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
            database.may_answer.set()
        assert kept < MB
        await until(lambda: len(listener.ids) >= len(events))
        assert listener.ids == [event.id for event in events]

    with_hub(test)
