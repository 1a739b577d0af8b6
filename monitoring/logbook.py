"""The only writer of log entries: rows first, subscribers after the commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson
from django.db import connection

from monitoring.events import Channel, Event, LogEntryUpdate, LogRecord
from monitoring.models import Level, LogEntry
from monitoring.publish import publish
from monitoring.streams import Stream
from monitoring.times import utc_text

TABLE, COLUMNS = LogEntry._meta.db_table, "id, time, level, message, agent, run_id, details"
TOGETHER = 100
"""Rows in one statement of SQLite, whose text is so the same from one to the next. One at a time would take
three times as long: Python lets go of its lock for each."""
MANY = 50
"""Entries from which a way past the ORM is worth its round trips."""


def record(entries: Sequence[LogEntry]) -> None:
    """Stores entries in the current transaction, in order, and tells subscribers once it has committed."""
    if not entries:
        return
    after = LOG_STREAM.hold()
    if len(entries) < MANY:
        LogEntry.objects.bulk_create(entries)
    else:
        _insert(entries)
    publish(Channel.LOG_ENTRIES, [log_event(entry) for entry in entries], after=after)


def _insert(entries: Sequence[LogEntry]) -> None:
    """Stores entries past the ORM, under ids that they are given here.

    `bulk_create` was half of the CPU that it costs to store an agent's output (measured with py-spy): it
    looks at each field of each row by itself, and on PostgreSQL makes one text of each column.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            _copy(cursor, entries)
        else:
            _insert_together(cursor, entries)


def _copy(cursor: Any, entries: Sequence[LogEntry]) -> None:
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [TABLE, len(entries)]
    )
    for entry, (pk,) in zip(entries, cursor.fetchall(), strict=True):
        entry.pk = pk
    # What goes past `execute` raises psycopg's own errors, which nobody here expects.
    with connection.wrap_database_errors, cursor.copy(f"COPY {TABLE} ({COLUMNS}) FROM STDIN") as copy:
        for entry in entries:
            text = str(entry.level), entry.message, entry.agent
            copy.write_row((entry.pk, entry.time, *text, entry.run_id, json.dumps(entry.details)))


def _insert_together(cursor: Any, entries: Sequence[LogEntry]) -> None:
    cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [TABLE])
    (last,) = cursor.fetchone() or (0,)
    as_stored = connection.ops.adapt_datetimefield_value
    for begin in range(0, len(entries), TOGETHER):
        some = entries[begin : begin + TOGETHER]
        values: list[Any] = []
        for entry in some:
            entry.pk = last = last + 1
            run_id = entry.run_id.hex if entry.run_id else None
            values += (last, as_stored(entry.time), str(entry.level), entry.message, entry.agent, run_id)
            values.append(json.dumps(entry.details))
        rows = ", ".join(["(%s, %s, %s, %s, %s, %s, %s)"] * len(some))
        cursor.execute(f"INSERT INTO {TABLE} ({COLUMNS}) VALUES {rows}", values)  # noqa: S608 - constants


def log_record(entry: LogEntry) -> LogRecord:
    """The entry as the protocol shows it; the values are right by type, so nothing is validated again."""
    return LogRecord.model_construct(
        id=entry.pk,
        time=entry.time,
        level=Level(entry.level),
        message=entry.message,
        agent=entry.agent,
        details=entry.details,
    )


def log_event(entry: LogEntry) -> Event:
    """The update message of an entry."""
    try:
        frame = _quick_frame(entry)
    except orjson.JSONEncodeError:
        # A number of more than 64 bits: JSON knows no bound, and neither does the model.
        frame = LogEntryUpdate.model_construct(log=log_record(entry), cursor=str(entry.pk)).frame()
    return Event(id=entry.pk, facts={"level": entry.level, "agent": entry.agent}, frame=frame)


def _quick_frame(entry: LogEntry) -> str:
    """`LogEntryUpdate`'s, by hand: pydantic took a fifth of the CPU that it costs to store an agent's output
    (measured with py-spy)."""
    log = {
        "id": entry.pk,
        "time": utc_text(entry.time),
        "level": str(entry.level),
        "message": entry.message,
        "agent": entry.agent,
        "details": entry.details,
    }
    return orjson.dumps({"type": "log_entry", "log": log, "cursor": str(entry.pk)}).decode()


LOG_STREAM = Stream(
    channel=Channel.LOG_ENTRIES,
    rows=LogEntry.objects.all,
    event=log_event,
    columns={"level": "level", "agent": "agent"},
)
