"""One client's connection as its handlers see it: subscriptions, watches, and replies that come later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from django.db import Error as AnyDatabaseError

from monitoring.events import Channel, Event
from monitoring.streams import Wanted
from opencode_site.access.scopes import Principal
from opencode_site.ws import streams
from opencode_site.ws.errors import Code, ProtocolError, unexpected
from opencode_site.ws.hub import POLL, Events, Facts, Hub
from opencode_site.ws.limits import ServerLimits
from opencode_site.ws.outbox import Outbox
from opencode_site.ws.schemas.basic import Reply, Request
from opencode_site.ws.submissions import Submissions
from opencode_site.ws.subscriptions import Since, Subscriptions

logger = logging.getLogger(__name__)

MAX_LATER = 100
"""Replies of one connection that may be outstanding at once."""


class Watch:
    """Waits for one update, whether or not the client has subscribed to it."""

    def __init__(self, channel: Channel, wanted: Callable[[Facts], bool]) -> None:
        self.channel = channel
        self.wanted = wanted
        self._over = asyncio.Event()

    def see(self, facts: Facts) -> None:
        """Ends the wait if this is the update."""
        if self.wanted(facts):
            self._over.set()

    def give_up(self) -> None:
        """Ends the wait: the server is about to stop."""
        self._over.set()

    async def wait(self, seconds: float) -> None:
        """Returns when the update has come, or after that time, or when the server is about to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return


class Connection:
    """The state of one client's connection. Used by one event loop only."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        answer: Callable[[Request, Awaitable[Reply | None]], Coroutine[Any, Any, None]],
        fail: Callable[[ProtocolError], None],
        hub: Hub,
        server: ServerLimits,
        submissions: Submissions,
        principal: Principal,
    ) -> None:
        self.server = server
        self.submissions = submissions
        self.principal = principal
        self.subscriptions = Subscriptions()
        self._outbox = outbox
        self._answer = answer
        self._hub = hub
        self._watches: set[Watch] = set()
        self._later: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._fail = fail
        self._behind: dict[Channel, int] = {}
        """Replays that a channel waits for. Until they are done it hears nothing live: one task at a time
        reads for all of the connection's subscriptions."""
        self._served: dict[Channel, int] = {}
        """How far this connection was served, in channels where that is not how far the hub is."""
        self._replays: set[asyncio.Task[None]] = set()
        self._replaying = asyncio.Lock()

    # Replies that take long

    def reply_later(self, request: Request, reply: Coroutine[Any, Any, Reply | None]) -> None:
        """Lets the connection go on while the reply is worked out. Raises `ProtocolError` on overload."""
        if len(self._later) >= MAX_LATER:
            reply.close()
            raise ProtocolError(
                Code.SERVER_OVERLOAD,
                f"{MAX_LATER} replies of this connection are outstanding; wait for some of them",
                outstanding=MAX_LATER,
            )
        task = asyncio.create_task(self._answer(request, reply))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    # Updates

    async def watch(self, channel: Channel, wanted: Callable[[Facts], bool]) -> Watch:
        """Begins to look out for an update."""
        watch = Watch(channel, wanted)
        self._watches.add(watch)
        if self._leaving:
            watch.give_up()
        try:
            await self.follow()
        except BaseException:
            self._watches.discard(watch)
            raise
        return watch

    async def unwatch(self, watch: Watch) -> None:
        """Ends a watch."""
        self._watches.discard(watch)
        await self.follow()

    async def follow(self) -> None:
        """Hears just those channels that a subscription or a watch needs.

        Raises a database error when there is a new one and its position cannot be read.
        """
        await self._hub.listen(self, self.subscriptions.channels | {watch.channel for watch in self._watches})

    async def begin(self, subscription_id: str, channels: Iterable[Channel], known: Since) -> Since:
        """Serves a new subscription: in channels with a known cursor from there, in the others from now on.

        Returns from where. What was missed is sent after the reply to the request that is being handled.
        Raises a database error.
        """
        await self.follow()
        served = {channel: self._served_to(channel) for channel in channels}
        self.subscriptions.begin(subscription_id, served)
        missed = {channel: cursor for channel, cursor in known.items() if cursor < served[channel]}
        if missed:
            for channel in missed:
                self._behind[channel] = self._behind.get(channel, 0) + 1
                self._served[channel] = served[channel]
            # Nothing is waited for until the reply is on its way: the task begins after it.
            replay = asyncio.create_task(self._replay(subscription_id, missed))
            self._replays.add(replay)
            replay.add_done_callback(self._replays.discard)
        return {**served, **missed}

    def _served_to(self, channel: Channel) -> int:
        """The cursor up to which this connection has been served; what comes next comes after it."""
        served = self._served.get(channel, 0)
        return served if channel in self._behind else max(self._hub.positions[channel], served)

    async def _replay(self, subscription_id: str, missed: Since) -> None:
        try:
            async with self._replaying:
                for channel, cursor in missed.items():
                    await self._send_missed(channel, subscription_id, cursor)
                    self._behind[channel] -= 1
                    if not self._behind[channel]:
                        await self._come_up(channel)
        except Exception as error:  # noqa: BLE001 - without its replay this connection would be silently stale
            self._fail(unexpected("a replay", error))

    async def _send_missed(self, channel: Channel, subscription_id: str, cursor: int) -> None:
        """Sends what only this subscription has missed, up to where the connection had been served."""
        subscriptions, position, end = self.subscriptions, cursor, self._served[channel]
        while position < end and (wanted := subscriptions.wanted(channel, subscription_id)) is not None:
            page = await self._page(channel, position, until=end, wanted=wanted)
            for event in page:
                if not subscriptions.heard_by_others(channel, event.id, event.facts, than=subscription_id):
                    await self._outbox.reply(event.frame)
            position = page[-1].id if len(page) == streams.PAGE else end
        subscriptions.begin(subscription_id, {channel: cursor})

    async def _come_up(self, channel: Channel) -> None:
        """Sends, for all subscriptions, what has come since the connection stopped hearing it live."""
        while self._served[channel] < self._hub.positions.get(channel, 0):
            page = await self._page(channel, self._served[channel])
            if not page:
                break
            for event in page:
                if self.subscriptions.passes(channel, event.facts):
                    await self._outbox.reply(event.frame)
            self._served[channel] = page[-1].id
        del self._behind[channel]

    async def _page(
        self, channel: Channel, position: int, *, until: int | None = None, wanted: Wanted | None = None
    ) -> list[Event]:
        while not self._outbox.closed:
            try:
                return await streams.page(channel, position, until=until, wanted=wanted)
            except AnyDatabaseError as error:
                logger.warning("the database is away, a replay waits for it: %s", error)
                await asyncio.sleep(POLL)
        return []

    def hear(self, channel: Channel, events: Events) -> None:
        """Takes updates from the hub; each is sent once, however many subscriptions want it."""
        if self._watches:
            for watch in self._watches:
                if watch.channel is channel:
                    for _, facts, _ in events:
                        watch.see(facts)
        if channel in self._behind:
            return
        if channel in self._served:
            # What a replay has read may be ahead of what the hub has handed out.
            events = [event for event in events if event[0] > self._served[channel]]
            if events:
                del self._served[channel]
        passes = self.subscriptions.passes
        self._outbox.update([frame for _, facts, frame in events if passes(channel, facts)])

    # The end

    async def finish_replies(self) -> None:
        """Brings the outstanding replies to an end: they tell what is true by now."""
        self._leaving = True
        for replay in self._replays:
            replay.cancel()
        for watch in self._watches:
            watch.give_up()
        if self._later:
            await asyncio.wait(self._later)

    async def close(self) -> None:
        """Hears nothing any more, and ends what was going on for this client."""
        self._watches.clear()
        self.subscriptions.clear()
        await self.follow()
        later = [*self._later, *self._replays]
        for task in later:
            task.cancel()
        for result in await asyncio.gather(*later, return_exceptions=True):
            if isinstance(result, Exception):
                logger.error("a reply could not be worked out", exc_info=result)
        # Whoever made this holds it: a cycle would be left to the garbage collector, which stops everybody.
        del self._answer, self._fail
