"""Nonsense from outside: each frame is answered once and rightly, the connection stays, no server stumbles.

Every field of every request, as its schema names them, gets values of every type, and each frame's code is
known beforehand from how the frame was made.
"""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencode_site.asyncapi import EXAMPLES
from opencode_site.ws.registry import ROUTES
from tests.support.client import Client, Message, is_answer
from tests.support.server import Server

ABSENT = "no-such-task"
REQUESTS: dict[str, Message] = {kind: copy.deepcopy(EXAMPLES[kind]) for kind in ROUTES}
"""A right request of each type, such that none of its fields alone could start an agent or end a process."""
REQUESTS["start_task"]["task"] |= {"id": "fuzzed", "dependencies": [ABSENT]}
REQUESTS["kill_process"]["pid"] = 1
for each in ("cancel_task", "retry_task", "get_task_status"):
    REQUESTS[each]["task_id"] = ABSENT
REFUSED = {
    "start_task": "TASK_NOT_FOUND",
    "cancel_task": "TASK_NOT_FOUND",
    "retry_task": "TASK_NOT_FOUND",
    "get_task_status": "TASK_NOT_FOUND",
    "kill_process": "PERMISSION_DENIED",
    "unsubscribe_from_updates": "INVALID_FIELD_VALUE",  # somebody else's subscription
}
"""What becomes of those that are right by form."""
BY_MEANING = {
    *("INVALID_FIELD_VALUE", "INVALID_TASK_DATA", "MISSING_REQUIRED_FIELD", "TASK_NOT_FOUND"),
    *("TASK_ALREADY_EXISTS", "PERMISSION_DENIED", "FILESYSTEM_ERROR", "PROCESS_NOT_FOUND", "reply"),
}
"""What may become of a value whose type is right and whose meaning is chance's."""
CHANNELS = ["task_status", "log_entries", "system_resources", "agent_status"]
ROUNDS, FRAMES = 210, 20_000


class Place(NamedTuple):
    """A field of a request, and the JSON types that it takes."""

    kind: str
    path: tuple[str | int, ...]
    types: frozenset[str]
    required: bool


def places(kind: str) -> Iterator[Place]:
    """Every field of a request, those of its objects and lists too."""
    schema = ROUTES[kind].schema.model_json_schema()

    def below(node: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[Place]:
        for name, field in node.get("properties", {}).items():
            options = [resolved(one) for one in field.get("anyOf", [field])]
            types = frozenset(type_of(one) for one in options)
            if name not in ("type", "request_id"):
                yield Place(kind, (*path, name), types, name in node.get("required", ()))
            for option in options:
                yield from below(option, (*path, name))
                if "items" in option:
                    item = resolved(option["items"])
                    yield Place(kind, (*path, name, 0), frozenset([type_of(item)]), required=False)

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        reference = node.get("$ref") or next((one["$ref"] for one in node.get("allOf", ())), "")
        return schema["$defs"][reference.rpartition("/")[2]] if reference else node

    yield from below(schema, ())


def type_of(node: dict[str, Any]) -> str:
    return str(node.get("type", "string" if "enum" in node or "const" in node else "any"))


PLACES = [place for kind in ROUTES for place in places(kind)]


class Frame(NamedTuple):
    """What is sent, and what must come back: an error's code or "reply", and the field that is named."""

    text: str | bytes
    codes: frozenset[str]
    field: str = ""


def changed(place: Place, value: Any) -> Message:
    """The request with another value in one place."""
    message = copy.deepcopy(REQUESTS[place.kind])
    *parents, last = place.path
    node: Any = message
    for depth, name in enumerate(parents, start=1):
        in_list = isinstance(place.path[depth], int)
        if not isinstance(node.get(name), list if in_list else dict):
            node[name] = [None] if in_list else {}
        node = node[name]
    node[last] = value
    return message


def mutated(place: Place, value: Any) -> Frame:
    if place.path == ("pid",) and isinstance(value, int | float) and not isinstance(value, bool):
        value = -abs(value)
    text = json.dumps(changed(place, value))
    field = ".".join(map(str, place.path))
    if poisonous(value):
        return Frame(text, frozenset(["INVALID_JSON"]))
    if value is None:
        if place.required:
            in_task = len(place.path) > 1
            return Frame(text, frozenset(["INVALID_TASK_DATA" if in_task else "MISSING_REQUIRED_FIELD"]))
    elif not fits(value, place.types):
        return Frame(text, frozenset(["INVALID_FIELD_VALUE"]), field)
    return Frame(text, frozenset(BY_MEANING))


def poisonous(value: Any) -> bool:
    """Whether it makes a text that is no JSON: NaN, infinity, half a surrogate pair."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, str):
        return any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, dict):
        return any(poisonous(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(poisonous, value))


def fits(value: Any, types: frozenset[str]) -> bool:
    if "any" in types:
        return True
    if isinstance(value, bool):
        return "boolean" in types
    if isinstance(value, int | float):
        return bool({"integer", "number"} & types)
    name = "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
    return name in types


def without(place: Place) -> Frame:
    """The request without a required field."""
    message = copy.deepcopy(REQUESTS[place.kind])
    node = message
    for name in place.path[:-1]:
        node = node[name]  # type: ignore[index]
    del node[place.path[-1]]  # type: ignore[arg-type]
    code = "INVALID_TASK_DATA" if len(place.path) > 1 else "MISSING_REQUIRED_FIELD"
    return Frame(json.dumps(message), frozenset([code]))


def of_type(value: Any) -> Frame:
    """A message whose type is the value."""
    text = json.dumps({"type": value, "more": 1})
    if poisonous(value):
        code = "INVALID_JSON"
    elif value is None:
        code = "MISSING_REQUIRED_FIELD"
    else:
        code = "UNKNOWN_MESSAGE_TYPE" if isinstance(value, str) else "INVALID_FIELD_VALUE"
    return Frame(text, frozenset([code]))


def no_json(text: str, cut: int) -> list[Frame]:
    kinds = list(ROUTES)
    whole = json.dumps(REQUESTS[kinds[cut % len(kinds)]])
    nonsense: list[str | bytes] = [
        *(text.encode(errors="replace"), b"\xff" + text.encode(errors="replace")),
        *(whole[: cut % len(whole)], whole + "}", f"[{whole}]", json.dumps(text), str(cut)),
        *('{"type": "ping", "timestamp": 1e999}', '{"type": "ping", "timestamp": 1' + "0" * 400 + "}"),
        *('{"type": "ping", "x": "\\ud800"}', '{"type": "ping", "x": -Infinity}'),
        '{"type": "ping", "x": ' + "[" * 2000 + "]" * 2000 + "}",
    ]
    return [Frame(one, frozenset(["INVALID_JSON"])) for one in nonsense]


SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "\ud800", "a" * 300, "..", "running", 10**30, 1e300, -0.0])
)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def log(server: Server) -> Iterator[None]:
    """That the server had nothing to say about what it was sent."""
    path = server.data_dir / "logs" / "web.log"
    before = path.stat().st_size
    yield
    said = path.read_bytes()[before:].decode()
    assert "Traceback" not in said
    assert " ERROR " not in said


@pytest.fixture
def fuzzed(client: Client) -> None:
    """The task that exists already."""
    client.start("fuzzed")


@settings(max_examples=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=VALUES, text=st.text(max_size=40), cut=st.integers(0, 10_000))
def test_answers_every_frame_once_rightly_and_stays_open(
    client: Client, log: None, fuzzed: None, value: Any, text: str, cut: int
) -> None:
    rights = [
        Frame(json.dumps({**message, "more": value} if not poisonous(value) else message),
              frozenset([REFUSED.get(kind, "reply")]))
        for kind, message in REQUESTS.items()
    ]  # fmt: skip
    frames = [
        *rights,
        *(mutated(place, value) for place in PLACES),
        *(without(place) for place in PLACES if place.required),
        *(of_type(value), *no_json(text, cut)),
        Frame('{"type": "ping", "type": "fly"}', frozenset(["UNKNOWN_MESSAGE_TYPE"])),
        Frame('{"type": "fly", "type": "ping"}', frozenset(["reply"])),
    ]
    assert len(frames) * ROUNDS >= FRAMES
    exchange(client, frames)


def exchange(client: Client, frames: list[Frame]) -> None:
    """Sends them all; an answer is known by its request's id, or by its code where there can be none."""
    client.received.clear()
    client.rewind()
    expected: dict[str, Frame] = {}
    nameless: Counter[str] = Counter()
    for number, frame in enumerate(frames):
        text = frame.text
        if frame.codes == {"INVALID_JSON"}:
            nameless["INVALID_JSON"] += 1
        else:
            assert isinstance(text, str)
            expected[str(number)] = frame
            text = f'{{"request_id": "{number}", {text[1:]}'
        client.send_text(text)
    answers: dict[str, Message] = {}
    anonymous: Counter[str] = Counter()
    for _ in frames:
        answer = client.wait(is_answer)
        if "request_id" in answer:
            assert answers.setdefault(answer["request_id"], answer) is answer
        else:
            anonymous[answer["code"]] += 1
    # Whatever was subscribed to is left again; and nothing comes that answers nothing.
    client.request({"type": "unsubscribe_from_updates", "channels": CHANNELS})
    assert sum(map(is_answer, client.received)) == len(frames) + 1
    assert anonymous == nameless
    for name, frame in expected.items():
        answer = answers[name]
        assert answer.get("code", "reply") in frame.codes, (frame, answer)
        if frame.field:
            assert answer["details"]["field"].startswith(frame.field.removesuffix(".0")), (frame, answer)
