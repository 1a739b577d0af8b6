"""What is old enough to go, and what was taken away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from monitoring import upkeep
from monitoring.about import about
from monitoring.logbook import LOG_STREAM
from monitoring.models import LogEntry
from monitoring.sampling import SAMPLE_STREAM
from tasks import services
from tasks.errors import TaskError
from tasks.events import AGENT_STREAM
from tasks.models import FINISHED, AgentState, Dependency, Status, Task

logger = logging.getLogger(__name__)

AGENT_STATES_KEPT = timedelta(days=1)
"""How long the last update about an agent that has gone is told to clients that resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Numbers of rows. A task goes with its runs and log entries, and its spool files with the next sweep."""

    logs: int
    samples: int
    tasks: int


Told = Callable[[str, int], None]
"""Is told, as the work goes on, how many rows more of what (a field of `Pruned`) have gone."""


def prune(*, now: datetime | None = None, told: Told = lambda name, more: None) -> Pruned:
    """Takes away what is older, or more, than the operators want to keep.

    Tasks that are unfinished, or that unfinished ones wait for, stay with everything that belongs to them.
    """
    now = now or timezone.now()
    states = AgentState.objects.filter(at__lt=now - AGENT_STATES_KEPT)
    upkeep.prune_rows([states], AGENT_STREAM, lambda more: None)
    return Pruned(
        logs=upkeep.prune_rows(_old_logs(now), LOG_STREAM, partial(told, "logs")),
        samples=upkeep.prune_rows(upkeep.old_samples(now), SAMPLE_STREAM, partial(told, "samples")),
        tasks=_delete_tasks(_old_tasks(now), partial(told, "tasks")),
    )


def would_prune(now: datetime | None = None) -> Pruned:
    """What `prune` would take away now."""
    now = now or timezone.now()
    return Pruned(
        logs=upkeep.count(_old_logs(now)),
        samples=upkeep.count(upkeep.old_samples(now)),
        tasks=_old_tasks(now).count(),
    )


def _old_logs(now: datetime) -> list[QuerySet[LogEntry]]:
    unfinished = Task.objects.filter(pk=OuterRef("agent"), status__in=(Status.PENDING, Status.RUNNING))
    return [rows.filter(~Exists(unfinished)) for rows in upkeep.old_logs(now)]


def _old_tasks(now: datetime) -> QuerySet[Task]:
    kept, finished = upkeep.current(), Task.objects.filter(status__in=FINISHED)
    until = [now - timedelta(days=kept.keep_tasks_days)] if kept.keep_tasks_days is not None else []
    if kept.keep_tasks_max is not None:
        beyond = finished.order_by("-completed_at").values_list("completed_at", flat=True)
        until += [moment for moment in beyond[kept.keep_tasks_max : kept.keep_tasks_max + 1] if moment]
    if not until:
        return Task.objects.none()
    needed = Dependency.objects.filter(needs=OuterRef("pk"))
    return finished.filter(completed_at__lte=max(until)).filter(~Exists(needed)).order_by("completed_at")


def _delete_tasks(tasks: QuerySet[Task], told: Callable[[int], None]) -> int:
    """One after the other, since each brings runs and log entries; those that only they needed come next."""
    deleted = 0
    while batch := list(tasks.values_list("pk", flat=True)[:100]):
        gone = sum(map(_delete, batch))
        upkeep.compact()
        deleted += gone
        told(gone)
        if not gone:
            break
    return deleted


def _delete(task_id: str) -> bool:
    try:
        services.delete(task_id)
    except TaskError as error:
        with about(task_id):
            logger.info("the task is kept: %s", error.message)
        return False
    return True
