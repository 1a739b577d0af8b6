"""Runs of hosts that have fallen silent, and of those that only seem so."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks.execution import leases
from tasks.execution.leases import LeaseWatch
from tasks.models import Run, RunState
from tasks.selectors import get_task

Claimed = Callable[..., Run]
WATCHED_FOR = 0.2


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> LeaseWatch:
    monkeypatch.setattr(leases, "WATCHED_FOR", WATCHED_FOR)
    return LeaseWatch()


def expire() -> None:
    Run.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))


def test_loses_a_run_whose_lease_stays_expired(claimed: Claimed, watch: LeaseWatch) -> None:
    run = claimed("a")
    assert watch.lose_expired() == 0
    expire()
    assert watch.lose_expired() == 0
    time.sleep(WATCHED_FOR)
    assert watch.lose_expired() == 1
    run.refresh_from_db()
    assert (run.state, run.failure_reason, get_task("a").status) == (RunState.ENDED, "lost", "failed")


def test_gives_a_host_time_to_report_after_a_sleep_or_a_step_of_the_clock(
    claimed: Claimed, watch: LeaseWatch
) -> None:
    claimed("a")
    expire()
    assert watch.lose_expired() == 0
    Run.objects.update(lease_expires_at=timezone.now() + timedelta(minutes=5))  # it has reported
    time.sleep(WATCHED_FOR)
    assert watch.lose_expired() == 0
    expire()
    assert watch.lose_expired() == 0
    assert get_task("a").status == "running"


def test_leaves_the_runs_of_its_own_host_to_adoption(
    claimed: Claimed, watch: LeaseWatch, settings: Any
) -> None:
    settings.HOSTNAME = claimed("a").host
    expire()
    watch.lose_expired()
    time.sleep(WATCHED_FOR)
    assert watch.lose_expired() == 0
