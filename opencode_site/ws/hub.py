"""Updates of the whole server, received once per web process and handed to the connections that want them.

Each followed channel is handed out without gap and in order: an update tells which one it comes after, and
what was not heard of is read from the database. A broker that is away costs `POLL` seconds, and no update.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from channels.layers import get_channel_layer
from django.db import Error as AnyDatabaseError
from redis.exceptions import RedisError

from monitoring.events import Channel
from opencode_site.ws import streams

logger = logging.getLogger(__name__)

Facts = Mapping[str, str]
Events = Sequence[tuple[int, Facts, str]]
"""Each with its cursor and with the frame that tells of it, encoded once for everybody."""

BROKER_ERRORS = (RedisError, OSError)
FAIR_SHARE = 16
"""Listeners in a row after which everybody else gets a turn."""
POLL = 2.0
"""Seconds between two looks at the database for updates that the broker has not told of."""
WAITING_LIMIT = 1024 * 1024
"""Characters of updates that may wait to be handed out; what comes beyond is read from the database in turn.
It is less than may wait for one client (`outbox.UPDATES_LIMIT`), who is not cut when they come at once."""


class Listener(Protocol):
    """Somebody who wants updates."""

    def hear(self, channel: Channel, events: Events) -> None:
        """Must neither wait nor raise."""


class Hub:
    """Follows just those channels that at least one listener needs. Used by one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[Channel, set[Listener]] = {channel: set() for channel in Channel}
        self._positions: dict[Channel, int] = {}
        self._joined: set[Channel] = set()
        self._name = ""
        self._working: list[asyncio.Task[None]] = []
        self._waiting: deque[tuple[Channel, int, Events, int]] = deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def positions(self) -> Mapping[Channel, int]:
        """For each followed channel, the cursor up to which it has been handed out."""
        return self._positions

    async def listen(self, listener: Listener, needed: AbstractSet[Channel]) -> None:
        """From now on the listener hears these channels and no others.

        Raises a database error when a channel's position cannot be read; then what it heard before stays.
        """
        before = {channel for channel, listeners in self._listeners.items() if listener in listeners}
        if before == needed:
            return
        self._assign(listener, before & needed)
        # Who comes waits for its turn: while others catch up it would hear what lies before its beginning.
        async with self._lock:
            self._assign(listener, needed)
            try:
                await self._settle()
            except AnyDatabaseError:
                self._assign(listener, before & needed)
                raise

    def _assign(self, listener: Listener, needed: AbstractSet[Channel]) -> None:
        for channel, listeners in self._listeners.items():
            if channel in needed:
                listeners.add(listener)
            else:
                listeners.discard(listener)

    async def _settle(self) -> None:
        wanted = {channel for channel, listeners in self._listeners.items() if listeners}
        for channel in self._positions.keys() - wanted:
            del self._positions[channel]
            await self._leave(channel)
        new = wanted - self._positions.keys()
        if new:
            # First the group and then the position: what comes between is told by both, and heard once.
            await self._join(new)
            self._positions.update(await streams.heads(new))

    async def _join(self, channels: AbstractSet[Channel]) -> None:
        """Enters the channels' groups; where that fails, `_poll` tries again and finds what it missed."""
        layer: Any = get_channel_layer()
        if not self._working:
            # Before the broker is asked, which may be away from the first listener on.
            self._working.append(asyncio.ensure_future(self._poll()))
        try:
            if not self._name:
                self._name = await layer.new_channel()
                self._working.append(asyncio.ensure_future(self._receive(layer)))
                self._working.append(asyncio.ensure_future(self._hand_out_all()))
            for channel in channels:
                await layer.group_add(channel.group, self._name)
                self._joined.add(channel)
        except BROKER_ERRORS as error:
            logger.warning("the broker is away, updates are read from the database: %s", error)

    async def _leave(self, channel: Channel) -> None:
        self._joined.discard(channel)
        layer: Any = get_channel_layer()
        try:
            await layer.group_discard(channel.group, self._name)
        except BROKER_ERRORS as error:
            # What still comes is thrown away here, and the broker forgets us with our connection.
            logger.warning("the group of %s could not be left: %s", channel, error)

    async def _receive(self, layer: Any) -> None:
        """Takes what comes at once, whatever is waited for elsewhere: the layer's own queue has no bound."""
        while True:
            try:
                message = await layer.receive(self._name)
            except Exception:
                # Meanwhile updates are read from the database, by `_poll`.
                logger.exception("the broker could not be listened to; it is tried again in %g s", POLL)
                await asyncio.sleep(POLL)
                continue
            try:
                if message.get("type") == "event.deliver":
                    self._keep(Channel(message["channel"]), message["after"], message["events"])
            except Exception:
                # One broken message of an older or newer process must not end everybody's updates.
                logger.exception("an update could not be read")

    def _keep(self, channel: Channel, after: int, events: Events) -> None:
        size = sum(len(frame) for _, _, frame in events)
        if self._size + size <= WAITING_LIMIT or not self._waiting:
            self._waiting.append((channel, after, events, size))
            self._size += size
            self._arrived.set()

    async def _hand_out_all(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                channel, after, events, size = self._waiting.popleft()
                self._size -= size
                try:
                    await self._hand_out(channel, after, events)
                except Exception:
                    logger.exception("an update could not be delivered")
                await asyncio.sleep(0)

    async def _hand_out(self, channel: Channel, after: int, events: Events) -> None:
        async with self._lock:
            if after > self._positions.get(channel, after):
                await self._catch_up(channel, until=after)
            await self._deliver(channel, events)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            try:
                async with self._lock:
                    if missing := self._positions.keys() - self._joined:
                        await self._join(missing)
                    for channel, head in (await streams.heads(self._positions)).items():
                        if not any(waiting[0] is channel for waiting in self._waiting):
                            await self._catch_up(channel, until=head)
            except AnyDatabaseError as error:
                logger.warning("the database is away, updates are late: %s", error)
            except Exception:
                # Whatever it was: without this look a lost message would be a silent gap.
                logger.exception("updates could not be looked for")

    async def _catch_up(self, channel: Channel, *, until: int) -> None:
        """Hands out what the database knows and nobody has told, and no more: what comes meanwhile waits."""
        while (position := self._positions[channel]) < until:
            page = await streams.page(channel, position, until=until)
            if not page:
                return
            await self._deliver(channel, [(event.id, event.facts, event.frame) for event in page])

    async def _deliver(self, channel: Channel, events: Events) -> None:
        position = self._positions.get(channel)
        if position is None:
            return
        if events[0][0] <= position:
            events = [event for event in events if event[0] > position]
            if not events:
                return
        # Whoever begins to listen from here on begins behind these.
        self._positions[channel] = events[-1][0]
        for turn, listener in enumerate(list(self._listeners[channel]), start=1):
            listener.hear(channel, events)
            if turn % FAIR_SHARE == 0:
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Leaves every group."""
        self._listeners = {channel: set() for channel in Channel}
        async with self._lock:
            for channel in list(self._joined):
                await self._leave(channel)
            self._positions.clear()
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)
            self._working, self._name = [], ""
            self._waiting.clear()
            self._size = 0
