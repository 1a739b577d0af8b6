"""Keeps the account: which agents were seen on a host, and who asked for the end of which process."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.utils import timezone

from processes.classification import AgentKind
from processes.control import Judge, end_process
from processes.discovery import ProcessInfo
from processes.errors import ControlError, KillFailed, NoSuchProcess, NotAllowed
from processes.models import Kill, KillOutcome, SeenAgent

OUTCOMES: dict[type[ControlError], KillOutcome] = {
    NoSuchProcess: KillOutcome.NOT_FOUND,
    NotAllowed: KillOutcome.REFUSED,
    KillFailed: KillOutcome.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An agent that a scan has found, and the run that it belongs to, if it is ours."""

    info: ProcessInfo
    kind: AgentKind
    task_id: str = ""
    run_id: UUID | None = None


def record_sightings(host: str, sightings: Sequence[Sighting]) -> None:
    """Brings the account of a host up to date; agents that were not seen this time count as gone."""
    now = timezone.now()
    SeenAgent.objects.bulk_create(
        [
            SeenAgent(
                host=host,
                pid=info.pid,
                create_time=info.create_time,
                kind=sighting.kind,
                name=info.name[:255],
                cmdline=_storable(info.cmdline),
                working_dir=_storable(info.working_dir),
                activity=info.activity,
                status=info.status,
                memory_rss=info.memory_rss,
                memory_percent=info.memory_percent,
                cpu_percent=info.cpu_percent,
                task_id=sighting.task_id,
                run_id=sighting.run_id,
                first_seen_at=now,
                last_seen_at=now,
            )
            for sighting in sightings
            for info in (sighting.info,)
        ],
        update_conflicts=True,
        unique_fields=["host", "pid", "create_time"],
        update_fields=[
            *("kind", "name", "cmdline", "working_dir", "activity", "status", "memory_rss", "memory_percent"),
            *("cpu_percent", "task_id", "run_id", "last_seen_at", "gone"),
        ],
    )
    SeenAgent.objects.filter(host=host, gone=False).exclude(last_seen_at=now).update(gone=True)


def kill(
    *,
    host: str,
    pid: int,
    signum: signal.Signals,
    grace: float,
    judge: Judge,
    asked_by: str,
    task_id: str = "",
) -> Kill:
    """Ends a process of this host and returns when it is gone; the account is written before and after.

    Raises `NoSuchProcess`, `NotAllowed` or `KillFailed`. Blocks for up to `grace` seconds.
    """
    account = Kill.objects.create(host=host, pid=pid, signal=signum.name, asked_by=asked_by, task_id=task_id)
    try:
        end_process(pid, signum=signum, grace=grace, judge=judge)
    except ControlError as error:
        account.outcome, account.detail = OUTCOMES[type(error)], str(error)
        account.save(update_fields=["outcome", "detail"])
        raise
    account.outcome, account.ended_at = KillOutcome.ENDED, timezone.now()
    account.save(update_fields=["outcome", "ended_at"])
    return account


def _storable(text: str) -> str:
    """Without what a database refuses: file names and arguments may hold any byte."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()
