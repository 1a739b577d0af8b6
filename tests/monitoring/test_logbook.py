"""The update message of a log entry is what its schema says, by whichever way it was made."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.events import LogEntryUpdate
from monitoring.logbook import log_event, log_record
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
