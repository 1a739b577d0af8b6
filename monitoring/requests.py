"""How quickly the server answers: counted in memory by message type, stored as one row per short period."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import Any

import orjson
from django.db import transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from monitoring.histogram import Histogram, loaded
from monitoring.models import RequestPeriod
from monitoring.times import LONGEST_RANGE, period_start

LEVELS = (
    (10, timedelta(minutes=30)),
    (60, timedelta(hours=2)),
    (300, timedelta(days=1)),
    (3600, LONGEST_RANGE),
)
"""Length of a period in seconds, and for how long periods of that length are kept before they are merged into
the next length. A range is so never cut more coarsely than a twenty-fourth of it; the last are deleted."""

SHORTEST = LEVELS[0][0]
UNSORTED = 256
"""Durations that are kept as they came before they are sorted into buckets, all at once: one at a time costs
three times as much, as the code for it has left the processor's cache meanwhile (measured with py-spy)."""
PLAIN, COUNTS = ("count", "total_ms", "low_ms", "high_ms", "bytes"), ("buckets", "errors")
"""The columns of a row that are summed: numbers, and JSON objects of numbers."""


@dataclass(slots=True)
class Count:
    """What was answered."""

    times: Histogram = field(default_factory=Histogram)
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    unsorted: list[float] = field(default_factory=list)

    def observe(self, milliseconds: float) -> None:
        self.unsorted.append(milliseconds)
        if len(self.unsorted) >= UNSORTED:
            self._sort()

    def _sort(self) -> None:
        for milliseconds in self.unsorted:
            self.times.add(milliseconds)
        self.unsorted.clear()

    def add(self, other: Count) -> None:
        other._sort()
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
        self._current: dict[str, Count] = {}
        """Those of the period in which `observe` was last called, by message type."""
        self._began = 0
        self._past: dict[str, Count] = {}
        """By message type, what was counted in periods that are over."""

    def observe(self, kind: str, *, milliseconds: float, size: int, error: str = "") -> None:
        """One message was answered: `size` is the bytes of request and reply, `error` its code."""
        with self._lock:
            # The period is looked up inside the lock: `flush` relies on no past period being added to.
            now = time.time()
            if not 0 <= now - self._began < SHORTEST:
                self._begin(period_start(now, SHORTEST))
            count = self._current.get(kind)
            if count is None:
                count = self._current[kind] = self._periods[self._began, kind] = Count()
            count.observe(milliseconds)
            count.bytes += size
            if error:
                count.errors[error] += 1

    def _begin(self, start: int) -> None:
        # A clock that was set back may come to a period again that has not been forgotten yet.
        self._began = start
        self._current = {kind: count for (began, kind), count in self._periods.items() if began == start}

    def flush(self) -> int:
        """Writes what was counted; the current period is written again by the next flush. Returns rows."""
        with self._lock:
            sums: dict[int, Count] = {}
            for (start, _), count in self._periods.items():
                sums.setdefault(start, Count()).add(count)
            rows = [_as_row(self._process, start, SHORTEST, count) for start, count in sums.items()]
            current = period_start(time.time(), SHORTEST)
            done = [key for key in self._periods if key[0] < current]
        if rows:
            RequestPeriod.objects.bulk_create(
                rows,
                update_conflicts=True,
                unique_fields=["process", "start", "seconds"],
                update_fields=[*PLAIN, *COUNTS],
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
    halves = {seconds: timedelta(seconds=seconds / 2) for seconds, _ in LEVELS}
    counts = (Q(seconds=seconds, start__gt=since - half) for seconds, half in halves.items())
    # The last condition says nothing more: it is the one for which there is an index.
    rows = RequestPeriod.objects.filter(reduce(or_, counts), start__gt=since - max(halves.values()))
    total = _sum(_numbers(rows.order_by()))
    return Answered(times=total.times, bytes=total.bytes, errors=total.errors)


def merge_old(now: datetime | None = None) -> int:
    """Merges periods that have grown old into longer ones and deletes the oldest; returns rows removed.

    The merged row replaces its sources in one transaction, so that no answer is counted twice or not at all.
    """
    now = now or timezone.now()
    removed = 0
    for (seconds, kept), (longer, _) in pairwise(LEVELS):
        removed += _merge(seconds, longer, period_start((now - kept).timestamp(), longer))
    oldest = now - LEVELS[-1][1]
    return removed + RequestPeriod.objects.filter(start__lt=oldest).delete()[0]


def _merge(seconds: int, longer: int, before: int) -> int:
    with transaction.atomic():
        old = RequestPeriod.objects.select_for_update().filter(
            seconds=seconds, start__lt=datetime.fromtimestamp(before, UTC)
        )
        groups: dict[int, list[list[Any]]] = {}
        pks = []
        for pk, start, *numbers in _numbers(old, "pk", "start"):
            groups.setdefault(period_start(start.timestamp(), longer), []).append(numbers)
            pks.append(pk)
        RequestPeriod.objects.bulk_create(
            _as_row(None, start, longer, _sum(members)) for start, members in groups.items()
        )
        RequestPeriod.objects.filter(pk__in=pks).delete()
    return len(pks)


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


def _numbers(rows: QuerySet[RequestPeriod], *before: str) -> Iterable[Sequence[Any]]:
    """What is summed, after other columns; JSON as text, which orjson reads in a fifth of Django's time."""
    texts = [Cast(name, TextField()) for name in COUNTS]
    return rows.values_list(*before, *PLAIN, *texts)


def _sum(rows: Iterable[Sequence[Any]]) -> Count:
    """Of rows as `_numbers` gives them."""
    total, stored = Count(), defaultdict[str, int](int)
    times = total.times
    for number, total_ms, low, high, size, buckets, errors in rows:
        times.count += number
        times.total += total_ms
        if number:
            times.low, times.high = min(times.low, low), max(times.high, high)
        for index, inside in orjson.loads(buckets).items():
            stored[index] += inside
        total.bytes += size
        if errors != "{}":
            total.errors.update(orjson.loads(errors))
    times.buckets = loaded(stored)
    return total
