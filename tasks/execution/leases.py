"""Finds the runs of hosts that have fallen silent."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from tasks.models import Run, RunState
from tasks.services import lose_silent

WATCHED_FOR = 30.0
"""Seconds for which this process must have seen that a lease stays expired. A machine that was suspended, or
whose clock was set forward, finds every lease expired at first; so short is no host that works silent."""


class LeaseWatch:
    """Remembers which leases were found expired, and since when by the clock that nobody sets."""

    def __init__(self) -> None:
        self._suspects: dict[UUID, tuple[datetime, float]] = {}
        self._lock = threading.Lock()

    def lose_expired(self) -> int:
        """Declares the runs of silent hosts lost; returns how many. This host's are left to adoption."""
        with self._lock:
            now = time.monotonic()
            expired = (
                Run.objects.filter(lease_expires_at__lt=timezone.now())
                .exclude(state=RunState.ENDED)
                .exclude(host=settings.HOSTNAME)
            )
            suspects = {run.pk: self._suspect(run, now) for run in expired}
            self._suspects = suspects
            due = [run for run in expired if now - suspects[run.pk][1] >= WATCHED_FOR]
        return sum(map(lose_silent, due))

    def _suspect(self, run: Run, now: float) -> tuple[datetime, float]:
        lease, since = self._suspects.get(run.pk, (None, now))
        return run.lease_expires_at, since if lease == run.lease_expires_at else now
