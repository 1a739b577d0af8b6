"""How often the machine is sampled, and how long what happened is kept, as the operators want it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from monitoring.models import LogEntry, ResourceSample, Upkeep
from monitoring.streams import Stream

OBSERVE_ENTRY = "observe"
"""The name of beat's entry that lets every host take a sample."""
BATCH = 2000
"""Rows that are deleted in one transaction, so that nobody who writes waits for long."""


def current() -> Upkeep:
    """The operators' row; the defaults where there is none."""
    return Upkeep.objects.filter(pk=1).first() or Upkeep(pk=1)


def sample_interval() -> float:
    """Seconds between two samples."""
    return float(current().sample_interval or settings.SAMPLE_INTERVAL)


def schedule_sampling() -> None:
    """Gives beat the interval that is wanted; it takes it up within seconds."""
    seconds = sample_interval()
    fraction = not math.isclose(seconds, round(seconds))
    every = round(seconds * 1_000_000) if fraction else round(seconds)
    period = IntervalSchedule.MICROSECONDS if fraction else IntervalSchedule.SECONDS
    interval = IntervalSchedule.objects.filter(every=every, period=period).first()
    interval = interval or IntervalSchedule.objects.create(every=every, period=period)
    entry = PeriodicTask.objects.filter(name=OBSERVE_ENTRY).first()
    if entry is not None and entry.interval != interval:
        entry.interval, entry.expire_seconds = interval, max(1, math.ceil(seconds))
        entry.save()


Row = TypeVar("Row", bound=Model)
Told = Callable[[int], None]
"""Is told after each batch how many rows it took away."""


def old_logs(now: datetime) -> list[QuerySet[LogEntry]]:
    """The entries that are kept for long enough, and those beyond the number that is kept."""
    kept = current()
    return _beyond(LogEntry.objects.all(), kept.keep_logs_days, kept.keep_logs_max, now, "time")


def old_samples(now: datetime) -> list[QuerySet[ResourceSample]]:
    """The same for samples."""
    kept = current()
    return _beyond(ResourceSample.objects.all(), kept.keep_samples_days, kept.keep_samples_max, now, "at")


def _beyond(
    rows: QuerySet[Row], days: int | None, most: int | None, now: datetime, moment: str
) -> list[QuerySet[Row]]:
    """One by age and one by number, since each then follows an index to its own last row."""
    found = []
    if days is not None:
        found.append(rows.filter(**{f"{moment}__lt": now - timedelta(days=days)}).order_by(moment))
    if most is not None:
        last = rows.order_by("-pk").values_list("pk", flat=True)[most : most + 1]
        found += [rows.filter(pk__lte=pk).order_by("pk") for pk in last]
    return found


def count(found: list[QuerySet[Any]]) -> int:
    """How many rows there are in one or the other."""
    return reduce(operator.or_, (rows.order_by() for rows in found)).count() if found else 0


def prune_rows(found: list[QuerySet[Any]], stream: Stream, told: Told) -> int:
    """Deletes a stream's rows batch by batch; a client that is further behind is told so when it resumes."""
    pruned = 0
    for rows in found:
        while pks := list(rows.values_list("pk", flat=True)[:BATCH]):
            with transaction.atomic():
                stream.note_pruned(max(pks))
                rows.model._default_manager.filter(pk__in=pks).delete()
            compact()
            pruned += len(pks)
            told(len(pks))
    return pruned


def compact() -> None:
    """Gives free pages of SQLite back to the file system; PostgreSQL's autovacuum needs no help.

    Does nothing inside a transaction, which it would commit.
    """
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            # `execute` would take the first of its steps, which is one page.
            cursor.executescript(f"PRAGMA incremental_vacuum({BATCH})")
