"""The ASGI application for `/ws`: what the connections of one web process share."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from django.conf import settings
from django.db import Error as AnyDatabaseError

from monitoring import requests
from opencode_site.access.scopes import ANYBODY
from opencode_site.access.services import still_valid
from opencode_site.ws.consumer import Consumer, Receive, Send
from opencode_site.ws.database import in_database
from opencode_site.ws.hub import Hub
from opencode_site.ws.limits import ConnectionLimit, ServerLimits
from opencode_site.ws.submissions import Submissions

logger = logging.getLogger(__name__)

LET_ANSWER = "opencode.let_answer"
"""An extension of ASGI of our own: the application calls what is there with what may answer a text in its
stead (`flow.Answer`). The server asks that first while the application waits in `receive`."""

METRICS_BEATS = 5
"""Beats of the connection limit between two writes of the request metrics."""


class Endpoint:
    """Serves every client of one web process, in one event loop."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.limits = ServerLimits()
        self.submissions = Submissions()
        self._connections = ConnectionLimit(settings.MAX_CONNECTIONS)
        self._consumers: set[Consumer] = set()
        self._beating: asyncio.Task[None] | None = None
        self._stopping = False

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Returns when the client has gone."""
        if self._beating is None:
            self._beating = asyncio.ensure_future(self._beat())
        consumer = Consumer(
            send,
            hub=self.hub,
            server=self.limits,
            submissions=self.submissions,
            connections=self._connections,
            principal=scope["principal"],
        )
        self._consumers.add(consumer)
        let_answer = scope["extensions"].get(LET_ANSWER)
        if let_answer is not None:
            let_answer(consumer.answer_at_once)
        try:
            if not self._stopping:
                await consumer.run(receive)
        finally:
            self._consumers.discard(consumer)

    async def _beat(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(ConnectionLimit.BEAT)
            beats += 1
            try:
                await self._connections.beat()
                await self._dismiss()
                if beats % METRICS_BEATS == 0:
                    await self._write_metrics()
            except Exception:
                # Without the next beat nobody's revoked key would close its connections.
                logger.exception("a beat of the connections failed; the next one comes")

    async def _dismiss(self) -> None:
        """Closes the connections whose key or login has ended meanwhile, wherever that was decided.

        The database is asked: a revocation holds within seconds even while the broker is away.
        """
        principals = {consumer.principal for consumer in self._consumers} - {ANYBODY}
        if not principals:
            return
        try:
            valid = await in_database(still_valid, principals)
        except AnyDatabaseError as error:
            logger.warning("keys and logins of open connections could not be checked: %s", error)
            return
        for consumer in self._consumers:
            if consumer.principal in principals - valid:
                consumer.dismiss()

    async def _write_metrics(self) -> None:
        try:
            await in_database(requests.flush)
        except AnyDatabaseError as error:
            logger.warning("request metrics could not be written, they are kept: %s", error)

    async def stop(self, patience: float) -> None:
        """Finishes the replies in flight, closes every connection with 1001, and gives back what was shared.

        A reply that takes longer than `patience` seconds is not waited for.
        """
        self._stopping = True
        leaving = [asyncio.ensure_future(consumer.go_away(patience)) for consumer in self._consumers]
        await asyncio.gather(*leaving)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            await self._write_metrics()
        await self._connections.close()
        await self.hub.close()
