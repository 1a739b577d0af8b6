"""Running totals: added to once, with their transaction, by however many at once."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from monitoring.totals import Totals, totals


def add(name: str, value: float, *labels: str) -> None:
    with transaction.atomic():
        counted = Totals()
        counted.add(name, value, *labels)
        counted.store()


@pytest.mark.django_db
def test_adds_up_by_labels() -> None:
    add("runs", 1, "failed", "auth")
    add("runs", 2, "failed", "auth")
    add("runs", 1, "completed", "")
    add("cost", 0.25)
    add("cost", 0.5)
    assert totals() == {
        "runs": {("failed", "auth"): 3, ("completed", ""): 1},
        "cost": {(): 0.75},
    }


@pytest.mark.django_db
def test_counts_values_into_a_histogram() -> None:
    counted = Totals()
    for value in (0.5, 1.0, 1.5, 99.0, -3.0):
        counted.observe("wait", value, (1.0, 2.0))
    counted.store()
    # A clock that was set back makes nobody wait for less than nothing.
    assert totals() == {
        "wait_bucket": {("1",): 3, ("2",): 1, ("+Inf",): 1},
        "wait_sum": {(): 102.0},
    }


@pytest.mark.django_db
def test_counts_nothing_of_what_was_rolled_back() -> None:
    add("runs", 1)
    with transaction.atomic():
        add("runs", 1)
        transaction.set_rollback(True)
    Totals().store()
    assert totals() == {"runs": {(): 1}}


@pytest.mark.django_db(transaction=True)
def test_loses_nothing_when_many_add_at_once() -> None:
    start = threading.Barrier(6)
    problems: list[Exception] = []

    def work(turned: bool) -> None:
        start.wait()
        try:
            for _ in range(25):
                with transaction.atomic():
                    counted = Totals()
                    for name in ("b", "a") if turned else ("a", "b"):
                        counted.add(name)
                    counted.store()
        except Exception as problem:  # noqa: BLE001 - asserted below, in the test's own thread
            problems.append(problem)
        finally:
            connection.close()

    hands = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(6)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert problems == []
    assert totals() == {"a": {(): 150}, "b": {(): 150}}
