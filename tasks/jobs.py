"""The Celery tasks that answer wake-ups, and the host's upkeep in the worker's own process."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down

from monitoring import loads, requests
from monitoring.models import LogCount
from monitoring.row_counts import fold
from tasks import retention
from tasks.execution import adoption, launcher
from tasks.execution.host import HostUpkeep
from tasks.execution.leases import LeaseWatch
from tasks.models import TaskCount
from tasks.observation import observe_in_turn
from tasks.queue import (
    DISPATCH,
    MERGE_METRICS,
    OBSERVE,
    OBSERVE_HOSTS,
    PRUNE,
    STOP_RUN,
    SWEEP,
    ask_hosts_to_observe,
    wake_hosts,
)

logger = logging.getLogger(__name__)
_upkeep: list[HostUpkeep] = []
_leases = LeaseWatch()
_dispatching, _next_dispatch = threading.Lock(), threading.Lock()


@worker_ready.connect
def _begin_upkeep(**_: Any) -> None:
    upkeep = HostUpkeep()
    _upkeep.append(upkeep)
    upkeep.start()
    threading.Thread(target=launcher.make_agents_ready, name="first-start", daemon=True).start()


@worker_shutting_down.connect
def _end_upkeep(**_: Any) -> None:
    for upkeep in _upkeep:
        upkeep.stop()


def _look_now() -> None:
    for upkeep in _upkeep:
        upkeep.wake()


@shared_task(name=DISPATCH)
def dispatch() -> None:
    """Starts what this host has free slots for.

    Of a burst of wake-ups one is at work and one waits: that one will see whatever the others were sent for.
    """
    if not _next_dispatch.acquire(blocking=False):
        return
    with _dispatching:
        _next_dispatch.release()
        started = launcher.dispatch()
    if started:
        _look_now()


@shared_task(name=STOP_RUN)
def stop_run(run_id: str) -> None:
    """Carries out a stop that was asked for."""
    adoption.stop_run(run_id)


@shared_task(name=OBSERVE_HOSTS)
def observe_hosts() -> None:
    """Hands the schedule's tick on to every host."""
    ask_hosts_to_observe()


@shared_task(name=OBSERVE)
def observe_host() -> None:
    """Samples this host, once an interval."""
    observe_in_turn()


@shared_task(name=MERGE_METRICS)
def merge_metrics() -> None:
    """Keeps small what metrics are told from."""
    requests.merge_old()
    loads.sum_up()


@shared_task(name=PRUNE)
def prune() -> None:
    """Takes away what is older than it is to be kept."""
    pruned = retention.prune()
    if any((pruned.logs, pruned.samples, pruned.tasks)):
        logger.info("pruned %d log entries, %d samples, %d tasks", pruned.logs, pruned.samples, pruned.tasks)


@shared_task(name=SWEEP)
def sweep() -> None:
    """Repairs, for all hosts, what lost hosts left undone."""
    if _leases.lose_expired():
        wake_hosts()
    for counts in (LogCount, TaskCount):
        fold(counts)
