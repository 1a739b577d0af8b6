"""How often the machine is sampled, and how long what happened is kept, as the operators want it."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
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


def old_logs(now: datetime) -> QuerySet[LogEntry]:
    """The entries that are kept for long enough; none while they are kept for ever."""
    return _old(LogEntry.objects.all(), current().keep_logs_days, now, "time")


def old_samples(now: datetime) -> QuerySet[ResourceSample]:
    """The same for samples."""
    return _old(ResourceSample.objects.all(), current().keep_samples_days, now, "at")


def _old(rows: QuerySet, days: int | None, now: datetime, moment: str) -> QuerySet:  # type: ignore[type-arg]
    if days is None:
        return rows.none()
    return rows.filter(**{f"{moment}__lt": now - timedelta(days=days)}).order_by(moment)


def prune_rows(rows: QuerySet, stream: Stream) -> int:  # type: ignore[type-arg]
    """Deletes a stream's rows batch by batch; a client that is further behind is told so when it resumes."""
    pruned = 0
    while pks := list(rows.values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            stream.note_pruned(max(pks))
            rows.model._default_manager.filter(pk__in=pks).delete()
        compact()
        pruned += len(pks)
    return pruned


def compact() -> None:
    """Gives free pages of SQLite back to the file system; PostgreSQL's autovacuum needs no help.

    Does nothing inside a transaction, which it would commit.
    """
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            # `execute` would take the first of its steps, which is one page.
            cursor.executescript(f"PRAGMA incremental_vacuum({BATCH})")
