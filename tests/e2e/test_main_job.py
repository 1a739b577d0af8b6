"""The main job, end to end: tasks sent over a WebSocket run the real OpenCode against a scripted model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from tasks.agents.base import Report
from tasks.agents.opencode import OpenCode
from tasks.execution.launcher import SCRATCH
from tests.support.client import Client, Message
from tests.support.model_server import ModelServer, opencode_env
from tests.support.server import Server

pytestmark = [pytest.mark.real, pytest.mark.slow]

SLEEP = "setsid sleep 300 & sleep 300"
"""A tool in whose middle the agent is stopped, with a child that leaves its session."""
PRICE = Decimal("0.0022")
"""US dollars of one answer of the scripted model: 800 tokens in, 50 out, 200 from the cache."""
FINISHED = ("completed", "failed", "cancelled")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.connect() as connected:
        connected.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
        yield connected


@pytest.fixture(scope="module", autouse=True)
def unreachable(server: Server) -> str:
    """A task whose provider is down: the agent tries for 70 s, while the other tests run."""
    with server.connect() as connected:
        connected.start("unreachable", model="down/success")
    return "unreachable"


@pytest.fixture
def run(client: Client) -> Client:
    """A client whose updates begin with this test."""
    client.received.clear()
    client.rewind()
    return client


def finished(client: Client, scenario: str, **task: object) -> Message:
    """Runs a scenario of the scripted model to its end and returns the task."""
    task_id = f"{scenario}-{time.monotonic_ns()}"
    reply = client.start(task_id, model=f"stub/{scenario}", **task)
    assert (reply["type"], reply["task"]["status"]) == ("task_started", "pending")
    return client.until_status(task_id, *FINISHED, patience=120)


def assert_spent(task: Message, *, answers: int) -> None:
    """That the task's latest run counts the tokens and dollars of so many answers of the model."""
    run = task["runs"][0]
    tokens = [run[f"tokens_{kind}"] for kind in ("input", "output", "cache_read", "cache_write", "reasoning")]
    assert tokens == [800 * answers, 50 * answers, 200 * answers, 0, 0]
    assert Decimal(str(run["cost"])) == answers * PRICE


def messages(client: Client, task: Message, level: str) -> list[str]:
    return [entry["message"] for entry in client.logs(task["id"], level=level)]


def test_writes_a_file_and_completes(run: Client, server: Server, model_server: ModelServer) -> None:
    prompt = '-x says "hello"\n\nand $(touch never) `touch never` — ünïcödé \u202e'
    task = finished(run, "success", description=prompt, files_pattern="**/*.txt")
    assert (task["status"], task["progress"], task["runtime_status"]) == ("completed", 100, "completed")
    assert (server.project_dir / "hello.txt").read_text() == "hello from stub\n"
    assert not (server.project_dir / "never").exists()
    asked = [request.prompt for request in model_server.requests if request.model == "success"]
    assert prompt in asked[-1]
    (attempt,) = task["runs"]
    assert (attempt["exit_code"], attempt["outcome"], attempt["agent"]) == (0, "completed", "opencode")
    assert_spent(task, answers=2)
    assert attempt["peak_memory"] > 50_000_000
    assert attempt["cpu_seconds"] > 0.1
    spool = server.data_dir / "runs" / attempt["id"]
    assert spool.exists()
    assert not (spool / SCRATCH).exists()
    assert any("hello.txt" in line for line in messages(run, task, "info"))
    run.rewind()
    told = [
        (message["old_status"], message["new_status"])
        for message in run.received
        if message["type"] == "task_status_update" and message["task_id"] == task["id"]
    ]
    assert told == [("pending", "pending"), ("pending", "running"), ("running", "completed")]
    live = [
        m["log"]["id"] for m in run.received if m["type"] == "log_entry" and m["log"]["agent"] == task["id"]
    ]
    assert live == [entry["id"] for entry in run.logs(task["id"])]


def test_tells_progress_from_the_agents_own_todos(run: Client) -> None:
    task = finished(run, "todos")
    assert task["status"] == "completed"
    run.rewind()
    progress = [
        message["progress"]
        for message in run.received
        if message["type"] == "task_status_update" and message["task_id"] == task["id"]
    ]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    assert_spent(task, answers=6)
    assert {33, 99} <= set(progress) or {66, 99} <= set(progress)


def test_goes_on_after_a_tool_that_fails(run: Client) -> None:
    task = finished(run, "badtool")
    assert task["status"] == "completed"
    assert_spent(task, answers=2)
    assert any("not found" in line.lower() for line in messages(run, task, "warn"))


@pytest.mark.parametrize(
    ("scenario", "reason", "evidence", "answers"),
    [
        ("err401", "auth", "401", 0),
        ("err429", "rate_limit", "429", 0),
        ("err500", "provider_error", "500", 0),
        ("length", "output_truncated", "", 1),
        ("outside", "permission_rejected", "external_directory", 1),
        ("nosuchmodel", "bad_model", "nosuchmodel", 0),
    ],
)
def test_fails_with_a_reason_that_one_can_act_on(
    run: Client, scenario: str, reason: str, evidence: str, answers: int
) -> None:
    task = finished(run, scenario)
    assert (task["status"], task["failure_reason"]) == ("failed", reason)
    assert evidence in task["error"]
    assert len(task["error"]) > 30
    assert any(task["error"] in line for line in messages(run, task, "error"))
    assert task["runs"][0]["outcome"] == "failed"
    assert_spent(task, answers=answers)


def test_fails_when_the_provider_is_down(run: Client, unreachable: str) -> None:
    task = run.until_status(unreachable, *FINISHED, patience=150)
    assert (task["status"], task["failure_reason"]) == ("failed", "provider_unreachable")
    assert "could not be reached" in task["error"]
    assert any(task["error"] in line for line in messages(run, task, "error"))
    assert_spent(task, answers=0)


def test_cancels_in_the_middle_of_a_tool_and_leaves_no_descendant(
    run: Client, model_server: ModelServer
) -> None:
    task_id = f"sleep-{time.monotonic_ns()}"
    run.start(task_id, model="stub/sleep", description=f"run: {SLEEP}")
    run.until_status(task_id, "running")
    family = sleeping_family(run, task_id)
    reply = run.request({"type": "cancel_task", "task_id": task_id})
    assert (reply["type"], reply["status"]) == ("task_cancelled", "cancelled")
    assert not any(process.is_running() for process in family)
    task = run.task(task_id)
    assert (task["status"], task["runs"][0]["outcome"]) == ("cancelled", "cancelled")
    assert any("cancelled" in entry["message"] for entry in run.logs(task_id))
    # opencode counts an answer when its tools have ended.
    assert_spent(task, answers=0)
    again = run.request({"type": "cancel_task", "task_id": task_id})
    assert (again["code"], again["details"]["field"]) == ("INVALID_FIELD_VALUE", "status")


def test_ends_at_the_timeout_and_leaves_no_descendant(run: Client) -> None:
    task_id = f"sleep-{time.monotonic_ns()}"
    run.start(task_id, model="stub/sleep", description=f"run: {SLEEP}", timeout=30_000)
    run.until_status(task_id, "running")
    family = sleeping_family(run, task_id)
    task = run.until_status(task_id, *FINISHED)
    assert (task["status"], task["failure_reason"]) == ("failed", "timeout")
    assert_spent(task, answers=0)
    assert any("time" in line for line in messages(run, task, "error"))
    assert not any(process.is_running() for process in family)


def test_runs_a_retried_task_again(run: Client) -> None:
    task = finished(run, "length")
    reply = run.request({"type": "retry_task", "task_id": task["id"]})
    assert (reply["type"], reply["retry_count"]) == ("task_retried", 1)
    run.received.clear()
    run.rewind()
    again = run.until_status(task["id"], "failed")
    assert [attempt["number"] for attempt in again["runs"]] == [2, 1]


def sleeping_family(client: Client, task_id: str) -> list[psutil.Process]:
    """The agent and its descendants, as soon as both sleeps of the tool are there."""
    deadline = time.monotonic() + 60
    while True:
        attempts = client.task(task_id)["runs"]
        if attempts and "agent_pid" in attempts[0]:
            agent = psutil.Process(attempts[0]["agent_pid"])
            supervisor = agent.parent()
            assert supervisor is not None
            assert supervisor.pid == attempts[0]["supervisor_pid"]
            family = supervisor.children(recursive=True)
            if sum(process.name() == "sleep" for process in family) == 2:
                return family
        assert time.monotonic() < deadline, "the tool did not start"
        time.sleep(0.1)


def test_starts_several_agents_at_once_where_opencode_has_never_run(
    opencode_binary: Path, model_server: ModelServer, tmp_path: Path
) -> None:
    environment = opencode_env(model_server, tmp_path / "home") | {"OPENCODE_BIN": str(opencode_binary)}
    with Server(tmp_path, **environment) as server, server.connect() as client:
        client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        for number in range(4):
            client.start(f"first-{number}", model="stub/talk", description="1")
        for number in range(4):
            client.rewind()
            task = client.until_status(f"first-{number}", *FINISHED)
            assert task["status"] == "completed", task


def test_goes_on_while_worker_and_web_are_killed_and_ends_once(
    opencode_binary: Path, model_server: ModelServer, tmp_path: Path
) -> None:
    environment = opencode_env(model_server, tmp_path / "home") | {"OPENCODE_BIN": str(opencode_binary)}
    with Server(tmp_path, **environment) as server:
        with server.connect() as client:
            client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
            client.start("talker", model="stub/talk", description="12")
            client.wait(lambda message: message["type"] == "log_entry" and message["log"]["level"] == "info")
            server.kill_child("worker")
            server.kill_child("web")
        with server.connect() as client:
            client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
            task = client.until_status("talker", *FINISHED)
            (attempt,) = task["runs"]
            assert (task["status"], attempt["exit_code"], attempt["tokens_output"]) == (
                "completed",
                0,
                12 * 50,
            )
            stored = [(entry["level"], entry["message"]) for entry in client.logs("talker")]
        spool = server.data_dir / "runs" / attempt["id"] / "stdout"
        written = [
            (line.level, line.message)
            for raw in spool.read_text().splitlines()
            for line in OpenCode().read_stdout(raw, Report())
        ]
        assert len(written) >= 24
        assert stored == [*written, ("info", "Task completed successfully")]
        assert spool.stat().st_mode & 0o777 == 0o600
        assert spool.parent.stat().st_mode & 0o777 == 0o700
        assert (spool.parent / "prompt").stat().st_mode & 0o777 == 0o600
