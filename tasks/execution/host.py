"""This host's upkeep: one thread in the Celery worker that follows the runs and keeps the promises.

Messages only make it quicker. With the broker away it still starts, follows, stops and ends runs, because
every few seconds it looks at the database by itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django.utils import timezone
from watchfiles import watch

from monitoring.about import about
from tasks import services
from tasks.execution.adoption import carry_out_stop, end_disowned, still_in_flight
from tasks.execution.follower import Followed, follow_once
from tasks.execution.launcher import agents_found, dispatch
from tasks.execution.spool import trim_spool
from tasks.models import Run
from tasks.paths import make_spool
from tasks.schedules import take_turns
from tasks.selectors import runs_in_flight

logger = logging.getLogger(__name__)

UPKEEP_INTERVAL = 2.0
"""Seconds between two looks at the database when nothing wakes the thread."""
REPORT_INTERVAL = 5.0
"""Seconds between two reports of the host; half of what readers of its row may rely on."""
SPOOL_INTERVAL = 600.0
"""Seconds between two looks at what of the spool may go."""
DISOWNED_INTERVAL = 30.0
"""Seconds between two searches for agents that go on although their run was declared lost."""
SETTLE_MS, STEP_MS = 40, 10
"""Changes of spool files are collected for at most the first and looked for every second number of
milliseconds: with many writers one transaction stores what all of them wrote meanwhile."""


class HostUpkeep(threading.Thread):
    """Follows this host's runs until `stop()` is called; the runs go on without it."""

    def __init__(self) -> None:
        super().__init__(name="host-upkeep", daemon=True)
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._followed: dict[str, Followed] = {}
        self._started_at: datetime = timezone.now()
        self._due: dict[str, float] = {}

    def wake(self) -> None:
        """Something about this host's runs has changed: look now."""
        self._woken.set()

    def stop(self) -> None:
        """Ends the thread soon; it finishes the transaction that it is in."""
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                for everything in self._occasions():
                    close_old_connections()
                    self._look(everything=everything)
            except Exception:
                # The database or the disk may be away, the kernel out of watches, or one run be odd: the
                # thread must outlive them all. Nothing is lost by looking again, and the log says why.
                logger.exception("the host's upkeep could not do its work; it goes on")
                connection.close()
                self._stopping.wait(UPKEEP_INTERVAL)
        connection.close()

    def _occasions(self) -> Iterator[bool]:
        """Yields at each occasion to look, with whether it is time to look at everything."""
        while not self._stopping.is_set():
            yield True
            if not self._followed:
                self._woken.wait(UPKEEP_INTERVAL)
                self._woken.clear()
            else:
                yield from self._spool_changes()

    def _spool_changes(self) -> Iterator[bool]:
        until = time.monotonic() + UPKEEP_INTERVAL
        # A run that another thread has claimed may have no spool yet, and on a new host there is none at all.
        make_spool()
        for _ in watch(
            settings.RUNS_DIR,
            watch_filter=None,
            debounce=SETTLE_MS,
            step=STEP_MS,
            rust_timeout=int(UPKEEP_INTERVAL * 1000),
            yield_on_timeout=True,
            stop_event=self._woken,
            raise_interrupt=False,
        ):
            if time.monotonic() >= until or not self._followed:
                return
            yield False
        self._woken.clear()

    def _look(self, *, everything: bool) -> None:
        if everything:
            self._upkeep()
        for run_id, followed in list(self._followed.items()):
            with self._sparing_others(followed.run):
                current = follow_once(followed)
                if current is None:
                    del self._followed[run_id]
                    self._woken.set()
                else:
                    self._followed[run_id] = current

    @contextmanager
    def _sparing_others(self, run: Run) -> Iterator[None]:
        """What is odd about one run must not keep the others waiting; the next upkeep tries it anew."""
        with about(run.task_id, run.pk):
            try:
                yield
            except (OperationalError, InterfaceError):
                raise  # the database is away, for all of them
            except Exception:
                logger.exception("the run could not be looked after; it is tried again")
                self._followed.pop(str(run.pk), None)

    def _upkeep(self) -> None:
        if self._is_due("report", REPORT_INTERVAL):
            services.report_host(
                settings.HOSTNAME,
                slots=settings.MAX_CONCURRENT_AGENTS,
                pid=os.getpid(),
                started_at=self._started_at,
                agents=agents_found(),
            )
        if self._is_due("spool", SPOOL_INTERVAL) and (gone := trim_spool()).directories:
            logger.info("removed %d spool directories, %d bytes", gone.directories, gone.bytes)
        if self._is_due("disowned", DISOWNED_INTERVAL):
            end_disowned()
        take_turns()
        dispatch()
        self._adopt()

    def _adopt(self) -> None:
        in_flight = {str(run.pk): run for run in runs_in_flight(settings.HOSTNAME)}
        for run_id in self._followed.keys() - in_flight.keys():
            del self._followed[run_id]
        for run_id, run in in_flight.items():
            with self._sparing_others(run):
                followed = self._followed.get(run_id) or Followed(run)
                if run.stop_reason:
                    carry_out_stop(run)
                if still_in_flight(followed):
                    self._followed[run_id] = followed
                else:
                    self._followed.pop(run_id, None)

    def _is_due(self, name: str, interval: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(name, 0.0):
            return False
        self._due[name] = now + interval
        return True
