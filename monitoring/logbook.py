"""The only writer of log entries: rows first, subscribers after the commit."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from monitoring.events import Channel, Event, LogEntryUpdate, LogRecord
from monitoring.models import Level, LogEntry
from monitoring.publish import publish
from monitoring.streams import Stream
from monitoring.times import utc_text


def record(entries: Sequence[LogEntry]) -> None:
    """Stores entries in the current transaction, in order, and tells subscribers once it has committed."""
    if not entries:
        return
    after = LOG_STREAM.hold()
    stored = LogEntry.objects.bulk_create(entries)
    publish(Channel.LOG_ENTRIES, [log_event(entry) for entry in stored], after=after)


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
