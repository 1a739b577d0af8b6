"""Records → tasks: what is imported, what is there already, and what is not taken and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from django.db import transaction

from opencode_site.portable.records import TaskInFile, parse
from tasks import services
from tasks.errors import TaskAlreadyExists, TaskError
from tasks.models import Task
from tasks.paths import resolve_working_dir
from tasks.selectors import dependency_ids, get_task
from tasks.services import NewTask

UNNAMED = "(no id)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the operator wants of an import."""

    statuses: frozenset[str] = frozenset()
    """Only tasks with these; empty means all."""
    requeue_running: bool = False
    working_dir: str | None = None
    """Where all unfinished and finished tasks are to work, in place of what the file says."""


@dataclass(slots=True)
class Outcome:
    """What became of a file's tasks. `refused` is what was wanted and not taken, with the reason."""

    imported: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


class Refused(Exception):
    """Not everything could be imported, and all or nothing was asked for; nothing was."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("nothing was imported")
        self.outcome = outcome


def import_records(
    records: Iterable[Any], choices: Choices, *, all_or_nothing: bool, dry_run: bool
) -> Outcome:
    """Stores what is new; done again it changes nothing. Raises `Refused` if nothing may be half done.

    With `dry_run` everything is done and taken back, so that it says what would really happen.
    """
    outcome = Outcome()
    tasks = list(_parsed(records, choices, outcome))
    if not (all_or_nothing or dry_run):
        _store_all(tasks, choices, outcome)
        return outcome
    with transaction.atomic():
        _store_all(tasks, choices, outcome)
        if all_or_nothing and outcome.refused:
            raise Refused(outcome)
        transaction.set_rollback(dry_run)
    return outcome


def _parsed(records: Iterable[Any], choices: Choices, outcome: Outcome) -> Iterator[TaskInFile]:
    seen: set[str] = set()
    for record in records:
        name = record.get("id") if isinstance(record, dict) else None
        label = name if isinstance(name, str) else UNNAMED
        if not isinstance(record, dict):
            outcome.refused.append((label, f"expected an object, got {type(record).__name__}"))
            continue
        try:
            task = parse(record)
        except ValueError as error:
            outcome.refused.append((label, str(error)))
            continue
        if task.task.id in seen:
            outcome.refused.append((label, "the file holds this id twice; the first one counts"))
        elif choices.statuses and task.status not in choices.statuses:
            outcome.skipped.append((label, f"it is {task.status}"))
        elif task.status == "running" and not choices.requeue_running:
            outcome.skipped.append((label, "it was running and may still be; --requeue-running queues it"))
        else:
            yield task
        seen.add(task.task.id)


def _store_all(tasks: list[TaskInFile], choices: Choices, outcome: Outcome) -> None:
    for task in _in_order(tasks, outcome):
        new = task.new
        if choices.working_dir is not None:
            new = replace(new, working_dir=choices.working_dir)
        try:
            _store(task, new)
        except TaskAlreadyExists:
            if difference := _difference(new):
                outcome.refused.append((new.id, f"a task with this id exists here with another {difference}"))
            else:
                outcome.present.append(new.id)
        except TaskError as error:
            outcome.refused.append((new.id, error.message))
        else:
            outcome.imported.append(new.id)


def _store(task: TaskInFile, new: NewTask) -> None:
    if Task.objects.filter(pk=new.id).exists():
        raise TaskAlreadyExists(new.id)
    if (past := task.past) is not None:
        services.record_finished(new, past)
    else:
        services.submit(new)


def _in_order(tasks: list[TaskInFile], outcome: Outcome) -> list[TaskInFile]:
    """What others wait for comes first; tasks that wait for each other are refused."""
    known = {task.task.id: task for task in tasks}
    while True:
        graph = {name: [d for d in task.task.dependencies if d in known] for name, task in known.items()}
        try:
            return [known[name] for name in TopologicalSorter(graph).static_order()]
        except CycleError as error:
            circle = list(dict.fromkeys(error.args[1]))
            for name in circle:
                outcome.refused.append((name, f"its dependencies go in a circle: {', '.join(circle)}"))
                del known[name]


def _difference(new: NewTask) -> str:
    """The first value in which the task that is here differs from the file's; empty if none does."""
    task = get_task(new.id)
    wanted: dict[str, tuple[Any, Any]] = {
        "description": (task.description, new.description),
        "type": (task.type, new.type),
        "priority": (task.priority, new.priority),
        "files_pattern": (task.files_pattern, new.files_pattern),
        "timeout": (task.timeout_ms, new.timeout_ms),
        "agent": (task.agent, new.agent or "opencode"),
        "model": (task.model, new.model),
        "max_retries": (task.max_retries, new.max_retries),
        "dependencies": (dependency_ids(task), list(dict.fromkeys(new.dependencies))),
    }
    for name, (here, there) in wanted.items():
        if here != there:
            return name
    try:
        same = task.working_dir == str(resolve_working_dir(new.working_dir))
    except TaskError:
        same = False
    return "" if same else "working_dir"
