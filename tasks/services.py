"""The lifecycle: the only writer of a status.

Every change is one transaction with one conditional update; only its winner records the transition, and the
world is told after the commit. A write about a run is fenced by the run's id and by its not having ended.
"""

from __future__ import annotations

import logging
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from monitoring.events import Channel
from monitoring.logbook import LOG_STREAM, record
from monitoring.models import Level, LogEntry
from monitoring.publish import publish
from processes.models import Kill, KillOutcome
from processes.services import kill
from tasks import accounts, inventory
from tasks.agents import AGENTS
from tasks.agents.base import Exit, LogLine, Report, Verdict
from tasks.errors import InvalidField, LostRace, SpoolNotWritable, TaskAlreadyExists, TaskNotFound
from tasks.events import TASK_STREAM, publish_agents, run_agent, status_event
from tasks.failures import RETRYABLE, FailureReason, explain
from tasks.models import (
    FILES_PATTERN_RULE,
    FINISHED,
    Dependency,
    Host,
    Priority,
    Run,
    RunState,
    Schedule,
    Status,
    StopReason,
    Task,
    Transition,
    is_relative_glob,
)
from tasks.paths import resolve_working_dir, try_spool
from tasks.queue import hosts_alive, wake_hosts, wake_to_stop
from tasks.selectors import dependency_ids, get_task, ready_tasks, waiting_for, why_not_delete

logger = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)
"""How long a run is left alone after its host was last heard from. Longer than any restart or deploy of a
worker, since a run that another host declares lost is ended when its own host comes back."""
RETRY_DELAY = timedelta(seconds=10)
"""Before the first automatic retry; doubled for each further one, up to `RETRY_DELAY_MAX`."""
RETRY_DELAY_MAX = timedelta(minutes=10)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one read of a run's spool gave: the lines, and how far the spool is stored with them."""

    stdout_offset: int
    stderr_offset: int
    lines: Sequence[LogLine]
    report: Report


# --- Asked for from outside -------------------------------------------------------------------------------


def submit(new: NewTask, *, schedule: Schedule | None = None) -> Task:
    """Stores a task and wakes the hosts; `schedule` is the one whose turn it is.

    Raises `TaskAlreadyExists`, `TaskNotFound` (a dependency), `InvalidField`, `OutsideAllowedRoots`,
    `WorkingDirMissing` and `SpoolNotWritable`; a turn of a schedule waits until the spool can be written.
    """
    if schedule is None:
        _check_spool()
    with transaction.atomic():
        task = _insert(new, schedule=schedule)
        _record_transition(task, old="", new=Status.PENDING)
        wake_hosts()
    return task


def record_finished(new: NewTask, past: Past) -> Task:
    """Stores a task that has ended somewhere else, with its history; it never runs here.

    It goes the legal way through the statuses in one transaction, so that nobody can claim it in between, and
    its transitions tell the times of then. Raises what `submit` raises.
    """
    progress = 100 if past.status == Status.COMPLETED else past.progress
    with transaction.atomic():
        task = _insert(new, created_at=past.created_at, retry_count=past.retry_count)
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
            _record_transition(task, old=old, new=status, at=at)
    return get_task(task.pk)


def edit(new: NewTask) -> Task:
    """Gives a pending task new values; its id says which.

    Raises `TaskNotFound`, `InvalidField` (also when it is not pending, or would wait for itself through
    others), `OutsideAllowedRoots` and `WorkingDirMissing`.
    """
    values = _checked_values(new)
    dependencies = list(dict.fromkeys(new.dependencies))
    with transaction.atomic():
        task = _locked(new.id)
        _check_dependencies(new.id, dependencies)
        _check_circle(new.id, dependencies)
        if not Task.objects.filter(pk=new.id, status=Status.PENDING).update(**values):
            raise _wrong_status(task, f"Task '{new.id}' is {task.status} and cannot be edited", ["pending"])
        task.needs.all().delete()
        _store_dependencies(task, dependencies)
        _record_transition(task, old=Status.PENDING, new=Status.PENDING)
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
        _record_transition(task, old=Status.PENDING, new=Status.PENDING)
    return get_task(task_id)


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
            _record_transition(task, old=Status.PENDING, new=Status.CANCELLED)
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
    _check_spool()
    with transaction.atomic():
        task = get_task(task_id)
        if task.status not in (Status.FAILED, Status.CANCELLED) or not _back_to_pending(
            task, not_before=None
        ):
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


# --- A host and its runs ----------------------------------------------------------------------------------


def claim(host: str, slots: int) -> list[Run]:
    """Gives the host as many ready tasks as it has free slots, each as a new run in state `starting`.

    However many dispatchers race, a task is claimed once: its status is changed conditionally, and the
    database allows one run in flight per task. The host's row is locked so that its slots are not overdrawn.
    """
    # Most wake-ups find nothing to do: they must not make those who write wait.
    if _free_slots(host, slots) <= 0 or not ready_tasks().exists():
        return []
    with transaction.atomic():
        row = Host.objects.select_for_update().filter(pk=host).first()
        if row is None or row.paused_because:
            return []
        free = _free_slots(host, slots)
        if free <= 0:
            return []
        ready = list(ready_tasks()[:free])
        since = accounts.ready_since(ready)
        runs = [run for task in ready if (run := _claim_one(task, host)) is not None]
        for run in runs:
            _record_transition(run.task, old=Status.PENDING, new=Status.RUNNING, run=run)
        accounts.count_claims(runs, since)
        return runs


def _free_slots(host: str, slots: int) -> int:
    return slots - Run.objects.filter(host=host).exclude(state=RunState.ENDED).count()


def _claim_one(task: Task, host: str) -> Run | None:
    now = timezone.now()
    if not Task.objects.filter(pk=task.pk, status=Status.PENDING).update(
        status=Status.RUNNING, started_at=now, not_before=None
    ):
        return None
    task.status, task.started_at = Status.RUNNING, now
    run = Run.objects.create(
        task=task,
        number=task.runs.count() + 1,
        host=host,
        agent=task.agent,
        model=task.model,
        lease_expires_at=now + LEASE,
    )
    return run


def report_host(
    host: str, *, slots: int, pid: int, started_at: datetime, agents: dict[str, str | None]
) -> None:
    """The host's worker is alive: its row and the leases of its runs are renewed."""
    now = timezone.now()
    facts: dict[str, Any] = {
        "slots": slots,
        "pid": pid,
        "started_at": started_at,
        "last_seen_at": now,
        "agents": agents,
    }
    Host.objects.update_or_create(pk=host, defaults=facts)
    Run.objects.filter(host=host).exclude(state=RunState.ENDED).update(lease_expires_at=now + LEASE)


def pause_host(host: str, because: str) -> bool:
    """Lets a host start no new runs; those in flight go on. Returns False if it was paused already."""
    with transaction.atomic():
        if not Host.objects.filter(pk=host, paused_because="").update(paused_because=because):
            return False
        record([LogEntry(level=Level.WARN, message=f"Host {host} starts no new runs: {because}")])
    return True


def resume_host(host: str) -> bool:
    """Lets a host start runs again. Returns False if it was not paused."""
    with transaction.atomic():
        if not Host.objects.filter(pk=host).exclude(paused_because="").update(paused_because=""):
            return False
        record([LogEntry(level=Level.INFO, message=f"Host {host} starts new runs again")])
        wake_hosts()
    return True


def mark_started(
    run: Run, *, supervisor_pid: int | None, agent_pid: int, identity: str, at: datetime
) -> None:
    """The agent's process exists."""
    Run.objects.filter(pk=run.pk, state=RunState.STARTING).update(
        state=RunState.RUNNING,
        supervisor_pid=supervisor_pid,
        agent_pid=agent_pid,
        agent_identity=identity,
        started_at=at,
    )


def store_output(run: Run, output: Output) -> None:
    """Stores lines and offsets in one transaction, so that each line is stored exactly once whoever dies.

    `run` holds the offsets that the lines were read from; afterwards it holds the new ones. Raises `LostRace`
    if another follower has stored past them, or if the run has ended.
    """
    report = output.report
    now = timezone.now()
    values = {
        "stdout_offset": output.stdout_offset,
        "stderr_offset": output.stderr_offset,
        "report": report.to_json(),
        "session_id": report.session_id,
        "last_output_at": now,
        **_spent(report),
    }
    with transaction.atomic():
        fence = Run.objects.filter(
            pk=run.pk, stdout_offset=run.stdout_offset, stderr_offset=run.stderr_offset
        ).exclude(state=RunState.ENDED)
        if not fence.update(**values):
            raise LostRace(f"the output of run {run.pk} was stored by somebody else")
        task = _progress(run, report.progress)
        record([_log_entry(run, line, now) for line in output.lines])
        if task is not None:
            _record_transition(task, old=Status.RUNNING, new=Status.RUNNING, run=run)
    for name, value in values.items():
        setattr(run, name, value)


def finish(
    run: Run, verdict: Verdict, exit: Exit, *, peak_memory: int | None, cpu_seconds: float | None
) -> Task:
    """Ends a run and gives its task the outcome; a failure worth it is tried again by itself.

    Raises `LostRace` if the run has ended already.
    """
    now = timezone.now()
    with transaction.atomic():
        current = Run.objects.select_for_update().get(pk=run.pk)
        outcome = _outcome(current, verdict, exit)
        if outcome == Status.FAILED and _was_killed(current):
            verdict = replace(verdict, reason=FailureReason.KILLED, detail=explain(FailureReason.KILLED))
        reason = verdict.reason.value if outcome == Status.FAILED and verdict.reason else ""
        detail = verdict.detail if outcome == Status.FAILED else ""
        if (
            not Run.objects.filter(pk=run.pk)
            .exclude(state=RunState.ENDED)
            .update(
                state=RunState.ENDED,
                outcome=outcome,
                failure_reason=reason,
                failure_detail=detail,
                exit_code=exit.code,
                exit_signal=exit.signal,
                peak_memory=peak_memory,
                cpu_seconds=cpu_seconds,
                ended_at=now,
            )
        ):
            raise LostRace(f"run {run.pk} has ended already")
        task = get_task(run.task_id)
        progress = 100 if outcome == Status.COMPLETED else task.progress
        Task.objects.filter(pk=task.pk, status=Status.RUNNING).update(
            status=outcome, progress=progress, completed_at=now, failure_reason=reason, error=detail
        )
        task.status, task.progress = outcome, progress
        # The last line comes before the end, so that whoever stops reading at the end has read everything.
        record([_closing_entry(task, current, outcome, verdict, now)])
        _record_transition(task, old=Status.RUNNING, new=outcome, run=run)
        current.task = task
        publish_agents([run_agent(current, status=outcome)])
        if outcome == Status.FAILED and verdict.reason in RETRYABLE and current.number <= task.max_retries:
            asked = timedelta(seconds=verdict.retry_after or 0)
            _back_to_pending(task, not_before=now + max(retry_delay(current.number), asked))
        wake_hosts()
        accounts.count_end(current, outcome, reason, now)
    return task


def lose(run: Run, detail: str = "") -> Task:
    """Ends a run of which neither a process nor an exit record is left. Raises `LostRace`."""
    verdict = Verdict(
        succeeded=False, reason=FailureReason.LOST, detail=detail or explain(FailureReason.LOST)
    )
    return finish(
        run, verdict, Exit(code=None, signal=None, stopped_by=None), peak_memory=None, cpu_seconds=None
    )


def refuse(run: Run, reason: FailureReason, detail: str) -> Task:
    """Ends a run whose agent could not be started at all. Raises `LostRace`."""
    verdict = Verdict(succeeded=False, reason=reason, detail=detail)
    return finish(
        run, verdict, Exit(code=None, signal=None, stopped_by=None), peak_memory=None, cpu_seconds=None
    )


def lose_silent(run: Run) -> bool:
    """Declares a run lost whose host has not been heard from for a lease; returns whether it was."""
    try:
        lose(run, f"The host {run.host} has not been heard from for {LEASE.seconds // 60} minutes.")
    except LostRace:
        return False
    return True


def retry_delay(attempt: int) -> timedelta:
    """Exponential back-off after the `attempt`-th failure, with a fifth of jitter to either side."""
    delay: timedelta = min(RETRY_DELAY * 2 ** (attempt - 1), RETRY_DELAY_MAX)
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing


# --- Parts ------------------------------------------------------------------------------------------------


def _insert(new: NewTask, **more: Any) -> Task:
    """A new row, `pending`, with what it waits for."""
    values = _checked_values(new)
    dependencies = list(dict.fromkeys(new.dependencies))
    _check_dependencies(new.id, dependencies)
    task = Task(id=new.id, **values, **more)
    try:
        with transaction.atomic():
            task.save(force_insert=True)
    except IntegrityError:
        if Task.objects.filter(pk=new.id).exists():
            raise TaskAlreadyExists(new.id) from None
        raise
    _store_dependencies(task, dependencies)
    return task


def _check_spool() -> None:
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


def _check_dependencies(task_id: str, dependencies: Sequence[str]) -> None:
    if task_id in dependencies:
        raise InvalidField(
            f"Task '{task_id}' cannot depend on itself",
            field="task.dependencies",
            value=task_id,
            expected="ids of other tasks",
        )
    known = set(Task.objects.filter(pk__in=dependencies).values_list("pk", flat=True))
    for needed in dependencies:
        if needed not in known:
            raise TaskNotFound(needed)


def _checked_values(new: NewTask) -> dict[str, Any]:
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


def _store_dependencies(task: Task, dependencies: Sequence[str]) -> None:
    Dependency.objects.bulk_create(
        Dependency(task=task, needs_id=needed, position=position)
        for position, needed in enumerate(dependencies)
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


def _record_transition(
    task: Task, *, old: str, new: str, run: Run | None = None, at: datetime | None = None
) -> None:
    """The last write of a task in a transaction: no row may be locked after it (see `Stream.hold`)."""
    after = TASK_STREAM.hold()
    transition = Transition.objects.create(
        task=task,
        run=run,
        old_status=old,
        new_status=new,
        progress=task.progress,
        at=at or timezone.now(),
    )
    publish(Channel.TASK_STATUS, [status_event(transition)], after=after)


def _back_to_pending(task: Task, *, not_before: datetime | None) -> bool:
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
    _record_transition(task, old=old, new=Status.PENDING)
    return True


def _progress(run: Run, progress: int | None) -> Task | None:
    """Gives the run's task its new progress; returns it if that has changed."""
    if progress is None:
        return None
    changed = (
        Task.objects.filter(pk=run.task_id, status=Status.RUNNING)
        .exclude(progress=progress)
        .update(progress=progress)
    )
    return get_task(run.task_id) if changed else None


def _outcome(run: Run, verdict: Verdict, exit: Exit) -> Status:
    if verdict.succeeded:
        return Status.COMPLETED
    if StopReason.CANCELLED in (run.stop_reason, exit.stopped_by):
        return Status.CANCELLED
    return Status.FAILED


def _was_killed(run: Run) -> bool:
    """Whether somebody has asked for the end of the run's agent by `kill_process`, and it was carried out."""
    return Kill.objects.filter(
        host=run.host,
        pid=run.agent_pid or 0,
        asked_at__gte=run.created_at,
        outcome__in=(KillOutcome.ASKED, KillOutcome.ENDED),
    ).exists()


def _spent(report: Report) -> dict[str, Any]:
    return {
        "tokens_input": report.tokens_input,
        "tokens_output": report.tokens_output,
        "tokens_reasoning": report.tokens_reasoning,
        "tokens_cache_read": report.tokens_cache_read,
        "tokens_cache_write": report.tokens_cache_write,
        "cost": report.cost,
    }


def _log_entry(run: Run, line: LogLine, now: datetime) -> LogEntry:
    return LogEntry(
        time=line.time or now,
        level=line.level,
        message=line.message,
        agent=run.task_id,
        run_id=run.pk,
        details=line.details,
    )


def _closing_entry(task: Task, run: Run, outcome: Status, verdict: Verdict, now: datetime) -> LogEntry:
    # After the clock was set back the difference means nothing, but is never negative.
    took = max(0, int((now - (run.started_at or run.created_at)).total_seconds() * 1000))
    details: dict[str, Any] = {"run": run.number, "host": run.host, "execution_time": took}
    if outcome == Status.COMPLETED:
        level, message = Level.INFO, "Task completed successfully"
    elif outcome == Status.CANCELLED:
        level, message = Level.WARN, "Task cancelled"
    else:
        level, message = Level.ERROR, f"Task failed: {verdict.detail}"
        details["reason"] = verdict.reason.value if verdict.reason else ""
    return LogEntry(time=now, level=level, message=message, agent=task.pk, run_id=run.pk, details=details)
