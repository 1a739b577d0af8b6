"""How often a host is sampled, whoever asks for it."""

from __future__ import annotations

import itertools
import random

import pytest

from monitoring.models import ResourceSample
from tasks import jobs, observation
from tasks.observation import Pace


@pytest.mark.parametrize("beats", [1, 2, 3, 7])
def test_takes_one_sample_an_interval_however_many_beats_tick(beats: int) -> None:
    draw = random.Random(beats)
    phases = [draw.random() * 5 for _ in range(beats)]
    ticks = sorted(100 + 5 * n + phase + draw.uniform(-0.05, 0.05) for n in range(200) for phase in phases)
    pace = Pace()
    taken = [tick for tick in ticks if pace.passes(tick, 5)]
    assert 198 <= len(taken) <= 202
    assert min(later - earlier for earlier, later in itertools.pairwise(taken)) > 2.5


def test_takes_up_a_shorter_interval_and_goes_on_after_a_sleep() -> None:
    pace = Pace()
    assert pace.passes(100, 3600)
    assert not pace.passes(101, 3600)
    assert not pace.passes(102, 1)
    assert [pace.passes(at, 1) for at in (103, 104, 105)] == [True, True, True]
    # A machine that was suspended makes up for nothing.
    assert [pace.passes(at, 1) for at in (500.0, 500.2, 500.4, 501)] == [True, False, False, True]


@pytest.mark.django_db
def test_a_host_that_is_asked_by_several_takes_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "_pace", Pace())
    jobs.observe_host()
    first = ResourceSample.objects.count()
    for _ in range(5):
        jobs.observe_host()
    # A meter's first look has nothing to compare with.
    assert (first, ResourceSample.objects.count()) in {(1, 1), (0, 0)}
    monkeypatch.setattr(observation, "_pace", Pace())
    jobs.observe_host()
    assert ResourceSample.objects.count() == first + 1
