"""Percentiles from mergeable buckets."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.histogram import Histogram, loaded

durations = st.lists(st.floats(min_value=0.01, max_value=1e6), min_size=1, max_size=300)


def exact(values: list[float], percent: float) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(durations, st.sampled_from([1, 50, 95, 99, 100]))
def test_is_within_five_percent_of_the_exact_percentile(values: list[float], percent: float) -> None:
    assert filled(values).percentile(percent) == pytest.approx(exact(values, percent), rel=0.05)


@given(st.lists(durations, min_size=1, max_size=5))
def test_gives_the_same_when_merged_from_parts(parts: list[list[float]]) -> None:
    whole = filled([value for part in parts for value in part])
    together = Histogram()
    for part in parts:
        together.merge(filled(part))
    assert together.buckets == whole.buckets
    assert (together.count, together.low, together.high) == (whole.count, whole.low, whole.high)
    assert together.total == pytest.approx(whole.total)


@given(durations)
def test_survives_being_stored_as_json(values: list[float]) -> None:
    before = filled(values)
    assert loaded(json.loads(json.dumps(before.dump()))) == before.buckets


def test_is_zero_when_empty() -> None:
    assert (Histogram().average, Histogram().percentile(95)) == (0.0, 0.0)


def test_takes_durations_below_a_microsecond() -> None:
    assert filled([0.0]).percentile(50) == 0.0
