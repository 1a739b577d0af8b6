"""Request metrics, against a real database."""

from __future__ import annotations

from datetime import timedelta

import pytest
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
    assert merge_old(now) == 3
    after = answered(now - everything())
    assert RequestPeriod.objects.get().seconds == 300
    assert (after.times.count, after.times.buckets, after.bytes) == (150, before.times.buckets, 150)
    assert dict(after.errors) == {"INVALID_JSON": 100}
    assert merge_old(now + timedelta(days=3)) == 1
    assert answered(now - everything()).times.count == 150
    merge_old(now + timedelta(days=40))
    assert not RequestPeriod.objects.exists()
