"""Update messages on their way to the subscribers of all web processes, after the commit."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Sequence

from channels.layers import get_channel_layer
from django.db import transaction

from monitoring.events import Channel, Event

logger = logging.getLogger(__name__)

BATCH = 200
"""Events in one message of the channel layer."""
BACKLOG = 10_000
"""Messages that may wait for a slow broker; beyond it they are dropped and told in the log. Nobody misses
them: each web process reads what it was not told from the database."""


def publish(channel: Channel, events: Sequence[Event], *, after: int) -> None:
    """Sends events to a channel's subscribers once the current transaction has committed.

    `after` is the id of the row before the first of them, as `Stream.hold` gave it. Never waits for the
    broker and never raises for it: the database is the truth, a message only tells of it.
    """
    batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
    positions = [after, *(batch[-1].id for batch in batches)]

    def enqueue() -> None:
        for position, batch in zip(positions, batches, strict=False):
            _publisher.put(channel, batch, position)

    transaction.on_commit(enqueue)


class _Publisher:
    """One thread and one event loop per process, so that messages leave in order over one connection."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Channel, Sequence[Event], int]] = queue.Queue(BACKLOG)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def put(self, channel: Channel, events: Sequence[Event], after: int) -> None:
        try:
            self._waiting.put_nowait((channel, events, after))
        except queue.Full:
            self._dropped += len(events)
            if self._dropped == len(events):
                logger.error("the broker is too slow or away: update messages are being dropped")
            return
        self._dropped = 0
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                    self._thread.start()

    def flush(self) -> None:
        """Waits until everything enqueued so far has been handed to the broker."""
        self._waiting.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while True:
                channel, events, after = self._waiting.get()
                try:
                    runner.run(_send(channel, events, after))
                except Exception:
                    # Whatever the broker's client raises, the next message deserves its try.
                    logger.warning("could not publish %d events to %s", len(events), channel, exc_info=True)
                finally:
                    self._waiting.task_done()


async def _send(channel: Channel, events: Sequence[Event], after: int) -> None:
    layer = get_channel_layer()
    assert layer is not None, "settings.CHANNEL_LAYERS has no default"  # noqa: S101 - a broken installation
    await layer.group_send(
        channel.group,
        {
            "type": "event.deliver",
            "channel": channel.value,
            "after": after,
            "events": [[event.id, event.facts, event.frame] for event in events],
        },
    )


_publisher = _Publisher()
flush = _publisher.flush
