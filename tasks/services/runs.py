"""A host and its runs: claimed, followed, and brought to their end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from monitoring.logbook import record
from monitoring.models import Level, LogEntry
from processes.models import Kill, KillOutcome
from tasks import accounts
from tasks.agents.base import Exit, LogLine, Report, Verdict
from tasks.errors import LostRace
from tasks.events import publish_agents, run_agent
from tasks.failures import RETRYABLE, FailureReason, explain
from tasks.models import Host, Run, RunState, Status, StopReason, Task
from tasks.queue import wake_hosts
from tasks.selectors import get_task, ready_tasks
from tasks.services.transitions import back_to_pending, record_transition

LEASE = timedelta(minutes=5)
"""How long a run is left alone after its host was last heard from. Longer than any restart or deploy of a
worker, since a run that another host declares lost is ended when its own host comes back."""
RETRY_DELAY = timedelta(seconds=10)
"""Before the first automatic retry; doubled for each further one, up to `RETRY_DELAY_MAX`."""
RETRY_DELAY_MAX = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one read of a run's spool gave: the lines, and how far the spool is stored with them."""

    stdout_offset: int
    stderr_offset: int
    lines: Sequence[LogLine]
    report: Report


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
            record_transition(run.task, old=Status.PENDING, new=Status.RUNNING, run=run)
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
            record_transition(task, old=Status.RUNNING, new=Status.RUNNING, run=run)
    for name, value in values.items():
        setattr(run, name, value)


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
        record_transition(task, old=Status.RUNNING, new=outcome, run=run)
        current.task = task
        publish_agents([run_agent(current, status=outcome)])
        if outcome == Status.FAILED and verdict.reason in RETRYABLE and current.number <= task.max_retries:
            asked = timedelta(seconds=verdict.retry_after or 0)
            back_to_pending(task, not_before=now + max(retry_delay(current.number), asked))
        wake_hosts()
        accounts.count_end(current, outcome, reason, now)
    return task


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
