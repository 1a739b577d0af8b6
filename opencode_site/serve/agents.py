"""What the server says and does about this host's agents and its worker."""

from __future__ import annotations

import time
from datetime import datetime

from django.conf import settings
from django.db import connection

from tasks import services
from tasks.execution.adoption import carry_out_stop, still_in_flight
from tasks.execution.follower import Followed, follow_once
from tasks.models import Host
from tasks.selectors import runs_in_flight

END_MARGIN = 10.0
"""Seconds beyond the grace that ending all agents may take."""
_INTERVAL = 0.05


def worker_reports(pid: int, since: datetime) -> bool:
    """Whether this very worker has written the host's row, so that tasks can be started."""
    try:
        return Host.objects.filter(pk=settings.HOSTNAME, pid=pid, last_seen_at__gte=since).exists()
    finally:
        connection.close()


def count_running() -> int:
    """Agents of this host that are at work."""
    try:
        return len(runs_in_flight(settings.HOSTNAME))
    finally:
        connection.close()


def stop_all() -> int:
    """Cancels this host's runs and sees to it that they end; returns how many are still there afterwards.

    For when no worker runs: one would start the next tasks in the place of those that end here. Waits for
    the grace and `END_MARGIN` at most.
    """
    deadline = time.monotonic() + settings.KILL_GRACE + END_MARGIN
    try:
        services.cancel_all_on_host(settings.HOSTNAME)
        followed = [Followed(run) for run in runs_in_flight(settings.HOSTNAME)]
        for one in followed:
            carry_out_stop(one.run)
        while followed and time.monotonic() < deadline:
            followed = [
                left for one in followed if still_in_flight(one) and (left := follow_once(one)) is not None
            ]
            # Supervisors tell the end by a file; other hands may do so meanwhile.
            time.sleep(_INTERVAL)
        return len(followed)
    finally:
        connection.close()
