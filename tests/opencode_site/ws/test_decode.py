"""From a frame's text to a request, without a server: what is taken, what is refused, and in which words."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from opencode_site.access.scopes import ANYBODY
from opencode_site.ws.consumer import decode, route
from opencode_site.ws.errors import VALUE_LIMIT, Code, ProtocolError
from opencode_site.ws.registry import ROUTES
from opencode_site.ws.schemas.basic import Request, error_frame

TASK = {"id": "a", "type": "testing", "priority": "low", "description": "x"}


def read(message: Any) -> Request:
    text = message if isinstance(message, str) else json.dumps(message)
    request, _ = route(decode(text), ANYBODY)
    return request


def refused(message: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as error:
        read(message)
    return error.value


def fields(request: BaseModel, *path: str) -> Any:
    value: Any = request
    for name in path:
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("{", "end of data"),
        ('{"type": "ping", "timestamp": NaN}', "expected a JSON value"),
        ('{"type": "ping", "timestamp": Infinity}', "expected a JSON value"),
        ('{"type": "ping", "timestamp": 1e999}', "infinity"),
        ('{"type": "\\ud800"}', "surrogate"),
        ("[1, 2]", "expected an object, got [1,2]"),
        ('"' + "x" * 1000 + '"', "expected an object, got 'xxx"),
        ("null", "expected an object, got null"),
        ("[" * 1000 + "]" * 1000, "deeply nested"),
    ],
)
def test_says_what_is_wrong_with_json(text: str, problem: str) -> None:
    error = refused(text)
    assert error.code == Code.INVALID_JSON
    assert problem in error.message
    assert len(error.message) < VALUE_LIMIT + 100


def test_takes_the_last_of_duplicate_keys() -> None:
    assert fields(read('{"type": "nothing", "type": "list_tasks", "limit": 1, "limit": 2}'), "limit") == 2


@pytest.mark.parametrize(("given", "taken"), [(5, 5), (5.0, 5), (1e2, 100)])
def test_takes_a_whole_number_however_it_is_written(given: float, taken: int) -> None:
    limit = fields(read({"type": "list_tasks", "limit": given}), "limit")
    assert (limit, type(limit)) == (taken, int)


@pytest.mark.parametrize("given", [5.5, "5", True, [5], {"a": 5}, 1e300])
def test_takes_nothing_else_for_a_whole_number(given: Any) -> None:
    error = refused({"type": "list_tasks", "limit": given})
    assert (error.code, error.details["field"]) == (Code.INVALID_FIELD_VALUE, "limit")


@pytest.mark.parametrize("given", ["1", True, [], {}])
def test_echoes_only_numbers(given: Any) -> None:
    error = refused({"type": "ping", "timestamp": given})
    assert (error.details["field"], error.details["expected"]) == ("timestamp", "a number")


def test_takes_null_for_absent() -> None:
    request = read({"type": "list_tasks", "filter": None, "limit": None, "request_id": None})
    assert (fields(request, "limit"), fields(request, "filter", "status")) == (50, None)
    task = {**TASK, "timeout": None, "files_pattern": None, "dependencies": None, "agent": None}
    assert fields(read({"type": "start_task", "task": task}), "task", "files_pattern") == ""
    error = refused({"type": "start_task", "task": {**TASK, "description": None}})
    assert (error.code, error.details["missing"]) == (Code.INVALID_TASK_DATA, ["description"])


def test_ignores_fields_that_it_does_not_know() -> None:
    read({"type": "start_task", "task": {**TASK, "argv": ["sh"]}, "extra": {"deep": [1]}})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            {"type": "list_tasks", "filter": {"status": "lost"}},
            "Invalid status value: 'lost'. Valid values are: pending, running, completed, failed, cancelled",
        ),
        ({"type": "list_tasks", "limit": 0}, "Invalid limit value: 0. Expected a number of at least 1"),
        ({"type": "list_tasks", "limit": True}, "Invalid limit value: true. Expected a whole number"),
        ({"type": "list_tasks", "filter": []}, "Invalid filter value: []. Expected an object"),
        ({"type": "cancel_task", "task_id": 5}, "Invalid task_id value: 5. Expected a string"),
        (
            {"type": "cancel_task", "task_id": "x" * 129},
            f"Invalid task_id value: '{'x' * 129}'. Expected at most 128 character(s)",
        ),
        (
            {"type": "subscribe_to_updates", "channels": []},
            "Invalid channels value: []. Expected at least 1 item(s)",
        ),
        (
            {"type": "cancel_task", "task_id": "a\0b"},
            "Invalid task_id value: 'a\0b'. Expected text without NUL characters",
        ),
        ({"type": 5}, "Invalid type value: 5. Expected a string"),
        ({"type": "fly"}, "Unknown message type: 'fly'"),
        ({"type": "cancel_task"}, "Required field missing: task_id"),
    ],
)
def test_says_what_is_wrong_in_the_specs_words(message: dict[str, Any], words: str) -> None:
    assert refused(message).message == words


def test_sends_little_of_a_wrong_value_back() -> None:
    for value in ("x" * 100_000, ["x"] * 100_000, {"x": "y" * 100_000}, 10**300):
        error = refused({"type": "cancel_task", "task_id": value} if value != 10**300 else {"type": value})
        assert len(error_frame(error)) < 2000
    nested: Any = []
    for _ in range(500):
        nested = [nested]
    assert "deeply nested" in refused({"type": nested}).message


def test_carries_only_a_proper_request_id_back() -> None:
    error = refused({"type": "fly"})
    assert json.loads(error_frame(error, "a"))["request_id"] == "a"
    for improper in (5, None, ["a"], "x" * 129):
        assert "request_id" not in json.loads(error_frame(error, improper))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=6,
)
NAMES = sorted({name for each in ROUTES.values() for name in each.schema.model_fields} - {"type"})
TASK_NAMES = [*TASK, "timeout", "dependencies", "files_pattern", "working_dir", "model", "max_retries"]
REQUESTS = st.builds(
    lambda kind, rest, task: {"type": kind, **rest, **({"task": task} if task is not None else {})},
    st.sampled_from(sorted(ROUTES)),
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4),
    st.none() | st.dictionaries(st.sampled_from(TASK_NAMES), JSON, max_size=9).map(lambda d: {**TASK, **d}),
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    JSON.map(json.dumps),
    REQUESTS.map(json.dumps),
    st.tuples(REQUESTS.map(json.dumps), st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]]),
)
REFUSALS = {
    Code.INVALID_JSON,
    Code.UNKNOWN_MESSAGE_TYPE,
    Code.MISSING_REQUIRED_FIELD,
    Code.INVALID_FIELD_VALUE,
    Code.INVALID_TASK_DATA,
}


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
def test_reads_or_refuses_whatever_comes(text: str) -> None:
    outcome = _outcome(text)
    if isinstance(outcome, Request):
        assert json.loads(text)["type"] == outcome.type
        return
    assert outcome.code in REFUSALS
    assert (outcome.code == Code.INVALID_JSON) is not _is_object(text)
    told = json.loads(error_frame(outcome))
    assert told["message"]
    assert isinstance(told["details"], dict)
    assert len(told["message"]) < 3 * VALUE_LIMIT + 300


def _outcome(text: str) -> Request | ProtocolError:
    try:
        return route(decode(text), ANYBODY)[0]
    except ProtocolError as error:
        return error


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
