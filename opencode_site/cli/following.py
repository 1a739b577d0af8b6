"""Follows tasks by the streams of the database: no server is needed, no line is lost and none comes twice."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitoring.events import Event, LogEntryUpdate, LogRecord
from monitoring.logbook import LOG_STREAM, log_record
from monitoring.models import Level, LogEntry
from monitoring.streams import Stream, Wanted
from tasks.events import TASK_STREAM, TaskStatusUpdate
from tasks.models import Status, Task

INTERVAL = 0.25
"""Seconds between two looks: a channel layer would be quicker, but is not there without the server."""
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What has come since the look before, in order."""

    updates: Sequence[LogRecord | TaskStatusUpdate]
    ended: bool
    """Whether all the tasks have ended, which makes this the last look."""


class Follower:
    """Reads what happens to some tasks; entries below `level` are left out."""

    def __init__(self, task_ids: Sequence[str], *, level: Level = Level.DEBUG) -> None:
        self._ids = set(task_ids)
        levels = list(Level)
        self._levels = {each.value for each in levels[levels.index(level) :]}
        self._log_position = LOG_STREAM.head()
        self._task_position = TASK_STREAM.head()

    def last_lines(self, count: int) -> list[LogRecord]:
        """The newest lines up to where the following begins, oldest first."""
        entries = LogEntry.objects.filter(
            agent__in=self._ids, level__in=self._levels, pk__lte=self._log_position
        )
        return [log_record(entry) for entry in entries.order_by("-pk")[:count]][::-1]

    def from_the_beginning(self) -> None:
        """Lets the following begin with the tasks' first update: for tasks that were just submitted."""
        self._log_position = self._task_position = 0

    def looks(self, *, interval: float = INTERVAL) -> Iterator[Look]:
        """Looks again and again; ends after the look that has read everything about ended tasks."""
        while True:
            look = self._look()
            yield look
            if look.ended:
                return
            time.sleep(interval)

    def _look(self) -> Look:
        # Asked first: what a task has written before its end is then visible, its last line included.
        ended = not Task.objects.filter(
            pk__in=self._ids, status__in=(Status.PENDING, Status.RUNNING)
        ).exists()
        changes = self._read(TASK_STREAM, self._task_position, {"task_id": self._ids})
        lines = self._read(LOG_STREAM, self._log_position, {"agent": self._ids, "level": self._levels})
        if changes:
            self._task_position = changes[-1].id
        if lines:
            self._log_position = lines[-1].id
        return Look(
            # Each keeps its own order; between them the time decides.
            updates=list(heapq.merge(*_both(lines, changes), key=_moment)),
            ended=ended,
        )

    def _read(self, stream: Stream, position: int, wanted: Wanted) -> list[Event]:
        found: list[Event] = []
        while page := stream.after(position, limit=PAGE, wanted=wanted):
            found += page
            position = page[-1].id
        return found


def _both(lines: list[Event], changes: list[Event]) -> list[list[LogRecord | TaskStatusUpdate]]:
    return [[_log_line(event) for event in lines], [_change(event) for event in changes]]


def _log_line(event: Event) -> LogRecord:
    return LogEntryUpdate.model_validate_json(event.frame).log


def _change(event: Event) -> TaskStatusUpdate:
    return TaskStatusUpdate.model_validate_json(event.frame)


def _moment(update: LogRecord | TaskStatusUpdate) -> datetime:
    return update.time if isinstance(update, LogRecord) else update.timestamp
