"""The record of what happened to a task, and the word to the world after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone

from monitoring.events import Channel
from monitoring.publish import publish
from tasks.events import TASK_STREAM, status_event
from tasks.models import Run, Status, Task, Transition


def record_transition(
    task: Task, *, old: str, new: str, run: Run | None = None, at: datetime | None = None
) -> None:
    """The last write of a task in a transaction: no row may be locked after it (see `Stream.hold`)."""
    at = at or timezone.now()
    record_transitions(
        [Transition(task=task, run=run, old_status=old, new_status=new, progress=task.progress, at=at)]
    )


def record_transitions(transitions: Sequence[Transition]) -> None:
    """The same for several tasks."""
    after = TASK_STREAM.hold()
    stored = Transition.objects.bulk_create(transitions)
    publish(Channel.TASK_STATUS, [status_event(transition) for transition in stored], after=after)


def back_to_pending(task: Task, *, not_before: datetime | None) -> bool:
    """Queues a task again; returns False if its status has changed meanwhile."""
    old = task.status
    if not Task.objects.filter(pk=task.pk, status=old).update(
        status=Status.PENDING,
        retry_count=task.retry_count + 1,
        progress=0,
        started_at=None,
        completed_at=None,
        failure_reason="",
        error="",
        not_before=not_before,
    ):
        return False
    task.status, task.progress = Status.PENDING, 0
    record_transition(task, old=old, new=Status.PENDING)
    return True
