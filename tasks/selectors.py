"""Reads: tasks as the protocol, the admin and the commands show them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from monitoring.row_counts import counted
from processes.models import SeenAgent
from tasks.errors import TaskNotFound
from tasks.models import Dependency, Priority, Run, RunState, Status, Task, TaskCount
from tasks.queue import hosts_alive

STALLED_AFTER = timedelta(minutes=3)
"""A run that has written nothing for this long is shown as stalled; a long tool is silent too."""
NAMES_TOLD = 5
"""Tasks that a reason names."""


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of tasks, newest first, with the number of all tasks and of those that match."""

    tasks: list[Task]
    total_count: int
    filtered_count: int


def get_task(task_id: str) -> Task:
    """Raises `TaskNotFound`."""
    try:
        return Task.objects.get(pk=task_id)
    except Task.DoesNotExist:
        raise TaskNotFound(task_id) from None


def list_tasks(
    *,
    status: str | None = None,
    type: str | None = None,
    priority: Priority | None = None,
    agent: str | None = None,
    limit: int,
    offset: int = 0,
) -> TaskPage:
    """The tasks that match every filter given, newest first."""
    wanted = {"status": status, "type": type, "priority": priority, "agent": agent}
    filters = {name: value for name, value in wanted.items() if value is not None}
    matching = Task.objects.filter(**filters)
    return TaskPage(
        tasks=list(matching.order_by("-created_at", "-id")[offset : offset + limit]),
        total_count=counted(TaskCount.objects.all()),
        filtered_count=matching.count()
        if "agent" in filters
        else counted(TaskCount.objects.filter(**filters)),
    )


def dependency_ids(task: Task) -> list[str]:
    """Ids of the tasks that this one waits for, in the order that the client gave."""
    return list(task.needs.order_by("position").values_list("needs_id", flat=True))


def run_summaries(task: Task) -> list[Run]:
    """The task's runs, newest first."""
    return list(task.runs.order_by("-number"))


def latest_runs(task_id: str | None, *, limit: int) -> list[Run]:
    """The newest runs, of one task or of all. Raises `TaskNotFound`."""
    runs = Run.objects.all() if task_id is None else get_task(task_id).runs.all()
    return list(runs.order_by("-created_at", "-number")[:limit])


def ready_tasks() -> QuerySet[Task]:
    """Pending tasks whose dependencies are all completed, in the order in which they are to start."""
    unmet = Dependency.objects.filter(task=OuterRef("pk")).exclude(needs__status=Status.COMPLETED)
    now = timezone.now()
    return (
        Task.objects.filter(Q(not_before__isnull=True) | Q(not_before__lte=now), status=Status.PENDING)
        .filter(~Exists(unmet))
        .filter(Q(schedule__isnull=True) | ~Exists(_earlier_turns()))
        .order_by("-priority", "created_at", "id")
    )


def _earlier_turns() -> QuerySet[Task]:
    """The unfinished tasks of earlier turns of the outer task's schedule: one is done after the other."""
    return Task.objects.filter(
        schedule=OuterRef("schedule"),
        status__in=(Status.PENDING, Status.RUNNING),
        created_at__lt=OuterRef("created_at"),
    )


def runs_in_flight(host: str) -> list[Run]:
    """The runs that this host has not ended yet, oldest first."""
    return _in_flight(Run.objects.filter(host=host))


def agents_in_flight() -> list[Run]:
    """The runs in flight on all hosts, oldest first."""
    return _in_flight(Run.objects.all())


def _in_flight(runs: QuerySet[Run]) -> list[Run]:
    # Sorted here: a database that is asked to may walk through all runs there ever were, by their age.
    found = runs.exclude(state=RunState.ENDED).select_related("task").order_by()
    return sorted(found, key=lambda run: run.created_at)


def foreign_agents() -> list[SeenAgent]:
    """The agents on all hosts that no run of ours has started, as the last scans saw them."""
    return list(SeenAgent.objects.filter(gone=False, task_id="").order_by("host", "create_time"))


UNFINISHED_LIMIT, FINISHED_LIMIT = 1000, 100


def tasks_of_interest() -> list[Task]:
    """All unfinished tasks (1 000 at most) and the 100 that finished last."""
    unfinished = Task.objects.filter(status__in=(Status.PENDING, Status.RUNNING)).order_by("-created_at")
    finished = Task.objects.filter(completed_at__isnull=False).order_by("-completed_at")
    return [*unfinished[:UNFINISHED_LIMIT], *finished[:FINISHED_LIMIT]]


def why_not_delete(tasks: Collection[Task]) -> list[str]:
    """Why some of the tasks cannot be deleted now, all together; one query for a thousand as for one."""
    chosen = {task.pk for task in tasks}
    waiting: dict[str, list[str]] = {}
    for needed, task_id in Dependency.objects.filter(needs__in=chosen).values_list("needs_id", "task_id"):
        if task_id not in chosen:
            waiting.setdefault(needed, []).append(task_id)
    reasons = []
    for task in tasks:
        if task.status == Status.RUNNING:
            reasons.append(f"Task '{task.pk}' is running and cannot be deleted; cancel it first")
        elif names := waiting.get(task.pk):
            told = ", ".join(f"'{name}'" for name in names[:NAMES_TOLD])
            reasons.append(
                f"Task '{task.pk}' cannot be deleted: {told} depends on it; delete or edit that first"
            )
    return reasons


def waiting_for(task_id: str) -> set[str]:
    """All tasks that wait for this one, directly or through others: it cannot wait for any of them."""
    found: set[str] = set()
    front = {task_id}
    while front:
        rows = Dependency.objects.filter(needs__in=front).values_list("task_id", flat=True)
        front = set(rows) - found
        found |= front
    return found


def runtime(task: Task) -> tuple[str, str]:
    """What the task is doing just now, in a word and in a sentence that says why."""
    return runtimes([task])[task.pk]


def runtimes(tasks: Sequence[Task]) -> dict[str, tuple[str, str]]:
    """By id, what each task is doing just now; as many queries for a thousand tasks as for one."""
    found = {task.pk: (task.status, task.error) for task in tasks}
    running = [task.pk for task in tasks if task.status == Status.RUNNING]
    if running:
        runs = Run.objects.filter(task__in=running).exclude(state=RunState.ENDED)
        found |= {run.task_id: run_state(run) for run in runs}
    pending = [task for task in tasks if task.status == Status.PENDING]
    if pending:
        unmet: dict[str, list[tuple[str, str]]] = {}
        for task_id, needed, status in (
            Dependency.objects.filter(task__in=pending)
            .exclude(needs__status=Status.COMPLETED)
            .values_list("task_id", "needs_id", "needs__status")
        ):
            unmet.setdefault(task_id, []).append((needed, status))
        now, slots, turns = timezone.now(), _why_no_slot(), _earlier_tasks(pending)
        found |= {
            task.pk: _waiting_for(task, unmet.get(task.pk, []), turns.get(task.pk, ""), slots, now)
            for task in pending
        }
    return found


def run_state(run: Run) -> tuple[str, str]:
    """What a run in flight is doing just now, in a word and in a sentence."""
    if run.stop_reason:
        return "cancelling", f"The agent on {run.host} was asked to end."
    if run.state == RunState.STARTING:
        return "starting", f"The agent is being started on {run.host}."
    silent = timezone.now() - (run.last_output_at or run.started_at or run.created_at)
    if silent > STALLED_AFTER:
        return "stalled", f"The agent on {run.host} has written nothing for {int(silent.total_seconds())} s."
    return "running", f"The agent runs on {run.host}."


def _waiting_for(
    task: Task, unmet: list[tuple[str, str]], earlier: str, no_slot: str, now: datetime
) -> tuple[str, str]:
    for needed, status in unmet:
        if status in (Status.FAILED, Status.CANCELLED):
            became = "has failed" if status == Status.FAILED else "was cancelled"
            return "blocked", f"It needs '{needed}', which {became}; retry that one to unblock this."
    if unmet:
        return "waiting", "It waits for " + ", ".join(f"'{needed}'" for needed, _ in unmet) + "."
    if task.not_before and task.not_before > now:
        return "waiting", f"It is tried again at {task.not_before:%Y-%m-%d %H:%M:%S} UTC."
    if earlier:
        return "waiting", f"It waits for the end of '{earlier}', of an earlier turn of its schedule."
    return "queued", no_slot


def _earlier_tasks(pending: Sequence[Task]) -> dict[str, str]:
    """For each of these that must wait for it, the unfinished task of an earlier turn of its schedule."""
    scheduled = [task.pk for task in pending if task.schedule_id is not None]
    if not scheduled:
        return {}
    earlier = Subquery(_earlier_turns().order_by("-created_at").values("pk")[:1])
    found = Task.objects.filter(pk__in=scheduled).annotate(earlier=earlier).values_list("pk", "earlier")
    return {task_id: needed for task_id, needed in found if needed is not None}


def _why_no_slot() -> str:
    alive = list(hosts_alive())
    if not alive:
        return "No agent host has reported lately: is a worker running?"
    slots = sum(host.slots for host in alive if not host.paused_because)
    if not slots:
        return " ".join(f"Host {host.name} starts no new runs: {host.paused_because}" for host in alive)
    busy = Run.objects.exclude(state=RunState.ENDED).count()
    return f"It waits for a free slot: {busy} of {slots} agents are running."
