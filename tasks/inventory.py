"""The processes of this host, and which of them belong to our runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psutil
from django.conf import settings

from processes.classification import AgentKind, classify, runs_script, script_path
from processes.control import started_before
from processes.discovery import ProcessInfo, Scanner, agents, descendants
from processes.models import SeenAgent
from processes.services import Sighting
from tasks.models import Run
from tasks.selectors import runs_in_flight

FRESH = 0.1
"""Seconds for which one scan serves all who ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The run that a process belongs to."""

    task_id: str
    run_id: UUID
    kind: AgentKind | None
    """Of the run's agent itself; None for what the agent has started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One scan of this host."""

    processes: list[ProcessInfo]
    owners: Mapping[int, Owner]
    """By pid: everything that a run of ours has started."""

    def kind_of(self, info: ProcessInfo) -> AgentKind | None:
        """What agent a process is: by its executable, or because one of our runs has started it as one."""
        owner = self.owners.get(info.pid)
        return info.kind or (owner.kind if owner else None)

    @property
    def agents(self) -> list[Sighting]:
        """The agents on this host, each once: those of our runs whatever their executable is called."""
        ours = {pid: owner for pid, owner in self.owners.items() if owner.kind is not None}
        found = [info for info in self.processes if info.pid in ours]
        found += [info for info in agents(self.processes) if info.pid not in ours]
        return [
            Sighting(
                info=info,
                kind=kind,
                task_id=owner.task_id if owner else "",
                run_id=owner.run_id if owner else None,
            )
            for info in found
            for owner in (self.owners.get(info.pid),)
            for kind in (self.kind_of(info),)
            if kind is not None
        ]


_scanner = Scanner()
_lock = threading.Lock()
_last: list[tuple[float, Inventory]] = []


def look(*, fresh: float = FRESH) -> Inventory:
    """This host's processes, at most `fresh` seconds old. Percentages cover the time between two scans."""
    with _lock:
        if _last and time.monotonic() - _last[0][0] < fresh:
            return _last[0][1]
        processes = _scanner.scan()
        inventory = Inventory(processes=processes, owners=_owners(processes))
        _last[:] = [(time.monotonic(), inventory)]
        return inventory


def _owners(processes: list[ProcessInfo]) -> dict[int, Owner]:
    """By parentage: the supervisor of a run reaps everything that the run has started."""
    owners: dict[int, Owner] = {}
    for keeper, run in _keepers().items():
        for pid in descendants(processes, {keeper}):
            kind = AgentKind(run.agent) if pid == run.agent_pid else None
            owners[pid] = Owner(task_id=run.task_id, run_id=run.pk, kind=kind)
    return owners


def _keepers() -> dict[int, Run]:
    """The supervisors of the runs in flight, by pid. A supervisor that died may have left its pid to a
    stranger, whose children are none of ours: it is younger than the run's agent."""
    return {
        run.supervisor_pid: run
        for run in runs_in_flight(settings.HOSTNAME)
        if run.supervisor_pid is not None
        and run.started_at is not None
        and started_before(run.supervisor_pid, run.agent_identity, at=run.started_at.timestamp())
    }


def why_not_end(pid: int) -> str | None:
    """Why a process may not be ended by a client; None for agents and for what our runs have started.

    Called while the process is pinned, so everything is read anew. What a process calls itself counts for
    nothing: an agent is told by its executable, and what is ours by its parents.
    """
    try:
        process = psutil.Process(pid)
        parents = [parent.pid for parent in process.parents()]
        ancestors = {parent.pid for parent in psutil.Process().parents()}
        if pid == os.getpid() or pid in ancestors:
            return "it is this server, or what this server was started from"
        keepers = _keepers().keys()
        if pid in keepers:
            return "it supervises a run; end the agent, or cancel its task"
        if not keepers.isdisjoint(parents):
            return None
        if os.getuid() not in (process.uids().real, process.uids().effective):
            # Root could, and must not either: whoever may talk to us is not root for that.
            return "it belongs to another user"
        kind = _kind(process)
    except psutil.NoSuchProcess:
        return "it has just ended"
    except psutil.AccessDenied:
        return "it belongs to another user"
    return None if kind is not None else "it is neither an agent nor part of one of our runs"


def _kind(process: psutil.Process) -> AgentKind | None:
    """By its executable; an interpreter's script must be a file, since anybody may write to its argv."""
    exe, argv = process.exe(), process.cmdline()
    if runs_script(exe) and not Path(process.cwd(), script_path(argv)).is_file():
        return None
    return classify(exe=exe, name="", argv=argv)


def owner_of(pid: int) -> Owner | None:
    """The run that has started a process, if one of ours has."""
    return look(fresh=0.0).owners.get(pid)


def first_sightings(agents: Sequence[Sighting]) -> dict[int, datetime]:
    """By pid, when each of these agents was seen first; those not in the account yet are absent."""
    starts = {seen.info.pid: seen.info.create_time for seen in agents}
    rows = SeenAgent.objects.filter(host=settings.HOSTNAME, pid__in=starts, gone=False)
    return {row.pid: row.first_seen_at for row in rows if abs(row.create_time - starts[row.pid]) < 1.0}
