"""Wake-ups: those of a burst together, and none without one after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import transaction
from django.utils import timezone

from tasks import jobs, queue, services
from tasks.execution import launcher
from tasks.queue import DISPATCH, wake_hosts
from tests.support.waiting import eventually


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, float]]]:
    """What goes to the broker, and when."""
    told: list[tuple[str, str, float]] = []
    monkeypatch.setattr(queue, "_send", lambda job, host, *args: told.append((job, host, time.monotonic())))
    wakes = queue._Wakes()
    monkeypatch.setattr(queue, "_wakes", wakes)
    yield told
    wakes._sender.shutdown()


@pytest.mark.django_db(transaction=True)
def test_wakes_once_more_after_a_burst(sent: list[tuple[str, str, float]]) -> None:
    services.report_host("h", slots=1, pid=1, started_at=timezone.now(), agents={})
    began = time.monotonic()
    for _ in range(100):
        wake_hosts()
    asked = time.monotonic()
    eventually("the last are not forgotten", lambda: sent and sent[-1][2] >= asked, patience=5)
    assert {(job, host) for job, host, _ in sent} == {(DISPATCH, "h")}
    # One for each pause that the hundred took, and not one for each.
    assert len(sent) <= 2 + (sent[-1][2] - began) / queue._Wakes.PAUSE


@pytest.mark.django_db(transaction=True)
def test_wakes_nobody_for_what_is_rolled_back(sent: list[tuple[str, str, float]]) -> None:
    services.report_host("h", slots=1, pid=1, started_at=timezone.now(), agents={})
    with transaction.atomic():
        wake_hosts()
        transaction.set_rollback(True)
    assert sent == []


def test_of_many_wake_ups_one_works_one_waits_and_none_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    seen: list[int] = []
    asked = [0]

    def look() -> int:
        seen.append(asked[0])
        begun.release()
        go_on.acquire()
        return 0

    monkeypatch.setattr(launcher, "dispatch", look)
    threads = [threading.Thread(target=jobs.dispatch) for _ in range(10)]
    threads[0].start()
    assert begun.acquire(timeout=10)
    asked[0] = 1
    for thread in threads[1:]:
        thread.start()
    # All but the one that waits have nothing left to do.
    eventually("eight leave", lambda: sum(thread.is_alive() for thread in threads) == 2, patience=10)
    go_on.release(2)
    for thread in threads:
        thread.join(10)
    # The one that waited began after all had been asked for.
    assert seen == [0, 1]
