"""Each JSON example of the specification, sent to a really running server and compared field by field."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opencode_site.asyncapi import EXAMPLES
from opencode_site.ws.registry import ROUTES
from tests.support import agent
from tests.support.client import Client, Message
from tests.support.server import Server

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
OF_AGENTS, OF_OURS = "of agents only", "of what our runs have started only"
SAID_BY_AGENT = "what an agent tells of its own accord"
HAPPENED = "errors that happened, by code"
MAY_BE_ABSENT = {
    "data.processes[].type": OF_AGENTS,
    "data.processes[].task_id": OF_OURS,
    "data.claude_processes[].task_id": OF_OURS,
    "processes[].task_id": OF_OURS,
    "task.files_pattern": "optional by the spec's TypeScript",
    "data.entries[].details.error_code": SAID_BY_AGENT,
    "data.entries[].details.file_path": SAID_BY_AGENT,
    "log.details.execution_time": SAID_BY_AGENT,
    "log.details.files_processed": SAID_BY_AGENT,
    "data.error_rates.errors_by_type.timeout": HAPPENED,
    "data.error_rates.errors_by_type.parse_error": HAPPENED,
}
"""Fields of an example whose presence depends on what is shown, by their whole path, with the reason."""
OURS = {
    "full_status": ("data.agents", "data.tasks", "data.claude_processes"),
    "process_list": ("data.processes",),
    "claude_processes": ("processes",),
    "task_list": ("tasks",),
}
"""Lists in which the running task of the examples is shown, with every field of the example."""
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


def adapted(kind: str, world: Client, program: subprocess.Popen[bytes]) -> Message:
    """The example's request, about things that there are."""
    request: Message = json.loads(json.dumps(EXAMPLES[kind]))
    if kind == "kill_process":
        request["pid"] = program.pid
    if kind == "unsubscribe_from_updates":
        request["subscription_id"] = world.request(EXAMPLES["subscribe_to_updates"])["subscription_id"]
    if kind == "request_process_list":
        # A process that waits is not "running": so one sees nothing that is sure to be there.
        assert world.request(request)["type"] == REPLIES[kind]
        del request["filter"]["status"]
    if kind == "request_log_entries":
        now = datetime.now(UTC)
        request["filter"]["agent"] = "failed_task_789"
        request["filter"]["time_range"] = {
            name: (now + timedelta(hours=hours)).isoformat() for name, hours in (("start", -1), ("end", 1))
        }
    if kind in ("cancel_task", "retry_task"):
        request["task_id"] = _own_task(world, kind)
    return request


def differences(
    example: Any, real: Any, path: str = "", *, exempt: Collection[str] = MAY_BE_ABSENT
) -> list[str]:
    """Where what the server says is not of the shape of the example: a field absent, or of another type."""
    if isinstance(example, dict):
        if not isinstance(real, dict):
            return [f"{path}: expected an object, got {real!r}"]
        found = []
        for name, value in example.items():
            where = f"{path}.{name}".lstrip(".")
            if name in real:
                found += differences(value, real[name], where, exempt=exempt)
            elif where not in exempt:
                found.append(f"{where}: absent")
        return found
    if isinstance(example, list):
        if not isinstance(real, list):
            return [f"{path}: expected a list, got {real!r}"]
        of = f"{path}[]"
        return [each for one in real for each in differences(example[0], one, of, exempt=exempt)]
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
    reply = world.request(adapted(kind, world, program))
    assert reply["type"] == REPLIES[kind], reply
    example = EXAMPLES[REPLIES[kind]]
    assert differences(example, reply) == []
    for path in OURS.get(reply["type"], ()):
        ours = [one for one in at(reply, path) if "task_456" in (one.get("id"), one.get("task_id"))]
        # What is missing from the agent's own entry is missing for no reason.
        assert any(differences(at(example, path)[0], one, exempt=()) == [] for one in ours), (path, ours)


def at(message: Message, path: str) -> Any:
    """What stands at a dotted path."""
    found: Any = message
    for name in path.split("."):
        found = found[name]
    return found


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
    assert differences({"a": [{"b": 1}]}, {"a": [{"b": 1}, {}]}) == ["a[].b: absent"]
    assert differences({"at": "2024-01-15T10:30:00Z"}, {"at": "now"}) == ["at: 'now' is no time"]
