"""Trends of load, from samples in a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitoring.models import ResourceSample
from monitoring.selectors import MAX_TREND_POINTS, trend

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def sample(at: datetime, cpu: float, memory: float = 50.0) -> ResourceSample:
    numbers = dict.fromkeys(
        ("memory_used", "memory_total", "disk_used", "disk_total", "bytes_sent", "bytes_recv", "packets_sent",
         "packets_recv", "processes", "agent_processes"), 1
    )  # fmt: skip
    return ResourceSample(
        host="h", at=at, stamp=int(at.timestamp()), interval=5, cpu_percent=cpu, memory_percent=memory,
        disk_percent=1, load1=1, load5=1, load15=1, **numbers,
    )  # fmt: skip


@pytest.mark.parametrize("hours", [0.01, 1, 24, 24 * 7, 24 * 30])
def test_has_at_most_60_points_whatever_the_range(hours: float) -> None:
    span = timedelta(hours=hours)
    ResourceSample.objects.bulk_create(
        sample(NOON - span * part / 500, cpu=part % 100) for part in range(500)
    )
    points = trend(NOON - span, NOON)
    assert 1 < len(points) <= MAX_TREND_POINTS
    assert [point.at for point in points] == sorted(point.at for point in points)


def test_is_the_mean_of_the_samples_of_each_part() -> None:
    ResourceSample.objects.bulk_create(
        [
            sample(NOON, 10, 40),
            sample(NOON + timedelta(seconds=1), 20, 60),
            sample(NOON + timedelta(minutes=30), 90),
        ]
    )
    first, last = trend(NOON, NOON + timedelta(hours=1))
    assert (first.cpu_percent, first.memory_percent, last.cpu_percent) == (15, 50, 90)


def test_is_empty_without_samples() -> None:
    assert trend(NOON, NOON + timedelta(hours=1)) == []
