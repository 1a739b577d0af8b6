"""How the machines' load went: means over a range, from sums of past periods and the newest samples.

A week of samples is 120 000 rows of each host. They are summed up by periods when they are over; what a range
is told from does not grow with the number of hosts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Aggregate, Count, F, Max, QuerySet, Sum
from django.utils import timezone

from monitoring.models import LoadPeriod, ResourceSample
from monitoring.times import LONGEST_RANGE, period_start

PERIOD = 300
"""Seconds of a period."""
AGAIN = timedelta(hours=2)
"""How far back periods are summed up again: for samples that came late, and for a clock that was set back."""
MAX_POINTS = 60
OF_SAMPLES = {"n": Count("pk"), "cpu": Sum("cpu_percent"), "memory": Sum("memory_percent")}
OF_PERIODS = {"n": Sum("samples"), "cpu": Sum("cpu_total"), "memory": Sum("memory_total")}
Sums = tuple[int, float, float]
"""How many samples, and the sums of their percentages of CPU and memory."""


@dataclass(frozen=True, slots=True)
class Point:
    """The mean load of all hosts over a part of a range."""

    at: datetime
    cpu_percent: float
    memory_percent: float


def trend(since: datetime, until: datetime) -> list[Point]:
    """The load between two moments, oldest first, in at most `MAX_POINTS` means of equal width.

    Where a point is at least a `PERIOD` wide, the first begins with the period that `since` lies in.
    """
    # Aligned parts touch one more than they fill.
    width = max(1, math.ceil((until - since).total_seconds() / (MAX_POINTS - 1)))
    first, last = int(since.timestamp()), int(until.timestamp())
    parts: dict[int, Sums] = {}
    if width >= PERIOD:
        # A part is made of whole periods.
        width = math.ceil(width / PERIOD) * PERIOD
        first = period_start(first, PERIOD)
        summed = LoadPeriod.objects.filter(start__gte=first, start__lte=last - PERIOD)
        newest = summed.aggregate(newest=Max("start"))["newest"]
        if newest is not None:
            parts = _by_part(summed, "start", width, OF_PERIODS)
            first = newest + PERIOD
    samples = ResourceSample.objects.filter(stamp__gte=first, stamp__lte=last)
    for number, (count, cpu, memory) in _by_part(samples, "stamp", width, OF_SAMPLES).items():
        known = parts.get(number, (0, 0.0, 0.0))
        parts[number] = (known[0] + count, known[1] + cpu, known[2] + memory)
    return [
        Point(datetime.fromtimestamp(number * width, UTC), cpu / count, memory / count)
        for number, (count, cpu, memory) in sorted(parts.items())
    ]


def sum_up(now: datetime | None = None) -> int:
    """Sums up the periods that are over, and deletes sums that are too old; returns the periods summed up.

    It may be done at any time, again, and by several at once.
    """
    now = now or timezone.now()
    until = period_start(now.timestamp(), PERIOD)
    oldest = period_start((now - LONGEST_RANGE).timestamp(), PERIOD)
    newest = LoadPeriod.objects.filter(start__lt=until).aggregate(newest=Max("start"))["newest"]
    since = oldest if newest is None else newest + PERIOD - int(AGAIN.total_seconds())
    samples = ResourceSample.objects.filter(stamp__gte=max(since, oldest), stamp__lt=until)
    rows = [
        LoadPeriod(start=number * PERIOD, samples=count, cpu_total=cpu, memory_total=memory)
        for number, (count, cpu, memory) in _by_part(samples, "stamp", PERIOD, OF_SAMPLES).items()
    ]
    LoadPeriod.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["start"],
        update_fields=["samples", "cpu_total", "memory_total"],
    )
    LoadPeriod.objects.filter(start__lt=oldest).delete()
    return len(rows)


def _by_part(rows: QuerySet[Any], moment: str, width: int, sums: Mapping[str, Aggregate]) -> dict[int, Sums]:
    """By the number of each part of that many seconds, the sums of its rows."""
    parts = rows.order_by().annotate(part=F(moment) / width).values("part").annotate(**sums)
    return {number: (n, cpu, memory) for number, n, cpu, memory in parts.values_list("part", *sums)}
