"""New tasks of all connections of one process, stored together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from django.db import InterfaceError, OperationalError

from opencode_site.ws.database import in_database
from tasks import services
from tasks.errors import TaskError
from tasks.models import Task
from tasks.services import NewTask

TOGETHER = 64
"""Tasks in one transaction: about 25 ms of work for everybody else who writes."""


class Submissions:
    """What comes while a transaction is under way goes into the next one; alone, a task waits for nobody.

    A transaction costs 4 ms of CPU (py-spy: the commit, Django's queries, the update's way to the broker),
    and one more task in it a tenth of that.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[NewTask, asyncio.Future[Task]]] = deque()
        self._storing: asyncio.Task[None] | None = None

    async def submit(self, new: NewTask) -> Task:
        """Returns the task when it is stored. Raises what `tasks.services.submit` raises."""
        stored: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._waiting.append((new, stored))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store())
        return await stored

    async def _store(self) -> None:
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
                # Whoever has gone meanwhile wants nothing any more.
                await self._store_together([each for each in together if not each[1].done()])
        finally:
            self._storing = None

    async def _store_together(self, together: list[tuple[NewTask, asyncio.Future[Task]]]) -> None:
        results: Sequence[Task | Exception]
        try:
            results = await in_database(services.submit_all, [new for new, _ in together])
        except Exception as error:  # noqa: BLE001 - each of those who wait is told
            if len(together) > 1 and not isinstance(error, (OperationalError, InterfaceError, TaskError)):
                # One of them is what the database cannot take. The others must not suffer for it.
                for each in together:
                    await self._store_together([each])
                return
            results = [error] * len(together)
        for (_, stored), result in zip(together, results, strict=True):
            if stored.done():
                continue
            if isinstance(result, Task):
                stored.set_result(result)
            else:
                stored.set_exception(result)
