"""Each JSON example of the specification, sent to a really running server and compared field by field."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opencode_site.asyncapi import EXAMPLES
from opencode_site.ws.registry import ROUTES
from tests.support import agent
from tests.support.client import Client, Message
from tests.support.server import Server

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
MAY_BE_ABSENT = {
    # Optional by the spec's TypeScript, or of agents and of our own processes only.
    *("type", "task_id", "working_dir", "files_pattern", "details.error_code", "details.file_path"),
    *(
        "details.execution_time",
        "details.files_processed",
        "errors_by_type.timeout",
        "errors_by_type.parse_error",
    ),
}
"""Fields of an example whose presence depends on what is shown."""
REPLIES = {
    "ping": "pong",
    "request_status": "full_status",
    "start_task": "task_started",
    "cancel_task": "task_cancelled",
    "retry_task": "task_retried",
    "get_task_status": "task_status",
    "list_tasks": "task_list",
    "request_system_resources": "system_resources",
    "request_process_list": "process_list",
    "request_log_entries": "log_entries",
    "request_performance_metrics": "performance_metrics",
    "kill_process": "process_killed",
    "request_claude_processes": "claude_processes",
    "subscribe_to_updates": "subscription_confirmed",
    "unsubscribe_from_updates": "unsubscription_confirmed",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"OPENCODE_BIN": str(Path(agent.__file__)), "OPENCODE_SAMPLE_INTERVAL": "1"}
    with Server(tmp_path_factory.mktemp("spec"), **environment) as started:
        yield started


@pytest.fixture
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """An agent process of somebody else's, for the lists of processes and to be ended."""
    path = tmp_path_factory.mktemp("bin") / "opencode"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    process = subprocess.Popen([str(path), "120"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def world(server: Server) -> Iterator[Client]:
    """A connection to a server with the tasks that the examples speak of, and every update that came."""
    with server.connect() as client:
        channels = ["system_resources", "task_status", "log_entries", "agent_status"]
        client.request({"type": "subscribe_to_updates", "channels": channels})
        client.start("task_456", description=json.dumps({"lines": 100_000, "pause": 0.1}), priority="high")
        client.start("failed_task_789", description=json.dumps({"exit": 3}))
        client.until_status("failed_task_789", "failed")
        client.rewind()
        for kind in ("agent_update", "resource_update", "log_entry"):
            client.rewind()
            client.wait(lambda message, kind=kind: message["type"] == kind)  # type: ignore[misc]
        yield client


def adapted(kind: str, program: subprocess.Popen[bytes]) -> Message:
    """The example's request, about things that there are."""
    request: Message = json.loads(json.dumps(EXAMPLES[kind]))
    request.pop("subscription_id", None)
    if kind == "kill_process":
        request["pid"] = program.pid
    if kind in ("list_tasks", "request_process_list"):
        del request["filter"]["status" if kind == "request_process_list" else "type"]
    if kind == "request_log_entries":
        request["filter"] = {"agent": "failed_task_789", "level": "error"}
    return request


def differences(example: Any, real: Any, path: str = "") -> list[str]:
    """Where what the server says is not of the shape of the example: a field absent, or of another type."""
    if isinstance(example, dict):
        if not isinstance(real, dict):
            return [f"{path}: expected an object, got {real!r}"]
        found = []
        for name, value in example.items():
            where = f"{path}.{name}".lstrip(".")
            if name in real:
                found += differences(value, real[name], where)
            elif not any(where.endswith(absent) for absent in MAY_BE_ABSENT):
                found.append(f"{where}: absent")
        return found
    if isinstance(example, list):
        if not isinstance(real, list):
            return [f"{path}: expected a list, got {real!r}"]
        return differences(example[0], real[0], f"{path}[]") if example and real else []
    if isinstance(example, str) and re.match(r"^\d{4}-\d\d-\d\dT", example):
        return [] if isinstance(real, str) and TIME.match(real) else [f"{path}: {real!r} is no time"]
    same = isinstance(real, bool) if isinstance(example, bool) else _same_type(example, real)
    return [] if same else [f"{path}: expected {type(example).__name__}, got {real!r}"]


def _same_type(example: Any, real: Any) -> bool:
    if isinstance(example, float):
        return isinstance(real, int | float) and not isinstance(real, bool)
    if isinstance(example, int):
        return isinstance(real, int) and not isinstance(real, bool)
    return isinstance(real, type(example))


def test_speaks_of_every_request() -> None:
    assert set(REPLIES) == set(ROUTES)


@pytest.mark.parametrize("kind", REPLIES)
def test_answers_the_example_of(world: Client, program: subprocess.Popen[bytes], kind: str) -> None:
    request = adapted(kind, program)
    if kind in ("cancel_task", "retry_task"):
        request["task_id"] = _own_task(world, kind)
    reply = world.request(request)
    assert reply["type"] == REPLIES[kind], reply
    assert differences(EXAMPLES[REPLIES[kind]], reply) == []


def _own_task(client: Client, kind: str) -> str:
    """A task of the test's own, so that no test depends on another."""
    task_id = f"{kind}-subject"
    orders = {"exit": 3} if kind == "retry_task" else {"lines": 100_000, "pause": 0.1}
    client.start(task_id, description=json.dumps(orders))
    client.until_status(task_id, "failed" if kind == "retry_task" else "running")
    return task_id


@pytest.mark.parametrize("kind", ["resource_update", "task_status_update", "agent_update", "log_entry"])
def test_sends_updates_as_in_the_example(world: Client, kind: str) -> None:
    update = next(message for message in world.received if message["type"] == kind)
    assert differences(EXAMPLES[kind], update) == []


def test_greets_as_in_the_example(world: Client) -> None:
    assert differences(EXAMPLES["connection_established"], world.received[0]) == []


def test_says_what_is_wrong_as_in_the_example(world: Client) -> None:
    task = {"id": "x", "type": "testing", "priority": "urgent", "description": "d"}
    answer = world.request({"type": "start_task", "task": task})
    assert differences(EXAMPLES["error"], answer) == []
    assert (answer["code"], answer["message"]) == (EXAMPLES["error"]["code"], EXAMPLES["error"]["message"])


def test_compares_strictly() -> None:
    assert differences({"a": 1}, {}) == ["a: absent"]
    assert differences({"a": 1}, {"a": "1"}) == ["a: expected int, got '1'"]
    assert differences({"a": [{"b": 1.5}]}, {"a": [{"b": True}]}) == ["a[].b: expected float, got True"]
    assert differences({"at": "2024-01-15T10:30:00Z"}, {"at": "now"}) == ["at: 'now' is no time"]
