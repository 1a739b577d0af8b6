"""Trends of load, from samples and their sums in a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitoring.loads import AGAIN, MAX_POINTS, PERIOD, sum_up, trend
from monitoring.models import LoadPeriod, ResourceSample
from monitoring.times import LONGEST_RANGE
from tests.support import samples

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def sample(at: datetime, cpu: float, memory: float = 50.0, host: str = "h") -> ResourceSample:
    return samples.sample(at, cpu_percent=cpu, memory_percent=memory, host=host)


@pytest.mark.parametrize("hours", [0.01, 1, 24, 24 * 7, 24 * 30])
def test_has_at_most_60_points_whatever_the_range(hours: float) -> None:
    span = timedelta(hours=hours)
    ResourceSample.objects.bulk_create(
        sample(NOON - span * part / 500, cpu=part % 100) for part in range(500)
    )
    points = trend(NOON - span, NOON)
    assert 1 < len(points) <= MAX_POINTS
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


@pytest.mark.parametrize("hours", [4, 6, 24, 24 * 7, 24 * 30])
def test_tells_the_same_before_and_after_the_samples_were_summed_up(hours: float) -> None:
    span = timedelta(hours=hours)
    ResourceSample.objects.bulk_create(
        sample(NOON - span * part / 2000, cpu=part % 97, memory=part % 13, host=f"host-{part % 3}")
        for part in range(2000)
    )
    before = trend(NOON - span, NOON)
    assert sum_up(NOON) > 0
    after = trend(NOON - span, NOON)
    assert [point.at for point in after] == [point.at for point in before]
    for one, other in zip(before, after, strict=True):
        assert other.cpu_percent == pytest.approx(one.cpu_percent)
        assert other.memory_percent == pytest.approx(one.memory_percent)


def test_reads_no_sample_of_a_period_that_was_summed_up() -> None:
    week = timedelta(days=7)
    ResourceSample.objects.bulk_create(sample(NOON - week * part / 500, cpu=part % 97) for part in range(500))
    sum_up(NOON)
    before = trend(NOON - week, NOON)
    ResourceSample.objects.filter(at__lt=NOON - timedelta(seconds=PERIOD)).delete()
    assert trend(NOON - week, NOON) == before


def test_counts_a_sample_that_was_stored_after_its_period_had_been_summed_up() -> None:
    sample(NOON - timedelta(minutes=30), 10).save()
    assert sum_up(NOON) == 1
    sample(NOON - timedelta(minutes=30), 30).save()
    for _ in range(2):
        assert sum_up(NOON) == 1
        assert [point.cpu_percent for point in trend(NOON - timedelta(days=1), NOON)] == [20]


def test_sums_up_what_a_clock_that_was_set_back_brings_again() -> None:
    sample(NOON, 10).save()
    sum_up(NOON + timedelta(minutes=10))
    earlier = NOON - AGAIN - timedelta(days=1)
    sample(earlier, 50).save()
    sum_up(earlier + timedelta(minutes=10))
    assert [point.cpu_percent for point in trend(earlier - timedelta(days=1), NOON)] == [50, 10]


def test_sums_up_what_came_while_nobody_did() -> None:
    sample(NOON - timedelta(days=20), 10).save()
    sum_up(NOON - timedelta(days=19))
    ResourceSample.objects.bulk_create([sample(NOON - timedelta(days=10), 20), sample(NOON, 30)])
    sum_up(NOON + timedelta(hours=1))
    assert [point.cpu_percent for point in trend(NOON - timedelta(days=25), NOON)] == [10, 20, 30]


def test_keeps_sums_as_long_as_one_can_ask_for_them() -> None:
    sample(NOON, 10).save()
    sum_up(NOON + LONGEST_RANGE - timedelta(hours=1))
    assert LoadPeriod.objects.count() == 1
    sum_up(NOON + LONGEST_RANGE + timedelta(hours=1))
    assert LoadPeriod.objects.count() == 0
