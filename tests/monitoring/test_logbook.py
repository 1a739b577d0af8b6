"""The update message of a log entry is what its schema says, by whichever way it was made."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.events import LogEntryUpdate
from monitoring.logbook import MANY, TOGETHER, log_event, log_record, record
from monitoring.models import Level, LogEntry

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | texts | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
moments = st.timedeltas(timedelta(0), timedelta(days=100 * 365)).map(datetime(1970, 1, 1, tzinfo=UTC).__add__)


def entry(**changed: Any) -> LogEntry:
    plain = {"pk": 7, "time": datetime(2026, 11, 30, 12, tzinfo=UTC), "level": "info", "message": "m"}
    return LogEntry(**{**plain, "agent": "a", "details": {}, **changed})


@given(
    st.builds(
        entry,
        pk=st.integers(1, 2**63 - 1),
        time=moments,
        level=st.sampled_from([*Level, *Level.values]),
        message=texts,
        agent=texts,
        details=st.dictionaries(texts, values, max_size=4),
    )
)
def test_is_the_models_own_frame(one: LogEntry) -> None:
    told = LogEntryUpdate(log=log_record(one), cursor=str(one.pk))
    event = log_event(one)
    assert json.loads(event.frame) == json.loads(told.frame())
    assert (event.id, event.facts) == (one.pk, {"level": one.level, "agent": one.agent})


@pytest.mark.parametrize("number", [2**64, -(2**200)])
def test_tells_numbers_of_any_length(number: int) -> None:
    frame = log_event(entry(details={"n": number})).frame
    assert json.loads(frame)["log"]["details"] == {"n": number}


AWKWARD = ["", "a\tb\\n\r\n", "\\.", "%s %% {}", "'\"`$$", "ä 漢 \U0001f600", "x" * 5000, "\\N", "NULL"]


def some(number: int) -> list[LogEntry]:
    moment = datetime(2026, 11, 30, 12, tzinfo=UTC)
    return [
        LogEntry(
            time=moment + timedelta(microseconds=7 * place),
            level=[*Level, *Level.values][place % (2 * len(Level))],
            message=AWKWARD[place % len(AWKWARD)],
            agent=f"task-{place % 3}",
            run_id=uuid.UUID(int=place) if place % 4 else None,
            details={"text": AWKWARD[-place % len(AWKWARD)], "deep": [None, {"number": place / 3}]},
        )
        for place in range(number)
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("number", [1, MANY - 1, MANY, 2 * TOGETHER, 2 * TOGETHER + 7])
def test_stores_few_and_many_alike(number: int) -> None:
    entries = some(number)
    record(entries)
    fields = [field.attname for field in LogEntry._meta.fields]
    stored = [list(row) for row in LogEntry.objects.order_by("pk").values_list(*fields)]
    assert stored == [[getattr(entry, name) for name in fields] for entry in entries]


@pytest.mark.django_db
def test_gives_no_id_a_second_time() -> None:
    record(some(MANY))
    last = LogEntry.objects.latest("pk").pk
    LogEntry.objects.all().delete()
    for number in (MANY, 1, MANY):
        entries = some(number)
        record(entries)
        assert [entry.pk for entry in entries] == list(range(last + 1, last + 1 + number))
        last += number
