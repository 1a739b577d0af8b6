"""What is old enough to go, and what was taken away."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

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


def prune(*, now: datetime | None = None, dry_run: bool = False) -> Pruned:
    """Takes away what is older than the operators want to keep it; with `dry_run` it only counts.

    Tasks that are unfinished, or that unfinished ones wait for, stay with everything that belongs to them.
    """
    now = now or timezone.now()
    logs, samples, tasks = _old_logs(now), upkeep.old_samples(now), _old_tasks(now)
    if dry_run:
        return Pruned(logs=logs.count(), samples=samples.count(), tasks=tasks.count())
    upkeep.prune_rows(AgentState.objects.filter(at__lt=now - AGENT_STATES_KEPT), AGENT_STREAM)
    return Pruned(
        logs=upkeep.prune_rows(logs, LOG_STREAM),
        samples=upkeep.prune_rows(samples, SAMPLE_STREAM),
        tasks=_delete_tasks(tasks),
    )


def _old_logs(now: datetime) -> QuerySet[LogEntry]:
    unfinished = Task.objects.filter(pk=OuterRef("agent"), status__in=(Status.PENDING, Status.RUNNING))
    return upkeep.old_logs(now).filter(~Exists(unfinished))


def _old_tasks(now: datetime) -> QuerySet[Task]:
    days = upkeep.current().keep_tasks_days
    if days is None:
        return Task.objects.none()
    needed = Dependency.objects.filter(needs=OuterRef("pk"))
    return (
        Task.objects.filter(status__in=FINISHED, completed_at__lt=now - timedelta(days=days))
        .filter(~Exists(needed))
        .order_by("completed_at")
    )


def _delete_tasks(tasks: QuerySet[Task]) -> int:
    """One after the other, since each brings runs and log entries; those that only they needed come next."""
    deleted = 0
    while batch := list(tasks.values_list("pk", flat=True)[:100]):
        gone = sum(map(_delete, batch))
        upkeep.compact()
        deleted += gone
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
