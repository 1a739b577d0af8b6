"""A stream's rows become visible in the order of their ids, and can be read from any of them on."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from monitoring.logbook import LOG_STREAM, record
from monitoring.models import LogEntry


def line(agent: str = "a", level: str = "info") -> LogEntry:
    return LogEntry(level=level, message="m", agent=agent)


@pytest.mark.django_db(transaction=True)
def test_lets_nobody_add_before_an_earlier_row_is_visible() -> None:
    added, finish, seen = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            record([line("first")])
            added.set()
            finish.wait(20)
        connection.close()

    def second() -> None:
        with transaction.atomic():
            record([line("second")])
        seen.set()
        connection.close()

    hands = [threading.Thread(target=first), threading.Thread(target=second)]
    hands[0].start()
    assert added.wait(20)
    hands[1].start()
    # A row with a greater id may not be seen as long as one with a smaller id is not.
    assert not seen.wait(0.5)
    assert LogEntry.objects.count() == 0
    finish.set()
    for hand in hands:
        hand.join()
    assert [entry.agent for entry in LogEntry.objects.order_by("pk")] == ["first", "second"]


@pytest.mark.django_db
def test_reads_on_from_any_row_with_the_filters_asked_for() -> None:
    before = LOG_STREAM.head()
    with transaction.atomic():
        record([line(agent, level) for agent in "ab" for level in ("info", "error")])
    cursors = [event.id for event in LOG_STREAM.after(before, limit=10)]
    assert cursors == sorted(cursors)
    assert cursors[-1] == LOG_STREAM.head()
    assert [event.id for event in LOG_STREAM.after(cursors[0], limit=2)] == cursors[1:3]
    assert [event.id for event in LOG_STREAM.after(before, limit=10, until=cursors[1])] == cursors[:2]
    wanted = {"level": frozenset(["error"]), "agent": frozenset(["b", "c"])}
    assert [event.facts for event in LOG_STREAM.after(before, limit=10, wanted=wanted)] == [
        {"level": "error", "agent": "b"}
    ]


@pytest.mark.django_db
def test_remembers_how_far_retention_went() -> None:
    assert LOG_STREAM.floor() == 0
    LOG_STREAM.note_pruned(7)
    LOG_STREAM.note_pruned(9)
    assert LOG_STREAM.floor() == 9
