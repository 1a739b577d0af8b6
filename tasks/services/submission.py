"""New tasks: checked, and stored with what they wait for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from tasks.agents import AGENTS
from tasks.errors import InvalidField, SpoolNotWritable, TaskAlreadyExists, TaskError, TaskNotFound
from tasks.models import (
    FILES_PATTERN_RULE,
    Dependency,
    Priority,
    Schedule,
    Status,
    Task,
    Transition,
    is_relative_glob,
)
from tasks.paths import resolve_working_dir, try_spool
from tasks.queue import hosts_alive, wake_hosts
from tasks.selectors import dependency_ids, get_task
from tasks.services.transitions import record_transition, record_transitions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task as somebody asks for it; the values are right by type."""

    id: str
    type: str
    description: str
    priority: Priority = Priority.MEDIUM
    files_pattern: str = ""
    timeout_ms: int | None = None
    working_dir: str | None = None
    agent: str | None = None
    model: str = ""
    max_retries: int = 0
    dependencies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """How and when a task ended somewhere else; `status` is one of `FINISHED`."""

    status: Status
    created_at: datetime
    completed_at: datetime
    started_at: datetime | None = None
    progress: int = 0
    retry_count: int = 0
    failure_reason: str = ""
    error: str = ""


def submit(new: NewTask, *, schedule: Schedule | None = None) -> Task:
    """Stores a task and wakes the hosts; `schedule` is the one whose turn it is.

    Raises `TaskAlreadyExists`, `TaskNotFound` (a dependency), `InvalidField`, `OutsideAllowedRoots`,
    `WorkingDirMissing` and `SpoolNotWritable`; a turn of a schedule waits until the spool can be written.
    """
    if schedule is None:
        check_spool()
    return _store(new, _record_submissions, schedule=schedule)


def submit_all(news: Sequence[NewTask]) -> list[Task | TaskError]:
    """Stores tasks in one transaction, in this order, as `submit` would one by one.

    Returns for each the task, or why it was refused, which holds up none of the others. Raises
    `SpoolNotWritable`.
    """
    check_spool()
    return _store_all(news, _record_submissions)


def record_finished(new: NewTask, past: Past) -> Task:
    """Stores a task that has ended somewhere else, with its history; it never runs here.

    It goes the legal way through the statuses in one transaction, so that nobody can claim it in between, and
    its transitions tell the times of then. Raises what `submit` raises.
    """
    _store(new, partial(_record_past, past=past), created_at=past.created_at, retry_count=past.retry_count)
    return get_task(new.id)


def duplicate(task_id: str, new_id: str) -> Task:
    """Queues a task with the same values under a new id. Raises what `submit` raises."""
    task = get_task(task_id)
    return submit(
        NewTask(
            id=new_id,
            type=task.type,
            description=task.description,
            priority=Priority(task.priority),
            files_pattern=task.files_pattern,
            timeout_ms=task.timeout_ms,
            working_dir=task.working_dir,
            agent=task.agent,
            model=task.model,
            max_retries=task.max_retries,
            dependencies=tuple(dependency_ids(task)),
        )
    )


def _record_submissions(tasks: Sequence[Task]) -> None:
    """The last writes of a transaction (see `Stream.hold`)."""
    if tasks:
        record_transitions([Transition(task=task, new_status=Status.PENDING, progress=0) for task in tasks])
        wake_hosts()


def _record_past(tasks: Sequence[Task], *, past: Past) -> None:
    progress = 100 if past.status == Status.COMPLETED else past.progress
    for task in tasks:
        steps = [("", Status.PENDING, past.created_at)]
        if past.started_at or past.status != Status.CANCELLED:
            Task.objects.filter(pk=task.pk).update(status=Status.RUNNING, started_at=past.started_at)
            steps.append((Status.PENDING, Status.RUNNING, past.started_at or past.completed_at))
        Task.objects.filter(pk=task.pk).update(
            status=past.status,
            progress=progress,
            completed_at=past.completed_at,
            failure_reason=past.failure_reason,
            error=past.error,
        )
        steps.append((steps[-1][1], past.status, past.completed_at))
        for old, status, at in steps:
            task.progress = progress if status == past.status else 0
            record_transition(task, old=old, new=status, at=at)


def _store(new: NewTask, record: Callable[[Sequence[Task]], None], **more: Any) -> Task:
    (task,) = _store_all([new], record, **more)
    if isinstance(task, TaskError):
        raise task
    return task


def _store_all(
    news: Sequence[NewTask], record: Callable[[Sequence[Task]], None], **more: Any
) -> list[Task | TaskError]:
    """For each a new row, `pending`, with what it waits for, or why there is none; `record` comes last.

    Whether an id is taken the database is asked only when it has refused one: each question is a tenth of the
    time of a submission that is alone.
    """
    needed = {task_id for new in news for task_id in new.dependencies}
    known = which_exist(needed) if needed else set()
    while True:
        seen = set(known)
        results = [_new_row(new, seen, **more) for new in news]
        stored = [(task, new) for task, new in zip(results, news, strict=True) if isinstance(task, Task)]
        tasks = [task for task, _ in stored]
        needs = [row for task, new in stored for row in dependency_rows(task, new.dependencies)]
        try:
            with transaction.atomic():
                # By their ids: who inserts the same ones just now waits for us, and not we for them as well.
                Task.objects.bulk_create(sorted(tasks, key=lambda task: task.pk))
                Dependency.objects.bulk_create(needs)
                record(tasks)
            return results
        except IntegrityError:
            there = which_exist(needed.union(new.id for new in news))
            if there == known:
                raise
            known = there


def _new_row(new: NewTask, known: set[str], **more: Any) -> Task | TaskError:
    """Not stored yet; its id is `known` from now on."""
    try:
        values = checked_values(new)
        check_dependencies(new.id, new.dependencies, known)
        if new.id in known:
            raise TaskAlreadyExists(new.id)
    except TaskError as error:
        return error
    known.add(new.id)
    return Task(id=new.id, **values, **more)


def which_exist(ids: Iterable[str]) -> set[str]:
    """Those of the ids that tasks have."""
    return set(Task.objects.filter(pk__in=ids).order_by().values_list("pk", flat=True))


def checked_values(new: NewTask) -> dict[str, Any]:
    """The columns of its row. Raises `InvalidField`, `OutsideAllowedRoots` and `WorkingDirMissing`."""
    agent = new.agent or "opencode"
    if agent not in AGENTS:
        raise InvalidField(
            f"Invalid agent value: '{agent}'. Valid values are: {', '.join(AGENTS)}",
            field="task.agent",
            value=agent,
            expected=list(AGENTS),
        )
    if not is_relative_glob(new.files_pattern):
        raise InvalidField(
            f"Invalid files_pattern value: '{new.files_pattern}'. Expected {FILES_PATTERN_RULE}",
            field="task.files_pattern",
            value=new.files_pattern,
            expected=FILES_PATTERN_RULE,
        )
    return {
        "type": new.type,
        "priority": new.priority,
        "description": new.description,
        "files_pattern": new.files_pattern,
        "timeout_ms": new.timeout_ms,
        "working_dir": str(resolve_working_dir(new.working_dir)),
        "agent": agent,
        "model": new.model,
        "max_retries": new.max_retries,
    }


def check_dependencies(task_id: str, dependencies: Sequence[str], known: set[str]) -> None:
    """Raises `InvalidField` for a task that needs itself, `TaskNotFound` for one that is not `known`."""
    if task_id in dependencies:
        raise InvalidField(
            f"Task '{task_id}' cannot depend on itself",
            field="task.dependencies",
            value=task_id,
            expected="ids of other tasks",
        )
    for needed in dependencies:
        if needed not in known:
            raise TaskNotFound(needed)


def dependency_rows(task: Task, needed: Iterable[str]) -> list[Dependency]:
    """The rows that say so, each once."""
    return [
        Dependency(task=task, needs_id=task_id, position=position)
        for position, task_id in enumerate(dict.fromkeys(needed))
    ]


def check_spool() -> None:
    """Raises `SpoolNotWritable` when what is asked for could run nowhere."""
    try:
        try_spool()
    except FileNotFoundError:
        return  # no run has needed it yet
    except OSError as error:
        problem = error.strerror or str(error)
        # Another host has a spool of its own.
        if not hosts_alive().exclude(pk=settings.HOSTNAME).exists():
            logger.error("the spool directory %s cannot be written: %s", settings.RUNS_DIR, problem)
            raise SpoolNotWritable(problem) from error
