"""Reads of what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring.models import LogCount, LogEntry, ResourceSample
from monitoring.row_counts import counted


@dataclass(frozen=True, slots=True)
class LogPage:
    """Log entries, oldest first, with the number of all entries and of those that match."""

    entries: list[LogEntry]
    total_count: int
    filtered_count: int


def log_entries(
    *,
    level: str | None = None,
    agent: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int,
    before_id: int | None = None,
) -> LogPage:
    """The newest `limit` entries that match every filter given; `start` and `end` are included."""
    wanted = {"level": level, "agent": agent, "time__gte": start, "time__lte": end}
    filters = {name: value for name, value in wanted.items() if value is not None}
    matching = LogEntry.objects.filter(**filters)
    page = matching if before_id is None else matching.filter(pk__lt=before_id)
    is_kept = filters.keys() <= {"level"}
    return LogPage(
        entries=list(page.order_by("-id")[:limit])[::-1],
        total_count=counted(LogCount.objects.all()),
        filtered_count=counted(LogCount.objects.filter(**filters)) if is_kept else matching.count(),
    )


CLOCKS_DIFFER = timedelta(minutes=1)
"""What the clocks of two hosts may differ by."""


def latest_sample(host: str) -> ResourceSample | None:
    """The host's newest sample; not one of the future, taken before its clock was set back."""
    soon = timezone.now() + CLOCKS_DIFFER
    return ResourceSample.objects.filter(host=host, at__lte=soon).order_by("-at").first()
