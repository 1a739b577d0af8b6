"""Nonsense from outside: each frame is answered once, the connection stays, nothing unexpected happens."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencode_site.ws.registry import ROUTES
from tests.support.client import Client
from tests.support.server import Server

SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "\0", "\ud800", "a" * 300])
)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
FIELDS = ["task_id", "task", "filter", "limit", "offset", "channels", "filters", "subscription_id", "pid"]
CHANNELS = ["task_status", "log_entries", "system_resources", "agent_status"]
TASK_FIELDS = [
    "id",
    "type",
    "priority",
    "description",
    "timeout",
    "dependencies",
    "files_pattern",
    "agent",
    "model",
]
# Valid tasks would run agents by the thousand: `priority` is left to chance, so that hardly any is valid.
TASKS = st.dictionaries(st.sampled_from(TASK_FIELDS), VALUES, max_size=6)
FRAMES_AT_ONCE, ROUNDS = 20, 1000


def request(kind: str, fields: dict[str, Any], task: dict[str, Any]) -> str:
    """A request that is right here and there; none ends a process that these tests did not start."""
    pid = fields.get("pid")
    if isinstance(pid, int | float) and pid > 0:
        fields = fields | {"pid": -pid}
    return json.dumps({**fields, **({"task": task} if task else {}), "type": kind})


REQUESTS = st.builds(
    request,
    st.sampled_from([*ROUTES, "nothing"]),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    TASKS,
)
FRAMES = st.one_of(
    st.binary(max_size=50),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    REQUESTS,
    REQUESTS.map(lambda frame: frame[: len(frame) // 2]),
    VALUES.map(json.dumps),
    st.just('{"type": "ping", "type": "fly"}'),
)
EXPECTED_CODES = {
    "INVALID_JSON",
    "UNKNOWN_MESSAGE_TYPE",
    "MISSING_REQUIRED_FIELD",
    "INVALID_FIELD_VALUE",
    "INVALID_TASK_DATA",
    "TASK_NOT_FOUND",
    "PERMISSION_DENIED",
}


@settings(max_examples=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames=st.lists(FRAMES, min_size=FRAMES_AT_ONCE, max_size=FRAMES_AT_ONCE))
def test_answers_every_frame_once_and_stays_open(
    client: Client, server: Server, frames: list[str | bytes]
) -> None:
    """20 000 frames, twenty at a time."""
    client.received.clear()
    client.rewind()
    for frame in frames:
        client.send_text(frame)
    answers: list[dict[str, Any]] = []
    while len(answers) < len(frames):
        answers.append(client.wait(lambda message: not message["type"].endswith(("_update", "log_entry"))))
    client.request({"type": "unsubscribe_from_updates", "channels": CHANNELS})
    extra = [m for m in client.received[:-1] if not m["type"].endswith(("_update", "log_entry"))]
    assert len(extra) == len(frames)
    unexpected = [a for a in answers if a["type"] == "error" and a["code"] not in EXPECTED_CODES]
    assert unexpected == []


def test_leaves_no_traceback_on_the_server(client: Client, server: Server) -> None:
    for frame in ("{", "\0", '{"type": []}', '{"type": "start_task", "task": 1}', b"\xff"):
        client.send_text(frame)
        assert client.wait(lambda message: message["type"] == "error")["code"] in EXPECTED_CODES
    assert "Traceback" not in (server.data_dir / "logs" / "web.log").read_text()
