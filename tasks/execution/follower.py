"""Brings what a run's agent wrote into the database, and the run to its end.

Whole lines are read from the spool at the offset that the run's row holds; the rows and the new offset are
stored in one transaction, fenced by the old offset. So each line is stored exactly once, whoever dies.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from processes.masking import LineMask, mask
from tasks import services
from tasks.agents import AGENTS
from tasks.agents.base import Agent, Exit, LogLine, Report
from tasks.errors import LostRace
from tasks.execution import supervisor
from tasks.execution.launcher import SCRATCH, run_dir
from tasks.models import Run, RunState, StopReason

logger = logging.getLogger(__name__)

READ_LIMIT = 1 << 20
"""Bytes of one stream that are read, and stored in one transaction, at a time."""
LINE_LIMIT = 8 << 20
"""Bytes of one line. What is longer is not kept in memory: its place in the log says how long it was."""


@dataclass(slots=True)
class Chunk:
    """Whole lines of one stream, and the offset behind them."""

    offset: int
    lines: list[bytes] = field(default_factory=list)
    lost: int = 0
    """Bytes by which somebody has shortened the file since it was read up to its offset."""


def read_lines(path: Path, offset: int, *, to_the_end: bool) -> Chunk:
    """Reads whole lines from `offset`, at most about `READ_LIMIT` bytes, or one longer line.

    With `to_the_end` a last line without its newline counts too: nobody will write the rest. A line over
    `LINE_LIMIT` is replaced by a short one that tells its length. A missing file is an empty one, and one
    that is shorter than it was is read from its new end on.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return Chunk(offset)
    with file:
        size = file.seek(0, 2)
        if size < offset:
            return Chunk(size, lost=offset - size)
        file.seek(offset)
        data = file.read(READ_LIMIT)
        while data and b"\n" not in data and len(data) <= LINE_LIMIT and (more := file.read(READ_LIMIT)):
            data += more
        if b"\n" not in data and len(data) > LINE_LIMIT:
            return _skip_line(file, offset, to_the_end=to_the_end)
    end = data.rfind(b"\n") + 1
    if to_the_end and offset + len(data) >= size:
        end = len(data)
    return Chunk(offset + end, data[:end].removesuffix(b"\n").split(b"\n") if end else [])


def _skip_line(file: BinaryIO, offset: int, *, to_the_end: bool) -> Chunk:
    file.seek(offset)
    position = offset
    while block := file.read(READ_LIMIT):
        if (newline := block.find(b"\n")) >= 0:
            position += newline + 1
            return Chunk(position, [_too_long(position - offset)])
        position += len(block)
    return Chunk(position, [_too_long(position - offset)]) if to_the_end else Chunk(offset)


def _too_long(length: int) -> bytes:
    return f"[a line of {length} bytes was left out: the limit is {LINE_LIMIT}]".encode()


class Followed:
    """One run in flight on this host, with what its stream has told so far."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.directory = run_dir(run)
        self.agent: Agent = AGENTS[run.agent]
        self.report = Report.from_json(run.report)
        self._quiet_since: float | None = None
        self._finished_since: float | None = None
        self._stdout, self._stderr = LineMask(), LineMask()

    def follow(self) -> bool:
        """Stores what is new and ends the run when it is over; returns whether it has ended.

        Raises `LostRace` when somebody else has written past what this object knows: load the run again.
        """
        # The exit record is looked for before the spool is read, so that nothing written before it is missed,
        # and again after something was stored: that takes a while, and nobody may tell of the record anew.
        while True:
            record = supervisor.read_json(self.directory / supervisor.EXIT)
            if not self._note_start() and record is None:
                # An agent may have written before its supervisor has noted it: nobody is to read the output
                # of a run that has not started.
                return False
            if not self._store(to_the_end=record is not None):
                break
        if record is None:
            self._watch()
            return False
        self.clear_scratch()
        exit = Exit(code=record.get("code"), signal=record.get("signal"), stopped_by=record.get("stopped_by"))
        verdict = self.agent.verdict(self._with_launch_error(record), exit)
        services.finish(
            self.run,
            verdict,
            exit,
            peak_memory=record.get("peak_memory_bytes"),
            cpu_seconds=record.get("cpu_seconds"),
        )
        return True

    def drain(self) -> None:
        """Stores everything that the spool holds; for a run that nobody writes to any more."""
        while self._store(to_the_end=True):
            pass

    def clear_scratch(self) -> None:
        """Deletes the agent's throw-away files: no process of the run is left to need them."""
        shutil.rmtree(self.directory / SCRATCH, onerror=_not_deleted)

    def _note_start(self) -> bool:
        """Whether the agent is known to have started."""
        if self.run.state != RunState.STARTING:
            return True
        agent = supervisor.read_json(self.directory / supervisor.AGENT)
        if agent is None:
            return False
        keeper = supervisor.read_json(self.directory / supervisor.SUPERVISOR) or {}
        at = datetime.fromtimestamp(agent["started_at"], UTC)
        services.mark_started(
            self.run,
            supervisor_pid=keeper.get("pid"),
            agent_pid=agent["pid"],
            identity=agent["identity"],
            at=at,
        )
        self.run.state, self.run.started_at = RunState.RUNNING, at
        return True

    def _store(self, *, to_the_end: bool) -> bool:
        run = self.run
        out = read_lines(self.directory / supervisor.STDOUT, run.stdout_offset, to_the_end=to_the_end)
        err = read_lines(self.directory / supervisor.STDERR, run.stderr_offset, to_the_end=to_the_end)
        if (out.offset, err.offset) == (run.stdout_offset, run.stderr_offset):
            return False
        report = Report.from_json(self.report.to_json())
        lines: list[LogLine] = []
        for raw in out.lines:
            lines += self.agent.read_stdout(self._stdout.line(raw.decode("utf-8", "replace")), report)
        for raw in err.lines:
            lines += self.agent.read_stderr(self._stderr.line(raw.decode("utf-8", "replace")), report)
        lines += [_shortened(chunk) for chunk in (out, err) if chunk.lost]
        services.store_output(
            run,
            services.Output(stdout_offset=out.offset, stderr_offset=err.offset, lines=lines, report=report),
        )
        self.report = report
        return True

    def _watch(self) -> None:
        """Ends an agent that never says anything, and one that has said that it is done but does not exit."""
        if self.run.started_at is None:
            return
        # By the clock that nobody sets; after a restart of the worker the patience begins anew.
        now = time.monotonic()
        self._quiet_since = self._quiet_since or now
        if not self.report.first_event and now - self._quiet_since > self.agent.quiet_start_seconds:
            self._stop(StopReason.NO_OUTPUT, f"no output within {self.agent.quiet_start_seconds:.0f} s")
        if not self.report.finished:
            self._finished_since = None
        elif self._finished_since is None:
            self._finished_since = now
        elif now - self._finished_since > self.agent.linger_seconds:
            self._stop(StopReason.FINISHED, "it had said that it is done and did not exit")

    def _stop(self, reason: StopReason, why: str) -> None:
        order = supervisor.read_json(self.directory / supervisor.STOP)
        if order is None:
            logger.warning("the run is ended: %s", why)
        supervisor.request_stop(self.directory, reason=order["reason"] if order else reason.value)

    def _with_launch_error(self, record: dict[str, object]) -> Report:
        if error := record.get("error"):
            self.report.stderr_tail = f"{self.report.stderr_tail}\n{mask(str(error))}".strip()[-2000:]
        return self.report


def _not_deleted(function: object, path: str, error: tuple[type, BaseException, object]) -> None:
    # They hold up no run's end, and go with the spool directory at last.
    if not isinstance(error[1], FileNotFoundError):
        logger.warning("the agent's throw-away files stay: %s: %s", path, error[1])


def _shortened(chunk: Chunk) -> LogLine:
    return LogLine.of(
        "error",
        "Something has shortened the file of the agent's output; what was stored before is kept, what the "
        "agent wrote since the last look may be missing",
        {"bytes": chunk.lost, "offset": chunk.offset},
    )


def load(run_id: UUID) -> Followed | None:
    """The run as the database has it now; None if it has ended."""
    run = Run.objects.select_related("task").exclude(state=RunState.ENDED).filter(pk=run_id).first()
    return None if run is None else Followed(run)


def follow_once(followed: Followed) -> Followed | None:
    """Follows a run up to now; returns it as it is to be followed further, None when it has ended."""
    try:
        return None if followed.follow() else followed
    except LostRace as race:
        logger.info("%s: reading again from where the database is", race)
        return load(followed.run.pk)
