"""Finds out what runs on this host, cheaply: what cannot change about a process is looked at once.

Listing with psutil costs 93 to 200 ms of CPU for 574 processes (measured). Here a scan reads one line of
/proc for each process, and asks psutil only about those that it sees for the first time. Where there is no
/proc psutil does all the work.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from processes.classification import AgentKind, activity, classify
from processes.masking import mask

LINUX = sys.platform == "linux"
CMDLINE_LIMIT = 4096
"""Characters of a command line that are kept."""
YOUNG = 10.0
"""Seconds during which a process is looked at anew: between fork and exec it looks like its parent."""
SHORTEST_INTERVAL = 0.5
"""Seconds: over less, the kernel's clock ticks of 10 ms would say little about the use of the CPU."""
STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "disk-sleep",
    "T": "stopped",
    "t": "tracing-stop",
    "Z": "zombie",
    "X": "dead",
    "I": "idle",
    "P": "parked",
    "W": "waking",
}


@dataclass(slots=True, kw_only=True)
class ProcessInfo:
    """A process as the scanner's last scan saw it; the scanner's next one brings it up to date."""

    pid: int
    ppid: int
    identity: str
    """Boot-independent start: tells the process from another that gets its pid."""
    name: str
    cmdline: str
    status: str
    create_time: float
    """Epoch seconds."""
    cpu_percent: float
    """Of one core, since the scan before; for one seen the first time, since it started."""
    memory_rss: int
    """Bytes."""
    memory_percent: float
    kind: AgentKind | None
    activity: str
    working_dir: str
    """Of agents only; empty where it may not be read."""


@dataclass(slots=True)
class _Known:
    """What was learnt about a process, and its CPU seconds at the last scan."""

    info: ProcessInfo
    cpu_seconds: float
    at: float
    settled: bool
    """Old enough not to become another program by exec without a trace."""


class _Line(NamedTuple):
    """What one look at a process tells."""

    pid: int
    ppid: int
    start: str
    status: str
    cpu_seconds: float
    rss: int


class Scanner:
    """Lists the processes of this host. Keeps what it has learnt between scans; used by one thread."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._total = psutil.virtual_memory().total

    def scan(self) -> list[ProcessInfo]:
        """Every process that could be seen. Those that vanish meanwhile are left out."""
        now, wall = time.monotonic(), time.time()
        found: dict[int, _Known] = {}
        for line in _proc_lines() if LINUX else _psutil_lines():
            before = self._known.get(line.pid)
            if before is not None and before.info.identity != line.start:
                before = None
            info = before.info if before is not None and before.settled else self._inspect(line)
            if info is not None:
                found[line.pid] = self._measured(info, line, before, now, wall)
        self._known = found
        return [known.info for known in found.values()]

    def _inspect(self, line: _Line) -> ProcessInfo | None:
        try:
            process = psutil.Process(line.pid)
            with process.oneshot():
                name, create_time = process.name(), process.create_time()
                exe, argv = _readable(process)
                kind = classify(exe=exe, name=name, argv=argv)
                return ProcessInfo(
                    pid=line.pid,
                    ppid=line.ppid,
                    identity=line.start,
                    name=name,
                    # Masked before it is cut: half a key would not be known for one.
                    cmdline=mask(" ".join(argv)[: 4 * CMDLINE_LIMIT])[:CMDLINE_LIMIT] or f"[{name}]",
                    status=line.status,
                    create_time=create_time,
                    cpu_percent=0.0,
                    memory_rss=line.rss,
                    memory_percent=0.0,
                    kind=kind,
                    activity=activity(kind, argv) if kind else "",
                    working_dir=_working_dir(process) if kind else "",
                )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None

    def _measured(
        self, info: ProcessInfo, line: _Line, before: _Known | None, now: float, wall: float
    ) -> _Known:
        if before is None:
            lived = wall - info.create_time
            info.cpu_percent = 100 * line.cpu_seconds / lived if lived > 0 else 0.0
            before = _Known(info=info, cpu_seconds=line.cpu_seconds, at=now, settled=False)
        elif (elapsed := now - before.at) >= SHORTEST_INTERVAL:
            info.cpu_percent = max(0.0, 100 * (line.cpu_seconds - before.cpu_seconds) / elapsed)
            before.cpu_seconds, before.at = line.cpu_seconds, now
        else:
            info.cpu_percent = before.info.cpu_percent
        info.ppid, info.status, info.memory_rss = line.ppid, line.status, line.rss
        info.memory_percent = 100 * line.rss / self._total
        before.info, before.settled = info, wall - info.create_time > YOUNG
        return before


def agents(processes: list[ProcessInfo]) -> list[ProcessInfo]:
    """The agents among them, each once: a launcher whose child is the agent proper is left out.

    Codex is `node` with a child `codex`; Gemini is `node` that starts itself again.
    """
    found = {info.pid: info for info in processes if info.kind is not None}
    launchers = {
        info.ppid for info in found.values() if info.ppid in found and found[info.ppid].kind is info.kind
    }
    return [info for pid, info in found.items() if pid not in launchers]


def descendants(processes: list[ProcessInfo], roots: set[int]) -> set[int]:
    """The pids of everything below the roots, themselves left out."""
    children: dict[int, list[int]] = {}
    for info in processes:
        children.setdefault(info.ppid, []).append(info.pid)
    found: set[int] = set()
    unread = list(roots)
    while unread:
        for pid in children.get(unread.pop(), []):
            if pid not in found:
                found.add(pid)
                unread.append(pid)
    return found - roots


def _readable(process: psutil.Process) -> tuple[str, list[str]]:
    try:
        argv = process.cmdline()
    except psutil.AccessDenied:
        argv = []
    try:
        exe = process.exe()
    except psutil.AccessDenied:
        exe = ""
    return exe, argv


def _working_dir(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except (psutil.AccessDenied, psutil.ZombieProcess):
        return ""


_TICKS = os.sysconf("SC_CLK_TCK") if LINUX else 1
_PAGE = os.sysconf("SC_PAGE_SIZE") if LINUX else 1


def _proc_lines() -> Iterator[_Line]:
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(descriptor, 4096)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        # The name stands in brackets and may itself hold brackets and blanks.
        fields = text[text.rindex(b")") + 2 :].split()
        yield _Line(
            int(name),
            int(fields[1]),
            fields[19].decode(),
            STATES.get(fields[0].decode(), "unknown"),
            (int(fields[11]) + int(fields[12])) / _TICKS,
            int(fields[21]) * _PAGE,
        )


def _psutil_lines() -> Iterator[_Line]:
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                times = process.cpu_times()
                yield _Line(
                    pid=process.pid,
                    ppid=process.ppid(),
                    start=f"{process.create_time():.2f}",
                    status=str(process.status()),
                    cpu_seconds=times.user + times.system,
                    rss=process.memory_info().rss,
                )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
