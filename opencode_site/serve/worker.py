"""The Celery worker as `serve` runs it (`celery -A opencode_site.serve.worker worker`): beat is a thread.

Celery's own `--beat` forks a process for the schedule. It outlives a worker that is killed, and the worker
that takes its place brings another: two schedules, then three. A thread ends with its worker.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

from celery import Celery, bootsteps
from celery.beat import Service
from django.db import close_old_connections, connection

from opencode_site.celery import app

logger = logging.getLogger(__name__)

STOP_PATIENCE = 2.0
CLOCK_JITTER = timedelta(seconds=1)
RETRY_AFTER = 5.0
"""Seconds after which a schedule that broke, with the database for instance, is taken up again."""


class Beat(threading.Thread):
    """Runs the schedule until it is told to stop, whatever goes wrong with it in between."""

    def __init__(self, app: Celery) -> None:
        super().__init__(name="beat", daemon=True)
        self._app = app
        self._stopping = threading.Event()

    def run(self) -> None:
        self._app.set_current()
        while not self._stopping.is_set():
            try:
                close_old_connections()
                self._follow_schedule()
            except Exception:
                logger.exception("the schedule broke; it is taken up again in %g s", RETRY_AFTER)
                self._stopping.wait(RETRY_AFTER)
        connection.close()

    def _follow_schedule(self) -> None:
        """What `celery.beat.Service.start` does, but asleep it hears that it is to stop."""
        # Celery loads this module before it sets Django up, without which no model can be imported.
        from monitoring.upkeep import schedule_sampling  # noqa: PLC0415

        service = Service(self._app, scheduler_cls=self._app.conf.beat_scheduler)
        scheduler: Any = service.get_scheduler()
        schedule_sampling()
        try:
            while not self._stopping.wait(scheduler.tick()):
                self._heed_the_clock(scheduler)
                if scheduler.should_sync():
                    scheduler._do_sync()
        finally:
            scheduler.close()

    def _heed_the_clock(self, scheduler: Any) -> None:
        """After a step back of the clock an entry would rest until its last run is in the past again."""
        now = self._app.now()
        ahead = [entry for entry in scheduler.schedule.values() if entry.last_run_at > now + CLOCK_JITTER]
        if ahead:
            logger.warning("the clock has stepped back: %d entries of the schedule begin anew", len(ahead))
            for entry in ahead:
                entry.last_run_at = entry.model.last_run_at = now
            scheduler._heap = None

    def stop(self) -> None:
        """Ends the thread as soon as the schedule has stored when its entries ran last."""
        self._stopping.set()
        self.join(STOP_PATIENCE)


class BeatStep(bootsteps.StartStopStep):
    """Lets the worker start and stop the thread with itself."""

    requires = ("celery.worker.components:Pool",)

    def create(self, worker: Any) -> Any:
        return Beat(worker.app)


app.steps["worker"].add(BeatStep)
