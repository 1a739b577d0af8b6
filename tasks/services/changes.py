"""What is asked of a task that is there, and of the processes of its run."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from monitoring.logbook import LOG_STREAM
from monitoring.models import LogEntry
from processes.models import Kill
from processes.services import kill
from tasks import inventory
from tasks.errors import InvalidField, TaskNotFound
from tasks.events import TASK_STREAM
from tasks.models import FINISHED, Dependency, Priority, Run, RunState, Status, StopReason, Task
from tasks.queue import wake_hosts, wake_to_stop
from tasks.selectors import get_task, waiting_for, why_not_delete
from tasks.services.submission import (
    NewTask,
    check_dependencies,
    check_spool,
    checked_values,
    dependency_rows,
    which_exist,
)
from tasks.services.transitions import back_to_pending, record_transition


def edit(new: NewTask) -> Task:
    """Gives a pending task new values; its id says which.

    Raises `TaskNotFound`, `InvalidField` (also when it is not pending, or would wait for itself through
    others), `OutsideAllowedRoots` and `WorkingDirMissing`.
    """
    values = checked_values(new)
    dependencies = list(dict.fromkeys(new.dependencies))
    with transaction.atomic():
        task = _locked(new.id)
        check_dependencies(new.id, dependencies, which_exist(dependencies))
        _check_circle(new.id, dependencies)
        if not Task.objects.filter(pk=new.id, status=Status.PENDING).update(**values):
            raise _wrong_status(task, f"Task '{new.id}' is {task.status} and cannot be edited", ["pending"])
        task.needs.all().delete()
        Dependency.objects.bulk_create(dependency_rows(task, dependencies))
        record_transition(task, old=Status.PENDING, new=Status.PENDING)
        wake_hosts()
    return get_task(new.id)


def change_priority(task_id: str, priority: Priority) -> Task:
    """Moves a pending task in the queue. Raises `TaskNotFound`, and `InvalidField` when it is not pending."""
    with transaction.atomic():
        task = _locked(task_id)
        if not Task.objects.filter(pk=task_id, status=Status.PENDING).update(priority=priority):
            raise _wrong_status(
                task, f"Task '{task_id}' is {task.status} and its priority cannot be changed", ["pending"]
            )
        record_transition(task, old=Status.PENDING, new=Status.PENDING)
    return get_task(task_id)


def delete(task_id: str) -> None:
    """Deletes a task with its runs, transitions and log entries; its host's sweep removes the spool files.

    Raises `TaskNotFound`, and `InvalidField` while it runs or while another task waits for it.
    """
    with transaction.atomic():
        task = _locked(task_id)
        for why in why_not_delete([task]):
            raise _wrong_status(task, why, ["pending", *FINISHED])
        lines = LogEntry.objects.filter(agent=task_id)
        # Who resumes from before these rows is told that some are missing.
        for stream, rows in ((LOG_STREAM, lines), (TASK_STREAM, task.transitions.all())):
            if newest := rows.aggregate(newest=Max("pk"))["newest"]:
                stream.note_pruned(newest)
        lines.delete()
        task.delete()


def cancel(task_id: str) -> Task:
    """Cancels a pending task at once; asks the host of a running one to end its agent.

    The status of a running task becomes `cancelled` when no process of its run is left. Raises
    `TaskNotFound`, and `InvalidField` for a task that has finished.
    """
    while (task := _cancel_once(task_id)) is None:
        pass
    return task


def _cancel_once(task_id: str) -> Task | None:
    """None if things have changed between two looks: what is to be done now is to be seen anew."""
    with transaction.atomic():
        if Task.objects.filter(pk=task_id, status=Status.PENDING).update(
            status=Status.CANCELLED, completed_at=timezone.now(), not_before=None
        ):
            task = get_task(task_id)
            record_transition(task, old=Status.PENDING, new=Status.CANCELLED)
            return task
    # Another transaction, since whoever ends a run locks that before its task: PostgreSQL keeps the lock of a
    # row that an UPDATE has waited for, even if its condition holds no longer.
    with transaction.atomic():
        task = get_task(task_id)
        if task.status in FINISHED:
            raise _wrong_status(
                task, f"Task '{task_id}' is {task.status} and cannot be cancelled", ["pending", "running"]
            )
        run = task.runs.exclude(state=RunState.ENDED).first()
        if task.status == Status.PENDING or run is None:
            return None
        Run.objects.filter(pk=run.pk, stop_reason="").update(stop_reason=StopReason.CANCELLED)
        wake_to_stop(run.host, str(run.pk))
    return task


def retry(task_id: str) -> Task:
    """Brings a failed or cancelled task back to `pending`.

    Raises `TaskNotFound`, `InvalidField` and `SpoolNotWritable`.
    """
    check_spool()
    with transaction.atomic():
        task = get_task(task_id)
        if task.status not in (Status.FAILED, Status.CANCELLED) or not back_to_pending(task, not_before=None):
            task = get_task(task_id)
            raise _wrong_status(
                task, f"Task '{task_id}' is {task.status} and cannot be retried", ["failed", "cancelled"]
            )
        wake_hosts()
    return get_task(task_id)


def cancel_all_on_host(host: str) -> int:
    """Asks every run in flight on a host to end; returns how many."""
    runs = Run.objects.filter(host=host).exclude(state=RunState.ENDED)
    for run in runs:
        with transaction.atomic():
            Run.objects.filter(pk=run.pk, stop_reason="").update(stop_reason=StopReason.CANCELLED)
            wake_to_stop(host, str(run.pk))
    return len(runs)


def kill_process(pid: int, signum: signal.Signals, *, asked_by: str, grace: float) -> Kill:
    """Ends an agent of this host, or a process of one of our runs; returns when it is gone.

    A run whose agent is ended so fails with the reason `killed`. Raises the errors of `processes.errors`.
    """
    owner = inventory.owner_of(pid)
    return kill(
        host=settings.HOSTNAME,
        pid=pid,
        signum=signum,
        grace=grace,
        judge=inventory.why_not_end,
        asked_by=asked_by,
        task_id=owner.task_id if owner else "",
    )


def _locked(task_id: str) -> Task:
    """The task, which no dispatcher can claim until the transaction ends."""
    task = Task.objects.select_for_update().filter(pk=task_id).first()
    if task is None:
        raise TaskNotFound(task_id)
    return task


def _check_circle(task_id: str, dependencies: Sequence[str]) -> None:
    """A new task cannot close a circle; only one that others may wait for already can."""
    if {task_id, *waiting_for(task_id)}.isdisjoint(dependencies):
        return
    raise InvalidField(
        f"Task '{task_id}' would wait for itself through its dependencies",
        field="task.dependencies",
        value=list(dependencies),
        expected="tasks that do not wait for this one",
    )


def _wrong_status(task: Task, message: str, expected: list[str]) -> InvalidField:
    return InvalidField(message, field="status", value=task.status, expected=expected)
