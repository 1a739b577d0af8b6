"""Request metrics, against a real database."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from monitoring.models import RequestPeriod
from monitoring.requests import Recorder, answered, merge_old

pytestmark = pytest.mark.django_db


def everything() -> timedelta:
    return timedelta(days=29)


def test_sums_over_processes_and_types() -> None:
    first, second = Recorder(), Recorder()
    for milliseconds in range(1, 101):
        first.observe("ping", milliseconds=milliseconds, size=10)
        second.observe("list_tasks", milliseconds=milliseconds + 100, size=20, error="TASK_NOT_FOUND")
    first.flush()
    second.flush()
    total = answered(timezone.now() - timedelta(minutes=1))
    assert (total.times.count, total.bytes, dict(total.errors)) == (200, 3000, {"TASK_NOT_FOUND": 100})
    assert total.times.percentile(95) == pytest.approx(190, rel=0.05)
    assert total.times.percentile(99) == pytest.approx(198, rel=0.05)
    assert (total.times.low, total.times.high) == (1, 200)


def test_counts_each_answer_once_however_often_it_is_flushed() -> None:
    recorder = Recorder()
    for _ in range(3):
        recorder.observe("ping", milliseconds=5, size=1)
        recorder.flush()
        recorder.flush()
    assert answered(timezone.now() - timedelta(minutes=1)).times.count == 3


def test_leaves_out_what_was_before_the_range() -> None:
    recorder = Recorder()
    recorder.observe("ping", milliseconds=5, size=1)
    recorder.flush()
    RequestPeriod.objects.update(start=timezone.now() - timedelta(minutes=10))
    assert answered(timezone.now() - timedelta(minutes=5)).times.count == 0
    assert answered(timezone.now() - timedelta(minutes=15)).times.count == 1


def test_merges_old_periods_without_losing_or_doubling_an_answer() -> None:
    recorders = [Recorder() for _ in range(3)]
    now = timezone.now()
    for number, recorder in enumerate(recorders):
        for milliseconds in range(1, 51):
            recorder.observe(
                "ping", milliseconds=milliseconds, size=1, error="INVALID_JSON" if number else ""
            )
        recorder.flush()
    RequestPeriod.objects.update(start=now - timedelta(hours=5))
    before = answered(now - everything())
    # From three rows of ten seconds to one of a minute, and from that to one of five.
    assert merge_old(now) == 3 + 1
    after = answered(now - everything())
    assert RequestPeriod.objects.get().seconds == 300
    assert (after.times.count, after.times.buckets, after.bytes) == (150, before.times.buckets, 150)
    assert dict(after.errors) == {"INVALID_JSON": 100}
    assert merge_old(now + timedelta(days=3)) == 1
    assert answered(now - everything()).times.count == 150
    merge_old(now + timedelta(days=40))
    assert not RequestPeriod.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_brings_rows_of_single_types_together_when_it_is_updated() -> None:
    """Migration 0007; each answer is counted as often as before."""
    before = [("monitoring", "0006_keep_at_most")]
    start, process = timezone.now(), uuid.uuid4()
    old = MigrationExecutor(connection).migrate(before).apps.get_model("monitoring", "RequestPeriod")
    try:
        for kind, low, high, errors in (("ping", 2, 5, {}), ("list_tasks", 1, 3, {"TASK_NOT_FOUND": 2})):
            old.objects.create(
                process=process,
                kind=kind,
                start=start,
                seconds=10,
                count=2,
                total_ms=low + high,
                low_ms=low,
                high_ms=high,
                bytes=7,
                buckets={str(low): 1, "40": 1},
                errors=errors,
            )
        old.objects.create(
            process=None,
            kind="ping",
            start=start,
            seconds=300,
            count=1,
            total_ms=9,
            low_ms=9,
            high_ms=9,
            bytes=1,
            buckets={"45": 1},
        )
    finally:
        newest = MigrationExecutor(connection)
        newest.migrate(newest.loader.graph.leaf_nodes())
    short, long = RequestPeriod.objects.order_by("seconds")
    assert (short.process, short.count, short.total_ms, short.bytes) == (process, 4, 11, 14)
    assert (short.low_ms, short.high_ms, short.errors) == (1, 5, {"TASK_NOT_FOUND": 2})
    assert short.buckets == {"1": 1, "2": 1, "40": 2}
    assert (long.process, long.count) == (None, 1)
