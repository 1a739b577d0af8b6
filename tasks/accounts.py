"""What the work has cost and how long it took, as running totals for whoever watches over many servers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max

from monitoring.totals import Totals
from tasks.models import Dependency, Run, Status, Task, Transition

RUNS, RUN_SECONDS = "runs", "run_seconds"
TOKENS, COST = "tokens", "cost"
QUEUE_SECONDS = "queue_seconds"
TOKEN_KINDS = ("input", "output", "reasoning", "cache_read", "cache_write")
RUN_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)
"""Upper bounds in seconds: agents work for seconds or for hours."""
QUEUE_BOUNDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0, 24 * 3600.0)


def count_end(run: Run, outcome: Status, reason: str, at: datetime) -> None:
    """A run has ended. To be called last in its transaction."""
    totals = Totals()
    totals.add(RUNS, 1, outcome.value, reason)
    totals.observe(RUN_SECONDS, (at - (run.started_at or run.created_at)).total_seconds(), RUN_BOUNDS)
    for kind in TOKEN_KINDS:
        totals.add(TOKENS, getattr(run, f"tokens_{kind}"), kind)
    totals.add(COST, float(run.cost))
    totals.store()


def count_claims(runs: Sequence[Run], since: dict[str, datetime]) -> None:
    """Tasks have left the queue. To be called last in their transaction."""
    totals = Totals()
    for run in runs:
        waited = run.created_at - since[run.task_id]
        totals.observe(QUEUE_SECONDS, waited.total_seconds(), QUEUE_BOUNDS)
    totals.store()


def ready_since(tasks: Sequence[Task]) -> dict[str, datetime]:
    """By id, since when each could have been started: pending, due, and all that it waits for done."""
    if not tasks:
        return {}
    became = Transition.objects.filter(task__in=tasks, new_status=Status.PENDING).exclude(
        old_status=Status.PENDING
    )
    pending = dict(became.order_by().values_list("task").annotate(Max("at")))
    needs = Dependency.objects.filter(task__in=tasks).order_by().values_list("task")
    done = dict(needs.annotate(Max("needs__completed_at")))
    moments = {
        task.pk: (pending.get(task.pk, task.created_at), task.not_before, done.get(task.pk)) for task in tasks
    }
    return {task_id: max(filter(None, known)) for task_id, known in moments.items()}
