"""How quickly the server answers: counted in memory by message type, stored as one row per short period."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import transaction
from django.utils import timezone

from monitoring.histogram import Histogram, loaded
from monitoring.models import RequestPeriod

LEVELS = ((10, timedelta(hours=2)), (300, timedelta(days=2)), (3600, timedelta(days=30)))
"""Length of a period in seconds, and for how long periods of that length are kept before they are merged into
the next length. A range is so never cut more coarsely than a twenty-fourth of it; the last are deleted."""

SHORTEST = LEVELS[0][0]
NUMBERS = ("count", "total_ms", "low_ms", "high_ms", "bytes", "buckets", "errors")
"""The columns of a row that are summed."""


@dataclass(slots=True)
class Count:
    """What was answered."""

    times: Histogram = field(default_factory=Histogram)
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, other: Count) -> None:
        self.times.merge(other.times)
        self.bytes += other.bytes
        self.errors.update(other.errors)


class Recorder:
    """Counts this process's answers; cheap enough for every one of them (no database, no lock held long)."""

    def __init__(self) -> None:
        self._process = uuid.uuid4()
        self._lock = threading.Lock()
        self._periods: dict[tuple[int, str], Count] = {}
        """By the epoch second in which the period began, and the message type."""
        self._past: dict[str, Count] = {}
        """By message type, what was counted in periods that are over."""

    def observe(self, kind: str, *, milliseconds: float, size: int, error: str = "") -> None:
        """One message was answered: `size` is the bytes of request and reply, `error` its code."""
        with self._lock:
            # The period is looked up inside the lock: `flush` relies on no past period being added to.
            key = (_period(time.time(), SHORTEST), kind)
            count = self._periods.get(key)
            if count is None:
                count = self._periods[key] = Count()
            count.times.add(milliseconds)
            count.bytes += size
            if error:
                count.errors[error] += 1

    def flush(self) -> int:
        """Writes what was counted; the current period is written again by the next flush. Returns rows."""
        with self._lock:
            sums: dict[int, Count] = {}
            for (start, _), count in self._periods.items():
                sums.setdefault(start, Count()).add(count)
            rows = [_as_row(self._process, start, SHORTEST, count) for start, count in sums.items()]
            current = _period(time.time(), SHORTEST)
            done = [key for key in self._periods if key[0] < current]
        if rows:
            RequestPeriod.objects.bulk_create(
                rows,
                update_conflicts=True,
                unique_fields=["process", "start", "seconds"],
                update_fields=NUMBERS,
            )
        with self._lock:
            for key in done:
                past = self._past.setdefault(key[1], Count())
                past.add(self._periods.pop(key))
        return len(rows)

    def so_far(self) -> dict[str, Count]:
        """By message type, everything that this process has answered since it began."""
        with self._lock:
            counts = [*self._past.items(), *((kind, count) for (_, kind), count in self._periods.items())]
            found: dict[str, Count] = {}
            for kind, count in counts:
                found.setdefault(kind, Count()).add(count)
        return found


RECORDER = Recorder()
observe, flush, so_far = RECORDER.observe, RECORDER.flush, RECORDER.so_far


@dataclass(frozen=True, slots=True)
class Answered:
    """All that the server answered in a span of time."""

    times: Histogram
    bytes: int
    errors: Counter[str]


def answered(since: datetime) -> Answered:
    """Sums over all web processes; a period counts when most of it lies after `since`."""
    longest = timedelta(seconds=LEVELS[-1][0])
    rows = RequestPeriod.objects.filter(start__gt=since - longest / 2).order_by()
    total = _sum(
        numbers
        for start, seconds, *numbers in rows.values_list("start", "seconds", *NUMBERS)
        if start + timedelta(seconds=seconds / 2) > since
    )
    return Answered(times=total.times, bytes=total.bytes, errors=total.errors)


def merge_old(now: datetime | None = None) -> int:
    """Merges periods that have grown old into longer ones and deletes the oldest; returns rows removed.

    The merged row replaces its sources in one transaction, so that no answer is counted twice or not at all.
    """
    now = now or timezone.now()
    removed = 0
    for (seconds, kept), (longer, _) in pairwise(LEVELS):
        removed += _merge(seconds, longer, _period((now - kept).timestamp(), longer))
    oldest = now - LEVELS[-1][1]
    return removed + RequestPeriod.objects.filter(start__lt=oldest).delete()[0]


def _merge(seconds: int, longer: int, before: int) -> int:
    with transaction.atomic():
        old = RequestPeriod.objects.select_for_update().filter(
            seconds=seconds, start__lt=datetime.fromtimestamp(before, UTC)
        )
        groups: dict[int, list[list[Any]]] = {}
        pks = []
        for pk, start, *numbers in old.values_list("pk", "start", *NUMBERS):
            groups.setdefault(_period(start.timestamp(), longer), []).append(numbers)
            pks.append(pk)
        RequestPeriod.objects.bulk_create(
            _as_row(None, start, longer, _sum(members)) for start, members in groups.items()
        )
        RequestPeriod.objects.filter(pk__in=pks).delete()
    return len(pks)


def _period(stamp: float, seconds: int) -> int:
    """The epoch second in which the period of an epoch time began."""
    return int(stamp) - int(stamp) % seconds


def _as_row(process: uuid.UUID | None, start: int, seconds: int, count: Count) -> RequestPeriod:
    times = count.times
    return RequestPeriod(
        process=process,
        start=datetime.fromtimestamp(start, UTC),
        seconds=seconds,
        count=times.count,
        total_ms=times.total,
        low_ms=times.low,
        high_ms=times.high,
        bytes=count.bytes,
        buckets=times.dump(),
        errors=dict(count.errors),
    )


def _sum(rows: Iterable[Sequence[Any]]) -> Count:
    total, stored = Count(), Counter[str]()
    times = total.times
    for number, total_ms, low, high, size, buckets, errors in rows:
        times.count += number
        times.total += total_ms
        if number:
            times.low, times.high = min(times.low, low), max(times.high, high)
        for index, inside in buckets.items():
            stored[index] += inside
        total.bytes += size
        total.errors.update(errors)
    times.buckets = loaded(stored)
    return total
