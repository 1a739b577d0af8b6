"""Reads of what happened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Avg, F
from django.utils import timezone

from monitoring.models import LogEntry, ResourceSample


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
    total = LogEntry.objects.count()
    return LogPage(
        entries=list(page.order_by("-id")[:limit])[::-1],
        total_count=total,
        filtered_count=matching.count() if filters else total,
    )


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """The mean load of all hosts over a part of a range."""

    at: datetime
    cpu_percent: float
    memory_percent: float


MAX_TREND_POINTS = 60
CLOCKS_DIFFER = timedelta(minutes=1)
"""What the clocks of two hosts may differ by."""


def latest_sample(host: str) -> ResourceSample | None:
    """The host's newest sample; not one of the future, taken before its clock was set back."""
    soon = timezone.now() + CLOCKS_DIFFER
    return ResourceSample.objects.filter(host=host, at__lte=soon).order_by("-at").first()


def trend(since: datetime, until: datetime) -> list[TrendPoint]:
    """The load between two moments, oldest first, in at most `MAX_TREND_POINTS` means of equal width."""
    # Aligned buckets touch one more than they fill.
    width = max(1, math.ceil((until - since).total_seconds() / (MAX_TREND_POINTS - 1)))
    means = (
        ResourceSample.objects.filter(stamp__gte=int(since.timestamp()), stamp__lte=int(until.timestamp()))
        .annotate(bucket=F("stamp") / width)
        .values("bucket")
        .annotate(cpu=Avg("cpu_percent"), memory=Avg("memory_percent"))
        .order_by("bucket")
    )
    return [
        TrendPoint(
            at=datetime.fromtimestamp(row["bucket"] * width, UTC),
            cpu_percent=row["cpu"],
            memory_percent=row["memory"],
        )
        for row in means
    ]
